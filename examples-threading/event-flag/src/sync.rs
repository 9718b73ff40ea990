//! The one place where `event.rs` gets its lock and its clock from. The tests put others here:
//! `tests/model.rs` loom's, `tests/event.rs` a `Condvar` that wakes up for no reason.

pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::time::Instant;
