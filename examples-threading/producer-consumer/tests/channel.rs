//! What a Python developer knows of `queue.Queue`, asked of a channel: each test a promise that the
//! program relies on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{
    RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError, bounded, unbounded,
};
use crossbeam::sync::WaitGroup;

const LIMIT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);

#[test]
fn put_nowait_and_get_nowait_never_wait() {
    let (sender, receiver) = bounded(1);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(sender.try_send(1), Ok(()));
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(receiver.try_recv(), Ok(1));
}

#[test]
fn a_time_out_ends_a_put_and_a_get_and_leaves_the_channel_usable() {
    let (sender, receiver) = bounded(1);
    let start = Instant::now();
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
    sender.send(1).unwrap();
    let late = sender.send_timeout(2, SHORT);
    assert_eq!(late, Err(SendTimeoutError::Timeout(2)));
    assert!(start.elapsed() >= 2 * SHORT);
    assert_eq!(receiver.recv(), Ok(1));
    sender.send(3).unwrap();
    assert_eq!(receiver.recv(), Ok(3));
}

#[test]
fn a_time_out_of_zero_just_tries() {
    let (sender, receiver) = bounded(1);
    let zero = Duration::ZERO;
    assert_eq!(receiver.recv_timeout(zero), Err(RecvTimeoutError::Timeout));
    assert_eq!(sender.send_timeout(1, zero), Ok(()));
    assert_eq!(
        sender.send_timeout(2, zero),
        Err(SendTimeoutError::Timeout(2))
    );
    assert_eq!(receiver.recv_timeout(zero), Ok(1));
}

#[test]
fn a_negative_time_out_cannot_be_made() {
    assert!(Duration::try_from_secs_f64(-1.0).is_err());
}

#[test]
fn a_put_into_a_full_channel_waits_until_a_get_makes_room() {
    let (sender, receiver) = bounded(1);
    sender.send(1).unwrap();
    let (went_through, news) = mpsc::channel();
    let producer = thread::spawn(move || {
        sender.send(2).unwrap();
        went_through.send(()).unwrap();
    });
    assert!(news.recv_timeout(SHORT).is_err(), "there was no room");
    assert_eq!(receiver.recv(), Ok(1));
    news.recv_timeout(LIMIT).expect("there is room now");
    assert_eq!(receiver.recv(), Ok(2));
    producer.join().unwrap();
}

#[test]
fn a_get_from_an_empty_channel_waits_for_an_item() {
    let (sender, receiver) = bounded(1);
    let (came, news) = mpsc::channel();
    let consumer = thread::spawn(move || came.send(receiver.recv()).unwrap());
    assert!(news.recv_timeout(SHORT).is_err(), "there was nothing");
    sender.send(1).unwrap();
    assert_eq!(news.recv_timeout(LIMIT).unwrap(), Ok(1));
    consumer.join().unwrap();
}

#[test]
fn items_come_out_first_in_first_out_for_each_producer() {
    let (sender, receiver) = bounded(3);
    thread::scope(|scope| {
        for producer in 0..3 {
            let sender = sender.clone();
            scope.spawn(move || (0..1_000).for_each(|n| sender.send((producer, n)).unwrap()));
        }
        drop(sender);
        let mut next = [0; 3];
        for (producer, number) in &receiver {
            assert_eq!(number, next[producer], "overtaking");
            next[producer] += 1;
        }
        assert_eq!(next, [1_000; 3]);
    });
}

#[test]
fn the_room_is_never_exceeded() {
    let (sender, receiver) = bounded(2);
    thread::scope(|scope| {
        scope.spawn(move || (0..1_000).for_each(|n| sender.send(n).unwrap()));
        while receiver.recv().is_ok() {
            assert!(receiver.len() <= 2);
        }
    });
}

#[test]
fn the_end_wakes_every_waiting_consumer() {
    let (sender, receiver) = bounded::<u32>(1);
    let (ready, ended) = (Arc::new(Barrier::new(4)), mpsc::channel());
    for _ in 0..3 {
        let (receiver, ready, ended) = (receiver.clone(), Arc::clone(&ready), ended.0.clone());
        thread::spawn(move || {
            ready.wait();
            let _ = ended.send(receiver.recv());
        });
    }
    ready.wait();
    drop(sender);
    for _ in 0..3 {
        assert!(ended.1.recv_timeout(LIMIT).expect("still waiting").is_err());
    }
}

#[test]
fn a_put_without_consumers_gives_the_item_back_also_while_it_waits() {
    let (sender, receiver) = bounded(1);
    sender.send(1).unwrap();
    let (came_back, news) = mpsc::channel();
    let waiting = sender.clone();
    thread::spawn(move || came_back.send(waiting.send(2)));
    drop(receiver);
    assert_eq!(news.recv_timeout(LIMIT).unwrap(), Err(SendError(2)));
    assert_eq!(sender.send(3), Err(SendError(3)));
}

#[test]
fn a_get_after_the_last_sender_drains_the_rest_first() {
    let (sender, receiver) = bounded(3);
    (1..=3).for_each(|item| sender.send(item).unwrap());
    drop(sender);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn items_that_nobody_took_are_dropped_once() {
    let item = Arc::new(());
    let (sender, receiver) = unbounded();
    for _ in 0..3 {
        sender.send(Arc::clone(&item)).unwrap();
    }
    drop(receiver.recv());
    assert_eq!(Arc::strong_count(&item), 3);
    drop((sender, receiver));
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn a_panic_with_an_item_in_the_hands_leaves_the_channel_usable() {
    let (sender, receiver) = bounded(2);
    sender.send(1).unwrap();
    let victim = receiver.clone();
    let victim = thread::spawn(move || panic!("on purpose, with item {}", victim.recv().unwrap()));
    assert!(victim.join().is_err());
    sender.send(2).unwrap();
    assert_eq!(receiver.recv(), Ok(2));
}

/// `None` was put back for the other consumers, and the last of them left it behind.
#[test]
fn a_requeued_sentinel_was_left_over_in_the_queue() {
    let (sender, receiver) = bounded::<u32>(10);
    let ended = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                receiver.iter().for_each(drop);
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        (0..10).for_each(|item| sender.send(item).unwrap());
        drop(sender);
    });
    assert_eq!(ended.into_inner(), 3, "the end reaches every consumer");
    assert_eq!(
        receiver.try_recv(),
        Err(TryRecvError::Disconnected),
        "and nothing is left"
    );
}

#[test]
fn join_waits_for_the_last_task_and_also_for_one_that_panics() {
    let (all_done, gate) = (WaitGroup::new(), Arc::new(Barrier::new(2)));
    let (finished, news) = mpsc::channel();
    for panics in [false, true] {
        let (token, gate) = (all_done.clone(), Arc::clone(&gate));
        thread::spawn(move || {
            let _token = token;
            if panics {
                gate.wait();
                panic!("on purpose");
            }
        });
    }
    thread::spawn(move || {
        all_done.wait();
        let _ = finished.send(());
    });
    assert!(news.recv_timeout(SHORT).is_err(), "one task was not done");
    gate.wait();
    news.recv_timeout(LIMIT).expect("all tasks are over");
}

#[test]
fn join_without_tasks_returns_at_once() {
    WaitGroup::new().wait();
}

#[test]
fn length_and_emptiness_are_what_they_were_when_asked() {
    let (sender, receiver) = bounded(2);
    assert!(receiver.is_empty() && !sender.is_full());
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert_eq!((receiver.len(), sender.is_full()), (2, true));
}
