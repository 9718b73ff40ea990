//! The buffer under every schedule of two or three threads. Loom runs each model again and again,
//! once per way in which the threads can take turns, and reports a deadlock, a panic or a leak in
//! any of them. The models run the very file `src/buffer.rs`, over loom's locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::Arc;

use buffer::{BoundedBuffer, GetError, PutError};
use sync::{A_WHILE, model, spawn, time_passes};

#[path = "../src/buffer.rs"]
#[allow(
    dead_code,
    reason = "the models need only a part of the buffer's methods"
)]
mod buffer;
#[path = "sync/modelled.rs"]
mod sync;

/// Catches at `get`: `if` instead of `while` (the other consumer takes the item for which this one
/// was woken), a wait before the first look, a look that lets go of the lock before the wait (the
/// wake-up comes in between and is lost), a `put` that wakes a consumer only if the buffer was
/// empty. Catches one `Condvar` for both questions: the consumer that got an item wakes the other
/// consumer instead of the producer.
#[test]
fn two_consumers_share_the_items_of_a_producer() {
    for capacity in [1, 2] {
        model(3, move || {
            let buffer = buffer(capacity, []);
            let consumers = [(); 2].map(|()| spawn(&buffer, |buffer| buffer.get()));
            buffer.put(1).unwrap();
            buffer.put(2).unwrap();
            let mut got = consumers.map(|consumer| consumer.join().unwrap().unwrap());
            got.sort();
            assert_eq!(got, [1, 2]);
        });
    }
}

/// The same mistakes at `put`. Here `if` instead of `while` exceeds the capacity.
#[test]
fn two_producers_share_the_room_that_a_consumer_makes() {
    for capacity in [1, 2] {
        model(3, move || {
            let buffer = buffer(capacity, []);
            for _ in 0..capacity {
                buffer.put(0).unwrap();
            }
            let producers = [1, 2].map(|item| {
                spawn(&buffer, move |buffer| {
                    buffer.put(item).unwrap();
                    assert!(
                        buffer.len() <= capacity,
                        "more inside than there is room for"
                    );
                })
            });
            let mut got = [(); 3].map(|()| buffer.get().unwrap()).to_vec();
            for producer in producers {
                producer.join().unwrap();
            }
            buffer.close();
            got.extend(buffer.items());
            got.sort();
            assert_eq!(got, [&vec![0; capacity][..], &[1, 2]].concat());
        });
    }
}

/// Catches a close that wakes one consumer only, or producers only, or before the state says
/// `closed`; and a wait that does not look for `closed`.
#[test]
fn close_ends_the_waiting_of_two_consumers() {
    model(3, || {
        let buffer = buffer(1, []);
        let consumers = [(); 2].map(|()| spawn(&buffer, |buffer| buffer.get()));
        buffer.close();
        for consumer in consumers {
            assert_eq!(consumer.join().unwrap(), Err(GetError::Closed));
        }
    });
}

/// The same for producers, who get their items back.
#[test]
fn close_ends_the_waiting_of_two_producers() {
    model(3, || {
        let buffer = buffer(1, [0]);
        let producers = [1, 2].map(|item| spawn(&buffer, move |buffer| buffer.put(item)));
        buffer.close();
        for (producer, item) in producers.into_iter().zip([1, 2]) {
            assert_eq!(producer.join().unwrap(), Err(PutError::Closed(item)));
        }
        assert_eq!(buffer.items().collect::<Vec<_>>(), [0]);
    });
}

/// Catches an end that comes before the last item: a `get` that looks at `closed` first, or a
/// `close` that empties the buffer.
#[test]
fn consumers_drain_what_was_put_before_the_close() {
    model(3, || {
        let buffer = buffer(2, []);
        let consumers =
            [(); 2].map(|()| spawn(&buffer, |buffer| buffer.items().collect::<Vec<_>>()));
        buffer.put(1).unwrap();
        buffer.put(2).unwrap();
        buffer.close();
        let mut got = consumers.map(|consumer| consumer.join().unwrap()).concat();
        got.sort();
        assert_eq!(got, [1, 2]);
    });
}

/// Catches an item that is lost or doubled when the close comes between two puts.
#[test]
fn a_put_that_meets_a_close_delivers_the_item_or_gives_it_back() {
    model(3, || {
        let buffer = buffer(1, []);
        let producer = spawn(&buffer, |buffer| [buffer.put(1), buffer.put(2)]);
        let consumer = spawn(&buffer, |buffer| buffer.items().collect::<Vec<_>>());
        buffer.close();
        let given_back = producer
            .join()
            .unwrap()
            .map(|put| put.err().map(PutError::into_item));
        let mut seen = consumer.join().unwrap();
        seen.extend(given_back.into_iter().flatten());
        assert_eq!(seen, [1, 2]);
    });
}

