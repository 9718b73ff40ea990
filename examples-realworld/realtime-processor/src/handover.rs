//! A bounded buffer that also decides how a stream stops: the piece to take.
//!
//! Items go in by [`Handover::put`], which waits while the buffer is full, and out by
//! [`Handover::take`], which waits while it is empty. Both move as many items under one lock as
//! the caller has or wants.
//!
//! The end is a state, not a message. After [`Handover::close`] the takers get what is left, then
//! `false`; each of them, however many there are. A sentinel would have to be counted out, one for
//! each taker, and would stay behind when a taker is gone.
//!
//! [`Handover::stop`] asks the source to end. The difficulty is a source that waits for input and
//! may wait for ever: nobody can end a blocked `read`. So a source says that it goes out to wait
//! ([`Handover::leave`]) and leaves behind what it holds. A stop that finds it outside puts that
//! item in and closes in its place, and a source that comes back later ([`Handover::back`]) learns
//! that it is too late. Every item is in exactly one place, under one lock, at each moment.
//!
//! `Stop::Abort` does not empty the buffer. Items go on through the takers, who see
//! [`Handover::aborted`] and pass them on as not processed: one way out for all.

use super::sync::{AtomicU8, Condvar, Mutex, MutexGuard, Ordering, PATIENCE, yield_now};
use std::collections::VecDeque;
use std::time::Instant;

/// How a stream ends before its source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Stop {
    /// Take nothing more, process all that was taken.
    Drain = 1,
    /// Take nothing more, finish what is being processed, name the rest.
    Abort = 2,
}

pub struct Handover<T> {
    state: Mutex<State<T>>,
    not_empty: Condvar,
    not_full: Condvar,
    stop_asked: Condvar,
    capacity: usize,
    takers: usize,
    /// A copy of the stop for those who look often. It only ever grows, and no decision about an
    /// item's place rests on it: those read `State::stopping` under the lock.
    stop: AtomicU8,
}

struct State<T> {
    items: VecDeque<T>,
    /// All items ever put in.
    accepted: u64,
    source: Source<T>,
    stopping: bool,
    /// Takers asleep that nobody has called yet; never less than there are.
    takers_asleep: usize,
    putters_asleep: bool,
}

enum Source<T> {
    Here,
    /// Waiting for input, with what it holds left here.
    Outside(Option<T>),
    Ended,
}

impl<T> Handover<T> {
    /// A buffer of `capacity` items, shared out among `takers` threads.
    pub fn new(capacity: usize, takers: usize) -> Self {
        Handover {
            state: Mutex::new(State {
                items: VecDeque::with_capacity(capacity.min(1024)),
                accepted: 0,
                source: Source::Here,
                stopping: false,
                takers_asleep: 0,
                putters_asleep: false,
            }),
            not_empty: Condvar::new(),
            not_full: Condvar::new(),
            stop_asked: Condvar::new(),
            capacity,
            takers,
            stop: AtomicU8::new(0),
        }
    }

    /// Moves all of `items` in, in order, waiting for room as often as needed.
    ///
    /// A stop does not refuse them: what was taken from the input goes through.
    pub fn put(&self, items: &mut VecDeque<T>) {
        let mut patience = PATIENCE;
        let mut state = self.lock();
        while !items.is_empty() {
            assert!(!matches!(state.source, Source::Ended), "put after the end");
            let count = items
                .len()
                .min(self.capacity.saturating_sub(state.items.len()));
            if count > 0 {
                state.accept(items.drain(..count));
                self.call_a_taker(&mut state);
                patience = PATIENCE;
            } else if patience > 0 {
                patience -= 1;
                drop(state);
                yield_now();
                state = self.lock();
            } else {
                state.putters_asleep = true;
                state = self.not_full.wait(state).unwrap();
            }
        }
    }

    /// Appends up to `most` items to `items` and never more than a fair share of what is there.
    /// Waits while there is none. False means: none left, and none will come.
    pub fn take(&self, items: &mut VecDeque<T>, most: usize) -> bool {
        let mut patience = PATIENCE;
        let mut state = self.lock();
        loop {
            let available = state.items.len();
            if available > 0 {
                let share = most.min(available.div_ceil(self.takers));
                items.extend(state.items.drain(..share));
                let left = available - share;
                // Whoever waits for room is called at half, not for each single place.
                if state.putters_asleep && left <= self.capacity / 2 {
                    state.putters_asleep = false;
                    self.not_full.notify_all();
                }
                if left > 0 {
                    self.call_a_taker(&mut state);
                }
                return true;
            }
            if matches!(state.source, Source::Ended) {
                return false;
            }
            if patience > 0 {
                patience -= 1;
                drop(state);
                yield_now();
                state = self.lock();
            } else {
                state.takers_asleep += 1;
                state = self.not_empty.wait(state).unwrap();
            }
        }
    }

    /// The source has ended. What is inside can still be taken.
    pub fn close(&self) {
        self.end(&mut self.lock());
    }

    /// Asks the source to end; `Abort` after `Drain` is stricter, `Drain` after `Abort` nothing.
    pub fn stop(&self, stop: Stop) {
        let mut state = self.lock();
        state.stopping = true;
        self.stop.fetch_max(stop as u8, Ordering::Relaxed);
        self.stop_asked.notify_all();
        if let Source::Outside(held) = &mut state.source {
            let held = held.take();
            state.accept(held);
            self.end(&mut state);
        }
    }

    /// The source goes out to wait for input and leaves `held` behind.
    ///
    /// False means that a stop came first: the buffer has accepted `held` and is closed.
    pub fn leave(&self, held: Option<T>) -> bool {
        let mut state = self.lock();
        if state.stopping {
            state.accept(held);
            self.end(&mut state);
            return false;
        }
        state.source = Source::Outside(held);
        true
    }

    /// The source is back with new input and gets what it had left behind.
    ///
    /// `Err` means that a stop came first and closed the buffer: the new input came too late.
    pub fn back(&self) -> Result<Option<T>, Stopped> {
        let mut state = self.lock();
        match &mut state.source {
            Source::Outside(held) => {
                let held = held.take();
                state.source = Source::Here;
                Ok(held)
            }
            _ => Err(Stopped),
        }
    }

    /// Waits until `due`, or less long when a stop is asked for. True means: stop.
    pub fn pause_until(&self, due: Instant) -> bool {
        let mut state = self.lock();
        while !state.stopping {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.stop_asked.wait_timeout(state, left).unwrap().0;
        }
        true
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    pub fn aborted(&self) -> bool {
        self.stop.load(Ordering::Relaxed) == Stop::Abort as u8
    }

    /// How many items ever came in and how many are inside: true for the moment of the call.
    pub fn counts(&self) -> (u64, usize) {
        let state = self.lock();
        (state.accepted, state.items.len())
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while it holds this lock except `put` after the end, a bug.
        self.state.lock().unwrap()
    }

    fn call_a_taker(&self, state: &mut State<T>) {
        if state.takers_asleep > 0 {
            state.takers_asleep -= 1;
            self.not_empty.notify_one();
        }
    }

    fn end(&self, state: &mut State<T>) {
        state.source = Source::Ended;
        state.takers_asleep = 0;
        self.not_empty.notify_all();
    }
}

impl<T> State<T> {
    fn accept(&mut self, items: impl IntoIterator<Item = T>) {
        let before = self.items.len();
        self.items.extend(items);
        self.accepted += (self.items.len() - before) as u64;
    }
}

/// The stream was stopped while its source was outside.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped;
