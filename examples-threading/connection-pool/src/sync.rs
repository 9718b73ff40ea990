//! The one place where `connections.rs` gets its locks and its clock from. The tests put others
//! here: `tests/model.rs` loom's, `tests/connections.rs` a `Condvar` that wakes up for no reason.

pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::time::Instant;
