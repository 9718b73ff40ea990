//! The semaphore under every schedule of three threads. Loom runs each model again and again, once
//! per way in which the threads can take turns, and reports a deadlock or a panic in any of them.
//! The models run the very file `src/semaphore.rs`, over loom's locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use std::time::Duration;

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

use semaphore::Semaphore;

#[path = "../src/semaphore.rs"]
#[allow(
    dead_code,
    reason = "the models need only a part of the semaphore's methods"
)]
mod semaphore;

/// How often a thread may lose its turn where it need not. Bugs need one or two such moments; all
/// schedules with up to three are tried.
const PREEMPTIONS: usize = 3;
/// Over as soon as a model says `time_passes`.
const A_WHILE: Duration = Duration::from_secs(1);

mod sync {
    use std::time::Duration;

    use loom::sync::atomic::{AtomicU64, Ordering};
    pub use loom::sync::{Condvar, Mutex, MutexGuard};

    loom::lazy_static! {
        static ref HOURS: AtomicU64 = AtomicU64::new(0);
    }

    /// A clock that stands still until `time_passes`. From then on it is an hour later each time
    /// one looks.
    #[derive(Debug, Clone, Copy)]
    pub struct Instant(Duration);

    impl Instant {
        pub fn now() -> Self {
            let mut hours = HOURS.load(Ordering::SeqCst);
            if hours > 0 {
                hours = HOURS.fetch_add(1, Ordering::SeqCst);
            }
            Self(Duration::from_secs(3600 * hours))
        }

        pub fn checked_add(self, timeout: Duration) -> Option<Self> {
            self.0.checked_add(timeout).map(Self)
        }

        pub fn saturating_duration_since(self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }
    }

    /// From now on every deadline is over. A thread that sleeps in loom's `wait_timeout` does not
    /// notice by itself: it learns it when it wakes up for another reason, which is the race that
    /// matters.
    pub fn time_passes() {
        HOURS.fetch_add(1, Ordering::SeqCst);
    }
}

/// Catches `if` instead of `while` around the wait, a look that lets go of the lock before the
/// permit is taken, a wait that comes after such a look (the wake-up comes in between and is lost),
/// and a return that tells nobody.
#[test]
fn three_threads_share_one_permit() {
    model(|| {
        let gate = Arc::new(Semaphore::new(1));
        let inside = Arc::new(AtomicUsize::new(0));
        let visit = |gate: &Semaphore, inside: &AtomicUsize| {
            let _permit = gate.acquire();
            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two are inside");
            inside.fetch_sub(1, Ordering::Relaxed);
        };
        let others = [(); 2].map(|()| {
            let inside = Arc::clone(&inside);
            spawn(&gate, move |gate| visit(gate, &inside))
        });
        visit(&gate, &inside);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(gate.available(), 1);
    });
}

/// Catches a return that wakes one only, and a thread that gets its permit and does not tell the
/// next in the queue, for whom there is one as well. Both others have to be inside at once.
#[test]
fn two_permits_that_come_back_at_one_stroke_let_two_threads_go_on() {
    model(|| {
        let gate = Arc::new(Semaphore::new(2));
        let both = gate.acquire_many(2);
        let others = [(); 2].map(|()| spawn(&gate, |gate| std::mem::forget(gate.acquire())));
        drop(both);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(gate.available(), 0);
    });
}

/// Catches `notify_one`: it wakes the one who needs one permit, or the one who needs two, and the
/// other is the one who could go on.
#[test]
fn large_and_small_requests_do_not_take_each_others_wake_ups() {
    model(|| {
        let gate = Arc::new(Semaphore::new(2));
        let mut both = gate.acquire_many(2);
        let large = spawn(&gate, |gate| drop(gate.acquire_many(2)));
        let small = spawn(&gate, |gate| drop(gate.acquire()));
        drop(both.split(1));
        drop(both);
        large.join().unwrap();
        small.join().unwrap();
        assert_eq!(gate.available(), 2);
    });
}

/// Catches a time-out that leaves without telling: there is a permit for the one behind it. And one
/// that leaves its ticket in the queue: nobody behind it gets anything any more.
#[test]
fn a_time_out_lets_the_one_behind_it_go_on() {
    model(|| {
        let gate = Arc::new(Semaphore::new(2));
        let mut one = gate.acquire();
        let large = spawn(&gate, |gate| {
            gate.acquire_many_timeout(2, A_WHILE).is_some()
        });
        let small = spawn(&gate, |gate| drop(gate.acquire()));
        sync::time_passes();
        drop(one.split(0)); // returns nothing, but wakes who waits
        small.join().unwrap();
        assert!(!large.join().unwrap(), "there were never two");
        drop(one);
        assert_eq!(gate.available(), 2);
    });
}

/// Catches a thread that was woken with its permit there and gives up because it is late, taking
/// the wake-up with it, and a permit that is lost or doubled on this way.
#[test]
fn a_time_out_that_meets_a_return_loses_neither_the_permit_nor_the_wake_up() {
    model(|| {
        let gate = Arc::new(Semaphore::new(1));
        let only = gate.acquire();
        let hurried = spawn(&gate, |gate| gate.acquire_timeout(A_WHILE).is_some());
        let patient = spawn(&gate, |gate| drop(gate.acquire()));
        drop(only);
        sync::time_passes();
        patient.join().unwrap();
        hurried.join().unwrap();
        assert_eq!(gate.available(), 1);
    });
    model(|| {
        let gate = Arc::new(Semaphore::new(1));
        let only = gate.acquire();
        let waiting = spawn(&gate, |gate| gate.acquire_timeout(A_WHILE).is_some());
        drop(only);
        sync::time_passes();
        assert!(waiting.join().unwrap(), "it was there in time");
    });
}

/// Runs `threads` under every schedule with a bounded number of preemptions.
fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(threads);
}

fn spawn<R: Send + 'static>(
    gate: &Arc<Semaphore>,
    work: impl FnOnce(&Semaphore) -> R + Send + 'static,
) -> JoinHandle<R> {
    let gate = Arc::clone(gate);
    thread::spawn(move || work(&gate))
}
