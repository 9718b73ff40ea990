//! Two locks at once without a deadlock, in whatever order they are named.
//!
//! Both functions return the guards in the order of the arguments, and an error when another thread
//! has panicked while it held one of the locks: the caller knows whether the data can still be used.

use std::ptr;
use std::sync::{PoisonError, TryLockError};

use super::sync::{Mutex, MutexGuard};

type Guards<'a, T> = Result<[MutexGuard<'a, T>; 2], PoisonError<MutexGuard<'a, T>>>;

/// Locks the one with the lower address first. So all threads lock in one order, and who has to
/// wait for the first lock holds nothing. The addresses stay: the locks are borrowed.
///
/// # Panics
///
/// If both are the same lock, which would be a thread that waits for itself.
pub fn in_order<'a, T>(a: &'a Mutex<T>, b: &'a Mutex<T>) -> Guards<'a, T> {
    assert!(!ptr::eq(a, b), "the same lock twice");
    if ptr::from_ref(a) < ptr::from_ref(b) {
        let a = a.lock()?;
        Ok([a, b.lock()?])
    } else {
        let b = b.lock()?;
        Ok([a.lock()?, b])
    }
}

/// Locks the first, and only tries the second: if that is taken, lets go of the first as well. This
/// works for locks that have no common order. `on_back_off` is called at each vain attempt.
///
/// # Panics
///
/// If both are the same lock.
pub fn with_back_off<'a, T>(
    a: &'a Mutex<T>,
    b: &'a Mutex<T>,
    mut on_back_off: impl FnMut(),
) -> Guards<'a, T> {
    assert!(!ptr::eq(a, b), "the same lock twice");
    loop {
        let first = a.lock()?;
        match b.try_lock() {
            Ok(second) => return Ok([first, second]),
            Err(TryLockError::Poisoned(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => drop(first),
        }
        on_back_off();
        // To begin again at once could go on for long: both threads back off in step ("livelock").
        // So we sleep until the other lock is free, and hold nothing meanwhile.
        drop(b.lock()?);
    }
}
