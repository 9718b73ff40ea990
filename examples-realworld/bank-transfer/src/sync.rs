//! The synchronisation types of the lockings and of the schedule. They ask for them here, so that
//! tests/model.rs can hand the very same files the types of a model checker.

pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
pub use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError,
};
pub use std::thread::yield_now;

/// Waits awake, some 50 nanoseconds each time. A model checker needs only one time.
pub fn pause(times: u32) {
    (0..times).for_each(|_| spin_loop());
}
