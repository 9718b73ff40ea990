//! A pool of worker processes: map, results as they complete, and what happens when one dies.
//!
//! What a Python developer knows as
//! ```python
//! if __name__ == "__main__":
//!     with Pool(4) as pool:
//!         squares = pool.map(square, range(1, 11))
//!         for result in pool.imap_unordered(square, range(1, 11)): ...
//! ```
//!
//! is `pool.map` and `pool.map_unordered` here. The program starts itself once more per worker;
//! `serve_if_worker`, first of all in `main`, takes the copy's whole life, so nothing needs a guard
//! against starting workers without end. Each task gives a `Result` of its own, and a killed worker
//! costs its task a second try, not the program its life: Python's `Pool.map` waits for ever then.
//!
//! Run it with `cargo run -p process-pool`. Look at part 2, where each result names its task,
//! whatever the order, and at part 3, where workers die and everything else is done all the same.
//!
//! To take: `src/pool.rs`, the whole pool in one file.
//! Before this: `process-cleanup`; after it: `pool-initializer`, `worker-crash`.

#![forbid(unsafe_code)]

mod pool;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{io, panic, process};

use pool::{Cause, Options, Pool, TaskResult};
use serde::{Deserialize, Serialize};

const WORKERS: usize = 4;

/// What a worker can be asked for. Both sides of a pool are this one program, so a task is a type
/// of its own, not a function.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Task {
    Square(u64),
    CountPrimes(u64),
    Fail,
    Panic,
    Abort,
    AbortUnlessExists(PathBuf),
    WhoAreYou,
}

fn main() -> Result<(), Box<dyn Error>> {
    pool::serve_with_set_up_if_worker(quiet_panics, |(), task| perform(task));

    let pool = Pool::new(WORKERS)?;
    say!("1. Ten squares, one after another and by {WORKERS} workers");
    sequential_and_pool(&pool)?;

    say!("\n2. Five tasks of different length, as they complete");
    as_completed(&pool)?;

    say!("\n3. An error, a panic, and workers that die");
    survive(&pool)?;

    let workers = worker_ids(&pool)?;
    check(workers.len() == WORKERS, "a dead worker was not replaced")?;
    drop(pool);
    check(children()?.is_empty(), "a worker outlived the pool")?;
    say!("\nok: equal answers, each task ended once, {WORKERS} workers to the end and none left");
    Ok(())
}

/// Python's pools print nothing when a task raises. Our tasks' panics come back as results, too.
fn quiet_panics((): ()) -> Result<(), String> {
    panic::set_hook(Box::new(|_| {}));
    Ok(())
}

