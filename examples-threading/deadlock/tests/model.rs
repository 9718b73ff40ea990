//! Both ways to lock two locks under every schedule of two or three threads, over the very file
//! `src/both.rs`. Loom reports a deadlock in any of them; the first model shows that it does.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use loom::model::Builder;
use loom::sync::Mutex;
use loom::thread;

#[path = "../src/both.rs"]
mod both;

mod sync {
    pub use loom::sync::{Mutex, MutexGuard};
}

/// How often a thread may lose its turn where it need not. Two such moments make any deadlock here.
const PREEMPTIONS: usize = 3;

fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(threads);
}

/// Each pair in a thread of its own, the last one in this: add 1 to both numbers.
fn all_add<const N: usize>(
    pairs: [(usize, usize); N],
    add: fn(&Mutex<u32>, &Mutex<u32>),
) -> Vec<u32> {
    // In one array, so that their addresses have the same order in every run.
    let numbers = Arc::new([0; 3].map(Mutex::new));
    let (here, elsewhere) = pairs.split_last().unwrap();
    let spawn = |&(a, b): &(usize, usize)| {
        let numbers = Arc::clone(&numbers);
        thread::spawn(move || add(&numbers[a], &numbers[b]))
    };
    let threads: Vec<_> = elsewhere.iter().map(spawn).collect();
    add(&numbers[here.0], &numbers[here.1]);
    for thread in threads {
        thread.join().unwrap();
    }
    numbers
        .iter()
        .map(|number| *number.lock().unwrap())
        .collect()
}

/// This version is problematic.
fn add_as_named(a: &Mutex<u32>, b: &Mutex<u32>) {
    // Loom ends the threads of a deadlock by a panic, in which its locks cannot be unlocked.
    let a = ManuallyDrop::new(a.lock().unwrap());
    let mut b = b.lock().unwrap();
    let mut a = ManuallyDrop::into_inner(a);
    *a += 1;
    *b += 1;
}

fn add_in_order(a: &Mutex<u32>, b: &Mutex<u32>) {
    let [mut a, mut b] = both::in_order(a, b).unwrap();
    *a += 1;
    *b += 1;
}

fn add_with_back_off(a: &Mutex<u32>, b: &Mutex<u32>) {
    let [mut a, mut b] = both::with_back_off(a, b, || ()).unwrap();
    *a += 1;
    *b += 1;
}

#[test]
#[should_panic(expected = "deadlock")]
fn in_opposite_order_there_is_a_schedule_that_deadlocks() {
    model(|| {
        all_add([(0, 1), (1, 0)], add_as_named);
    });
}

#[test]
fn locks_taken_in_order_never_deadlock() {
    model(|| assert_eq!(all_add([(0, 1), (1, 0)], add_in_order), [2, 2, 0]));
}

/// Three threads in a ring, each of which wants its own lock and its neighbour's.
#[test]
fn nor_do_they_in_a_ring_of_three() {
    model(|| assert_eq!(all_add([(0, 1), (1, 2), (2, 0)], add_in_order), [2, 2, 2]));
}

/// A wait with the first lock still held deadlocks; that mistake was put in once to see this fail.
#[test]
fn who_backs_off_never_deadlocks_and_gets_both_in_the_end() {
    model(|| assert_eq!(all_add([(0, 1), (1, 0)], add_with_back_off), [2, 2, 0]));
}
