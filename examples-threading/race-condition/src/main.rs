//! The lost update: four ways that the compiler refuses, one that is legal, and its cures.
//!
//! What a Python developer knows as
//!
//! ```python
//! counter = 0
//! def work():
//!     global counter
//!     for _ in range(1_000_000): counter += 1       # read, add, write: another may come between
//! ```
//!
//! loses counts, or does not: current versions of CPython happen to switch threads elsewhere, and
//! the mistake waits for the next version. In Rust the plain translation does not compile. What does
//! compile is to read an atomic and to write it later: each step is safe, the two together are not.
//!
//! Run it with `cargo run --release -p race-condition`. Look at part 2: two threads meet between
//! reading and writing, so each round loses one count of two, in every run.
//!
//! To take: the cures, one line each; what the compiler refuses stands in `tests/refused`. Before
//! this: `safe-counter`; after it: `deadlock`, and `testing-concurrency`, which finds races.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

const THREADS: usize = 2;
const COUNTS: u64 = 1_000_000;
const ROUNDS: u64 = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. `counter += 1` in two threads: the compiler refuses");
    what_the_compiler_refuses();

    say!("\n2. An atomic, read and written later: it compiles, and counts get lost");
    lost_updates()?;

    say!("\n3. The cures");
    cures()?;

    say!("\nok: the forced race lost what it had to, the cures lost nothing");
    Ok(())
}

/// Each stands in a file of `tests/refused`, and a test sees to it that it is still refused.
fn what_the_compiler_refuses() {
    say!("   a global          static mut COUNTER: u64        E0133: this needs `unsafe`");
    say!("   a local           two threads with &mut counter  E0499: borrowed mutably twice");
    say!("   a shared pointer  Arc<u64>                       E0594: shared, so read only");
    say!("   a shared cell     Rc<Cell<u64>>                  E0277: not for other threads");
}

fn lost_updates() -> Result<(), Box<dyn Error>> {
    let total = THREADS as u64 * ROUNDS;
    let lost = total - forced_race(increment_in_two_steps)?;
    say!("   forced:    {total:7} increments, {lost} lost, as expected: one of two in each round");
    check(lost == ROUNDS, "the forced race did not lose one in each")?;

    let counter = AtomicU64::new(0);
    count("chance", || increment_in_two_steps(&counter, &|| ()))?;
    let total = THREADS as u64 * COUNTS;
    match total - counter.into_inner() {
        0 => say!("   by chance: {total} increments, none lost this time, which proves nothing"),
        lost => say!("   by chance: {total} increments, {lost} lost this time"),
    }
    Ok(())
}

/// This version is problematic: what others write between the two steps is overwritten.
fn increment_in_two_steps(counter: &AtomicU64, between: &dyn Fn()) {
    let seen = counter.load(Ordering::SeqCst);
    between();
    counter.store(seen + 1, Ordering::SeqCst);
}

/// Two threads increment in turns that are the worst possible: both have read before one writes.
fn forced_race(increment: impl Fn(&AtomicU64, &dyn Fn()) + Sync) -> io::Result<u64> {
    let counter = AtomicU64::new(0);
    let meeting = Barrier::new(THREADS);
    let meet = || {
        meeting.wait();
    };
    on_two_threads("forced", || {
        for _ in 0..ROUNDS {
            increment(&counter, &meet);
            // Both have written before one reads for the next round.
            meet();
        }
    })?;
    Ok(counter.into_inner())
}

fn cures() -> Result<(), Box<dyn Error>> {
    let counter = AtomicU64::new(0);
    count("fetch-add", || {
        counter.fetch_add(1, Ordering::Relaxed);
    })?;
    is_exact("fetch_add: one step", counter.into_inner())?;

    // For what has no instruction of its own; here to stop instead of starting again at 0.
    let counter = AtomicU64::new(0);
    let next = |seen: u64| seen.checked_add(1);
    count("fetch-update", || {
        let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    })?;
    is_exact("fetch_update: any function", counter.into_inner())?;

    // One lock for all the steps: a lock for each of them would lose counts as well.
    let counter = Mutex::new(0);
    count("mutex", || *counter.lock().unwrap() += 1)?;
    is_exact("Mutex: any number of steps", counter.into_inner()?)?;

    let retries = AtomicU64::new(0);
    let counted = forced_race(|counter, between| {
        retries.fetch_add(increment_or_retry(counter, between), Ordering::Relaxed);
    })?;
    let retries = retries.into_inner();
    say!("   compare_exchange, in the forced race:  {counted}, none lost, {retries} second tries");
    let exact = counted == THREADS as u64 * ROUNDS;
    check(exact, "compare_exchange lost a count")?;
    check(retries == ROUNDS, "nothing came between to be cured")?;
    Ok(())
}

fn is_exact(name: &str, total: u64) -> Result<(), String> {
    say!("   {name:37}  {total}, none lost");
    check(total == THREADS as u64 * COUNTS, "a cure lost a count")
}

/// What `fetch_update` does inside: write only if nobody has written since, or else begin again.
fn increment_or_retry(counter: &AtomicU64, between: &dyn Fn()) -> u64 {
    let mut retries = 0;
    let mut seen = counter.load(Ordering::SeqCst);
    between();
    while let Err(newer) =
        counter.compare_exchange(seen, seen + 1, Ordering::SeqCst, Ordering::SeqCst)
    {
        seen = newer;
        retries += 1;
    }
    retries
}

/// Two threads, which begin together, increment so many times.
fn count(name: &str, increment: impl Fn() + Sync) -> io::Result<()> {
    let start = Barrier::new(THREADS);
    on_two_threads(name, || {
        start.wait();
        for _ in 0..COUNTS {
            increment();
        }
    })
}

fn on_two_threads(name: &str, work: impl Fn() + Sync) -> io::Result<()> {
    // The end of the scope waits for both.
    thread::scope(|scope| {
        for n in 1..=THREADS {
            let builder = thread::Builder::new().name(format!("{name}-{n}"));
            builder.spawn_scoped(scope, &work)?;
        }
        Ok(())
    })
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python's demonstration had lost its race: 0 of 20 runs lost anything.
    #[test]
    fn the_forced_race_loses_one_count_of_two_in_each_of_20_runs() {
        for _ in 0..20 {
            assert_eq!(forced_race(increment_in_two_steps).unwrap(), ROUNDS);
        }
    }

    #[test]
    fn compare_exchange_loses_nothing_in_the_same_race() {
        let increment = |counter: &AtomicU64, between: &dyn Fn()| {
            increment_or_retry(counter, between);
        };
        for _ in 0..20 {
            assert_eq!(forced_race(increment).unwrap(), 2 * ROUNDS);
        }
    }

    #[test]
    fn the_race_by_chance_never_counts_too_much() {
        let counter = AtomicU64::new(0);
        count("chance", || increment_in_two_steps(&counter, &|| ())).unwrap();
        let counted = counter.into_inner();
        assert!((1..=2 * COUNTS).contains(&counted), "{counted}");
    }

    #[test]
    fn the_cures_lose_nothing() {
        cures().unwrap();
    }
}
