//! The synchronisation types of the lockings and of the schedule. They ask for them here, so that
//! tests/model.rs can hand the very same files the types of a model checker.

pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
pub use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
pub use std::thread::yield_now;
