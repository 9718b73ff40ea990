//! What the barrier promises, tested with real threads. Nothing here is ordered by sleeping: the
//! barrier is built over a `Condvar` that can tell when a thread is about to wait.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use barrier::{AbortOnDrop, Barrier, Broken, Role};
use sync::{LIMIT, Worker, bounded, start, start_restless};

#[path = "../src/barrier.rs"]
mod barrier;
#[path = "sync/watched.rs"]
mod sync;

const SHORT: Duration = Duration::from_millis(30);

// Rounds.

#[test]
fn all_go_on_when_the_last_one_arrives_and_that_one_leads() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(3));
        let first = start(&barrier, |barrier| barrier.wait());
        first.waits();
        let second = start(&barrier, |barrier| barrier.wait_timeout(LIMIT * 2));
        second.waits();
        assert!(!first.thread.is_finished());
        assert_eq!(barrier.wait(), Ok(Role::Leader));
        assert_eq!(first.result(), Ok(Role::Follower));
        assert_eq!(second.result(), Ok(Role::Follower));
    });
}

#[test]
fn a_thousand_rounds_have_exactly_one_leader_each_and_nobody_is_a_round_ahead() {
    const ROUNDS: usize = 1_000;
    bounded(|| {
        let barrier = Arc::new(Barrier::new(4));
        let leaders = Arc::new([const { AtomicUsize::new(0) }; ROUNDS]);
        let arrivals = Arc::new([const { AtomicUsize::new(0) }; ROUNDS]);
        let workers = [(); 4].map(|()| {
            let (leaders, arrivals) = (Arc::clone(&leaders), Arc::clone(&arrivals));
            start(&barrier, move |barrier| {
                for round in 0..ROUNDS {
                    arrivals[round].fetch_add(1, Ordering::Relaxed);
                    if barrier.wait() == Ok(Role::Leader) {
                        leaders[round].fetch_add(1, Ordering::Relaxed);
                    }
                    assert_eq!(arrivals[round].load(Ordering::Relaxed), 4);
                }
            })
        });
        workers.into_iter().for_each(Worker::result);
        assert!(leaders.iter().all(|it| it.load(Ordering::Relaxed) == 1));
    });
}

#[test]
fn a_barrier_of_one_never_waits_and_always_leads() {
    let barrier = Barrier::new(1);
    sync::before_each_wait(|| panic!("waits"));
    for _ in 0..3 {
        assert_eq!(barrier.wait(), Ok(Role::Leader));
        assert_eq!(barrier.wait_timeout(Duration::ZERO), Ok(Role::Leader));
    }
}

#[test]
fn a_barrier_of_none_is_refused() {
    let refusal = panic::catch_unwind(|| Barrier::new(0)).err().unwrap();
    let message = refusal.downcast_ref::<&str>().unwrap();
    assert!(message.contains("at least 1 thread"));
}

#[test]
fn a_wait_that_wakes_up_for_no_reason_looks_again_and_waits_on() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(2));
        let worker = start_restless(5, &barrier, |barrier| barrier.wait());
        worker.waits();
        assert!(!worker.thread.is_finished());
        assert_eq!(barrier.wait(), Ok(Role::Leader));
        assert_eq!(worker.result(), Ok(Role::Follower));
    });
}

// Broken.

#[test]
fn abort_wakes_all_who_wait_with_an_error_and_so_it_stays() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(4));
        let waiting = [(); 2].map(|()| start(&barrier, |barrier| barrier.wait()));
        let timed = start(&barrier, |barrier| barrier.wait_timeout(LIMIT * 2));
        waiting.iter().for_each(Worker::waits);
        timed.waits();
        assert!(!barrier.is_broken());
        barrier.abort();
        assert!(barrier.is_broken());
        for worker in waiting {
            assert_eq!(worker.result(), Err(Broken::Aborted));
        }
        assert_eq!(timed.result(), Err(Broken::Aborted));
        // Also for the fourth, who would have been the last, and whoever comes then.
        for _ in 0..5 {
            assert_eq!(barrier.wait(), Err(Broken::Aborted));
        }
    });
}

#[test]
fn one_that_runs_out_of_time_breaks_it_for_the_others() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(3));
        let patient = start(&barrier, |barrier| barrier.wait());
        patient.waits();
        let begin = Instant::now();
        assert_eq!(barrier.wait_timeout(SHORT), Err(Broken::TimedOut));
        assert!(begin.elapsed() >= SHORT);
        assert_eq!(patient.result(), Err(Broken::TimedOut));
        assert_eq!(barrier.wait(), Err(Broken::TimedOut));
        assert!(barrier.is_broken());
    });
}

#[test]
fn a_time_out_is_total_however_often_the_waiter_wakes_up() {
    bounded(|| {
        sync::before_each_wait(|| sync::Wait::WakeUpForNoReason);
        let barrier = Barrier::new(2);
        assert_eq!(barrier.wait_timeout(SHORT), Err(Broken::TimedOut));
    });
}

#[test]
fn a_time_out_of_zero_does_not_wait() {
    sync::before_each_wait(|| panic!("waits"));
    let barrier = Barrier::new(2);
    assert_eq!(barrier.wait_timeout(Duration::ZERO), Err(Broken::TimedOut));
}

