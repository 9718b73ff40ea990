//! The same jobs by 4 threads, which need no messages: what a process boundary costs.
//!
//! `process-pool-threads start|trip|unchunked|chunked|bulk COUNT`

#![forbid(unsafe_code)]

use std::env;
use std::error::Error;
use std::time::Instant;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

const WORKERS: usize = 4;
const USAGE: &str = "usage: process-pool-threads start|trip|unchunked|chunked|bulk COUNT";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let job = arguments.get(1).map_or("", String::as_str);
    let count = arguments.get(2).and_then(|count| count.parse::<f64>().ok());
    let count = count.ok_or(USAGE)? as u64;
    let (answer, seconds) = match job {
        "start" => start(count)?,
        "trip" => trip(&pool()?, count),
        "unchunked" => map(&pool()?, 1, count),
        "chunked" => map(&pool()?, usize::MAX, count),
        "bulk" => bulk(&pool()?, count),
        _ => return Err(USAGE.into()),
    };
    println!("{answer}\n# seconds {seconds:.9}");
    Ok(())
}

/// Ready: each of its threads has done something.
fn pool() -> Result<ThreadPool, ThreadPoolBuildError> {
    let pool = ThreadPoolBuilder::new().num_threads(WORKERS).build()?;
    pool.broadcast(|_| ());
    Ok(pool)
}

type Measured = (u128, f64);

fn start(count: u64) -> Result<Measured, ThreadPoolBuildError> {
    let begin = Instant::now();
    let mut answer = 0;
    for _ in 0..count {
        answer += sum(ThreadPoolBuilder::new().num_threads(WORKERS).build_scoped(
            |thread| thread.run(),
            |pool| pool.broadcast(|thread| square(thread.index() as u64)),
        )?);
    }
    Ok((answer, begin.elapsed().as_secs_f64()))
}

fn trip(pool: &ThreadPool, count: u64) -> Measured {
    let begin = Instant::now();
    let answer = (0..count).map(|n| u128::from(pool.install(|| square(n))));
    (answer.sum(), begin.elapsed().as_secs_f64())
}

/// In pieces of at most `piece` tasks.
fn map(pool: &ThreadPool, piece: usize, count: u64) -> Measured {
    let begin = Instant::now();
    let numbers = (0..count as usize).into_par_iter().with_max_len(piece);
    let results: Vec<u64> = pool.install(|| numbers.map(|n| square(n as u64)).collect());
    let seconds = begin.elapsed().as_secs_f64();
    (sum(results), seconds)
}

fn bulk(pool: &ThreadPool, count: u64) -> Measured {
    let tasks: Vec<Vec<u8>> = (0..count)
        .map(|n| vec![(n % 256) as u8; 1_000_000])
        .collect();
    let begin = Instant::now();
    let results: Vec<Vec<u8>> = pool.install(|| tasks.into_par_iter().map(invert).collect());
    let seconds = begin.elapsed().as_secs_f64();
    let sizes = results
        .iter()
        .map(|block| block.len() as u64 + u64::from(block[0]));
    (sum(sizes), seconds)
}

fn square(n: u64) -> u64 {
    n * n
}

fn invert(mut block: Vec<u8>) -> Vec<u8> {
    block[0] = !block[0];
    block
}

fn sum(numbers: impl IntoIterator<Item = u64>) -> u128 {
    numbers.into_iter().map(u128::from).sum()
}
