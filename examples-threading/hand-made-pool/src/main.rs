//! A thread pool in one file: submit, results, and an end that loses nothing.
//!
//! What a Python developer knows as
//!
//! ```python
//! with ThreadPoolExecutor(3) as pool:
//!     futures = [pool.submit(add, i, 2 * i) for i in range(10)]
//!     sums = [future.result() for future in futures]
//! pool.shutdown(wait=True, cancel_futures=True)
//! ```
//!
//! is `submit`, `wait`, and either `shut_down` or `cancel` here. Written by hand in Python, such a
//! pool tends to drop what is queued when it is closed, to lose a worker with each exception, and to
//! count a failed task as never done. Here the queue and its end are one state under one lock, and
//! each worker catches what a job throws: submitted = finished + cancelled, however it ends.
//!
//! Run it with `cargo run -p hand-made-pool`. Look at part 3: three jobs panic on three workers, and
//! three workers are still there; and at part 4: what did not run comes back and can still be run.
//! To take: `src/thread_pool.rs` with `src/sync.rs`; for results one by one also `src/handle.rs`.
//! Before this: `thread-pool`, the ready-made ones; after it: `future-handle`, more than waiting.

#![forbid(unsafe_code)]

mod handle;
mod thread_pool;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.
mod sync;

use std::error::Error;
use std::panic;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use handle::submit;
use thread_pool::{Job, Pool, Totals};

const WORKERS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    panic::set_hook(Box::new(|panic| {
        say!("   {} panics: {}", me(), text(panic.payload()))
    }));

    say!("1. Five jobs, and the end at once: what was submitted still runs");
    let drained = drain()?;

    say!("\n2. Ten results, in the order of their jobs");
    let added = add()?;

    say!("\n3. As many panics as workers, and as many workers after it");
    let survived = survive()?;

    say!("\n4. Cancelled: what runs is finished, what waits comes back");
    let cancelled = cancel()?;

    let mut submitted = 0;
    for totals in [drained, added, survived, cancelled] {
        if totals.submitted != totals.finished + totals.cancelled {
            return Err(format!("submitted is not finished + cancelled: {totals:?}").into());
        }
        submitted += totals.submitted;
    }
    say!("\nok: each of {submitted} jobs is finished or came back, and no worker was lost");
    Ok(())
}

/// The pool is ended while two jobs have not even begun.
fn drain() -> Result<Totals, Box<dyn Error>> {
    let pool = Pool::new(WORKERS)?;
    for id in 1..=5 {
        pool.execute(move || {
            let primes = count_primes(250_000);
            say!("   {} did job {id}: {primes} primes", me());
        })?;
    }
    let totals = pool.shut_down();
    say!(
        "   {} of {} jobs are finished",
        totals.finished,
        totals.submitted
    );
    expect(totals.finished == 5, "all five jobs are finished")?;
    Ok(totals)
}

/// Each job's result has a place of its own, so it does not matter in which order they end.
fn add() -> Result<Totals, Box<dyn Error>> {
    let pool = Pool::new(WORKERS)?;
    let mut handles = Vec::new();
    for i in 0..10 {
        handles.push(submit(&pool, move || {
            count_primes(130_000); // It takes a while to add.
            i + 2 * i
        })?);
    }
    let mut sums = Vec::new();
    for handle in handles {
        sums.push(handle.wait()?);
    }
    say!("   {sums:?}");
    expect(
        sums.iter().copied().eq((0..10).map(|i| 3 * i)),
        "each sum is in its place",
    )?;
    Ok(pool.shut_down())
}

/// A panic ends its job, not its worker.
fn survive() -> Result<Totals, Box<dyn Error>> {
    let pool = Pool::new(WORKERS)?;
    // Three jobs that wait for each other can only go on when each has a worker of its own.
    let meeting = Arc::new(Barrier::new(WORKERS));
    let failing = |id| {
        let meeting = Arc::clone(&meeting);
        submit(&pool, move || {
            meeting.wait();
            fail(id);
        })
    };
    for handle in [failing(1)?, failing(2)?, failing(3)?] {
        match handle.wait() {
            Ok(()) => return Err("a job that panics has no result".into()),
            Err(failure) => say!("   main hears: {failure}"),
        }
    }
    for _ in 0..WORKERS {
        let meeting = Arc::clone(&meeting);
        pool.execute(move || {
            meeting.wait();
            let primes = count_primes(250_000);
            say!("   {} is there and counts {primes} primes", me());
        })?;
    }
    let totals = pool.shut_down();
    let Totals {
        finished, panicked, ..
    } = totals;
    expect((finished, panicked) == (6, 3), "three jobs of six panic")?;
    Ok(totals)
}

fn fail(id: usize) {
    panic!("job {id} gives up");
}

/// The pool is cancelled while three jobs run: their doors are shut until main drops them.
fn cancel() -> Result<Totals, Box<dyn Error>> {
    let pool = Pool::new(WORKERS)?;
    let (begun, beginnings) = mpsc::channel();
    let (sender, results) = mpsc::channel();
    let mut doors = Vec::new();
    for id in 1..=8 {
        let (begun, sender) = (begun.clone(), sender.clone());
        let (door, opened) = mpsc::channel::<()>();
        doors.push(door);
        pool.execute(move || {
            let _ = begun.send(()); // Nobody may be listening any more.
            let _ = opened.recv();
            let _ = sender.send((id, count_primes(250_000)));
            say!("   {} did job {id}", me());
        })?;
    }
    drop((begun, sender));
    beginnings.iter().take(WORKERS).for_each(drop); // Each worker has begun a job.
    let left: Vec<Job> = pool.cancel();
    drop(doors);
    let refused = pool.execute(|| ()).is_err();
    expect(refused, "a pool that was cancelled takes nothing more")?;
    let totals = pool.shut_down();
    say!("   {} jobs came back; main runs them", left.len());
    expect(left.len() == 8 - WORKERS, "what has not begun comes back")?;
    left.into_iter().for_each(|job| job());
    // All senders are gone: this ends with the last result, without anybody counting.
    let mut ids: Vec<usize> = results.iter().map(|(id, _)| id).collect();
    ids.sort();
    expect(
        ids.into_iter().eq(1..=8),
        "each job ran once, here or there",
    )?;
    Ok(totals)
}

fn me() -> String {
    thread::current().name().unwrap_or("a thread").to_string()
}

fn text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload.downcast_ref::<String>().map_or("", String::as_str)
}

/// By trial division: real work.
fn count_primes(limit: u64) -> usize {
    let mut primes = 0;
    for number in 2..limit {
        let mut divisor = 2;
        while divisor * divisor <= number && !number.is_multiple_of(divisor) {
            divisor += 1;
        }
        primes += usize::from(divisor * divisor > number);
    }
    std::hint::black_box(primes)
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
    fn there_are_25_primes_below_100() {
        assert_eq!(count_primes(100), 25);
    }
}
