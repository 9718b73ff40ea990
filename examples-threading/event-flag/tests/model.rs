//! The event under every schedule of two or three threads. Loom runs each model again and again,
//! once per way in which the threads can take turns, and reports a deadlock or a panic in any of
//! them. The models run the very file `src/event.rs`, over loom's locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use loom::sync::Arc;

use event::Event;
use modelled::{A_WHILE, model, spawn, time_passes};

#[path = "../src/event.rs"]
#[allow(
    dead_code,
    reason = "the models need only a part of the event's methods"
)]
mod event;
#[path = "sync/modelled.rs"]
mod modelled;

mod sync {
    use std::time::Duration;

    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::sync::{LockResult, WaitTimeoutResult};

    pub use super::modelled::{Instant, Mutex, MutexGuard};

    loom::lazy_static! {
        static ref WAITS: AtomicBool = AtomicBool::new(false);
    }

    /// loom's, with one addition: it can be asked whether a thread waits.
    pub struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
            WAITS.store(true, Ordering::SeqCst);
            self.0.wait(guard)
        }

        pub fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            timeout: Duration,
        ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
            WAITS.store(true, Ordering::SeqCst);
            self.0.wait_timeout(guard, timeout)
        }

        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// If so, it will be waiting when the caller gets the lock.
    pub fn somebody_waits() -> bool {
        WAITS.load(Ordering::SeqCst)
    }
}

/// Catches a `set` that wakes one only, or that wakes before the state says so; a `wait` that sleeps
/// before its first look, or that looks, lets go of the lock, and only then sleeps (the wake-up
/// comes in between and is lost).
#[test]
fn one_set_ends_the_waiting_of_two_threads() {
    model(3, || {
        let event = Arc::new(Event::new());
        let waiting = [(); 2].map(|()| spawn(&event, |event| event.wait()));
        event.set();
        for thread in waiting {
            thread.join().unwrap();
        }
    });
}

/// Catches a `wait` that looks only whether it is set: woken, it finds the event cleared, and
/// sleeps on, although what it waited for has happened.
#[test]
fn a_set_that_is_cleared_at_once_lets_a_thread_go_on_that_waited() {
    model(3, || {
        let event = Arc::new(Event::new());
        let waiting = spawn(&event, |event| event.wait());
        let waits = sync::somebody_waits();
        event.set();
        if waits {
            event.clear();
        } // else it may come only now, and then it has to find the event set
        waiting.join().unwrap();
    });
}

/// Catches a `wait` that does not wait: what the setter has prepared is not there yet.
#[test]
fn what_was_written_before_the_set_is_seen_after_the_wait() {
    model(3, || {
        let event = Arc::new(Event::new());
        let written = Arc::new(loom::sync::atomic::AtomicU32::new(0));
        let readers = [(); 2].map(|()| {
            let written = Arc::clone(&written);
            spawn(&event, move |event| {
                event.wait();
                written.load(loom::sync::atomic::Ordering::Relaxed)
            })
        });
        written.store(7, loom::sync::atomic::Ordering::Relaxed);
        event.set();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), 7);
        }
    });
}

/// Catches a time-out that is reported although the event was set when the thread woke up.
#[test]
fn a_time_out_that_meets_a_set_tells_one_of_the_two() {
    model(3, || {
        let event = Arc::new(Event::new());
        let waiting = spawn(&event, |event| event.wait_timeout(A_WHILE));
        event.set();
        time_passes();
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
    model(3, || {
        let event = Arc::new(Event::new());
        let waiting = spawn(&event, |event| event.wait_timeout(A_WHILE));
        time_passes();
        event.set();
        // Either may come first. What matters is that it comes back, and that nothing is lost.
        let _ = waiting.join().unwrap();
        assert!(event.is_set());
    });
}

/// Catches a `set` that changes the state back and forth.
#[test]
fn two_setters_do_not_disturb_each_other() {
    model(3, || {
        let event = Arc::new(Event::new());
        let setters = [(); 2].map(|()| spawn(&event, |event| event.set()));
        event.wait();
        for setter in setters {
            setter.join().unwrap();
        }
        assert!(event.is_set());
    });
}
