//! The one place where `thread_pool.rs` and `handle.rs` get their threads, their locks and their
//! clock from. `tests/model.rs` puts others here, to try every schedule.

pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
pub use std::time::Instant;
pub use std::{thread, thread_local};
