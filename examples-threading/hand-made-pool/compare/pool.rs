//! The jobs of `pool.py`: a pool of 4 squares numbers, each of which is a job of its own.
//!
//! `hand-made-pool-compare handles|channel|trip|rayon COUNT`

#![forbid(unsafe_code)]

#[path = "../src/handle.rs"]
mod handle;
#[path = "../src/sync.rs"]
mod sync;
#[path = "../src/thread_pool.rs"]
mod thread_pool;

use std::env;
use std::error::Error;
use std::sync::mpsc;
use std::time::Instant;

use handle::{Handle, submit};
use rayon::prelude::*;
use thread_pool::Pool;

const WORKERS: usize = 4;
const USAGE: &str = "usage: hand-made-pool-compare handles|channel|trip|rayon COUNT";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let count = arguments.get(2).and_then(|count| count.parse::<f64>().ok());
    let count = count.ok_or(USAGE)? as u64;
    let pool = Pool::new(WORKERS)?;
    submit(&pool, || ())?.wait()?; // The threads are there.
    let (answer, seconds) = match arguments[1].as_str() {
        "handles" => measure(|| handles(&pool, count))?,
        "channel" => measure(|| channel(&pool, count))?,
        "trip" => measure(|| trip(&pool, count))?,
        "rayon" => {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(WORKERS);
            let pool = pool.build()?;
            measure(|| Ok(pool.install(|| data_parallel(count))))?
        }
        _ => return Err(USAGE.into()),
    };
    println!("{answer}\n# seconds {seconds:.9}");
    Ok(())
}

type Answer = Result<u128, Box<dyn Error>>;

fn measure(work: impl FnOnce() -> Answer) -> Result<(u128, f64), Box<dyn Error>> {
    let begin = Instant::now();
    Ok((work()?, begin.elapsed().as_secs_f64()))
}

fn square(n: u64) -> u128 {
    u128::from(n) * u128::from(n)
}

/// Submits all, then waits for each.
fn handles(pool: &Pool, count: u64) -> Answer {
    let start = |n| submit(pool, move || square(n));
    let handles: Result<Vec<Handle<u128>>, _> = (0..count).map(start).collect();
    Ok(handles?
        .into_iter()
        .map(Handle::wait)
        .sum::<Result<u128, _>>()?)
}

/// Submits all; the results come through one channel, in any order.
fn channel(pool: &Pool, count: u64) -> Answer {
    let (sender, results) = mpsc::channel();
    for n in 0..count {
        let sender = sender.clone();
        pool.execute(move || {
            let _ = sender.send(square(n)); // Nobody listening is no reason to panic.
        })?;
    }
    drop(sender);
    Ok(results.iter().sum())
}

/// Submits one, waits for it, submits the next.
fn trip(pool: &Pool, count: u64) -> Answer {
    (0..count)
        .map(|n| Ok(submit(pool, move || square(n))?.wait()?))
        .sum()
}

/// What to take instead of a pool where all jobs are of one kind: rayon makes few of many.
fn data_parallel(count: u64) -> u128 {
    let squares: Vec<u128> = (0..count).into_par_iter().map(square).collect();
    squares.iter().sum()
}