/// Catches a queue that is not first in, first out, an item that is lost or doubled, and a length
/// above the capacity.
#[test]
fn each_item_arrives_once_and_in_order_per_producer() {
    model(3, || {
        let buffer = buffer(2, []);
        let first = spawn(&buffer, |buffer| [11, 12].map(|item| buffer.put(item)));
        let second = spawn(&buffer, |buffer| buffer.put(21));
        let mut got = [(); 3].map(|()| {
            assert!(buffer.len() <= 2, "more inside than there is room for");
            buffer.get().unwrap()
        });
        got.sort_by_key(|item| item / 10); // stable: keeps the order within each producer
        assert_eq!(got, [11, 12, 21]);
        assert_eq!(first.join().unwrap(), [Ok(()), Ok(())]);
        assert_eq!(second.join().unwrap(), Ok(()));
    });
}

/// Catches an item that is leaked or dropped twice, wherever the close found it.
#[test]
fn each_item_is_dropped_once() {
    struct Counted(std::sync::Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    model(3, || {
        let drops = std::sync::Arc::new(AtomicUsize::new(0));
        let items = [(); 3].map(|()| Counted(std::sync::Arc::clone(&drops)));
        let buffer = Arc::new(BoundedBuffer::new(2));
        let producer = spawn(&buffer, |buffer| {
            for item in items {
                let _ = buffer.put(item);
            }
        });
        drop(buffer.try_get());
        buffer.close();
        producer.join().unwrap();
        drop(buffer);
        assert_eq!(drops.load(Ordering::Relaxed), 3);
    });
}

/// Catches a timed `get` that was woken for an item and gives up because it is late: that wake-up
/// is spent, and the other consumer sleeps beside the item for ever.
#[test]
fn a_get_that_is_woken_late_takes_the_item_all_the_same() {
    model(3, || {
        let buffer = buffer(1, []);
        let hurried = spawn(&buffer, |buffer| {
            if let Ok(item) = buffer.get_timeout(A_WHILE) {
                buffer.put(item).unwrap(); // the other one needs it, too
            }
        });
        let patient = spawn(&buffer, |buffer| buffer.get());
        buffer.put(1).unwrap();
        time_passes();
        assert_eq!(patient.join().unwrap(), Ok(1));
        buffer.close();
        hurried.join().unwrap();
    });
}

/// The same at `put`: room for one, and the producer that was told of it gives up.
#[test]
fn a_put_that_is_woken_late_uses_the_room_all_the_same() {
    model(3, || {
        let buffer = buffer(1, [0]);
        let hurried = spawn(&buffer, |buffer| {
            if buffer.put_timeout(1, A_WHILE).is_ok() {
                buffer.get().unwrap(); // the other one needs the room, too
            }
        });
        let patient = spawn(&buffer, |buffer| buffer.put(2));
        assert_eq!(buffer.get(), Ok(0));
        time_passes();
        assert_eq!(patient.join().unwrap(), Ok(()));
        buffer.close();
        hurried.join().unwrap();
    });
}

/// Catches a time-out that loses an item or delivers it twice when it meets a put.
#[test]
fn a_time_out_that_meets_a_put_leaves_the_item_inside_or_takes_it() {
    model(3, || {
        let buffer = buffer(1, []);
        let consumer = spawn(&buffer, |buffer| buffer.get_timeout(A_WHILE));
        time_passes();
        buffer.put(1).unwrap();
        match consumer.join().unwrap() {
            Ok(item) => assert_eq!((item, buffer.try_get()), (1, Err(GetError::Empty))),
            Err(error) => assert_eq!((error, buffer.try_get()), (GetError::Empty, Ok(1))),
        }
    });
}

/// The same when it meets a get: the item is inside or given back.
#[test]
fn a_time_out_that_meets_a_get_gives_the_item_back_or_puts_it() {
    model(3, || {
        let buffer = buffer(1, [0]);
        let producer = spawn(&buffer, |buffer| buffer.put_timeout(1, A_WHILE));
        time_passes();
        assert_eq!(buffer.get(), Ok(0));
        match producer.join().unwrap() {
            Ok(()) => assert_eq!(buffer.try_get(), Ok(1)),
            Err(error) => {
                assert_eq!(
                    (error, buffer.try_get()),
                    (PutError::Full(1), Err(GetError::Empty))
                );
            }
        }
    });
}

fn buffer<const N: usize>(capacity: usize, items: [u32; N]) -> Arc<BoundedBuffer<u32>> {
    let buffer = BoundedBuffer::new(capacity);
    for item in items {
        buffer.try_put(item).unwrap();
    }
    Arc::new(buffer)
}
