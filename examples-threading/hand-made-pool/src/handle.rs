//! Results of a pool's jobs one by one: `submit` gives a handle, `Handle::wait` the result.
//!
//! ```ignore
//! let answer = submit(&pool, || 6 * 7)?;
//! assert_eq!(answer.wait(), Ok(42));
//! ```
//!
//! A job must not wait for a job of its own pool: with every worker waiting, none would be left to
//! run what they wait for. Such a `wait` is refused at once, whether it would have hung or not.
//!
//! To take it along, copy this file, `thread_pool.rs` and `sync.rs`.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::PoisonError;

use super::sync::{Arc, Condvar, Mutex};
use super::thread_pool::{self, Pool, Refused};

/// Runs `job` some time on `pool` and keeps what it returns.
pub fn submit<T, F>(pool: &Pool, job: F) -> Result<Handle<T>, Refused<F>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let slot = Arc::new(Slot {
        state: Mutex::new(State {
            result: None,
            somebody_sleeps: false,
        }),
        filled: Condvar::new(),
    });
    let promise = Promise(Some(Arc::clone(&slot)));
    pool.push(job, |job| || promise.keep(job))?;
    Ok(Handle {
        slot,
        pool: pool.id(),
    })
}

/// Who waits. To drop it instead is fine: the job runs all the same.
pub struct Handle<T> {
    slot: Arc<Slot<T>>,
    pool: u64,
}

/// The place for one result. A channel for each of them would be several times as slow.
struct Slot<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    result: Option<Result<T, Failure>>,
    somebody_sleeps: bool,
}

impl<T> Handle<T> {
    /// Waits until the job has ended, and gives what it returned.
    pub fn wait(self) -> Result<T, Failure> {
        let own_pool = thread_pool::id_of_this_thread() == self.pool;
        if !own_pool {
            thread_pool::look_for_a_moment(|| thread_pool::lock(&self.slot.state).result.is_some());
        }
        let mut state = thread_pool::lock(&self.slot.state);
        loop {
            if let Some(result) = state.result.take() {
                return result;
            }
            if own_pool {
                return Err(Failure::OwnPool);
            }
            state.somebody_sleeps = true;
            let woken = self.slot.filled.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Who owes the result. Nobody waits in vain: when it is dropped with a job that never ran, it says
/// `Cancelled`.
struct Promise<T>(Option<Arc<Slot<T>>>);

impl<T> Promise<T> {
    fn keep(mut self, job: impl FnOnce() -> T) {
        match panic::catch_unwind(AssertUnwindSafe(job)) {
            Ok(value) => self.fill(Ok(value)),
            Err(payload) => {
                self.fill(Err(Failure::Panicked(message(&*payload))));
                panic::resume_unwind(payload); // to the worker, which counts it
            }
        }
    }

    fn fill(&mut self, result: Result<T, Failure>) {
        let Some(slot) = self.0.take() else { return };
        let mut state = thread_pool::lock(&slot.state);
        state.result = Some(result);
        if state.somebody_sleeps {
            slot.filled.notify_one();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.fill(Err(Failure::Cancelled));
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_string()
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Panicked(String),
    /// It has not run, and will not.
    Cancelled,
    /// A job waited for a job of its own pool.
    OwnPool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "the job panicked: {message}"),
            Self::Cancelled => f.write_str("the job was cancelled before it began"),
            Self::OwnPool => f.write_str("a job must not wait for a job of its own pool"),
        }
    }
}

impl Error for Failure {}
