//! What the queues promise, tested with real threads. Nothing here is ordered by sleeping: the
//! queues are built over a `Condvar` that can tell when a thread is about to wait.

use std::cell::Cell;
use std::cmp::Reverse;
use std::panic;
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue::{CloseOnDrop, GetError, LifoQueue, PriorityQueue, PutError};
use sync::{LIMIT, Worker, bounded, start, start_restless};

#[path = "../src/queue.rs"]
mod queue;
#[path = "sync/watched.rs"]
mod sync;

const SHORT: Duration = Duration::from_millis(30);

// The order.

#[test]
fn the_smallest_priority_comes_first() {
    let queue = PriorityQueue::new();
    for priority in [5, 1, 4, 2, 3] {
        queue.put((priority, ())).unwrap();
    }
    queue.close();
    let order: Vec<_> = queue.items().map(|(priority, ())| priority).collect();
    assert_eq!(order, [1, 2, 3, 4, 5]);
}

#[test]
fn with_reverse_the_largest_priority_comes_first() {
    let queue = PriorityQueue::new();
    for priority in [5, 1, 4] {
        queue.put((Reverse(priority), ())).unwrap();
    }
    queue.close();
    let order: Vec<_> = queue.items().map(|(priority, ())| priority.0).collect();
    assert_eq!(order, [5, 4, 1]);
}

/// Enough of them that a heap without the numbers of arrival mixes them up.
#[test]
fn equals_come_out_in_the_order_in_which_they_went_in() {
    let queue = PriorityQueue::new();
    let mut expected = Vec::new();
    for number in 0..1_000 {
        queue.put((number * 7 % 5, number)).unwrap();
        expected.push((number * 7 % 5, number));
    }
    queue.close();
    expected.sort(); // By priority, then by number, which is the order of arrival.
    assert_eq!(queue.items().collect::<Vec<_>>(), expected);
}

#[test]
fn the_order_also_holds_when_puts_and_gets_take_turns() {
    let queue = PriorityQueue::new();
    queue.put((2, "a")).unwrap();
    queue.put((2, "b")).unwrap();
    assert_eq!(queue.get(), Ok((2, "a")));
    queue.put((2, "c")).unwrap();
    queue.put((1, "d")).unwrap();
    queue.put((2, "e")).unwrap();
    let order = [(); 4].map(|()| queue.get().unwrap().1);
    assert_eq!(order, ["d", "b", "c", "e"]);
}

#[test]
fn the_newest_comes_first_from_a_stack() {
    let queue = lifo([1, 2, 3]);
    assert_eq!(queue.get(), Ok(3));
    queue.put(4).unwrap();
    assert_eq!([(); 3].map(|()| queue.get().unwrap()), [4, 2, 1]);
}

/// `put((2, {}))` twice raises TypeError: equal priorities compare the items.
#[test]
fn two_equal_priorities_raised_because_their_items_have_no_order() {
    type Job = Box<dyn Fn() -> u32 + Send>;
    let queue = PriorityQueue::new();
    for number in [1, 2, 3] {
        let job: Job = Box::new(move || number);
        assert!(queue.put((2, job)).is_ok());
    }
    let results = [(); 3].map(|()| queue.get().unwrap().1());
    assert_eq!(results, [1, 2, 3]);
}

#[test]
fn each_consumer_of_a_closed_queue_gets_its_items_in_order_and_all_get_each_once() {
    bounded(|| {
        let queue = Arc::new(PriorityQueue::new());
        for number in 0..3_000 {
            queue.put((number % 7, number)).unwrap();
        }
        queue.close();
        let work = |queue: &PriorityQueue<u32, u32>| queue.items().collect::<Vec<_>>();
        let got = [(); 3].map(|()| start(&queue, work)).map(Worker::result);
        assert!(got.iter().all(|list| list.is_sorted()), "not in order");
        let mut numbers: Vec<_> = got.concat().iter().map(|item| item.1).collect();
        numbers.sort();
        assert!(numbers.into_iter().eq(0..3_000), "each item once");
    });
}

