//! An event that threads wait for. `set` lets all of them go on, and everyone who comes later,
//! until `clear`.
//!
//! To take it along, copy this file and `sync.rs`, or replace `super::sync` below by `std::sync`
//! and `std::time`.

use std::error::Error;
use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use super::sync::{Condvar, Instant, Mutex, MutexGuard};

pub struct Event {
    state: Mutex<State>,
    was_set: Condvar,
}

struct State {
    is_set: bool,
    /// How often it was set. A thread that waits looks at this as well: when `set` and `clear`
    /// follow each other closely, it finds the event cleared again, and yet it happened.
    times_set: u64,
}

impl Event {
    /// Not set yet.
    pub fn new() -> Self {
        let state = State {
            is_set: false,
            times_set: 0,
        };
        Self {
            state: Mutex::new(state),
            was_set: Condvar::new(),
        }
    }

    /// Wakes all who wait, and from now on nobody has to. Setting twice is fine.
    pub fn set(&self) {
        let mut state = self.lock();
        state.is_set = true;
        state.times_set += 1;
        // First the change, then the wake-up: a thread woken before would find nothing new and go
        // to sleep for good. And first the lock is freed, or they would be woken to wait for that.
        drop(state);
        self.was_set.notify_all();
    }

    /// From now on one has to wait again. Who waited when it was set goes on all the same.
    pub fn clear(&self) {
        self.lock().is_set = false;
    }

    /// A snapshot: with a `clear` about, it may be over before the caller looks at it.
    pub fn is_set(&self) -> bool {
        self.lock().is_set
    }

    /// Waits until it is set; not at all if it is.
    pub fn wait(&self) {
        self.wait_until(None)
            .expect("without a deadline there is no time-out");
    }

    /// Waits for at most `timeout` in all, and tells which happened: `Ok` when the event was set.
    /// Zero just asks.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), TimedOut> {
        // No limit for a time-out that is too long for the clock, as `Duration::MAX` is.
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<(), TimedOut> {
        let mut state = self.lock();
        let before = state.times_set;
        // `while`, not `if`: a wake-up is a hint and may come for no reason.
        while !state.is_set && state.times_set == before {
            // `wait` gives the lock away and sleeps in one step: no `set` can slip in between.
            state = match deadline {
                None => self.was_set.wait(state).unwrap_or_else(into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(TimedOut);
                    }
                    // Whether this sleep ended in time does not matter: the state decides, and a
                    // `set` at the last moment counts.
                    let woken = self.was_set.wait_timeout(state, left);
                    woken.unwrap_or_else(into_inner).0
                }
            };
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(into_inner)
    }
}

/// A poisoned lock is used as it is: nothing under it can panic half-way through a change, and to
/// panic here as well would only spread the damage to every thread that waits.
fn into_inner<T>(poisoned: PoisonError<T>) -> T {
    poisoned.into_inner()
}

/// Sets the event at the end of its scope, on every way out, a panic included. A thread that holds
/// one never leaves the others waiting.
pub struct SetOnDrop<'a>(pub &'a Event);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// The time was up before the event was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the event was not set in time")
    }
}

impl Error for TimedOut {}
