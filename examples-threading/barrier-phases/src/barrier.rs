//! A barrier that can break. All who wait go on together as soon as so many have arrived, or none
//! of them does: when one runs out of time, or somebody calls `abort`, all get an error.
//!
//! To take it along, copy this file and `sync.rs`, or replace `super::sync` below by `std::sync`
//! and `std::time`. Where no thread can fail, `std::sync::Barrier` is enough.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use super::sync::{Condvar, Instant, Mutex, MutexGuard};

pub struct Barrier {
    state: Mutex<State>,
    round_ended: Condvar,
    threads: usize,
}

struct State {
    arrived: usize,
    /// How the present round has ended. All who wait in a round hold the same one, and the next
    /// round gets a new one: a thread that is slow to wake up still finds how its own ended,
    /// however far the others are by then. It is only used under the lock.
    outcome: Arc<OnceLock<Result<(), Broken>>>,
}

impl Barrier {
    /// # Panics
    ///
    /// If `threads` is 0: there would never be a last one to arrive.
    pub fn new(threads: usize) -> Self {
        assert!(threads > 0, "a barrier needs at least 1 thread");
        let state = State {
            arrived: 0,
            outcome: Arc::default(),
        };
        Self {
            state: Mutex::new(state),
            round_ended: Condvar::new(),
            threads,
        }
    }

    /// Waits until all have arrived. The last one is the leader, exactly one in a round.
    pub fn wait(&self) -> Result<Role, Broken> {
        self.wait_until(None)
    }

    /// The same, for at most `timeout` in all. If it runs out, the barrier is broken for all.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Role, Broken> {
        // No limit for a time-out that is too long for the clock, as `Duration::MAX` is.
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Breaks the barrier: an error for all who wait, and for all who come, until `reset`.
    pub fn abort(&self) {
        self.end_round(&mut self.lock(), Err(Broken::Aborted));
    }

    /// Makes a broken barrier usable again. An error for those who wait, if there are any.
    pub fn reset(&self) {
        let mut state = self.lock();
        self.end_round(&mut state, Err(Broken::Reset));
        state.begin_round();
    }

    /// A snapshot: it may be over before the caller looks at it.
    pub fn is_broken(&self) -> bool {
        self.lock().outcome.get().is_some()
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<Role, Broken> {
        let mut state = self.lock();
        let outcome = Arc::clone(&state.outcome);
        state.arrived += 1;
        if state.arrived == self.threads && outcome.get().is_none() {
            self.end_round(&mut state, Ok(()));
            state.begin_round();
            return Ok(Role::Leader);
        }
        loop {
            // Before the first sleep, for the barrier may be broken already; and after each, for a
            // wake-up is a hint and may come for no reason.
            if let Some(outcome) = outcome.get() {
                return outcome.map(|()| Role::Follower);
            }
            let left = deadline.map(|it| it.saturating_duration_since(Instant::now()));
            state = match left {
                None => self.round_ended.wait(state).unwrap_or_else(into_inner),
                Some(Duration::ZERO) => {
                    // The others count on this thread. Without it their round cannot end well.
                    self.end_round(&mut state, Err(Broken::TimedOut));
                    return Err(Broken::TimedOut);
                }
                // Whether this sleep ended in time does not matter: the outcome decides.
                Some(left) => {
                    let woken = self.round_ended.wait_timeout(state, left);
                    woken.unwrap_or_else(into_inner).0
                }
            };
        }
    }

    /// The first outcome of a round counts: `set` fails if it has one.
    fn end_round(&self, state: &mut State, outcome: Result<(), Broken>) {
        if state.outcome.set(outcome).is_ok() {
            self.round_ended.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(into_inner)
    }
}

impl State {
    fn begin_round(&mut self) {
        self.arrived = 0;
        self.outcome = Arc::default();
    }
}

/// A poisoned lock is used as it is: nothing under it can panic half-way through a change, and to
/// panic here as well would only spread the damage to every thread that waits.
fn into_inner<T>(poisoned: PoisonError<T>) -> T {
    poisoned.into_inner()
}

/// Breaks the barrier at the end of its scope, on every way out, a panic included. A thread that
/// holds one can fail, or do a round fewer, and the others learn it instead of waiting for ever.
pub struct AbortOnDrop<'a>(pub &'a Barrier);

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
}

/// Why a round did not end well. Everyone in it is told the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// One of them, maybe this one, ran out of time.
    TimedOut,
    Aborted,
    Reset,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "the barrier is broken: a thread ran out of time",
            Self::Aborted => "the barrier is broken: a thread aborted it",
            Self::Reset => "the barrier was reset while this thread waited",
        })
    }
}

impl Error for Broken {}
