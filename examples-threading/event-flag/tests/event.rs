//! What the event promises, tested with real threads. Nothing here is ordered by sleeping: the
//! event is built over a `Condvar` that can tell when a thread is about to wait.

use std::panic;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::{Event, SetOnDrop, TimedOut};
use sync::{LIMIT, Worker, bounded, start, start_restless};

#[path = "../src/event.rs"]
mod event;
#[path = "sync/watched.rs"]
mod sync;

const SHORT: Duration = Duration::from_millis(30);

#[test]
fn set_wakes_all_who_wait() {
    bounded(|| {
        let event = Arc::new(Event::new());
        let workers = [(); 4].map(|()| start(&event, |event| event.wait()));
        let timed = start(&event, |event| event.wait_timeout(LIMIT * 2));
        workers.iter().for_each(Worker::waits);
        timed.waits();
        event.set();
        workers.into_iter().for_each(Worker::result);
        assert_eq!(timed.result(), Ok(()));
    });
}

#[test]
fn it_stays_set_and_nobody_waits_any_more() {
    bounded(|| {
        let event = Event::new();
        assert!(!event.is_set());
        event.set();
        sync::before_each_wait(|| panic!("waits"));
        for _ in 0..3 {
            event.wait();
            assert_eq!(event.wait_timeout(LIMIT), Ok(()));
            assert!(event.is_set());
        }
    });
}

#[test]
fn after_clear_one_has_to_wait_again() {
    bounded(|| {
        let event = Arc::new(Event::new());
        event.set();
        event.clear();
        assert!(!event.is_set());
        let worker = start(&event, |event| event.wait());
        worker.waits();
        assert!(!worker.thread.is_finished());
        event.set();
        worker.result();
    });
}

#[test]
fn setting_or_clearing_twice_is_doing_it_once() {
    let event = Event::new();
    event.clear();
    event.set();
    event.set();
    assert!(event.is_set());
    event.clear();
    event.clear();
    assert!(!event.is_set());
}

/// The threads find the event cleared when they come back from their sleep, and go on all the same.
#[test]
fn a_set_that_is_cleared_at_once_still_lets_all_go_on_who_waited() {
    for _ in 0..50 {
        bounded(|| {
            let event = Arc::new(Event::new());
            let workers = [(); 3].map(|()| start(&event, |event| event.wait()));
            workers.iter().for_each(Worker::waits);
            event.set();
            event.clear();
            workers.into_iter().for_each(Worker::result);
            assert_eq!(event.wait_timeout(Duration::ZERO), Err(TimedOut));
        });
    }
}

#[test]
fn a_wait_that_wakes_up_for_no_reason_looks_again_and_waits_on() {
    bounded(|| {
        let event = Arc::new(Event::new());
        let worker = start_restless(5, &event, |event| {
            event.wait();
            event.is_set()
        });
        worker.waits();
        event.set();
        assert!(worker.result());
    });
}

#[test]
fn no_wake_up_is_lost_in_ten_thousand_hand_overs() {
    bounded(|| {
        let (ping, pong) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let answers = Arc::clone(&pong);
        let other = start(&ping, move |ping| {
            for _ in 0..10_000 {
                ping.wait();
                ping.clear();
                answers.set();
            }
        });
        for _ in 0..10_000 {
            ping.set();
            pong.wait();
            pong.clear();
        }
        other.result();
    });
}

// Time-outs.

#[test]
fn a_timed_wait_tells_which_happened() {
    bounded(|| {
        let event = Arc::new(Event::new());
        let begin = Instant::now();
        assert_eq!(event.wait_timeout(SHORT), Err(TimedOut));
        assert!(begin.elapsed() >= SHORT);

        let worker = start(&event, |event| event.wait_timeout(LIMIT * 2));
        worker.waits();
        event.set();
        assert_eq!(worker.result(), Ok(()));
    });
}

#[test]
fn a_time_out_is_total_however_often_the_waiter_wakes_up() {
    bounded(|| {
        let event = Event::new();
        sync::before_each_wait(|| sync::Wait::WakeUpForNoReason);
        assert_eq!(event.wait_timeout(SHORT), Err(TimedOut));
        event.set();
        assert_eq!(event.wait_timeout(SHORT), Ok(()));
    });
}

#[test]
fn a_time_out_of_zero_just_asks() {
    let event = Event::new();
    sync::before_each_wait(|| panic!("waits"));
    assert_eq!(event.wait_timeout(Duration::ZERO), Err(TimedOut));
    event.set();
    assert_eq!(event.wait_timeout(Duration::ZERO), Ok(()));
}

#[test]
fn a_negative_time_out_cannot_be_made() {
    // Python takes it for zero. Here there is no such value to call it with.
    assert!(Duration::try_from_secs_f64(-1.0).is_err());
    assert_eq!(SHORT.checked_sub(SHORT * 2), None);
}

#[test]
fn a_time_out_too_long_for_the_clock_waits_without_a_limit() {
    bounded(|| {
        let event = Arc::new(Event::new());
        let worker = start(&event, |event| event.wait_timeout(Duration::MAX));
        worker.waits();
        event.set();
        assert_eq!(worker.result(), Ok(()));
    });
}

// Panics: a thread that dies harms itself only.

#[test]
fn a_setter_that_panics_does_not_leave_the_others_waiting_if_it_holds_a_guard() {
    bounded(|| {
        let event = Arc::new(Event::new());
        let worker = start(&event, |event| event.wait_timeout(LIMIT * 2));
        worker.waits();
        let setter = start(&event, |event| {
            let _set = SetOnDrop(event);
            panic!("on purpose, before the event is set");
        });
        assert!(setter.thread.join().is_err());
        assert_eq!(worker.result(), Ok(()));
    });
}

#[test]
fn a_panic_under_the_lock_does_not_spread_to_the_other_threads() {
    bounded(|| {
        let event = Arc::new(Event::new());
        let victim = start(&event, |event| {
            sync::before_each_wait(|| panic!("on purpose, while this thread holds the lock"));
            event.wait();
        });
        assert!(victim.thread.join().is_err());
        let worker = start(&event, |event| event.wait());
        let timed = start(&event, |event| event.wait_timeout(LIMIT * 2));
        worker.waits();
        timed.waits();
        event.set();
        worker.result();
        assert_eq!(timed.result(), Ok(()));
    });
}

// Small things that users rely on.

#[test]
fn the_error_says_what_happened_and_fits_into_a_boxed_error() {
    let error: Box<dyn std::error::Error> = TimedOut.into();
    assert_eq!(error.to_string(), "the event was not set in time");
}
