//! How many workers? Measured, for work that waits and for work that computes.
//!
//! What a Python developer knows as
//!
//! ```python
//! cpu_workers = multiprocessing.cpu_count()        # also those that this process may not use
//! io_workers = min(32, cpu_workers + 4)            # ThreadPoolExecutor's default
//! with ThreadPoolExecutor(io_workers) as pool:
//!     results = list(pool.map(task, range(16)))
//! ```
//!
//! is `map(workers, 16, task)` here. Who computes wants as many workers as there are cores for this
//! process: `available_parallelism` respects its affinity and, in a container, its quota. Threads
//! do compute at the same time here; more of them only take turns. Who waits needs no core, so
//! there may be as many workers as whoever is waited for can bear.
//!
//! Run it with `cargo run -p worker-count`. Look at where each of the two curves goes flat, and try
//! it behind `taskset -c 0`.
//!
//! To take: `map`. Before this: `sequential-vs-threads`; after it: `thread-pool`.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: [usize; 5] = [1, 2, 4, 8, 16];
const TASKS: usize = 16;
/// As for the answer of a server.
const WAIT: Duration = Duration::from_millis(20);
const LIMIT: u32 = 80_000;
const PRIMES_BELOW_LIMIT: u32 = 7_837;

fn main() -> Result<(), Box<dyn Error>> {
    let cores = thread::available_parallelism()?.get();
    say!("cores that this process may use: {cores}");

    say!("\n1. {TASKS} tasks that wait {WAIT:?} each");
    waiting()?;
    say!("\n2. {TASKS} tasks that compute: the primes below {LIMIT}");
    computing(cores)?;
    say!("\nok: equal answers from any number of workers; cores: {cores}");
    Ok(())
}

fn waiting() -> Result<(), Box<dyn Error>> {
    let points = measure(|| {
        thread::sleep(WAIT);
        0
    })?;
    for point in &points {
        let rounds = TASKS.div_ceil(point.workers) as u32;
        let possible = point.took >= rounds * WAIT && point.answers == [0; TASKS];
        check(possible, "not every task has waited its time")?;
    }
    let (one, many) = (points[0].took, points[WORKERS.len() - 1].took);
    check(many < one, "many workers have waited longer than one")?;
    Ok(())
}

fn computing(cores: usize) -> Result<(), Box<dyn Error>> {
    let points = measure(|| count_primes(LIMIT))?;
    for point in &points {
        let right = point.answers == [PRIMES_BELOW_LIMIT; TASKS];
        check(right, "a task counted wrong, or not once")?;
    }
    // Only told, not checked: beside other busy programs more workers get a larger share of the
    // cores, and are faster for that.
    match beyond(&points, cores) {
        Some(times) => say!("   more workers than cores: {times:.1} times as fast as without them"),
        None => say!("   there are as many cores as workers; each can have one"),
    }
    Ok(())
}

/// The tasks done by a number of workers.
struct Point {
    workers: usize,
    took: Duration,
    answers: Vec<u32>,
}

/// Does the same tasks with more and more workers, and draws how many times as fast that was.
fn measure(task: impl Fn() -> u32 + Sync) -> Result<Vec<Point>, Box<dyn Error>> {
    say!("   workers     time");
    let mut points: Vec<Point> = Vec::new();
    for workers in WORKERS {
        let begin = Instant::now();
        let answers = map(workers, TASKS, |_| task())?;
        let took = begin.elapsed();

        let alone = points.first().map_or(took, |point| point.took);
        let times = alone.as_secs_f64() / took.as_secs_f64();
        let bar = "█".repeat(times.round() as usize);
        let took_ms = took.as_millis();
        say!("   {workers:7}  {took_ms:4} ms  {times:4.1} times as fast  {bar}");
        points.push(Point {
            workers,
            took,
            answers,
        });
    }
    Ok(points)
}

/// Does the tasks 0..tasks by so many threads; the results are in the order of the tasks.
fn map<T: Send>(
    workers: usize,
    tasks: usize,
    task: impl Fn(usize) -> T + Sync,
) -> io::Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    // Who is done with a task takes the next one, so that nobody waits for the slowest.
    let work = || {
        let mine = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&n| n < tasks);
        let done: Vec<(usize, T)> = iter::from_fn(mine).map(|n| (n, task(n))).collect();
        done
    };
    let mut results = thread::scope(|scope| {
        let start = |number| {
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            thread.spawn_scoped(scope, work)
        };
        let threads: io::Result<Vec<_>> = (1..=threads_for(workers, tasks)?).map(start).collect();
        let mut results = Vec::with_capacity(tasks);
        for thread in threads? {
            let done = thread.join();
            results.extend(done.unwrap_or_else(|panic| panic::resume_unwind(panic)));
        }
        Ok::<_, io::Error>(results)
    })?;
    results.sort_by_key(|&(n, _)| n);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// A worker without a task is of no use, and tasks without a worker would never be done.
