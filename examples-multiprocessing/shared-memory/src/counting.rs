//! Part 1: all workers count on the same word, and each squares its part of the numbers. None of
//! that needs a lock.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Instant;

use crate::{Outcome, WORKERS, check, start, wait_for_all};

const COUNTER: usize = 0;
const DONE: usize = 1;
const NUMBERS: usize = 12;
/// Floating point numbers, by their bits.
const SQUARES: Range<usize> = 2..2 + NUMBERS;
pub const WORDS: usize = SQUARES.end;

/// Each worker counts so far.
pub fn run(name: &str, words: &[AtomicU64], count: u64) -> Outcome<()> {
    let numbers = (0..NUMBERS).map(|n| n as f64 + 0.5);
    for (word, number) in words[SQUARES].iter().zip(numbers.clone()) {
        word.store(number.to_bits(), Relaxed);
    }
    let begin = Instant::now();
    let start_one = |worker| start(&format!("count {name} {worker} {count}"));
    let workers: io::Result<_> = (0..WORKERS).map(start_one).collect();
    wait_for_all(workers?)?;
    let (done, counter) = (words[DONE].load(Acquire), words[COUNTER].load(Relaxed));
    let squares = words[SQUARES].iter();
    let squares: Vec<f64> = squares.map(|w| f64::from_bits(w.load(Relaxed))).collect();
    let time = begin.elapsed();
    say!("   {done} workers counted to {counter} in {time:.0?}");
    say!("   and squared 0.5, 1.5, …: {squares:?}");
    check(done == WORKERS as u64, "a worker is missing")?;
    check(counter == count * done, "counts were lost")?;
    let expected = numbers.map(|number| number.powi(2));
    check(squares.into_iter().eq(expected), "a wrong square")
}

/// The worker's part.
pub fn work(words: &[AtomicU64], worker: usize, count: u64) {
    // No two workers have a number in common: no lock, and no order among them.
    for word in words[SQUARES].iter().skip(worker).step_by(WORKERS) {
        let number = f64::from_bits(word.load(Relaxed));
        word.store(number.powi(2).to_bits(), Relaxed);
    }
    for _ in 0..count {
        words[COUNTER].fetch_add(1, Relaxed);
    }
    // Publishes all this to whoever sees it.
    words[DONE].fetch_add(1, Release);
}
