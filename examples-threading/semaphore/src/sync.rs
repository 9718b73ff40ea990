//! The one place where `semaphore.rs` gets its lock and its clock from. The tests put others here:
//! `tests/model.rs` loom's, `tests/semaphore.rs` a `Condvar` that wakes up for no reason.

pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::time::Instant;