#[test]
fn each_item_arrives_once_from_several_producers_to_several_consumers() {
    bounded(|| {
        let queue = Arc::new(LifoQueue::new());
        let consume = |queue: &LifoQueue<u32>| queue.items().collect::<Vec<_>>();
        let consumers = [(); 3].map(|()| start(&queue, consume));
        let producers = [0, 1, 2].map(|producer| {
            start(&queue, move |queue| {
                (0..1_000).for_each(|number| queue.put(producer * 1_000 + number).unwrap());
            })
        });
        producers.into_iter().for_each(Worker::result);
        queue.close();
        let mut numbers = consumers.map(Worker::result).concat();
        numbers.sort();
        assert!(numbers.into_iter().eq(0..3_000), "each item once");
    });
}

// Waiting and waking.

#[test]
fn a_get_from_an_empty_queue_waits_for_an_item() {
    bounded(|| {
        let queue = lifo([]);
        let consumer = start(&queue, |queue| queue.get());
        consumer.waits();
        assert!(queue.is_empty() && !consumer.thread.is_finished());
        queue.put(1).unwrap();
        assert_eq!(consumer.result(), Ok(1));
    });
}

#[test]
fn a_get_that_wakes_up_for_no_reason_looks_again_and_waits_on() {
    bounded(|| {
        let queue = lifo([]);
        let consumer = start_restless(5, &queue, |queue| queue.get());
        consumer.waits();
        queue.put(7).unwrap();
        assert_eq!(consumer.result(), Ok(7));
    });
}

#[test]
fn each_put_wakes_one_of_the_waiting_consumers() {
    bounded(|| {
        let queue = lifo([]);
        let consumers = [(); 3].map(|()| start(&queue, |queue| queue.get()));
        consumers.iter().for_each(Worker::waits);
        for item in [1, 2, 3] {
            queue.put(item).unwrap();
        }
        let mut got = consumers.map(|consumer| consumer.result().unwrap());
        got.sort();
        assert_eq!(got, [1, 2, 3]);
    });
}

#[test]
fn a_timed_get_gives_up_when_the_time_is_up_and_the_queue_stays_usable() {
    bounded(|| {
        let queue = lifo([]);
        let start = Instant::now();
        assert_eq!(queue.get_timeout(SHORT), Err(GetError::Empty));
        assert!(start.elapsed() >= SHORT);
        queue.put(1).unwrap();
        assert_eq!(queue.get_timeout(SHORT), Ok(1));
    });
}

#[test]
fn a_time_out_is_total_however_often_the_waiter_wakes_up() {
    bounded(|| {
        let queue = lifo([]);
        sync::before_each_wait(|| sync::Wait::WakeUpForNoReason);
        assert_eq!(queue.get_timeout(SHORT), Err(GetError::Empty));
    });
}

#[test]
fn a_timed_get_ends_as_soon_as_it_can_also_with_a_time_out_too_long_for_the_clock() {
    bounded(|| {
        for timeout in [LIMIT * 2, Duration::MAX] {
            let queue = lifo([]);
            let consumer = start(&queue, move |queue| queue.get_timeout(timeout));
            consumer.waits();
            queue.put(1).unwrap();
            assert_eq!(consumer.result(), Ok(1));
        }
    });
}

#[test]
fn a_time_out_of_zero_just_tries() {
    sync::before_each_wait(|| panic!("waits"));
    let queue = lifo([]);
    assert_eq!(queue.get_timeout(Duration::ZERO), Err(GetError::Empty));
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    queue.put(1).unwrap();
    assert_eq!(queue.get_timeout(Duration::ZERO), Ok(1));
}

#[test]
fn a_negative_time_out_cannot_be_made() {
    assert!(Duration::try_from_secs_f64(-1.0).is_err());
}

// The end.

#[test]
fn close_wakes_every_waiting_consumer() {
    bounded(|| {
        let queue = lifo([]);
        let consumers = [(); 3].map(|()| start(&queue, |queue| queue.get()));
        consumers.iter().for_each(Worker::waits);
        queue.close();
        queue.close(); // Twice is once.
        for consumer in consumers {
            assert_eq!(consumer.result(), Err(GetError::Closed));
        }
    });
}

