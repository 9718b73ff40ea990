//! Queues for several threads that do not give the oldest item first: `PriorityQueue` gives the one
//! with the smallest priority (the oldest of several), `LifoQueue` the newest. `get` waits while
//! there is nothing, and `close` ends the waiting: what is inside can still be got, nothing can be
//! put. `put` never waits: there is always room.
//!
//! To take it along, copy this file and `sync.rs`, or replace `super::sync` below by `std::sync`
//! and `std::time`.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::error::Error;
use std::fmt;
use std::iter;
use std::sync::PoisonError;
use std::time::Duration;

use super::sync::{Condvar, Instant, Mutex, MutexGuard};

/// Items are `(priority, item)`; the smallest priority comes first. For the largest first, make the
/// priority a `std::cmp::Reverse`.
pub type PriorityQueue<P, T> = BlockingQueue<Priority<P, T>>;

/// The item that was put last comes first.
pub type LifoQueue<T> = BlockingQueue<Lifo<T>>;

/// All the waiting, written once. Which item is next, `S` decides.
pub struct BlockingQueue<S> {
    state: Mutex<State<S>>,
    // One condition is enough: only a `get` ever waits.
    not_empty: Condvar,
}

struct State<S> {
    items: S,
    closed: bool,
}

/// What a queue does with its items, under its lock.
pub trait Store: Default {
    type Item;
    fn push(&mut self, item: Self::Item);
    fn pop(&mut self) -> Option<Self::Item>;
    fn len(&self) -> usize;
}

impl<S: Store> BlockingQueue<S> {
    pub fn new() -> Self {
        let items = S::default();
        let closed = false;
        Self {
            state: Mutex::new(State { items, closed }),
            not_empty: Condvar::new(),
        }
    }

    /// After `close` the item comes back in the error.
    pub fn put(&self, item: S::Item) -> Result<(), PutError<S::Item>> {
        let mut state = self.lock();
        if state.closed {
            return Err(PutError(item));
        }
        state.items.push(item);
        // First the change, then the wake-up. And first the lock is freed, or a thread would be
        // woken to wait for that.
        drop(state);
        self.not_empty.notify_one();
        Ok(())
    }

    /// Waits for an item. The only error is `Closed`: no item is left and none will come.
    pub fn get(&self) -> Result<S::Item, GetError> {
        self.get_until(None)
    }

    /// Never waits for an item.
    pub fn try_get(&self) -> Result<S::Item, GetError> {
        self.get_timeout(Duration::ZERO)
    }

    /// Waits for an item for at most `timeout` in all; zero just tries.
    pub fn get_timeout(&self, timeout: Duration) -> Result<S::Item, GetError> {
        // A time-out too long for the clock, such as `Duration::MAX`, is no limit.
        self.get_until(Instant::now().checked_add(timeout))
    }

    /// `for item in queue.items()`: gets until the queue is closed and empty. Several threads may
    /// do so at once; each item goes to one of them.
    pub fn items(&self) -> impl Iterator<Item = S::Item> {
        iter::from_fn(|| self.get().ok())
    }

    /// From now on nothing can be put; what is inside can still be got. Closing twice is fine.
    pub fn close(&self) {
        self.lock().closed = true;
        self.not_empty.notify_all();
    }

    /// A snapshot: other threads may have changed it before the caller looks at it. Good for a
    /// display, never for a decision; to decide, `try_get` and see.
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// A snapshot like `len`.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get_until(&self, deadline: Option<Instant>) -> Result<S::Item, GetError> {
        let mut state = self.lock();
        loop {
            // Look before each wait, also when the time is up: a wake-up is a hint, another thread
            // may have been faster, and one that was woken for an item must not leave it lying.
            if let Some(item) = state.items.pop() {
                return Ok(item);
            }
            if state.closed {
                return Err(GetError::Closed);
            }
            state = wait(&self.not_empty, state, deadline).ok_or(GetError::Empty)?;
        }
    }

    /// A poisoned lock is used as it is. The only foreign code that runs under it compares
    /// priorities. If that panics, the heap still holds each item once, though perhaps not in
    /// order.
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the lock away and sleeps in one step, so that no change can slip in between; comes back
/// with the lock, woken up or for no reason. `None` when the time is up.
fn wait<'a, T>(
    condition: &Condvar,
    state: MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> Option<MutexGuard<'a, T>> {
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

/// Closes the queue at the end of its scope, on every way out, a panic included. Whoever puts holds
/// one, so that no consumer waits for a thread that is gone.
pub struct CloseOnDrop<'a, S: Store>(pub &'a BlockingQueue<S>);

impl<S: Store> Drop for CloseOnDrop<'_, S> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A stack.
pub struct Lifo<T>(Vec<T>);

impl<T> Default for Lifo<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Store for Lifo<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.0.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A heap. By itself it keeps no order among equals, so each entry carries the number of its
/// arrival. Since no two numbers are equal, the items are never compared and need no order.
pub struct Priority<P, T> {
    heap: BinaryHeap<Entry<P, T>>,
    arrivals: u64,
}

struct Entry<P, T> {
    priority: P,
    arrival: u64,
    item: T,
}

impl<P: Ord, T> Default for Priority<P, T> {
    fn default() -> Self {
        let heap = BinaryHeap::new();
        Self { heap, arrivals: 0 }
    }
}

impl<P: Ord, T> Store for Priority<P, T> {
    type Item = (P, T);

    fn push(&mut self, (priority, item): (P, T)) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.heap.push(Entry {
            priority,
            arrival,
            item,
        });
    }

    fn pop(&mut self) -> Option<(P, T)> {
        self.heap.pop().map(|entry| (entry.priority, entry.item))
    }

    fn len(&self) -> usize {
        self.heap.len()
    }
}

impl<P: Ord, T> Ord for Entry<P, T> {
    /// The other way round: std's heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_priority = other.priority.cmp(&self.priority);
        by_priority.then(other.arrival.cmp(&self.arrival))
    }
}

impl<P: Ord, T> PartialOrd for Entry<P, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P: Ord, T> PartialEq for Entry<P, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P: Ord, T> Eq for Entry<P, T> {}

/// The queue was closed; here is the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutError<T>(pub T);

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the queue is closed")
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
            Self::Empty => "the queue is empty",
            Self::Closed => "the queue is closed and empty",
        })
    }
}

impl Error for GetError {}
