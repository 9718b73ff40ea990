//! The one place where `barrier.rs` gets its lock and its clock from. The tests put others here:
//! `tests/model.rs` loom's, `tests/barrier.rs` a `Condvar` that wakes up for no reason.

pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::time::Instant;
