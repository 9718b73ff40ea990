//! What the buffer promises, tested with real threads. Nothing here is ordered by sleeping: the
//! buffer is built over a `Condvar` that can tell when a thread is about to wait.

use std::cell::Cell;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use buffer::{BoundedBuffer, CloseOnDrop, GetError, PutError};
use sync::{LIMIT, Worker, bounded, start, start_restless};

#[path = "../src/buffer.rs"]
mod buffer;
#[path = "sync/watched.rs"]
mod sync;

const SHORT: Duration = Duration::from_millis(30);

// Waiting and waking.

#[test]
fn a_get_that_wakes_up_for_no_reason_looks_again_and_waits_on() {
    bounded(|| {
        let buffer = buffer(1, []);
        let consumer = start_restless(5, &buffer, |buffer| buffer.get());
        consumer.waits();
        assert_eq!(buffer.put(7), Ok(()));
        assert_eq!(consumer.result(), Ok(7));
    });
}

#[test]
fn a_put_that_wakes_up_for_no_reason_looks_again_and_waits_on() {
    bounded(|| {
        let buffer = buffer(1, [1]);
        let producer = start_restless(5, &buffer, |buffer| buffer.put(2));
        producer.waits();
        assert_eq!(buffer.len(), 1);
        assert_eq!(buffer.get(), Ok(1));
        assert_eq!(producer.result(), Ok(()));
        assert_eq!(buffer.get(), Ok(2));
    });
}

#[test]
fn each_put_wakes_one_of_the_waiting_consumers() {
    bounded(|| {
        let buffer = buffer(3, []);
        let consumers = [(); 3].map(|()| start(&buffer, |buffer| buffer.get()));
        consumers.iter().for_each(Worker::waits);
        for item in [1, 2, 3] {
            buffer.put(item).unwrap();
        }
        let mut got = consumers.map(|consumer| consumer.result().unwrap());
        got.sort();
        assert_eq!(got, [1, 2, 3]);
    });
}

#[test]
fn each_get_wakes_one_of_the_waiting_producers() {
    bounded(|| {
        let buffer = buffer(1, [0]);
        let producers = [1, 2, 3].map(|item| start(&buffer, move |buffer| buffer.put(item)));
        producers.iter().for_each(Worker::waits);
        let mut got = [(); 4].map(|()| buffer.get().unwrap());
        got.sort();
        assert_eq!(got, [0, 1, 2, 3]);
        for producer in producers {
            assert_eq!(producer.result(), Ok(()));
        }
    });
}

#[test]
fn a_timed_get_gives_up_when_the_time_is_up_and_the_buffer_stays_usable() {
    bounded(|| {
        let buffer = buffer(1, []);
        let start = Instant::now();
        assert_eq!(buffer.get_timeout(SHORT), Err(GetError::Empty));
        assert!(start.elapsed() >= SHORT);
        buffer.put(1).unwrap();
        assert_eq!(buffer.get(), Ok(1));
    });
}

#[test]
fn a_timed_put_gives_the_item_back_when_the_time_is_up_and_the_buffer_stays_usable() {
    bounded(|| {
        let buffer = buffer(1, [1]);
        let start = Instant::now();
        assert_eq!(buffer.put_timeout(2, SHORT), Err(PutError::Full(2)));
        assert!(start.elapsed() >= SHORT);
        assert_eq!(buffer.get(), Ok(1));
        assert_eq!(buffer.put(3), Ok(()));
        assert_eq!(buffer.len(), 1);
    });
}

#[test]
fn a_time_out_is_total_however_often_the_waiter_wakes_up() {
    bounded(|| {
        let buffer = buffer(1, []);
        sync::before_each_wait(|| sync::Wait::WakeUpForNoReason);
        assert_eq!(buffer.get_timeout(SHORT), Err(GetError::Empty));
        buffer.put(1).unwrap();
        assert_eq!(buffer.put_timeout(2, SHORT), Err(PutError::Full(2)));
    });
}

