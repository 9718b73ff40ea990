//! The one place where `both.rs` gets its locks from. `tests/model.rs` puts loom's here.

pub use std::sync::{Mutex, MutexGuard};
