//! What the semaphore promises, tested with real threads. Nothing here is ordered by sleeping: the
//! semaphore is built over a `Condvar` that can tell when a thread is about to wait.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use semaphore::Semaphore;
use sync::{LIMIT, Worker, bounded, start, start_restless};

#[path = "../src/semaphore.rs"]
mod semaphore;
#[path = "sync/watched.rs"]
mod sync;

const SHORT: Duration = Duration::from_millis(30);

// Never more than so many.

#[test]
fn never_more_are_inside_than_there_are_permits() {
    for permits in [1, 2, 3] {
        bounded(move || {
            let gate = Semaphore::new(permits);
            let inside = AtomicUsize::new(0);
            thread::scope(|scope| {
                for number in 0..6 {
                    let (gate, inside) = (&gate, &inside);
                    scope.spawn(move || {
                        for turn in 0..500 {
                            let count = 1 + (number + turn) % permits;
                            let permit = gate.acquire_many(count);
                            let now = inside.fetch_add(count, Ordering::SeqCst) + count;
                            assert!(now <= permits, "{now} inside");
                            inside.fetch_sub(count, Ordering::SeqCst);
                            drop(permit);
                        }
                    });
                }
            });
            assert_eq!(gate.available(), permits);
        });
    }
}

#[test]
fn who_finds_no_permit_waits_for_one() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(2));
        let [first, second] = [gate.acquire(), gate.acquire()];
        let third = start(&gate, |gate| gate.acquire().count());
        third.waits();
        assert!(!third.thread.is_finished());
        drop(first);
        assert_eq!(third.result(), 1);
        drop(second);
        assert_eq!(gate.available(), 2);
    });
}

#[test]
fn a_permit_that_is_dropped_is_returned_once() {
    let gate = Semaphore::new(2);
    let permit = gate.acquire();
    assert_eq!(gate.available(), 1);
    let moved = [permit];
    assert_eq!(gate.available(), 1);
    drop(moved);
    assert_eq!(gate.available(), 2);
    // Two refusals of the compiler, in tests/refused, complete this: returned twice, made up.
}

#[test]
fn a_permit_is_returned_when_its_thread_panics() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(1));
        let clumsy = start(&gate, |gate| {
            let _permit = gate.acquire();
            panic!("on purpose, with a permit");
        });
        assert!(clumsy.thread.join().is_err());
        assert_eq!(gate.available(), 1);
        drop(gate.acquire());
    });
}

#[test]
fn impossible_numbers_are_refused() {
    fn message(bad: impl FnOnce() + panic::UnwindSafe) -> String {
        let refusal = panic::catch_unwind(bad).unwrap_err();
        match refusal.downcast::<String>() {
            Ok(text) => *text,
            Err(refusal) => refusal.downcast_ref::<&str>().unwrap().to_string(),
        }
    }
    let none = message(|| drop(Semaphore::new(0)));
    assert!(none.contains("at least 1 permit"), "{none}");
    let too_many = message(|| drop(Semaphore::new(2).acquire_many(3)));
    assert!(too_many.contains("3 of 2 permits"), "{too_many}");
}

// Several at one stroke.

#[test]
fn several_permits_come_at_one_stroke_or_not_at_all() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(3));
        let one = gate.acquire();
        assert!(gate.acquire_many_timeout(3, SHORT).is_none());
        assert_eq!(gate.available(), 2);
        let greedy = start(&gate, |gate| gate.acquire_many(3).count());
        greedy.waits();
        assert_eq!(gate.available(), 2);
        drop(one);
        assert_eq!(greedy.result(), 3);
        assert_eq!(gate.available(), 3);
    });
}

#[test]
fn returning_several_wakes_as_many_as_can_go_on() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(3));
        let all = gate.acquire_many(3);
        // Each leaves only when all three are inside.
        let meeting = Arc::new(Barrier::new(3));
        let workers = [(); 3].map(|()| {
            let meeting = Arc::clone(&meeting);
            start(&gate, move |gate| {
                let permit = gate.acquire();
                meeting.wait();
                permit.count()
            })
        });
        workers.iter().for_each(Worker::waits);
        drop(all);
        assert_eq!(workers.map(Worker::result), [1, 1, 1]);
    });
}

#[test]
fn a_part_of_several_permits_can_be_returned_early() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(3));
        let mut all = gate.acquire_many(3);
        let waiting = start(&gate, |gate| gate.acquire_many(2).count());
        waiting.waits();
        let part = all.split(2).unwrap();
        assert_eq!((all.count(), part.count(), gate.available()), (1, 2, 0));
        drop(part);
        assert_eq!(waiting.result(), 2);
        assert!(all.split(2).is_none());
        assert_eq!(all.count(), 1);
        drop(all);
        assert_eq!(gate.available(), 3);
    });
}

