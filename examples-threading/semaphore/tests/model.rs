//! The semaphore under every schedule of three threads. Loom runs each model again and again, once
//! per way in which the threads can take turns, and reports a deadlock or a panic in any of them.
//! The models run the very file `src/semaphore.rs`, over loom's locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

use semaphore::Semaphore;
use sync::{A_WHILE, model, spawn, time_passes};

#[path = "../src/semaphore.rs"]
#[allow(
    dead_code,
    reason = "the models need only a part of the semaphore's methods"
)]
mod semaphore;
#[path = "sync/modelled.rs"]
mod sync;

/// Catches `if` instead of `while` around the wait, a look that lets go of the lock before the
/// permit is taken, a wait that comes after such a look (the wake-up comes in between and is lost),
/// and a return that tells nobody.
#[test]
fn three_threads_share_one_permit() {
    model(3, || {
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
    model(3, || {
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
    model(3, || {
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
    model(3, || {
        let gate = Arc::new(Semaphore::new(2));
        let mut one = gate.acquire();
        let large = spawn(&gate, |gate| {
            gate.acquire_many_timeout(2, A_WHILE).is_some()
        });
        let small = spawn(&gate, |gate| drop(gate.acquire()));
        time_passes();
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
    model(3, || {
        let gate = Arc::new(Semaphore::new(1));
        let only = gate.acquire();
        let hurried = spawn(&gate, |gate| gate.acquire_timeout(A_WHILE).is_some());
        let patient = spawn(&gate, |gate| drop(gate.acquire()));
        drop(only);
        time_passes();
        patient.join().unwrap();
        hurried.join().unwrap();
        assert_eq!(gate.available(), 1);
    });
    model(3, || {
        let gate = Arc::new(Semaphore::new(1));
        let only = gate.acquire();
        let waiting = spawn(&gate, |gate| gate.acquire_timeout(A_WHILE).is_some());
        drop(only);
        time_passes();
        assert!(waiting.join().unwrap(), "it was there in time");
    });
}