fn threads_for(workers: usize, tasks: usize) -> io::Result<usize> {
    if workers == 0 {
        let message = "there must be at least one worker";
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(workers.min(tasks))
}

fn count_primes(limit: u32) -> u32 {
    let mut primes = 0;
    for n in 2..limit {
        let mut divisor = 2;
        while divisor * divisor <= n && n % divisor != 0 {
            divisor += 1;
        }
        primes += u32::from(divisor * divisor > n);
    }
    primes
}

/// How many times as fast more workers than cores were, compared with at most as many.
fn beyond(points: &[Point], cores: usize) -> Option<f64> {
    let best = |points: &[Point]| points.iter().map(|point| point.took).min();
    let (within, more) = points.split_at(points.partition_point(|point| point.workers <= cores));
    Some(best(within)?.as_secs_f64() / best(more)?.as_secs_f64())
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
    use std::collections::HashSet;
    use std::sync::Barrier;

    #[test]
    fn results_are_in_the_order_of_the_tasks_for_any_number_of_workers() {
        for workers in [1, 2, 3, 16, 100] {
            let squares = map(workers, 7, |n| n * n).unwrap();
            assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36]);
        }
        assert_eq!(map(3, 0, |n| n).unwrap(), []);
    }

    #[test]
    fn results_of_two_workers_that_take_turns_are_put_in_order() {
        let both = Barrier::new(2);
        let results = map(2, 40, |n| {
            both.wait();
            n
        });
        assert!(results.unwrap().into_iter().eq(0..40));
    }

    #[test]
    fn never_more_threads_than_workers_under_fifteen_times_the_load() {
        const FEW: usize = 4;
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let all_inside = Barrier::new(FEW);
        let threads = map(FEW, 15 * FEW, |n| {
            most.fetch_max(
                inside.fetch_add(1, Ordering::Relaxed) + 1,
                Ordering::Relaxed,
            );
            // The first tasks wait for each other, so that every worker has one.
            if n < FEW {
                all_inside.wait();
            }
            inside.fetch_sub(1, Ordering::Relaxed);
            thread::current().id()
        });
        let threads: HashSet<_> = threads.unwrap().into_iter().collect();
        assert_eq!((threads.len(), most.into_inner()), (FEW, FEW));
    }

    #[test]
    fn no_workers_is_a_clear_error() {
        let error = map(0, 5, |n| n).unwrap_err().to_string();
        assert_eq!(error, "there must be at least one worker");
    }

    #[test]
    fn no_more_threads_than_tasks() {
        let threads = |workers, tasks| threads_for(workers, tasks).unwrap();
        assert_eq!([threads(16, 3), threads(2, 3), threads(4, 0)], [3, 2, 0]);
    }

    #[test]
    fn each_task_is_done_once() {
        let times: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        map(8, 1000, |n| times[n].fetch_add(1, Ordering::Relaxed)).unwrap();
        assert!(times.into_iter().all(|times| times.into_inner() == 1));
    }

    #[test]
    fn a_panicking_task_is_not_a_missing_result() {
        let work = || map(2, 5, |n| assert_ne!(n, 3, "on purpose"));
        assert!(panic::catch_unwind(work).is_err());
    }

    fn point((workers, ms): (usize, u64)) -> Point {
        Point {
            workers,
            took: Duration::from_millis(ms),
            answers: Vec::new(),
        }
    }

    #[test]
    fn the_gain_beyond_the_cores_compares_the_best_of_both_sides() {
        let points = [(1, 100), (2, 50), (4, 80), (8, 40)].map(point);
        assert_eq!(beyond(&points, 2), Some(1.25));
        assert_eq!(beyond(&points, 8), None);
    }

    #[test]
    fn the_primes_are_counted_right() {
        assert_eq!(count_primes(100), 25);
        assert_eq!(count_primes(LIMIT), PRIMES_BELOW_LIMIT);
    }
}
