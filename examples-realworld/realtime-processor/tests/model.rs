//! The hand-over and its stop in every order that the threads can take, by loom.
//!
//! It is the very file of the program, with loom's locks in place of std's. Each scenario ends in
//! all orders, or loom reports a deadlock, and each item comes out exactly once.

mod sync {
    pub use loom::sync::atomic::{AtomicU8, Ordering};
    pub use loom::sync::{Condvar, Mutex, MutexGuard};
    pub use loom::thread::yield_now;

    /// Looking again before going to sleep is another way to the same decision.
    pub const PATIENCE: u32 = 0;
}

#[path = "../src/handover.rs"]
#[allow(dead_code, reason = "the models need a part of it")]
mod handover;

use handover::{Handover, Stop};
use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use std::collections::VecDeque;

fn check(scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(scenario);
}

/// What one taker got: finished items, and those that it passed on because of an abort.
type Taken = (Vec<u32>, Vec<u32>);

fn taker(items: &Arc<Handover<u32>>, most: usize) -> JoinHandle<Taken> {
    let items = items.clone();
    thread::spawn(move || {
        let (mut finished, mut passed_on) = (Vec::new(), Vec::new());
        let mut batch = VecDeque::new();
        while items.take(&mut batch, most) {
            for item in batch.drain(..) {
                match items.aborted() {
                    true => passed_on.push(item),
                    false => finished.push(item),
                }
            }
        }
        (finished, passed_on)
    })
}

fn all(parts: impl IntoIterator<Item = Taken>) -> Vec<u32> {
    let mut all: Vec<u32> = parts
        .into_iter()
        .flat_map(|(a, b)| a.into_iter().chain(b))
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn two_takers_get_each_item_once_and_both_end() {
    check(|| {
        let items = Arc::new(Handover::new(1, 2));
        let takers = [taker(&items, 1), taker(&items, 1)];
        items.put(&mut [1, 2].into());
        items.close();
        let parts = takers.map(|taker| taker.join().unwrap());
        assert_eq!(all(parts), [1, 2]);
        assert_eq!(items.counts(), (2, 0));
    });
}

#[test]
fn one_taker_is_called_for_each_batch_and_the_last_one_is_not_lost() {
    check(|| {
        let items = Arc::new(Handover::new(2, 1));
        let taker = taker(&items, 2);
        items.put(&mut [1, 2, 3].into());
        items.put(&mut [4].into());
        items.close();
        // One source and one taker: in order, too.
        assert_eq!(taker.join().unwrap().0, [1, 2, 3, 4]);
    });
}

/// One item each, as long as the other one works: items put in together are shared out.
#[test]
fn two_takers_asleep_are_both_called_for_two_items_put_in_together() {
    check(|| {
        let items = Arc::new(Handover::new(2, 2));
        let takers = [(); 2].map(|()| {
            let items = items.clone();
            thread::spawn(move || {
                let mut taken = VecDeque::new();
                assert!(items.take(&mut taken, 1));
                taken[0]
            })
        });
        items.put(&mut [1, 2].into());
        let taken = takers.map(|taker| taker.join().unwrap());
        assert!(matches!(taken, [1, 2] | [2, 1]));
    });
}

#[test]
fn two_putters_wait_for_room_and_are_both_called() {
    check(|| {
        let items = Arc::new(Handover::new(1, 1));
        items.put(&mut [10].into());
        let putter = |number| {
            let items = items.clone();
            thread::spawn(move || items.put(&mut [number].into()))
        };
        let putters = [putter(20), putter(30)];
        let mut taken = VecDeque::new();
        while taken.len() < 3 {
            assert!(items.take(&mut taken, 1));
        }
        for putter in putters {
            putter.join().unwrap();
        }
        items.close();
        assert!(!items.take(&mut taken, 1));
        assert!(matches!(Vec::from(taken)[..], [10, 20, 30] | [10, 30, 20]));
    });
}

/// As `source::read_lines`: goes out with half an item, comes back, makes it whole.
fn reading_source(items: &Handover<u32>) {
    const HALF: u32 = 1;
    if !items.leave(None) || items.back().is_err() {
        return;
    }
    items.put(&mut [10].into());
    if !items.leave(Some(HALF)) {
        return;
    }
    match items.back() {
        Err(_) => {}
        Ok(held) => {
            assert_eq!(held, Some(HALF));
            items.put(&mut [11].into());
            items.close();
        }
    }
}

fn stopped_while_reading(stop: Stop) {
    check(move || {
        let items = Arc::new(Handover::new(1, 1));
        let taker = taker(&items, 1);
        let source = {
            let items = items.clone();
            thread::spawn(move || reading_source(&items))
        };
        items.stop(stop);
        source.join().unwrap();
        let part = taker.join().unwrap();
        if stop == Stop::Drain {
            assert_eq!(part.1, [], "a drain passes nothing on");
        }
        let (accepted, left) = items.counts();
        let all = all([part]);
        assert_eq!((all.len() as u64, left), (accepted, 0));
        // Nothing; one item and the half one; one item and the whole one.
        assert!(matches!(all[..], [] | [1, 10] | [10, 11]), "{all:?}");
    });
}

#[test]
fn a_drain_finds_the_source_anywhere_and_loses_nothing() {
    stopped_while_reading(Stop::Drain);
}

#[test]
fn an_abort_finds_the_source_anywhere_and_loses_nothing() {
    stopped_while_reading(Stop::Abort);
}

/// The one that a Python program would never come back from.
#[test]
fn a_stop_ends_the_stream_while_its_source_is_blocked_for_ever() {
    check(|| {
        let items = Arc::new(Handover::new(1, 2));
        let takers = [taker(&items, 1), taker(&items, 1)];
        assert!(items.leave(Some(7)));
        items.stop(Stop::Drain);
        assert_eq!(all(takers.map(|taker| taker.join().unwrap())), [7]);
        assert!(items.back().is_err());
    });
}

#[test]
fn an_abort_while_the_buffer_is_full_lets_the_source_through() {
    check(|| {
        let items = Arc::new(Handover::new(1, 1));
        let taker = taker(&items, 1);
        let source = {
            let items = items.clone();
            thread::spawn(move || {
                items.put(&mut [1, 2, 3].into());
                if items.leave(Some(4)) {
                    // It stays out for ever.
                }
            })
        };
        items.stop(Stop::Abort);
        source.join().unwrap();
        // 4 is accepted by whichever of the two was second.
        assert_eq!(all([taker.join().unwrap()]), [1, 2, 3, 4]);
    });
}

#[test]
fn a_stop_may_become_stricter_but_not_milder() {
    check(|| {
        let items = Arc::new(Handover::<u32>::new(1, 1));
        let other = {
            let items = items.clone();
            thread::spawn(move || items.stop(Stop::Abort))
        };
        items.stop(Stop::Drain);
        other.join().unwrap();
        assert!(items.aborted() && items.stopping());
    });
}
