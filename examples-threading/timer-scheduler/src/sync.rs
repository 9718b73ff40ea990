//! The one place where `scheduler.rs` gets its locks and its thread from. `tests/model.rs` puts
//! loom's here. The clock is not among them: it is given to `Scheduler::with_clock`.

pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::thread;