#[test]
fn a_timed_wait_ends_as_soon_as_it_can() {
    bounded(|| {
        let buffer = buffer(1, []);
        let consumer = start(&buffer, |buffer| buffer.get_timeout(LIMIT * 2));
        consumer.waits();
        buffer.put(1).unwrap();
        assert_eq!(consumer.result(), Ok(1));

        buffer.put(2).unwrap();
        let producer = start(&buffer, |buffer| buffer.put_timeout(3, LIMIT * 2));
        producer.waits();
        assert_eq!(buffer.get(), Ok(2));
        assert_eq!(producer.result(), Ok(()));
    });
}

#[test]
fn no_wake_up_is_lost_in_ten_thousand_hand_overs_through_one_place() {
    bounded(|| {
        let buffer = buffer(1, []);
        let producer = start(&buffer, |buffer| {
            (0..10_000).try_for_each(|item| buffer.put(item))
        });
        for item in 0..10_000 {
            assert_eq!(buffer.get(), Ok(item));
        }
        assert_eq!(producer.result(), Ok(()));
    });
}

#[test]
fn several_producers_and_consumers_share_one_place_without_a_deadlock() {
    bounded(|| many_threads(1, 4, 4, 1_000));
}

// A queue, first in, first out, and bounded.

#[test]
fn a_put_into_a_full_buffer_waits_for_room() {
    bounded(|| {
        let buffer = buffer(2, [1, 2]);
        let producer = start(&buffer, |buffer| buffer.put(3));
        producer.waits();
        assert_eq!(buffer.len(), 2);
        assert!(!producer.thread.is_finished());
        assert_eq!(buffer.get(), Ok(1));
        assert_eq!(producer.result(), Ok(()));
        assert_eq!(buffer.len(), 2);
    });
}

#[test]
fn a_get_from_an_empty_buffer_waits_for_an_item() {
    bounded(|| {
        let buffer = buffer(2, []);
        let consumer = start(&buffer, |buffer| buffer.get());
        consumer.waits();
        assert!(buffer.is_empty());
        assert!(!consumer.thread.is_finished());
        buffer.put(1).unwrap();
        assert_eq!(consumer.result(), Ok(1));
    });
}

