//! The jobs of `futures.py`: a pool of 4 squares numbers, each of which is a task of its own.
//!
//! `future-handle-compare tasks|completed|trip|rayon COUNT`

#![forbid(unsafe_code)]

#[path = "../src/sync.rs"]
mod sync;
#[path = "../src/task.rs"]
#[allow(dead_code, reason = "this program uses a part of it")]
mod task;
#[path = "../src/thread_pool.rs"]
mod thread_pool;

use std::env;
use std::error::Error;
use std::time::Instant;

use rayon::prelude::*;
use task::{Task, as_completed, task};
use thread_pool::Pool;

const WORKERS: usize = 4;
const USAGE: &str = "usage: future-handle-compare tasks|completed|trip|rayon COUNT";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let count = arguments.get(2).and_then(|count| count.parse::<f64>().ok());
    let count = count.ok_or(USAGE)? as u64;
    let pool = Pool::new(WORKERS)?;
    submit(&pool, 1)?.wait()?; // The threads are there.
    let (answer, seconds) = match arguments[1].as_str() {
        "tasks" => measure(|| tasks(&pool, count))?,
        "completed" => measure(|| completed(&pool, count))?,
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

fn submit(pool: &Pool, n: u64) -> Result<Task<u128>, Box<dyn Error>> {
    let (job, task) = task(move || Ok(square(n)));
    pool.execute(|| job.run())?;
    Ok(task)
}

fn submit_all(pool: &Pool, count: u64) -> Result<Vec<Task<u128>>, Box<dyn Error>> {
    (0..count).map(|n| submit(pool, n)).collect()
}

/// Submits all, then waits for each.
fn tasks(pool: &Pool, count: u64) -> Answer {
    let tasks = submit_all(pool, count)?;
    Ok(tasks.into_iter().map(Task::wait).sum::<Result<u128, _>>()?)
}

/// Submits all; takes the results in the order in which they come.
fn completed(pool: &Pool, count: u64) -> Answer {
    let results = as_completed(submit_all(pool, count)?);
    Ok(results.map(|(_, result)| result).sum::<Result<u128, _>>()?)
}

/// Submits one, waits for it, submits the next.
fn trip(pool: &Pool, count: u64) -> Answer {
    (0..count).map(|n| Ok(submit(pool, n)?.wait()?)).sum()
}

/// What to take instead where all tasks are of one kind: rayon makes few of many.
fn data_parallel(count: u64) -> u128 {
    let squares: Vec<u128> = (0..count).into_par_iter().map(square).collect();
    squares.iter().sum()
}
