//! A queue that holds at most `capacity` items. `put` waits while it is full, `get` waits while
//! it is empty, and `close` ends all waiting: what is inside can still be got, nothing can be put.
//!
//! To take it along, copy this file and `sync.rs`, or replace `super::sync` below by `std::sync`
//! and `std::time`.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::iter;
use std::sync::PoisonError;
use std::time::Duration;

use super::sync::{Condvar, Instant, Mutex, MutexGuard};

pub struct BoundedBuffer<T> {
    state: Mutex<State<T>>,
    // Two conditions on one lock, because there are two questions. With a single one, `notify_one`
    // after a `get` may wake another consumer, which finds nothing and sleeps on, while the
    // producer for whom there is room now is never told.
    not_full: Condvar,
    not_empty: Condvar,
    capacity: usize,
}

/// Everything that the waiting depends on, inside one lock. There is no way past it: the buffer
/// itself has no field `items`, so that `self.items.push_back(item)` does not compile.
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> BoundedBuffer<T> {
    /// # Panics
    ///
    /// If `capacity` is 0: every `put` would wait for ever. That is a mistake in the program, not
    /// in its input, so it panics, as `chunks(0)` does, and `new(5)` stays easy to write.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a buffer needs a capacity of at least 1");
        let items = VecDeque::new();
        let closed = false;
        Self {
            state: Mutex::new(State { items, closed }),
            not_full: Condvar::new(),
            not_empty: Condvar::new(),
            capacity,
        }
    }

    /// Waits for room. The only error is `Closed`.
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_until(item, None)
    }

    /// Never waits for room.
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_timeout(item, Duration::ZERO)
    }

    /// Waits for room for at most `timeout` in all; zero just tries.
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_until(item, deadline(timeout))
    }

    /// Waits for an item. The only error is `Closed`: no item is left and none will come.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_until(None)
    }

    /// Never waits for an item.
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_timeout(Duration::ZERO)
    }

    /// Waits for an item for at most `timeout` in all; zero just tries.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_until(deadline(timeout))
    }

    /// `for item in buffer.items()`: gets until the buffer is closed and empty. Several threads may
    /// do so at once; each item goes to one of them.
    pub fn items(&self) -> impl Iterator<Item = T> {
        iter::from_fn(|| self.get().ok())
    }

    /// From now on nothing can be put; what is inside can still be got. Closing twice is fine.
    pub fn close(&self) {
        self.lock().closed = true;
        // All, and on both sides: everyone who waits has to learn it. One that is woken by this
        // just leaves, and does not wake the next.
        self.not_full.notify_all();
        self.not_empty.notify_all();
    }

    /// A snapshot: other threads may have changed it before the caller looks at it. Good for a
    /// display, never for a decision; to decide, `try_put` or `try_get` and see.
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// A snapshot like `len`.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put_until(&self, item: T, deadline: Option<Instant>) -> Result<(), PutError<T>> {
        let mut state = self.lock();
        // `while`, not `if`: a wake-up is a hint. It may come for no reason, and another producer
        // may have taken the room between the wake-up and our getting the lock back.
        while !state.closed && state.items.len() >= self.capacity {
            state = match wait(&self.not_full, state, deadline) {
                Some(state) => state,
                None => return Err(PutError::Full(item)),
            };
        }
        if state.closed {
            return Err(PutError::Closed(item));
        }
        state.items.push_back(item);
        // First the change, then the wake-up: a thread woken before would find nothing new and go
        // to sleep for good. And first the lock is freed, or it would be woken to wait for that.
        drop(state);
        self.not_empty.notify_one();
        Ok(())
    }

    fn get_until(&self, deadline: Option<Instant>) -> Result<T, GetError> {
        let mut state = self.lock();
        while !state.closed && state.items.is_empty() {
            state = wait(&self.not_empty, state, deadline).ok_or(GetError::Empty)?;
        }
        // Closed or not, what is inside comes out first.
        let item = state.items.pop_front().ok_or(GetError::Closed)?;
        drop(state);
        self.not_full.notify_one();
        Ok(item)
    }

    /// A poisoned lock is used as it is. No code of the items runs under it, and the state is valid
    /// after each single statement, so a panic cannot have left it half changed; to panic here as
    /// well would only spread the damage to every other thread.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where time-outs become points in time: a deadline is total, however often a waiter wakes up
/// before it. `None` is no limit, also for a time-out too long for the clock (`Duration::MAX`).
fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Gives the lock away and sleeps in one step, so that no change can slip in between; comes back
/// with the lock, woken up or for no reason. `None` when the time is up.
///
/// Whether the sleep itself timed out does not matter: the caller looks at the state once more
/// first. A thread that was woken and then gave up would take that wake-up with it, and another
/// one would sleep on.
fn wait<'a, T>(
    condition: &Condvar,
    state: MutexGuard<'a, State<T>>,
    deadline: Option<Instant>,
) -> Option<MutexGuard<'a, State<T>>> {
    let Some(deadline) = deadline else {
        let woken = condition.wait(state);
        return Some(woken.unwrap_or_else(PoisonError::into_inner));
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return None;
    }
    let woken = condition.wait_timeout(state, left);
    Some(woken.unwrap_or_else(PoisonError::into_inner).0)
}

/// Closes the buffer at the end of its scope, on every way out, a panic included. A thread that
/// holds one never leaves the other side waiting.
pub struct CloseOnDrop<'a, T>(pub &'a BoundedBuffer<T>);

impl<T> Drop for CloseOnDrop<'_, T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Why an item was not put; the item comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutError<T> {
    /// No room, or still none when the time was up.
    Full(T),
    Closed(T),
}

impl<T> PutError<T> {
    pub fn into_item(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the buffer is full",
            Self::Closed(_) => "the buffer is closed",
        })
    }
}

impl<T: fmt::Debug> Error for PutError<T> {}

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetError {
    /// Nothing inside, or still nothing when the time was up.
    Empty,
    /// Nothing inside, and nothing will come.
    Closed,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the buffer is empty",
            Self::Closed => "the buffer is closed and empty",
        })
    }
}

impl Error for GetError {}
