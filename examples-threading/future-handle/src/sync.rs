//! The one place where `task.rs` and `thread_pool.rs` get their threads, their locks and their
//! clock from. `tests/model.rs` puts others here, to try every schedule.

pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
pub use std::thread::ThreadId;
pub use std::time::Instant;
pub use std::{thread, thread_local};
