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
//! reading and writing, so each round loses one count of two, in every run. Without the meeting it is
//! a matter of luck how many are lost, and the program says how many it were this time.
//!
//! To take: the cures in part 3, one line each; what the compiler refuses stands in `tests/refused`.
//! Before this: `safe-counter`; after it: `deadlock`, and `testing-concurrency`, which finds races.

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

    say!("\n4. The same mistake with a lock: one look, one purchase, each locked for itself");
    check_then_act()?;

    say!("\nok: the forced races lost what they had to, the cures lost nothing");
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
    let expected = THREADS as u64 * ROUNDS;
    let counted = forced_race(ROUNDS, increment_in_two_steps)?;
    let lost = expected - counted;
    say!(
        "   forced:    {expected:7} increments, {lost} lost, as expected: one of two in each round"
    );
    check(
        lost == ROUNDS,
        "the forced race did not lose one count in each round",
    )?;

    let expected = THREADS as u64 * COUNTS;
    let counted = count("chance", AtomicU64::new(0), |counter| {
        increment_in_two_steps(counter, &|| ())
    })?;
    match expected - counted.into_inner() {
        0 => say!("   by chance: {expected} increments, none lost this time, which proves nothing"),
        lost => say!("   by chance: {expected} increments, {lost} lost this time"),
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
fn forced_race(rounds: u64, increment: impl Fn(&AtomicU64, &dyn Fn()) + Sync) -> io::Result<u64> {
    let counter = AtomicU64::new(0);
    let meeting = Barrier::new(THREADS);
    let meet = || {
        meeting.wait();
    };
    on_two_threads("forced", || {
        for _ in 0..rounds {
            increment(&counter, &meet);
            // Both have written before one reads for the next round.
            meet();
        }
    })?;
    Ok(counter.into_inner())
}

fn cures() -> Result<(), Box<dyn Error>> {
    let one_step = count("fetch-add", AtomicU64::new(0), |counter| {
        counter.fetch_add(1, Ordering::Relaxed);
    })?;
    is_exact("fetch_add: one step", one_step.into_inner())?;

    // For what has no instruction of its own; here to stop instead of starting again at 0.
    let by_function = count("fetch-update", AtomicU64::new(0), |counter| {
        let next = |seen: u64| seen.checked_add(1);
        let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    })?;
    is_exact("fetch_update: any function", by_function.into_inner())?;

    let locked = count("mutex", Mutex::new(0), |counter| {
        *counter.lock().unwrap() += 1
    })?;
    is_exact("Mutex: any number of steps", locked.into_inner()?)?;

    let retries = AtomicU64::new(0);
    let counted = forced_race(ROUNDS, |counter, between| {
        retries.fetch_add(increment_or_retry(counter, between), Ordering::Relaxed);
    })?;
    let retries = retries.into_inner();
    say!("   compare_exchange, in the forced race:  {counted}, none lost, {retries} second tries");
    let expected = THREADS as u64 * ROUNDS;
    check(counted == expected, "compare_exchange lost a count")?;
    check(
        retries == ROUNDS,
        "nothing came between, so nothing was shown",
    )?;
    Ok(())
}

fn is_exact(name: &str, total: u64) -> Result<(), String> {
    say!("   {name:37}  {total}, none lost");
    let expected = THREADS as u64 * COUNTS;
    check(
        total == expected,
        &format!("{name}: {total}, not {expected}"),
    )
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

fn check_then_act() -> Result<(), Box<dyn Error>> {
    let meeting = Barrier::new(THREADS);
    let meet = || {
        meeting.wait();
    };
    let tickets = Mutex::new(1);
    let bought = on_two_threads("hasty", || buy_in_two_steps(&tickets, &meet))?;
    let (left, sold) = (
        tickets.into_inner()?,
        bought.iter().filter(|it| **it).count(),
    );
    say!("   a lock for each step:   {sold} sold of 1 ticket, {left} left, as expected");
    check(
        (sold, left) == (2, -1),
        "the forced race sold the right number of tickets",
    )?;

    let tickets = Mutex::new(1);
    let bought = on_two_threads("proper", || buy(&tickets))?;
    let (left, sold) = (
        tickets.into_inner()?,
        bought.iter().filter(|it| **it).count(),
    );
    say!("   one lock for both:      {sold} sold of 1 ticket, {left} left");
    check((sold, left) == (1, 0), "one ticket was not sold once")?;
    Ok(())
}

/// This version is problematic: between the two locks the ticket can be sold to another.
fn buy_in_two_steps(tickets: &Mutex<i32>, between: &dyn Fn()) -> bool {
    if *tickets.lock().unwrap() < 1 {
        return false;
    }
    between();
    *tickets.lock().unwrap() -= 1;
    true
}

fn buy(tickets: &Mutex<i32>) -> bool {
    let mut left = tickets.lock().unwrap();
    let available = *left > 0;
    if available {
        *left -= 1;
    }
    available
}

/// Two threads, which begin together, increment so many times.
fn count<C: Sync>(name: &str, counter: C, increment: impl Fn(&C) + Sync) -> io::Result<C> {
    let start = Barrier::new(THREADS);
    on_two_threads(name, || {
        start.wait();
        for _ in 0..COUNTS {
            increment(&counter);
        }
    })?;
    Ok(counter)
}

fn on_two_threads<T: Send>(name: &str, work: impl Fn() -> T + Sync) -> io::Result<Vec<T>> {
    thread::scope(|scope| {
        let start = |n| {
            let builder = thread::Builder::new().name(format!("{name}-{n}"));
            builder.spawn_scoped(scope, &work)
        };
        let threads: io::Result<Vec<_>> = (1..=THREADS).map(start).collect();
        let join = |thread: thread::ScopedJoinHandle<T>| thread.join().expect("no thread panics");
        Ok(threads?.into_iter().map(join).collect())
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
            assert_eq!(forced_race(50, increment_in_two_steps).unwrap(), 50);
        }
    }

    #[test]
    fn compare_exchange_loses_nothing_in_the_same_race() {
        let increment = |counter: &AtomicU64, between: &dyn Fn()| {
            increment_or_retry(counter, between);
        };
        for _ in 0..20 {
            assert_eq!(forced_race(50, increment).unwrap(), 100);
        }
    }

    #[test]
    fn the_race_by_chance_never_counts_too_much() {
        let counted = count("chance", AtomicU64::new(0), |it| {
            increment_in_two_steps(it, &|| ())
        });
        let counted = counted.unwrap().into_inner();
        assert!((1..=2 * COUNTS).contains(&counted), "{counted}");
    }

    #[test]
    fn the_cures_lose_nothing() {
        cures().unwrap();
    }

    #[test]
    fn one_ticket_is_sold_once_whatever_the_order() {
        for _ in 0..200 {
            let tickets = Mutex::new(1);
            let mut bought = on_two_threads("buyer", || buy(&tickets)).unwrap();
            bought.sort();
            assert_eq!(
                (bought, tickets.into_inner().unwrap()),
                (vec![false, true], 0)
            );
        }
    }

    #[test]
    fn a_lock_for_each_step_sells_one_ticket_twice() {
        check_then_act().unwrap();
        // One after another it goes well, so that a test with one thread finds nothing.
        let tickets = Mutex::new(1);
        let bought = [(); 2].map(|()| buy_in_two_steps(&tickets, &|| ()));
        assert_eq!((bought, tickets.into_inner().unwrap()), ([true, false], 0));
    }
}