// Who comes first is served first.

#[test]
fn who_comes_first_is_served_first() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(1));
        let (sender, served) = mpsc::channel();
        let only = gate.acquire();
        let workers = [1, 2, 3, 4].map(|number| {
            let sender = sender.clone();
            let worker = start(&gate, move |gate| {
                let _permit = gate.acquire();
                sender.send(number).unwrap();
            });
            worker.waits();
            worker
        });
        drop((only, sender));
        workers.into_iter().for_each(Worker::result);
        assert_eq!(served.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    });
}

#[test]
fn a_request_for_many_is_not_overtaken_by_small_ones() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(3));
        let mut two = gate.acquire_many(2);
        let greedy = start(&gate, |gate| gate.acquire_many(3).count());
        greedy.waits();
        // There is a permit, but it belongs to the queue.
        assert_eq!(gate.available(), 1);
        assert!(gate.try_acquire().is_none());
        let small = start(&gate, |gate| gate.acquire().count());
        small.waits();
        drop(two.split(1));
        assert!(!small.thread.is_finished());
        drop(two);
        assert_eq!((greedy.result(), small.result()), (3, 1));
    });
}

// Waiting and time-outs.

#[test]
fn a_wait_that_wakes_up_for_no_reason_looks_again_and_waits_on() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(1));
        let only = gate.acquire();
        let worker = start_restless(5, &gate, |gate| {
            let permit = gate.acquire();
            (permit.count(), gate.available())
        });
        worker.waits();
        drop(only);
        assert_eq!(worker.result(), (1, 0));
    });
}

#[test]
fn a_timed_wait_gives_up_when_the_time_is_up_and_the_semaphore_stays_usable() {
    bounded(|| {
        let gate = Semaphore::new(1);
        let only = gate.acquire();
        let begin = Instant::now();
        assert!(gate.acquire_timeout(SHORT).is_none());
        assert!(begin.elapsed() >= SHORT);
        drop(only);
        assert!(gate.try_acquire().is_some());
        assert_eq!(gate.available(), 1);
    });
}

#[test]
fn a_time_out_is_total_however_often_the_waiter_wakes_up() {
    bounded(|| {
        let gate = Semaphore::new(1);
        sync::before_each_wait(|| sync::Wait::WakeUpForNoReason);
        let _only = gate.acquire();
        assert!(gate.acquire_timeout(SHORT).is_none());
    });
}

#[test]
fn a_timed_wait_ends_as_soon_as_it_can() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(1));
        let only = gate.acquire();
        let timed = start(&gate, |gate| gate.acquire_timeout(LIMIT * 2).is_some());
        timed.waits();
        drop(only);
        assert!(timed.result());
    });
}

/// Behind a request that cannot be met, and that gives up, others have to be told.
#[test]
fn a_time_out_lets_those_behind_it_go_on() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(2));
        let one = gate.acquire();
        let patience = SHORT * 10;
        let greedy = start(&gate, move |gate| {
            gate.acquire_many_timeout(2, patience).is_some()
        });
        greedy.waits();
        // As a rule it waits, but on a busy machine it may come so late that it need not. The model
        // `a_time_out_lets_the_one_behind_it_go_on` knows both orders.
        let modest = start(&gate, |gate| gate.acquire().count());
        assert!(!greedy.result());
        assert_eq!(modest.result(), 1);
        drop(one);
    });
}

#[test]
fn a_time_out_of_zero_just_tries() {
    let gate = Semaphore::new(1);
    sync::before_each_wait(|| panic!("waits"));
    let permit = gate.acquire_timeout(Duration::ZERO);
    assert!(permit.is_some());
    assert!(gate.acquire_timeout(Duration::ZERO).is_none());
    assert!(gate.try_acquire().is_none());
    drop(permit);
    assert!(gate.try_acquire().is_some());
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
        let gate = Arc::new(Semaphore::new(1));
        let only = gate.acquire();
        let worker = start(&gate, |gate| gate.acquire_timeout(Duration::MAX).is_some());
        worker.waits();
        drop(only);
        assert!(worker.result());
    });
}

#[test]
fn no_wake_up_is_lost_in_ten_thousand_turns() {
    bounded(|| {
        let gate = Arc::new(Semaphore::new(2));
        let workers = [1, 2, 1].map(|count| {
            start(&gate, move |gate| {
                for _ in 0..10_000 / 3 {
                    drop(gate.acquire_many(count));
                }
            })
        });
        workers.into_iter().for_each(Worker::result);
        assert_eq!(gate.available(), 2);
    });
}
