//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! std's types for the tests of a primitive, with one addition: a thread can say what happens when
//! it is about to wait. So a test knows that a thread waits, without sleeping; and the waiting
//! thread can be woken up for no reason, as often as one likes.
//!
//! It takes the place of `src/sync.rs`, and brings what starts such threads and bounds a test.

#![allow(dead_code, reason = "each primitive needs a part of it")]

use std::cell::RefCell;
use std::panic;
use std::sync::mpsc;
use std::sync::{Arc, LockResult, WaitTimeoutResult};
use std::thread;
use std::time::Duration;

pub use std::sync::{Mutex, MutexGuard};
pub use std::time::Instant;

/// Only against tests that hang; no test needs anything like it.
pub const LIMIT: Duration = Duration::from_secs(20);

/// What a wait shall do.
pub enum Wait {
    ForReal,
    /// A spurious wake-up: every `Condvar` is allowed to do that at any time.
    WakeUpForNoReason,
}

type Hook = Box<dyn FnMut() -> Wait>;

thread_local! {
    static HOOK: RefCell<Hook> = RefCell::new(Box::new(|| Wait::ForReal));
}

/// From now on `hook` is asked before each wait of this thread, under the lock of what is tested.
pub fn before_each_wait(hook: impl FnMut() -> Wait + 'static) {
    HOOK.set(Box::new(hook));
}

fn ask_the_hook() -> Wait {
    HOOK.with_borrow_mut(|hook| hook())
}

pub struct Condvar(std::sync::Condvar);

impl Condvar {
    pub fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        match ask_the_hook() {
            Wait::ForReal => self.0.wait(guard),
            Wait::WakeUpForNoReason => Ok(guard),
        }
    }

    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        match ask_the_hook() {
            Wait::ForReal => self.0.wait_timeout(guard, timeout),
            // A nanosecond is as close to "at once" as std's result type lets us come.
            Wait::WakeUpForNoReason => self.0.wait_timeout(guard, Duration::from_nanos(1)),
        }
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A thread that tells when it is about to wait.
pub struct Worker<R> {
    waiting: mpsc::Receiver<()>,
    pub thread: thread::JoinHandle<R>,
}

/// Starts `work` on what is tested.
pub fn start<T, R>(tested: &Arc<T>, work: impl FnOnce(&T) -> R + Send + 'static) -> Worker<R>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
{
    start_restless(0, tested, work)
}

/// The same, but before it really waits it wakes up for no reason so many times.
pub fn start_restless<T, R>(
    mut times: u32,
    tested: &Arc<T>,
    work: impl FnOnce(&T) -> R + Send + 'static,
) -> Worker<R>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
{
    let tested = Arc::clone(tested);
    let (sender, waiting) = mpsc::channel();
    let thread = thread::spawn(move || {
        before_each_wait(move || {
            if times > 0 {
                times -= 1;
                return Wait::WakeUpForNoReason;
            }
            // The test may have heard enough and be gone.
            let _ = sender.send(());
            Wait::ForReal
        });
        work(&tested)
    });
    Worker { waiting, thread }
}

impl<R> Worker<R> {
    /// Returns when the thread is about to wait. It says so under the lock of what is tested:
    /// whoever gets that lock afterwards finds it waiting.
    pub fn waits(&self) {
        self.waiting
            .recv_timeout(LIMIT)
            .expect("the thread did not wait");
    }

    pub fn result(self) -> R {
        self.thread.join().unwrap()
    }
}

/// Runs a test that would hang if what is tested were wrong: a hang becomes a failure.
pub fn bounded(test: impl FnOnce() + Send + 'static) {
    let (finished, end) = mpsc::channel::<()>();
    let runner = thread::spawn(move || {
        // Dropped on every way out, a panic included: that is what the receiver hears.
        let _finished = finished;
        test();
    });
    if end.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("still waiting after {LIMIT:?}");
    }
    if let Err(failure) = runner.join() {
        panic::resume_unwind(failure);
    }
}