#[test]
fn a_negative_time_out_cannot_be_made() {
    // Here there is no such value to call it with.
    assert!(Duration::try_from_secs_f64(-1.0).is_err());
    assert_eq!(SHORT.checked_sub(SHORT * 2), None);
}

#[test]
fn a_time_out_too_long_for_the_clock_waits_without_a_limit() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(2));
        let worker = start(&barrier, |barrier| barrier.wait_timeout(Duration::MAX));
        worker.waits();
        assert_eq!(barrier.wait(), Ok(Role::Leader));
        assert_eq!(worker.result(), Ok(Role::Follower));
    });
}

#[test]
fn the_first_reason_counts() {
    let barrier = Barrier::new(2);
    assert_eq!(barrier.wait_timeout(Duration::ZERO), Err(Broken::TimedOut));
    barrier.abort();
    assert_eq!(barrier.wait(), Err(Broken::TimedOut));
}

// Reset.

#[test]
fn reset_makes_a_broken_barrier_usable_again() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(2));
        barrier.abort();
        assert_eq!(barrier.wait(), Err(Broken::Aborted));
        barrier.reset();
        assert!(!barrier.is_broken());
        for _ in 0..3 {
            let worker = start(&barrier, |barrier| barrier.wait());
            worker.waits();
            assert_eq!(barrier.wait(), Ok(Role::Leader));
            assert_eq!(worker.result(), Ok(Role::Follower));
        }
    });
}

#[test]
fn reset_is_an_error_for_those_who_wait_and_does_not_count_them_any_more() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(2));
        let before = start(&barrier, |barrier| barrier.wait());
        before.waits();
        barrier.reset();
        assert_eq!(before.result(), Err(Broken::Reset));
        let after = start(&barrier, |barrier| barrier.wait());
        after.waits();
        assert_eq!(barrier.wait(), Ok(Role::Leader));
        assert_eq!(after.result(), Ok(Role::Follower));
    });
}

#[test]
fn reset_of_a_barrier_at_which_nobody_waits_changes_nothing() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(2));
        barrier.reset();
        let worker = start(&barrier, |barrier| barrier.wait());
        worker.waits();
        assert_eq!(barrier.wait(), Ok(Role::Leader));
        assert_eq!(worker.result(), Ok(Role::Follower));
    });
}

/// They come back from their sleep when the barrier is in another round, or broken.
#[test]
fn a_round_that_was_complete_stays_so_whatever_happens_next() {
    for _ in 0..50 {
        bounded(|| {
            let barrier = Arc::new(Barrier::new(3));
            let workers = [(); 2].map(|()| start(&barrier, |barrier| barrier.wait()));
            workers.iter().for_each(Worker::waits);
            assert_eq!(barrier.wait(), Ok(Role::Leader));
            barrier.abort();
            barrier.reset();
            for worker in workers {
                assert_eq!(worker.result(), Ok(Role::Follower));
            }
        });
    }
}

// Panics: a thread that dies harms itself only.

#[test]
fn a_worker_that_panics_does_not_leave_the_others_waiting() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(3));
        let others = [(); 2].map(|()| start(&barrier, |barrier| barrier.wait()));
        others.iter().for_each(Worker::waits);
        let clumsy = start(&barrier, |barrier| {
            let _abort = AbortOnDrop(barrier);
            panic!("on purpose, before it arrives");
        });
        assert!(clumsy.thread.join().is_err());
        for other in others {
            assert_eq!(other.result(), Err(Broken::Aborted));
        }
    });
}

#[test]
fn a_worker_that_does_a_round_fewer_does_not_leave_the_others_waiting() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(2));
        let lazy = start(&barrier, |barrier| {
            let _abort = AbortOnDrop(barrier);
            (0..2).try_for_each(|_| barrier.wait().map(drop))
        });
        let eager = start(&barrier, |barrier| {
            let _abort = AbortOnDrop(barrier);
            (0..3).map(|_| barrier.wait().is_ok()).collect::<Vec<_>>()
        });
        assert_eq!(lazy.result(), Ok(()));
        assert_eq!(eager.result(), [true, true, false]);
    });
}

#[test]
fn a_panic_under_the_lock_does_not_spread_to_the_other_threads() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(2));
        let victim = start(&barrier, |barrier| {
            let _abort = AbortOnDrop(barrier);
            sync::before_each_wait(|| panic!("on purpose, while this thread holds the lock"));
            barrier.wait()
        });
        assert!(victim.thread.join().is_err());
        assert_eq!(barrier.wait(), Err(Broken::Aborted));
        barrier.reset();
        let worker = start(&barrier, |barrier| barrier.wait());
        worker.waits();
        assert_eq!(barrier.wait_timeout(LIMIT), Ok(Role::Leader));
        assert_eq!(worker.result(), Ok(Role::Follower));
    });
}

// Small things that users rely on.

#[test]
fn errors_say_what_happened_and_fit_into_a_boxed_error() {
    let texts: [Box<dyn std::error::Error>; 3] = [
        Broken::TimedOut.into(),
        Broken::Aborted.into(),
        Broken::Reset.into(),
    ];
    assert_eq!(
        texts.map(|error| error.to_string()),
        [
            "the barrier is broken: a thread ran out of time",
            "the barrier is broken: a thread aborted it",
            "the barrier was reset while this thread waited",
        ]
    );
}
