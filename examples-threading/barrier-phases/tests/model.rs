//! The barrier under every schedule of two or three threads. Loom runs each model again and again,
//! once per way in which the threads can take turns, and reports a deadlock or a panic in any of
//! them. The models run the very file `src/barrier.rs`, over loom's locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

use barrier::{Barrier, Broken, Role};
use sync::{A_WHILE, model, spawn, time_passes};

#[path = "../src/barrier.rs"]
#[allow(
    dead_code,
    reason = "the models need only a part of the barrier's methods"
)]
mod barrier;
#[path = "sync/modelled.rs"]
mod sync;

/// Catches a last one that wakes one only; a look that lets go of
/// the lock before the sleep (the wake-up comes in between and is lost); and a wait that looks at
/// how many have arrived instead of how its own round ended (the next round has begun meanwhile).
/// What each wrote before the barrier, all see after it.
#[test]
fn three_threads_complete_two_rounds_with_one_leader_each() {
    model(2, || {
        let barrier = Arc::new(Barrier::new(3));
        let written = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let rounds = |barrier: &Barrier, written: &[AtomicUsize; 2]| {
            [0, 1].map(|round| {
                written[round].fetch_add(1, Ordering::Relaxed);
                let role = barrier.wait().unwrap();
                assert_eq!(written[round].load(Ordering::Relaxed), 3);
                usize::from(role == Role::Leader)
            })
        };
        let others = [(); 2].map(|()| {
            let written = Arc::clone(&written);
            spawn(&barrier, move |barrier| rounds(barrier, &written))
        });
        let mut leaders = rounds(&barrier, &written);
        for other in others {
            let [first, second] = other.join().unwrap();
            leaders = [leaders[0] + first, leaders[1] + second];
        }
        assert_eq!(leaders, [1, 1]);
    });
}

/// Catches an abort that wakes one only, and one that is forgotten by the time a thread comes.
#[test]
fn abort_ends_the_waiting_of_two_threads() {
    model(2, || {
        let barrier = Arc::new(Barrier::new(3));
        let waiting = [(); 2].map(|()| spawn(&barrier, |barrier| barrier.wait()));
        barrier.abort();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Err(Broken::Aborted));
        }
    });
}

/// Catches a round that ends well for one and broken for the other: an abort that overwrites how
/// the round has ended, or a thread that looks, when it wakes up, at what the barrier is now.
#[test]
fn an_abort_that_meets_the_last_one_ends_the_round_the_same_way_for_all() {
    model(2, || {
        let barrier = Arc::new(Barrier::new(2));
        let threads = [(); 2].map(|()| spawn(&barrier, |barrier| barrier.wait()));
        barrier.abort();
        let mut ends = threads.map(|thread| thread.join().unwrap());
        ends.sort_by_key(|end| *end != Ok(Role::Leader));
        let all_well = ends == [Ok(Role::Leader), Ok(Role::Follower)];
        assert!(all_well || ends == [Err(Broken::Aborted); 2], "{ends:?}");
    });
}

/// The same for a time-out. Catches one that gives up although the round is complete, because it
/// is late when it wakes up; and one that leaves without breaking the round for the other.
#[test]
fn a_time_out_that_meets_the_last_one_ends_the_round_the_same_way_for_all() {
    model(2, || {
        let barrier = Arc::new(Barrier::new(2));
        let hurried = spawn(&barrier, |barrier| barrier.wait_timeout(A_WHILE));
        let patient = spawn(&barrier, |barrier| barrier.wait());
        time_passes();
        let mut ends = [hurried, patient].map(|thread| thread.join().unwrap());
        ends.sort_by_key(|end| *end != Ok(Role::Leader));
        let all_well = ends == [Ok(Role::Leader), Ok(Role::Follower)];
        assert!(all_well || ends == [Err(Broken::TimedOut); 2], "{ends:?}");
    });
}

/// Catches a reset that still counts those who waited, that does not tell them, or that tells them
/// nothing once the next round is complete.
#[test]
fn a_thread_that_waits_at_a_reset_is_told_and_can_come_again() {
    model(2, || {
        let barrier = Arc::new(Barrier::new(2));
        let thread = spawn(&barrier, |barrier| {
            let first = barrier.wait();
            match first {
                Ok(_) => first,
                Err(Broken::Reset) => barrier.wait(),
                Err(error) => panic!("{error}"),
            }
        });
        barrier.reset();
        let mut ends = [barrier.wait(), thread.join().unwrap()];
        ends.sort_by_key(|end| *end != Ok(Role::Leader));
        assert_eq!(ends, [Ok(Role::Leader), Ok(Role::Follower)]);
    });
}