#[test]
fn items_come_out_in_the_order_in_which_they_went_in() {
    bounded(|| {
        let buffer = buffer(5, [1, 2, 3, 4, 5]);
        assert_eq!([(); 5].map(|()| buffer.get().unwrap()), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn each_item_arrives_once_and_in_order_per_producer_and_capacity_is_never_exceeded() {
    bounded(|| many_threads(3, 3, 1, 2_000));
    bounded(|| many_threads(3, 4, 3, 2_000));
    bounded(|| many_threads(64, 2, 2, 2_000));
}

#[test]
fn a_buffer_that_could_hold_nothing_is_refused() {
    let refusal = panic::catch_unwind(|| BoundedBuffer::<u32>::new(0))
        .err()
        .unwrap();
    let message = refusal.downcast_ref::<&str>().unwrap();
    assert!(message.contains("a capacity of at least 1"));
}

#[test]
fn length_and_emptiness_are_what_they_were_when_asked() {
    bounded(|| {
        let buffer = buffer(2, []);
        assert!(buffer.is_empty());
        buffer.put(1).unwrap();
        assert_eq!(buffer.len(), 1);
        assert!(!buffer.is_empty());
    });
}

// The end.

#[test]
fn close_wakes_every_waiting_consumer() {
    bounded(|| {
        let buffer = buffer(1, []);
        let consumers = [(); 3].map(|()| start(&buffer, |buffer| buffer.get()));
        let timed = start(&buffer, |buffer| buffer.get_timeout(LIMIT * 2));
        timed.waits();
        consumers.iter().for_each(Worker::waits);
        buffer.close();
        for consumer in consumers {
            assert_eq!(consumer.result(), Err(GetError::Closed));
        }
        assert_eq!(timed.result(), Err(GetError::Closed));
    });
}

#[test]
fn close_wakes_every_waiting_producer_and_gives_the_items_back() {
    bounded(|| {
        let buffer = buffer(1, [0]);
        let producers = [1, 2, 3].map(|item| start(&buffer, move |buffer| buffer.put(item)));
        let timed = start(&buffer, |buffer| buffer.put_timeout(4, LIMIT * 2));
        timed.waits();
        producers.iter().for_each(Worker::waits);
        buffer.close();
        for (producer, item) in producers.into_iter().zip(1..) {
            assert_eq!(producer.result(), Err(PutError::Closed(item)));
        }
        assert_eq!(timed.result(), Err(PutError::Closed(4)));
        assert_eq!(buffer.get(), Ok(0));
        assert_eq!(buffer.get(), Err(GetError::Closed));
    });
}

#[test]
fn closing_twice_is_closing_once() {
    bounded(|| {
        let buffer = buffer(1, [1]);
        buffer.close();
        buffer.close();
        assert_eq!(buffer.get(), Ok(1));
        assert_eq!(buffer.get(), Err(GetError::Closed));
    });
}

#[test]
fn a_put_after_close_gives_the_item_back() {
    bounded(|| {
        let buffer = buffer(2, [1]);
        buffer.close();
        assert_eq!(buffer.put(2), Err(PutError::Closed(2)));
        assert_eq!(buffer.try_put(3), Err(PutError::Closed(3)));
        assert_eq!(buffer.put_timeout(4, SHORT).unwrap_err().into_item(), 4);
        assert_eq!(buffer.len(), 1);
    });
}

#[test]
fn a_full_buffer_that_is_closed_says_closed_and_not_full() {
    bounded(|| {
        let buffer = buffer(1, [1]);
        assert_eq!(buffer.try_put(2), Err(PutError::Full(2)));
        buffer.close();
        assert_eq!(buffer.try_put(2), Err(PutError::Closed(2)));
    });
}

#[test]
fn a_get_after_close_drains_the_rest_first() {
    bounded(|| {
        let buffer = buffer(4, [1, 2, 3, 4]);
        buffer.close();
        assert_eq!(buffer.get(), Ok(1));
        assert_eq!(buffer.try_get(), Ok(2));
        assert_eq!(buffer.get_timeout(SHORT), Ok(3));
        assert_eq!(buffer.items().collect::<Vec<_>>(), [4]);
        assert_eq!(buffer.get(), Err(GetError::Closed));
        assert_eq!(buffer.try_get(), Err(GetError::Closed));
        assert_eq!(buffer.get_timeout(SHORT), Err(GetError::Closed));
    });
}

#[test]
fn each_item_is_dropped_once_whether_it_was_got_given_back_or_left_inside() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    bounded(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let dropped = || drops.load(Ordering::Relaxed);
        let item = || Counted(Arc::clone(&drops));

        let buffer = BoundedBuffer::new(3);
        for _ in 0..3 {
            assert!(buffer.put(item()).is_ok());
        }
        let given_back = buffer.try_put(item()).unwrap_err().into_item();
        let got = buffer.get().unwrap();
        assert_eq!(dropped(), 0);
        drop(given_back);
        assert_eq!(dropped(), 1);
        drop(got);
        assert_eq!(dropped(), 2);
        drop(buffer);
        assert_eq!(dropped(), 4);
    });
}

// Odd time-outs.

#[test]
fn a_time_out_of_zero_just_tries() {
    bounded(|| {
        let buffer = buffer(1, []);
        sync::before_each_wait(|| panic!("waits"));
        assert_eq!(buffer.get_timeout(Duration::ZERO), Err(GetError::Empty));
        assert_eq!(buffer.try_get(), Err(GetError::Empty));
        assert_eq!(buffer.put_timeout(1, Duration::ZERO), Ok(()));
        assert_eq!(
            buffer.put_timeout(2, Duration::ZERO),
            Err(PutError::Full(2))
        );
        assert_eq!(buffer.try_put(2), Err(PutError::Full(2)));
        assert_eq!(buffer.get_timeout(Duration::ZERO), Ok(1));
        assert_eq!(buffer.try_put(3), Ok(()));
        assert_eq!(buffer.try_get(), Ok(3));
    });
}

#[test]
fn a_negative_time_out_cannot_be_made() {
    // Python raises ValueError inside `put`. Here there is no such value to call it with.
    assert!(Duration::try_from_secs_f64(-1.0).is_err());
    assert_eq!(SHORT.checked_sub(SHORT * 2), None);
}

#[test]
fn a_time_out_too_long_for_the_clock_waits_without_a_limit() {
    bounded(|| {
        let buffer = buffer(1, []);
        let consumer = start(&buffer, |buffer| buffer.get_timeout(Duration::MAX));
        consumer.waits();
        assert_eq!(buffer.put_timeout(1, Duration::MAX), Ok(()));
        assert_eq!(consumer.result(), Ok(1));
    });
}

// Panics: a thread that dies harms itself only.

#[test]
fn a_panic_under_the_lock_does_not_spread_to_the_other_threads() {
    bounded(|| {
        let buffer = buffer(1, []);
        let victim = start(&buffer, |buffer| {
            sync::before_each_wait(|| panic!("on purpose, while this thread holds the lock"));
            buffer.get()
        });
        assert!(victim.thread.join().is_err());
        let consumer = start(&buffer, |buffer| {
            [buffer.get(), buffer.get_timeout(LIMIT * 2)]
        });
        consumer.waits();
        assert_eq!([buffer.put(1), buffer.put(2)], [Ok(()), Ok(())]);
        assert_eq!(consumer.result(), [Ok(1), Ok(2)]);
        buffer.close();
        assert_eq!(buffer.try_get(), Err(GetError::Closed));
    });
}

#[test]
fn a_producer_that_panics_does_not_leave_the_consumers_waiting() {
    bounded(|| {
        let buffer = buffer(5, []);
        let consumers = [(); 2].map(|()| start(&buffer, |buffer| buffer.items().count()));
        let producer = start(&buffer, |buffer| {
            let _close = CloseOnDrop(buffer);
            buffer.put(1).unwrap();
            panic!("on purpose, after one item of ten");
        });
        assert!(producer.thread.join().is_err());
        let [first, second] = consumers.map(Worker::result);
        assert_eq!(first + second, 1);
    });
}

#[test]
fn a_consumer_that_panics_does_not_leave_the_producer_waiting() {
    bounded(|| {
        let buffer = buffer(1, []);
        let consumer = start(&buffer, |buffer| {
            let _close = CloseOnDrop(buffer);
            buffer.get().unwrap();
            panic!("on purpose, after one item of ten");
        });
        let put = (0..10).try_for_each(|item| buffer.put(item));
        assert!(matches!(put, Err(PutError::Closed(1 | 2))), "{put:?}");
        assert!(consumer.thread.join().is_err());
    });
}

// What went wrong in Python.

/// Each of its two conditions had a lock of its own. `put` moved the item and then had to wake a
/// consumer through a lock that it did not hold: RuntimeError, with the item inside. Here the deque
/// is within the one Mutex, both conditions wait on it, and a wake-up can neither fail nor raise.
#[test]
fn two_locks_guarded_one_deque_and_every_put_raised_after_having_moved_the_item() {
    bounded(|| {
        let buffer = buffer(2, []);
        assert_eq!(buffer.put(1), Ok(()));
        assert_eq!(buffer.len(), 1);
        // A put that does fail has moved nothing: the item is in the error and not inside.
        buffer.put(2).unwrap();
        assert_eq!(buffer.try_put(3), Err(PutError::Full(3)));
        buffer.close();
        assert_eq!(buffer.put(3), Err(PutError::Closed(3)));
        assert_eq!(buffer.items().collect::<Vec<_>>(), [1, 2]);
    });
}

/// Ten puts and two times five gets: with eleven gets it hung, with nine an item was left over.
/// Here the consumers do not count; they end because the producer closes.
#[test]
fn the_counts_of_puts_and_gets_had_to_match_by_hand_or_it_hung() {
    for (items, consumers) in [(10, 2), (11, 2), (9, 2), (0, 2), (1, 3), (10, 3)] {
        bounded(move || {
            let buffer = buffer(5, []);
            let work = |buffer: &BoundedBuffer<u32>| buffer.items().collect::<Vec<_>>();
            let consumers: Vec<_> = (0..consumers).map(|_| start(&buffer, work)).collect();
            (0..items).try_for_each(|item| buffer.put(item)).unwrap();
            buffer.close();
            let mut got: Vec<_> = consumers.into_iter().flat_map(Worker::result).collect();
            got.sort();
            assert_eq!(got, (0..items).collect::<Vec<_>>());
        });
    }
}

// Small things that users rely on.

#[test]
fn errors_say_what_happened_and_fit_into_a_boxed_error() {
    let texts: [Box<dyn std::error::Error>; 4] = [
        PutError::Full(1).into(),
        PutError::Closed(1).into(),
        GetError::Empty.into(),
        GetError::Closed.into(),
    ];
    assert_eq!(
        texts.map(|error| error.to_string()),
        [
            "the buffer is full",
            "the buffer is closed",
            "the buffer is empty",
            "the buffer is closed and empty",
        ]
    );
}

#[test]
fn items_need_to_be_send_and_nothing_more() {
    fn shared_by_threads<B: Send + Sync>(_: &B) {}
    // A `Cell` may be moved to another thread, not shared with it: for a queue that is enough.
    shared_by_threads(&BoundedBuffer::<Cell<u32>>::new(1));
}

// The helpers.

fn buffer<const N: usize>(capacity: usize, items: [u32; N]) -> Arc<BoundedBuffer<u32>> {
    let buffer = BoundedBuffer::new(capacity);
    for item in items {
        buffer.try_put(item).unwrap();
    }
    Arc::new(buffer)
}

/// Puts `items` numbers from each producer through, and checks what every consumer got.
fn many_threads(capacity: usize, producers: usize, consumers: usize, items: usize) {
    let buffer = BoundedBuffer::new(capacity);
    let in_room = || assert!(buffer.len() <= capacity);
    let received: Vec<Vec<(usize, usize)>> = thread::scope(|scope| {
        let consumers: Vec<_> = (0..consumers)
            .map(|_| scope.spawn(|| buffer.items().inspect(|_| in_room()).collect()))
            .collect();
        thread::scope(|scope| {
            for producer in 0..producers {
                let (buffer, in_room) = (&buffer, &in_room);
                scope.spawn(move || {
                    for number in 0..items {
                        buffer.put((producer, number)).unwrap();
                        in_room();
                    }
                });
            }
        });
        buffer.close();
        consumers
            .into_iter()
            .map(|consumer| consumer.join().unwrap())
            .collect()
    });

    for producer in 0..producers {
        let numbers_of = |got: &[(usize, usize)]| -> Vec<usize> {
            got.iter()
                .filter(|item| item.0 == producer)
                .map(|item| item.1)
                .collect()
        };
        for got in &received {
            assert!(numbers_of(got).is_sorted(), "overtaking");
        }
        let mut numbers: Vec<usize> = received.iter().flat_map(|got| numbers_of(got)).collect();
        numbers.sort();
        assert!(numbers.iter().copied().eq(0..items), "each item once");
    }
}