/// What a worker does; the program itself for the comparison.
fn perform(task: Task) -> Result<u64, String> {
    match task {
        Task::Square(n) => {
            // Stands for the work that would make a pool worth while.
            black_box(count_primes(40_000));
            Ok(n * n)
        }
        Task::CountPrimes(limit) => Ok(count_primes(limit)),
        Task::Fail => Err("no such number".to_string()),
        Task::Panic => panic!("this cannot be"),
        Task::Abort => process::abort(),
        Task::AbortUnlessExists(marker) => match File::create_new(marker) {
            Ok(_) => process::abort(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(1),
            Err(error) => Err(error.to_string()),
        },
        Task::WhoAreYou => {
            std::thread::sleep(Duration::from_millis(2));
            Ok(process::id().into())
        }
    }
}

fn count_primes(limit: u64) -> u64 {
    let divides = |n: u64| {
        (2..)
            .take_while(move |d| d * d <= n)
            .any(move |d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divides(*n)).count() as u64
}

fn sequential_and_pool(pool: &Pool<Task, u64>) -> Result<(), Box<dyn Error>> {
    let tasks: Vec<Task> = (1..=10).map(Task::Square).collect();
    let begin = Instant::now();
    let alone: Result<Vec<u64>, String> = tasks.iter().cloned().map(perform).collect();
    let alone_took = begin.elapsed();

    let begin = Instant::now();
    let together: TaskResult<Vec<u64>> = pool.map(tasks.clone()).into_iter().collect();
    let together_took = begin.elapsed();

    let (alone, together) = (alone?, together?);
    say!("   {together:?}");
    check(alone == together, "the pool computed something else")?;
    let ratio = alone_took.as_secs_f64() / together_took.as_secs_f64();
    say!(
        "   the same from both: {alone_took:.0?} alone, {together_took:.0?} by the pool, \
         {ratio:.1} times as fast"
    );

    // Python's `chunksize`. Without it the pool goes by the time that its tasks take.
    let in_fives = Options::new(2).chunk_size(5).start::<Task, u64>()?;
    let in_fives: TaskResult<Vec<u64>> = in_fives.map(tasks).into_iter().collect();
    check(alone == in_fives?, "the chunks gave something else")?;
    say!("   the same again in chunks of five, which is `Options::chunk_size`");
    Ok(())
}

fn as_completed(pool: &Pool<Task, u64>) -> Result<(), Box<dyn Error>> {
    let limits = [125_000, 25_000, 100_000, 50_000, 75_000];
    let begin = Instant::now();
    let mut seen = HashSet::new();
    let mut results = pool.map_unordered(limits.map(Task::CountPrimes));
    while let Some((index, primes)) = results.next() {
        say!(
            "   {:3} ms  task {index}: {} primes below {}; {} to come",
            begin.elapsed().as_millis(),
            primes?,
            limits[index],
            results.len()
        );
        seen.insert(index);
    }
    check(seen.len() == limits.len(), "a task has no result")?;
    Ok(())
}

fn survive(pool: &Pool<Task, u64>) -> Result<(), Box<dyn Error>> {
    let marker = std::env::temp_dir().join(format!("process-pool-{}", process::id()));
    let tasks = vec![
        Task::Square(1),
        Task::Fail,
        Task::Panic,
        Task::Abort,
        Task::AbortUnlessExists(marker.clone()),
        Task::Square(2),
        Task::Square(3),
    ];
    let results = pool.map(tasks.clone());
    let _ = fs::remove_file(marker);
    for (task, result) in tasks.iter().zip(&results) {
        let name = match task {
            Task::AbortUnlessExists(_) => "AbortOnce".to_string(),
            task => format!("{task:?}"),
        };
        match result {
            Ok(value) => say!("   {name:10} {value}"),
            Err(error) => say!("   {name:10} {error}"),
        }
    }
    let causes: Vec<Result<u64, &Cause>> = results
        .iter()
        .map(|result| result.as_ref().map_err(|error| &error.cause).copied())
        .collect();
    let expected = matches!(
        causes[..],
        [
            Ok(1),
            Err(Cause::Failed(_)),
            Err(Cause::Panicked(_)),
            Err(Cause::WorkerDied { .. }),
            Ok(1),
            Ok(4),
            Ok(9),
        ]
    );
    check(expected, "a task ended in another way than expected")?;
    Ok(())
}

/// Who answers: each worker at least once, as all are asked at once and again.
fn worker_ids(pool: &Pool<Task, u64>) -> Result<HashSet<u64>, Box<dyn Error>> {
    let mut ids = HashSet::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while ids.len() < WORKERS && Instant::now() < deadline {
        for id in pool.map(vec![Task::WhoAreYou; 2 * WORKERS]) {
            ids.insert(id?);
        }
    }
    Ok(ids)
}

/// The processes that this one has started and not waited for, where the system tells.
fn children() -> io::Result<String> {
    let mut children = String::new();
    if cfg!(target_os = "linux") {
        for thread in fs::read_dir("/proc/self/task")? {
            // A thread may end meanwhile; its children are another's then.
            children += &fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        }
    }
    Ok(children)
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}
