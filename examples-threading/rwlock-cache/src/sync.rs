//! The one place where `cache.rs` gets its locks from. `tests/model.rs` puts loom's here.

pub use std::sync::{Mutex, RwLock, RwLockWriteGuard};
