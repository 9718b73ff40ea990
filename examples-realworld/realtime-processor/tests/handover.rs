//! The hand-over with std's locks: what a model is too small for.

#[path = "../src/handover.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod handover;
#[path = "../src/sync.rs"]
mod sync;

use handover::{Handover, Stop};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn many_putters_and_takers_hand_over_each_item_once_in_the_order_of_its_putter() {
    for (capacity, batch) in [(1, 1), (2, 3), (64, 1), (64, 64), (1000, 7)] {
        let items = Handover::new(capacity, 4);
        let count = 4_000u32;
        let parts: Vec<Vec<u32>> = thread::scope(|scope| {
            let putters: Vec<_> = (0..3)
                .map(|putter| {
                    let items = &items;
                    scope.spawn(move || {
                        for first in (0..count).step_by(batch) {
                            let last = count.min(first + batch as u32);
                            items.put(&mut (first..last).map(|n| putter * count + n).collect());
                        }
                    })
                })
                .collect();
            let takers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut taken, mut all) = (VecDeque::new(), Vec::new());
                        while items.take(&mut taken, batch) {
                            assert!(taken.len() <= batch.min(capacity));
                            all.extend(taken.drain(..));
                        }
                        all
                    })
                })
                .collect();
            putters
                .into_iter()
                .for_each(|putter| putter.join().unwrap());
            items.close();
            takers
                .into_iter()
                .map(|taker| taker.join().unwrap())
                .collect()
        });
        for part in &parts {
            for putter in 0..3 {
                assert!(
                    part.iter()
                        .filter(|&&item| item / count == putter)
                        .is_sorted()
                );
            }
        }
        let mut all = parts.concat();
        all.sort_unstable();
        assert!(
            all.into_iter().eq(0..3 * count),
            "capacity {capacity}, batch {batch}"
        );
    }
}

#[test]
fn never_more_inside_than_the_capacity() {
    let items = Arc::new(Handover::new(10, 1));
    let source = items.clone();
    let putter = thread::spawn(move || source.put(&mut (0..1000).collect()));
    let mut taken = VecDeque::new();
    while taken.len() < 1000 {
        assert!(items.counts().1 <= 10);
        assert!(items.take(&mut taken, 3));
    }
    putter.join().unwrap();
}

/// Otherwise one taker would hold slow items while others have none.
#[test]
fn a_taker_gets_a_fair_share_of_what_is_there() {
    let items = Handover::new(100, 3);
    items.put(&mut (0..10).collect());
    let shares = [(); 5].map(|()| {
        let mut taken = VecDeque::new();
        assert!(items.take(&mut taken, 64));
        taken.len()
    });
    assert_eq!(shares, [4, 2, 2, 1, 1]);
}

#[test]
fn close_lets_the_rest_be_taken_first() {
    let items = Handover::new(10, 1);
    items.put(&mut [1, 2, 3].into());
    items.close();
    let mut taken = VecDeque::new();
    assert!(items.take(&mut taken, 2) && items.take(&mut taken, 2) && !items.take(&mut taken, 2));
    assert_eq!(taken, [1, 2, 3]);
}

/// Python's `put(None)` for each worker: after a restart two of three died of the old ones.
#[test]
fn the_end_is_seen_by_every_taker_and_used_up_by_none() {
    let items = Arc::new(Handover::<u32>::new(10, 3));
    let (ended, endings) = mpsc::channel();
    for _ in 0..3 {
        let (items, ended) = (items.clone(), ended.clone());
        thread::spawn(move || ended.send(items.take(&mut VecDeque::new(), 1)).unwrap());
    }
    items.close();
    for _ in 0..3 {
        assert_eq!(endings.recv_timeout(LIMIT), Ok(false));
    }
    assert!(
        !items.take(&mut VecDeque::new(), 1),
        "and by whoever comes later"
    );
}

#[test]
fn what_is_left_inside_is_dropped_once() {
    let token = Arc::new(());
    let items = Handover::new(10, 1);
    items.put(&mut vec![token.clone(); 5].into());
    assert_eq!(Arc::strong_count(&token), 6);
    drop(items);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn a_pause_ends_at_its_time_or_at_a_stop() {
    let items = Arc::new(Handover::<u32>::new(10, 1));
    assert!(!items.pause_until(Instant::now() + Duration::from_millis(5)));
    assert!(!items.pause_until(Instant::now() - Duration::from_millis(5)));
    let (ended, ending) = mpsc::channel();
    let source = items.clone();
    thread::spawn(move || {
        ended
            .send(source.pause_until(Instant::now() + 100 * LIMIT))
            .unwrap()
    });
    items.stop(Stop::Drain);
    assert_eq!(ending.recv_timeout(LIMIT), Ok(true));
    assert!(
        items.pause_until(Instant::now() + 100 * LIMIT),
        "also one that begins later"
    );
}

#[test]
fn a_stop_ends_nothing_that_the_source_has_taken_already() {
    let items = Handover::new(10, 1);
    items.stop(Stop::Abort);
    items.put(&mut [1].into());
    assert!(!items.leave(Some(2)));
    let mut taken = VecDeque::new();
    while items.take(&mut taken, 10) {}
    assert_eq!((taken.into(), items.counts()), (vec![1, 2], (2, 0)));
}

#[test]
#[should_panic(expected = "put after the end")]
fn put_after_the_end_is_a_bug_and_not_a_lost_item() {
    let items = Handover::new(10, 1);
    items.close();
    items.put(&mut [1].into());
}
