//! The jobs of `pool.py`, by our pool: 4 workers.
//!
//! `process-pool-compare start|trip|unchunked|chunked|bulk COUNT`

#![forbid(unsafe_code)]

#[path = "../src/pool.rs"]
mod pool;

use std::env;
use std::error::Error;
use std::process::Command;
use std::time::Instant;

use pool::{Bytes, Options, Pool, TaskResult};

const WORKERS: usize = 4;
const USAGE: &str = "usage: process-pool-compare start|trip|unchunked|chunked|bulk COUNT";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let job = arguments.get(1).map_or("", String::as_str);
    // The workers are started with the same first argument.
    if job == "bulk" {
        pool::serve_if_worker(|block| Ok(invert(block)));
    }
    pool::serve_if_worker(|n: u64| Ok(n * n));

    let count = arguments.get(2).and_then(|count| count.parse::<f64>().ok());
    let count = count.ok_or(USAGE)? as u64;
    let (answer, seconds) = match job {
        "start" => start(count)?,
        "trip" => trip(count)?,
        "unchunked" => map(options(job).chunk_size(1), count)?,
        "chunked" => map(options(job), count)?,
        "bulk" => bulk(count)?,
        _ => return Err(USAGE.into()),
    };
    println!("{answer}\n# seconds {seconds:.9}");
    Ok(())
}

fn options(job: &str) -> Options {
    let mut command = Command::new(env::current_exe().expect("a program has a path"));
    command.arg(job);
    Options::new(WORKERS).command(command)
}

type Measured = Result<(u128, f64), Box<dyn Error>>;

/// From nothing to four workers that have answered, and to their end.
fn start(count: u64) -> Measured {
    let begin = Instant::now();
    let mut answer = 0;
    for _ in 0..count {
        let pool: Pool<u64, u64> = options("start").chunk_size(1).start()?;
        answer += sum(pool.map(0..WORKERS as u64))?;
        pool.shut_down();
    }
    Ok((answer, begin.elapsed().as_secs_f64()))
}

/// One task after another, each waited for.
fn trip(count: u64) -> Measured {
    let pool: Pool<u64, u64> = options("trip").start()?;
    pool.call(&1)?;
    let begin = Instant::now();
    let mut answer = 0;
    for n in 0..count {
        answer += u128::from(pool.call(&n)?);
    }
    Ok((answer, begin.elapsed().as_secs_f64()))
}

fn map(options: Options, count: u64) -> Measured {
    let pool: Pool<u64, u64> = options.start()?;
    sum(pool.map(0..WORKERS as u64))?;
    let begin = Instant::now();
    let results = pool.map(0..count);
    let seconds = begin.elapsed().as_secs_f64();
    Ok((sum(results)?, seconds))
}

/// Blocks of 1 MB to the workers and back.
fn bulk(count: u64) -> Measured {
    let pool: Pool<Bytes, Bytes> = options("bulk").start()?;
    let block = |n| Bytes::from(vec![(n % 256) as u8; 1_000_000]);
    sum(pool
        .map((0..WORKERS as u64).map(|_| Bytes::default()))
        .into_iter()
        .map(|r| r.map(|_| 0)))?;
    let tasks: Vec<Bytes> = (0..count).map(block).collect();
    let begin = Instant::now();
    let results = pool.map(tasks);
    let seconds = begin.elapsed().as_secs_f64();
    let size = |block: Bytes| block.len() as u64 + u64::from(block[0]);
    Ok((
        sum(results.into_iter().map(|result| result.map(size)))?,
        seconds,
    ))
}

fn invert(block: Bytes) -> Bytes {
    let mut block = Vec::from(block);
    block.iter_mut().take(1).for_each(|byte| *byte = !*byte);
    block.into()
}

/// In 128 bits: in release, a sum of `u64` would overflow without a word.
fn sum(results: impl IntoIterator<Item = TaskResult<u64>>) -> TaskResult<u128> {
    results.into_iter().map(|n| n.map(u128::from)).sum()
}
