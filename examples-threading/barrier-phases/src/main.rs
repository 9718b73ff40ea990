//! A barrier: workers go through phases, and nobody begins the next before all have ended the last.
//!
//! In Python, with `barrier = threading.Barrier(3)`:
//!
//! ```python
//! for phase in phases:                # in each of three threads
//!     phase.do_my_part()
//!     if barrier.wait() == 0:         # each gets another number, so one of them is 0
//!         print("all have done it")
//! ```
//!
//! std has `Barrier`, but if one worker fails there, the others wait for ever. Python has `abort`
//! for that, which has to be called on every way out. `src/barrier.rs` has it, too, with time-out
//! and reset, and a guard that calls it: no way out can be forgotten.
//!
//! Run it with `cargo run -p barrier-phases`. Look at what the others are told when one panics, or
//! is not patient enough. To take: `src/barrier.rs`, with `src/sync.rs`, `tests/barrier.rs` and
//! `tests/model.rs`. Before this: `semaphore`; after it: `bounded-buffer`.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io;
use std::panic;
use std::sync::Barrier as PlainBarrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use barrier::{AbortOnDrop, Barrier, Broken, Role};

#[macro_use]
mod say;
mod barrier;
mod sync;

const WORKERS: usize = 3;
const ROUNDS: usize = 4;
const PATIENCE: Duration = Duration::from_millis(20);

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. {WORKERS} workers, {ROUNDS} rounds, each of which needs the result of the one before");
    let totals = rounds()?;
    say!("   Now one thread alone does the same.");
    expect(totals == alone(), "one thread alone finds the same")?;

    say!("\n2. A worker panics in the second round");
    one_panics()?;
    say!("\n3. A worker runs out of patience");
    one_gives_up()?;
    say!("\nok: all {ROUNDS} rounds complete, one leader in each; nobody was left waiting");
    Ok(())
}

/// With the barrier of std. Returns what the workers found in each round, added up.
fn rounds() -> Result<[u64; ROUNDS], Box<dyn Error>> {
    let begin = Instant::now();
    let barrier = PlainBarrier::new(WORKERS);
    // Relaxed will do: what was written before the barrier is seen by all who come out of it.
    let totals = [const { AtomicU64::new(0) }; ROUNDS];
    let work = |number: usize| {
        let mut rounds_led = 0;
        let mut last_total = 0;
        for (round, total) in totals.iter().enumerate() {
            total.fetch_add(part(number, last_total), Ordering::Relaxed);
            let is_leader = barrier.wait().is_leader();
            last_total = total.load(Ordering::Relaxed);
            if is_leader {
                rounds_led += 1;
                let (now, round) = (begin.elapsed().as_millis(), round + 1);
                let leader = thread::current();
                let leader = leader.name().unwrap_or("?");
                say!("{now:>5} ms  round {round} complete: {last_total} primes; {leader} tells it");
            }
        }
        rounds_led
    };
    let leaders = thread::scope(|scope| join_all(start_workers(scope, work)?))?;
    let leaders: usize = leaders.into_iter().sum();
    expect(leaders == ROUNDS, "exactly one leader in each round")?;
    Ok(totals.map(AtomicU64::into_inner))
}

/// Counts primes in a range that depends on the worker, and on what all of them found before.
fn part(number: usize, last_total: u64) -> u64 {
    let from = last_total * 10;
    let range = from..from + 80_000 * number as u64;
    range.filter(|&number| is_prime(number)).count() as u64
}

/// The same without threads.
fn alone() -> [u64; ROUNDS] {
    let mut last_total = 0;
    [(); ROUNDS].map(|()| {
        last_total = (1..=WORKERS).map(|number| part(number, last_total)).sum();
        last_total
    })
}

/// With the barrier of std, the others would wait for ever.
fn one_panics() -> Result<(), Box<dyn Error>> {
    let barrier = Barrier::new(WORKERS);
    let work = |number: usize| -> Result<(), Broken> {
        let _abort = AbortOnDrop(&barrier);
        barrier.wait()?;
        if number == 2 {
            // As `panic!`, but without its message on stderr.
            panic::resume_unwind(Box::new("clumsy"));
        }
        barrier.wait()?;
        Ok(())
    };
    thread::scope(|scope| {
        // If a thread cannot be started, those that run already are not left waiting.
        let _abort = AbortOnDrop(&barrier);
        for (number, worker) in (1..).zip(start_workers(scope, work)?) {
            let end = worker.join();
            let (said, expected) = match (number, end) {
                (2, Err(_)) => ("panics".to_string(), true),
                (_, Ok(Err(error))) => (error.to_string(), error == Broken::Aborted),
                (_, end) => (format!("{end:?}"), false),
            };
            say!("   worker-{number}: {said}");
            expect(expected, "a panic breaks the barrier for the others")?;
        }
        Ok(())
    })
}

/// Two of three arrive, one of them with a time-out. Then all three, after a reset.
fn one_gives_up() -> Result<(), Box<dyn Error>> {
    let barrier = Barrier::new(WORKERS);
    let work = |number: usize| match number {
        1 => barrier.wait(),
        2 => barrier.wait_timeout(PATIENCE),
        _ => Err(Broken::TimedOut), // never comes
    };
    let ends = thread::scope(|scope| join_all(start_workers(scope, work)?))?;
    let late = barrier.wait();
    say!("   worker-1, who waits without a limit:  {:?}", ends[0]);
    say!(
        "   worker-2, with a limit of {PATIENCE:?}:       {:?}",
        ends[1]
    );
    say!("   one that comes too late:              {late:?}");
    let timed_out = Err(Broken::TimedOut);
    let all = ends == [timed_out; WORKERS] && late == timed_out;
    expect(all, "one that runs out of time breaks the barrier for all")?;

    barrier.reset();
    let ends = thread::scope(|scope| join_all(start_workers(scope, |_| barrier.wait())?))?;
    let count = |role| ends.iter().filter(|end| **end == Ok(role)).count();
    let (leaders, followers) = (count(Role::Leader), count(Role::Follower));
    say!("   after a reset: {leaders} leader, {followers} followers");
    let whole = leaders == 1 && followers == WORKERS - 1 && !barrier.is_broken();
    expect(whole, "after a reset it works again")?;
    Ok(())
}

/// Starts `work(1)`, `work(2)` and so on as `worker-1`, `worker-2`.
fn start_workers<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl Fn(usize) -> T + Copy + Send + 'scope,
) -> io::Result<Vec<ScopedJoinHandle<'scope, T>>> {
    let start = |number| {
        let worker = thread::Builder::new().name(format!("worker-{number}"));
        worker.spawn_scoped(scope, move || work(number))
    };
    (1..=WORKERS).map(start).collect()
}

fn join_all<T>(workers: Vec<ScopedJoinHandle<T>>) -> Result<Vec<T>, Box<dyn Error>> {
    let ends: thread::Result<Vec<T>> = workers.into_iter().map(|worker| worker.join()).collect();
    ends.map_err(|_| "a worker panicked".into())
}

/// By trial division, which is slow, and here that is the point.
fn is_prime(number: u64) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    number > 1
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_round_begins_before_the_last_one_is_complete() {
        // Each round depends on the complete total of the one before.
        assert_eq!(rounds().unwrap(), alone());
    }

    #[test]
    fn there_are_25_primes_below_a_hundred() {
        assert_eq!((0..100).filter(|&number| is_prime(number)).count(), 25);
    }
}
