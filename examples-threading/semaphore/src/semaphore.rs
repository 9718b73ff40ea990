//! A semaphore gives out a fixed number of permits and lets wait who gets none. Whoever came first
//! is served first, so that a request for many is not overtaken by small ones for ever.
//!
//! A permit is a value: dropped means returned, on every way out, and nothing can be dropped twice.
//! So there is no `release` that could be called once too often.
//!
//! To take it along, copy this file and `sync.rs`, or replace `super::sync` below by `std::sync`
//! and `std::time`.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

use super::sync::{Condvar, Instant, Mutex, MutexGuard};

pub struct Semaphore {
    state: Mutex<State>,
    changed: Condvar,
    permits: usize,
}

struct State {
    available: usize,
    /// One ticket for each thread that asks, the first one in front.
    queue: VecDeque<u64>,
    next_ticket: u64,
}

impl Semaphore {
    /// # Panics
    ///
    /// If `permits` is 0: with nothing to return, everyone would wait for ever. (A semaphore that
    /// starts at 0 is used as a signal in Python; that is an event.)
    pub fn new(permits: usize) -> Self {
        assert!(permits > 0, "a semaphore needs at least 1 permit");
        let state = State {
            available: permits,
            queue: VecDeque::new(),
            next_ticket: 0,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            permits,
        }
    }

    /// Waits for a permit.
    pub fn acquire(&self) -> Permit<'_> {
        self.acquire_many(1)
    }

    /// Never waits. `None` also if there is a permit, but somebody waits already.
    #[must_use = "a permit that is not kept is returned at once"]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.acquire_timeout(Duration::ZERO)
    }

    /// Waits for at most `timeout` in all. `None` when the time was up.
    #[must_use = "a permit that is not kept is returned at once"]
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
        self.acquire_many_timeout(1, timeout)
    }

    /// Waits for several permits, and gets them at one stroke: who collected them one by one could
    /// meet another one who does the same, each with a part, waiting for the rest.
    ///
    /// # Panics
    ///
    /// If there are not that many in all, because it would wait for ever.
    pub fn acquire_many(&self, count: usize) -> Permit<'_> {
        self.acquire_until(count, None)
            .expect("without a deadline there is no time-out")
    }

    /// The same, for at most `timeout` in all. `None` when the time was up.
    #[must_use = "a permit that is not kept is returned at once"]
    pub fn acquire_many_timeout(&self, count: usize, timeout: Duration) -> Option<Permit<'_>> {
        // No limit for a time-out that is too long for the clock, as `Duration::MAX` is.
        self.acquire_until(count, Instant::now().checked_add(timeout))
    }

    /// A snapshot: it may be over before the caller looks at it. To decide, `try_acquire` and see.
    pub fn available(&self) -> usize {
        self.lock().available
    }

    fn acquire_until(&self, count: usize, deadline: Option<Instant>) -> Option<Permit<'_>> {
        let permits = self.permits;
        assert!(count <= permits, "{count} of {permits} permits, for ever");
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.queue.push_back(ticket);
        // `while`, not `if`: a wake-up is a hint, and here it is one for everybody.
        while state.queue.front() != Some(&ticket) || state.available < count {
            let left = deadline.map(|it| it.saturating_duration_since(Instant::now()));
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(into_inner),
                Some(Duration::ZERO) => {
                    state.queue.retain(|it| *it != ticket);
                    self.tell(state);
                    return None;
                }
                // Whether this sleep ended in time does not matter: the state decides.
                Some(left) => {
                    let woken = self.changed.wait_timeout(state, left);
                    woken.unwrap_or_else(into_inner).0
                }
            };
        }
        state.queue.pop_front();
        state.available -= count;
        self.tell(state);
        Some(Permit {
            semaphore: self,
            count,
        })
    }

    /// After each change that could let someone go on: permits came back, or the queue moved up.
    ///
    /// Wakes all, because it matters who is in front and only that thread knows how many it needs.
    /// `notify_one` might wake another, who sleeps on, and nobody would ever tell the right one.
    fn tell(&self, state: MutexGuard<State>) {
        let somebody_waits = !state.queue.is_empty();
        drop(state);
        if somebody_waits {
            self.changed.notify_all();
        }
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

/// The right to be one of those inside, or several of them. Dropped means returned.
#[must_use = "a permit that is not kept is returned at once"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

impl Permit<'_> {
    /// How many permits this is.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes `count` out of it as a permit of their own, to be returned earlier or by another
    /// thread. `None` if it does not have so many.
    pub fn split(&mut self, count: usize) -> Option<Self> {
        self.count = self.count.checked_sub(count)?;
        Some(Self {
            semaphore: self.semaphore,
            count,
        })
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.semaphore.lock();
        state.available += self.count;
        self.semaphore.tell(state);
    }
}
