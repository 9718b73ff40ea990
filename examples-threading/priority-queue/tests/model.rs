//! The queues under every schedule of two or three threads. Loom runs each model again and again,
//! once per way in which the threads can take turns, and reports a deadlock, a panic or a leak in
//! any of them. The models run the very file `src/queue.rs`, over loom's locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use loom::sync::Arc;

use queue::{GetError, LifoQueue, PriorityQueue, PutError};
use sync::{A_WHILE, model, spawn, time_passes};

#[path = "../src/queue.rs"]
#[allow(
    dead_code,
    reason = "the models need only a part of the queue's methods"
)]
mod queue;
#[path = "sync/modelled.rs"]
mod sync;

/// Catches: one look instead of one before each wait, a look that lets go of the lock before the
/// wait (the wake-up comes in between and is lost), a `put` that wakes nobody, or only if the queue
/// was empty.
#[test]
fn two_consumers_share_the_items_of_a_producer() {
    model(3, || {
        let queue = Arc::new(LifoQueue::new());
        let consumers = [(); 2].map(|()| spawn(&queue, |queue| queue.get()));
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        let mut got = consumers.map(|consumer| consumer.join().unwrap().unwrap());
        got.sort();
        assert_eq!(got, [1, 2]);
    });
}

/// Catches a close that wakes one consumer only, or comes before the state says `closed`, and a
/// wait that does not look for `closed`.
#[test]
fn close_ends_the_waiting_of_two_consumers() {
    model(3, || {
        let queue = Arc::new(LifoQueue::<u32>::new());
        let consumers = [(); 2].map(|()| spawn(&queue, |queue| queue.get()));
        queue.close();
        for consumer in consumers {
            assert_eq!(consumer.join().unwrap(), Err(GetError::Closed));
        }
    });
}

/// Catches an item that is lost or doubled when the close comes between two puts, and a `get` that
/// looks at `closed` before it looks for an item.
#[test]
fn a_put_that_meets_a_close_delivers_the_item_or_gives_it_back() {
    model(3, || {
        let queue = Arc::new(LifoQueue::new());
        let producer = spawn(&queue, |queue| [queue.put(1), queue.put(2)]);
        let consumer = spawn(&queue, |queue| queue.items().collect::<Vec<_>>());
        queue.close();
        let given_back = producer.join().unwrap().map(Result::err);
        let mut seen = consumer.join().unwrap();
        seen.extend(given_back.into_iter().flatten().map(|PutError(item)| item));
        seen.sort();
        assert_eq!(seen, [1, 2]);
    });
}

/// Catches a heap that looks at the priorities only: whichever thread puts when, the urgent item
/// leaves before the others that are inside, and the two equals of one thread keep their order.
#[test]
fn the_order_holds_whenever_an_urgent_item_comes() {
    model(3, || {
        let queue = Arc::new(PriorityQueue::new());
        let calm = spawn(&queue, |queue| {
            queue.put((2, 'a')).unwrap();
            queue.put((2, 'b')).unwrap();
        });
        let urgent = spawn(&queue, |queue| queue.put((1, 'u')).unwrap());
        let first = queue.get().unwrap();
        calm.join().unwrap();
        urgent.join().unwrap();
        queue.close();
        let rest: Vec<_> = queue.items().map(|(_, item)| item).collect();
        match first {
            (1, _) => assert_eq!(rest, ['a', 'b']),
            (_, 'a') => assert_eq!(rest, ['u', 'b']),
            other => panic!("{other:?} came first"),
        }
    });
}

/// Catches a timed `get` that was woken for an item and gives up because it is late: that wake-up
/// is spent, and the other consumer sleeps beside the item for ever.
#[test]
fn a_get_that_is_woken_late_takes_the_item_all_the_same() {
    model(3, || {
        let queue = Arc::new(LifoQueue::new());
        let hurried = spawn(&queue, |queue| {
            if let Ok(item) = queue.get_timeout(A_WHILE) {
                queue.put(item).unwrap(); // the other one needs it, too
            }
        });
        let patient = spawn(&queue, |queue| queue.get());
        queue.put(1).unwrap();
        time_passes();
        assert_eq!(patient.join().unwrap(), Ok(1));
        queue.close();
        hurried.join().unwrap();
    });
}

/// Catches a time-out that loses an item or delivers it twice when it meets a put.
#[test]
fn a_time_out_that_meets_a_put_leaves_the_item_inside_or_takes_it() {
    model(3, || {
        let queue = Arc::new(LifoQueue::new());
        let consumer = spawn(&queue, |queue| queue.get_timeout(A_WHILE));
        time_passes();
        queue.put(1).unwrap();
        match consumer.join().unwrap() {
            Ok(item) => assert_eq!((item, queue.try_get()), (1, Err(GetError::Empty))),
            Err(error) => assert_eq!((error, queue.try_get()), (GetError::Empty, Ok(1))),
        }
    });
}