#[test]
fn a_put_after_close_gives_the_item_back_and_a_get_drains_the_rest_first() {
    let queue = lifo([1, 2]);
    queue.close();
    assert_eq!(queue.put(3), Err(PutError(3)));
    assert_eq!((queue.get(), queue.try_get()), (Ok(2), Ok(1)));
    assert_eq!(queue.get(), Err(GetError::Closed));
    assert_eq!(queue.try_get(), Err(GetError::Closed));
    assert_eq!(queue.get_timeout(SHORT), Err(GetError::Closed));
}

#[test]
fn each_item_is_dropped_once_whether_it_was_got_given_back_or_left_inside() {
    let item = Arc::new(());
    let queue = PriorityQueue::new();
    for priority in 0..3 {
        queue.put((priority, Arc::clone(&item))).unwrap();
    }
    drop(queue.get());
    assert_eq!(Arc::strong_count(&item), 3);
    queue.close();
    drop(queue.put((9, Arc::clone(&item))));
    assert_eq!(Arc::strong_count(&item), 3);
    drop(queue);
    assert_eq!(Arc::strong_count(&item), 1);
}

// Panics: a thread that dies harms itself only.

#[test]
fn a_producer_that_panics_does_not_leave_the_consumers_waiting() {
    bounded(|| {
        let queue = lifo([]);
        let consumers = [(); 2].map(|()| start(&queue, |queue| queue.items().count()));
        let producer = start(&queue, |queue| {
            let _close = CloseOnDrop(queue);
            queue.put(1).unwrap();
            panic!("on purpose, after one item of ten");
        });
        assert!(producer.thread.join().is_err());
        let [first, second] = consumers.map(Worker::result);
        assert_eq!(first + second, 1);
    });
}

/// The comparison runs inside `put`, under the lock.
#[test]
fn a_comparison_that_panics_loses_no_item_and_leaves_the_queue_usable() {
    #[derive(Debug, PartialEq, Eq)]
    struct Touchy(u32);
    impl PartialOrd for Touchy {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Touchy {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            assert!(self.0 != 13 && other.0 != 13, "on purpose");
            self.0.cmp(&other.0)
        }
    }
    bounded(|| {
        let queue = Arc::new(PriorityQueue::new());
        queue.put((Touchy(1), 'a')).unwrap();
        let victim = start(&queue, |queue| queue.put((Touchy(13), 'b')));
        assert!(victim.thread.join().is_err());
        assert_eq!(queue.len(), 2);
        queue.close();
        // Two items: to take one out needs no comparison.
        let mut got = [(); 2].map(|()| queue.get().unwrap().1);
        got.sort();
        assert_eq!(got, ['a', 'b']);
    });
}

// Small things that users rely on.

#[test]
fn length_and_emptiness_are_what_they_were_when_asked() {
    let queue = lifo([]);
    assert!(queue.is_empty());
    queue.put(1).unwrap();
    assert_eq!((queue.len(), queue.is_empty()), (1, false));
}

#[test]
fn errors_say_what_happened_and_fit_into_a_boxed_error() {
    let texts: [Box<dyn std::error::Error>; 3] = [
        PutError(1).into(),
        GetError::Empty.into(),
        GetError::Closed.into(),
    ];
    assert_eq!(
        texts.map(|error| error.to_string()),
        [
            "the queue is closed",
            "the queue is empty",
            "the queue is closed and empty"
        ]
    );
}

#[test]
fn items_need_to_be_send_and_nothing_more() {
    fn shared_by_threads<Q: Send + Sync>(_: &Q) {}
    shared_by_threads(&PriorityQueue::<u32, Cell<u32>>::new());
    shared_by_threads(&LifoQueue::<Cell<u32>>::new());
}

// The helpers.

fn lifo<const N: usize>(items: [u32; N]) -> Arc<LifoQueue<u32>> {
    let queue = LifoQueue::new();
    for item in items {
        queue.put(item).unwrap();
    }
    Arc::new(queue)
}
