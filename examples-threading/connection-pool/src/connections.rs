//! A pool of at most `limit` connections, each opened when it is needed for the first time.
//! `acquire` gives a guard, through which the connection is used; when the guard is dropped, on
//! whatever way out, the connection goes back and the next one who waits gets it.
//!
//! There is no `release` to forget or to call twice: who has the guard has the connection, and
//! there is one guard. Who waits longest is not always first, a late comer may be faster. A thread
//! that holds one connection and waits for a second one may wait for ever if all do so: give it a
//! time-out.
//!
//! To take it along, copy this file and `sync.rs`, or replace `super::sync` below by `std::sync`
//! and `std::time`.

use std::error::Error;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use super::sync::{Condvar, Instant, Mutex, MutexGuard};

pub struct Pool<C, E> {
    connect: Box<dyn Fn(Id) -> Result<C, E> + Send + Sync>,
    limit: usize,
    state: Mutex<State<C>>,
    /// Told of each connection that comes back, and of each place that becomes free.
    returned: Condvar,
}

/// The number of a connection: 1, 2, 3, … Never used again, also not after the connection is
/// closed.
pub type Id = u64;

struct State<C> {
    idle: Vec<(Id, C)>,
    /// Places taken: by connections idle and in use, and by those that are being opened.
    taken: usize,
    last_id: Id,
}

impl<C, E> Pool<C, E> {
    /// Opens nothing yet. `connect` is called without the lock, so that opening one connection does
    /// not keep others from being used.
    ///
    /// # Panics
    ///
    /// If `limit` is 0: every `acquire` would wait for ever.
    pub fn new(limit: usize, connect: impl Fn(Id) -> Result<C, E> + Send + Sync + 'static) -> Self {
        assert!(limit > 0, "a pool needs room for at least 1 connection");
        Self {
            connect: Box::new(connect),
            limit,
            state: Mutex::new(State {
                idle: Vec::new(),
                taken: 0,
                last_id: 0,
            }),
            returned: Condvar::new(),
        }
    }

    /// Waits for a connection. The only error is `Connect`.
    pub fn acquire(&self) -> Result<Pooled<'_, C, E>, AcquireError<E>> {
        self.acquire_until(None)
    }

    /// Waits for at most `timeout` in all, zero just tries. The opening of a new connection comes
    /// on top of it: how long that may take, `connect` knows best.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Pooled<'_, C, E>, AcquireError<E>> {
        // A time-out too long for the clock, such as `Duration::MAX`, is no limit.
        self.acquire_until(Instant::now().checked_add(timeout))
    }

    /// How many connections are open or being opened, and how many of these wait for a user. A
    /// snapshot, good for a display.
    pub fn usage(&self) -> Usage {
        let state = self.lock();
        Usage {
            open: state.taken,
            idle: state.idle.len(),
        }
    }

    fn acquire_until(
        &self,
        deadline: Option<Instant>,
    ) -> Result<Pooled<'_, C, E>, AcquireError<E>> {
        let mut state = self.lock();
        loop {
            // Look before each wait, also when the time is up: a wake-up is a hint, another thread
            // may have been faster, and one that was woken for a connection must not leave it
            // lying.
            if let Some((id, connection)) = state.idle.pop() {
                return Ok(self.guard(id, connection));
            }
            if state.taken < self.limit {
                state.taken += 1;
                state.last_id += 1;
                let id = state.last_id;
                drop(state);
                // If `connect` fails or panics, this gives the place back.
                let place = Place(self);
                let connection = (self.connect)(id).map_err(AcquireError::Connect)?;
                mem::forget(place); // From now on that is up to the guard.
                return Ok(self.guard(id, connection));
            }
            state = wait(&self.returned, state, deadline).ok_or(AcquireError::TimedOut)?;
        }
    }

    fn guard(&self, id: Id, connection: C) -> Pooled<'_, C, E> {
        Pooled {
            pool: self,
            id,
            connection: Some(connection),
            broken: false,
        }
    }

    /// A poisoned lock is used as it is: no foreign code runs under it.
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one place, and gives it back when dropped.
struct Place<'a, C, E>(&'a Pool<C, E>);

impl<C, E> Drop for Place<'_, C, E> {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
        self.0.returned.notify_one();
    }
}

/// A connection in use. It can be used as if it were the connection itself.
pub struct Pooled<'a, C, E> {
    pool: &'a Pool<C, E>,
    id: Id,
    /// `None` only at the very end of its life.
    connection: Option<C>,
    broken: bool,
}

impl<C, E> Pooled<'_, C, E> {
    pub fn id(&self) -> Id {
        self.id
    }

    /// Closes the connection instead of giving it back, because it is broken. Its place is free for
    /// a new one.
    pub fn discard(mut self) {
        self.broken = true;
    }
}

impl<C, E> Drop for Pooled<'_, C, E> {
    fn drop(&mut self) {
        let connection = self.connection.take();
        // In a panic nobody knows how far the conversation got. The half of an answer that is still
        // to come must not meet the next user.
        if self.broken || thread::panicking() {
            // First the connection is closed, then its place is free: never one too many.
            let _place = Place(self.pool);
            drop(connection);
        } else if let Some(connection) = connection {
            self.pool.lock().idle.push((self.id, connection));
            self.pool.returned.notify_one();
        }
    }
}

impl<C, E> Deref for Pooled<'_, C, E> {
    type Target = C;

    fn deref(&self) -> &C {
        self.connection.as_ref().expect("only drop takes it away")
    }
}

impl<C, E> DerefMut for Pooled<'_, C, E> {
    fn deref_mut(&mut self) -> &mut C {
        self.connection.as_mut().expect("only drop takes it away")
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub open: usize,
    pub idle: usize,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcquireError<E> {
    /// All were in use until the time was up.
    TimedOut,
    /// There was a place, but a new connection could not be opened. The place is free again.
    Connect(E),
}

impl<E: fmt::Display> fmt::Display for AcquireError<E> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("all connections are in use"),
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> Error for AcquireError<E> {}
