//! Give tasks to a few threads: take results as they complete, or all in the order of the inputs.
//!
//! What a Python developer knows as
//!
//! ```python
//! with ThreadPoolExecutor(3) as pool:
//!     futures = [pool.submit(task, name) for name in "ABC"]
//!     for future in as_completed(futures): print(future.result())
//!     squares = list(pool.map(square, range(20)))
//! ```
//!
//! is `spawn` with a channel for the results, and `par_iter().map().collect()`, in rayon's pool.
//! Beside it the same by hand: a channel of jobs, and threads that take from it until it ends. In
//! Python the comparison needs processes to be faster than one thread, and half of the program then
//! ran again in every child; here the workers are threads that run the tasks and nothing else.
//!
//! Run it with `cargo run -p thread-pool`. Look at parts 1 and 2: started A, B, C, they end B, A, C,
//! because A needs what B finds and C what A finds; and at part 3: twenty results in their places.
//! To take: `with_workers`, the channel of jobs, where one may not take rayon.
//! Before this: `producer-consumer`; after it: `hand-made-pool`, which also survives a panic.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use crossbeam::channel::{self, Sender};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

const WORKERS: usize = 4;
const TASKS: u64 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. Three tasks in a pool of 3, as they complete: rayon");
    let pool = rayon_pool(3)?;
    let ended = as_completed(|job| pool.spawn(job));
    drop(pool);
    expect(ended == ["B", "A", "C"], "B ends before A, and A before C")?;

    say!("\n2. The same over a channel of jobs");
    let ended = with_workers(3, |jobs| {
        as_completed(|job| jobs.send(job).expect("the workers stay to the end"))
    })?;
    expect(ended == ["B", "A", "C"], "B ends before A, and A before C")?;

    say!("\n3. An ordered map of {TASKS} tasks: one thread, then {WORKERS}");
    let alone: Vec<u64> = timed("one thread", || (0..TASKS).map(square).collect());
    let pool = rayon_pool(WORKERS)?;
    let by_rayon = timed("rayon", || rayon_map(&pool));
    let by_channel = with_workers(WORKERS, |jobs| {
        timed("channel of jobs", || channel_map(jobs))
    })?;
    say!("   {by_rayon:?}");
    expect(
        alone.iter().copied().eq((0..TASKS).map(|n| n * n)),
        "the squares, in their order",
    )?;
    expect(
        by_rayon == alone && by_channel == alone,
        "the same results in the same order",
    )?;

    say!("\nok: three tasks ended in another order than they began, {TASKS} results kept theirs");
    Ok(())
}

type Job = Box<dyn FnOnce() + Send>;

/// rayon's pool ends its threads by itself when it is dropped and nothing is left to do.
///
/// With 0 it would take as many threads as there are cores.
fn rayon_pool(workers: usize) -> Result<ThreadPool, rayon::ThreadPoolBuildError> {
    let name = |index| format!("rayon-{}", index + 1);
    ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(name)
        .build()
}

/// The channel of jobs. When `submit` comes back the sender is gone, each worker takes what is left
/// and ends, and the scope waits for that: nothing is dropped, nobody polls, no sentinel is needed.
fn with_workers<T>(workers: usize, submit: impl FnOnce(&Sender<Job>) -> T) -> io::Result<T> {
    thread::scope(|scope| {
        let (sender, jobs) = channel::unbounded::<Job>();
        for number in 1..=workers {
            let jobs = jobs.clone();
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            thread.spawn_scoped(scope, move || jobs.into_iter().for_each(|job| job()))?;
        }
        // From here on only workers can receive: without any, sending is an error and no hang.
        drop(jobs);
        Ok(submit(&sender))
    })
}

/// Starts A, B and C and tells who ended, as they end: the results come through one channel.
///
/// A needs what B finds, and C what A finds. That is why the order is another one, and always the
/// same, however many cores there are.
fn as_completed(start: impl Fn(Job)) -> Vec<&'static str> {
    let (b_found, from_b) = mpsc::channel();
    let (a_found, from_a) = mpsc::channel();
    let (result, results) = mpsc::channel();
    let task = |name, work: Box<dyn FnOnce() -> u64 + Send>, found: Option<mpsc::Sender<u64>>| {
        let result = result.clone();
        let job = move || {
            say!(
                "   {name} begins on {}",
                thread::current().name().unwrap_or("?")
            );
            let primes = work();
            // Who is told nothing any more does not care: no reason to panic.
            let _ = result.send((name, primes));
            let _ = found.map(|found| found.send(primes));
        };
        start(Box::new(job));
    };
    let a = move || from_b.recv().unwrap_or(0) + count_primes(150_000);
    let c = move || from_a.recv().unwrap_or(0) + count_primes(150_000);
    task("A", Box::new(a), Some(a_found));
    task("B", Box::new(|| count_primes(200_000)), Some(b_found));
    task("C", Box::new(c), None);
    // The results end when the last task has dropped its sender, so this one has to go as well.
    drop(result);
    let mut ended = Vec::new();
    for (name, primes) in results {
        say!("   {name} is done: {primes} primes so far");
        ended.push(name);
    }
    ended
}

/// rayon cuts the range into pieces for its threads; `collect` puts the results in their places.
fn rayon_map(pool: &ThreadPool) -> Vec<u64> {
    pool.install(|| (0..TASKS).into_par_iter().map(square).collect())
}

/// Each result comes with its index, so it does not matter in which order they come.
fn channel_map(jobs: &Sender<Job>) -> Vec<u64> {
    let (result, results) = mpsc::channel();
    for n in 0..TASKS {
        let result = result.clone();
        let job = move || _ = result.send((n, square(n)));
        jobs.send(Box::new(job))
            .expect("the workers stay to the end");
    }
    drop(result);
    let mut squares: Vec<(u64, u64)> = results.into_iter().collect();
    squares.sort();
    squares.into_iter().map(|(_, square)| square).collect()
}

/// Squares a number. The primes stand for the work that would make a pool worth while.
fn square(n: u64) -> u64 {
    count_primes(60_000 + n);
    n * n
}

/// By trial division: real work.
fn count_primes(limit: u64) -> u64 {
    let mut primes = 0;
    for number in 2..limit {
        let mut divisor = 2;
        while divisor * divisor <= number && !number.is_multiple_of(divisor) {
            divisor += 1;
        }
        primes += u64::from(divisor * divisor > number);
    }
    std::hint::black_box(primes)
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = work();
    say!("   {what:<15} {:>4} ms", begin.elapsed().as_millis());
    result
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
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn tasks_end_in_another_order_than_they_began_and_each_is_given_once() {
        let pool = rayon_pool(3).unwrap();
        for _ in 0..5 {
            assert_eq!(as_completed(|job| pool.spawn(job)), ["B", "A", "C"]);
        }
        let ended = with_workers(3, |jobs| as_completed(|job| jobs.send(job).unwrap()));
        assert_eq!(ended.unwrap(), ["B", "A", "C"]);
    }

    #[test]
    fn a_map_keeps_the_order_of_its_inputs_with_any_number_of_workers() {
        let squares: Vec<u64> = (0..TASKS).map(|n| n * n).collect();
        for workers in [1, 3, 30] {
            assert_eq!(rayon_map(&rayon_pool(workers).unwrap()), squares);
            assert_eq!(with_workers(workers, channel_map).unwrap(), squares);
        }
    }

    /// 0 is no error, as it is for Python's `chunksize`: rayon takes it for 1. `channel_map` has no
    /// pieces, each task is a job of its own.
    #[test]
    fn a_map_is_the_same_in_pieces_of_any_size() {
        let pool = rayon_pool(3).unwrap();
        let squares: Vec<u32> = (0..50).map(|n| n * n).collect();
        for piece in [0, 1, 7, 50, 1000] {
            let numbers = (0..50).into_par_iter().with_min_len(piece);
            let by_rayon: Vec<u32> = pool.install(|| numbers.map(|n| n * n).collect());
            assert_eq!(by_rayon, squares);
        }
    }

    #[test]
    fn an_error_of_one_task_comes_out_of_the_map() {
        let pool = rayon_pool(2).unwrap();
        let check = |n: u64| {
            if n == 7 {
                Err(format!("{n} is refused"))
            } else {
                Ok(n)
            }
        };
        let result: Result<Vec<u64>, String> =
            pool.install(|| (0..TASKS).into_par_iter().map(check).collect());
        assert_eq!(result.unwrap_err(), "7 is refused");
    }

    #[test]
    fn a_panic_of_one_task_comes_out_of_the_map_and_the_pool_lives_on() {
        let pool = rayon_pool(2).unwrap();
        let fail = |n: u64| {
            if n == 7 {
                panic::resume_unwind(Box::new("no"))
            } else {
                n
            }
        };
        let map = || pool.install(|| (0..TASKS).into_par_iter().map(fail).sum::<u64>());
        assert!(panic::catch_unwind(AssertUnwindSafe(map)).is_err());
        assert_eq!(
            pool.install(|| (0..TASKS).into_par_iter().sum::<u64>()),
            190
        );
    }

    #[test]
    fn all_that_was_sent_is_done_when_the_workers_have_ended() {
        let done = Arc::new(AtomicUsize::new(0));
        with_workers(3, |jobs| {
            for _ in 0..50 {
                let done = Arc::clone(&done);
                let job = move || _ = done.fetch_add(1, Ordering::SeqCst);
                jobs.send(Box::new(job)).unwrap();
            }
        })
        .unwrap();
        assert_eq!(
            (done.load(Ordering::SeqCst), Arc::strong_count(&done)),
            (50, 1)
        );
    }

    #[test]
    fn never_more_tasks_at_once_than_workers() {
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        with_workers(3, |jobs| {
            for _ in 0..45 {
                let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
                let job = move || {
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                };
                jobs.send(Box::new(job)).unwrap();
            }
        })
        .unwrap();
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    }

    #[test]
    fn a_job_for_no_workers_comes_back_instead_of_waiting_for_ever() {
        with_workers(0, |jobs| {
            let refused = jobs.send(Box::new(|| ())).unwrap_err();
            (refused.0)(); // It can still be run.
        })
        .unwrap();
    }

    #[test]
    fn workers_have_names() {
        let name = || thread::current().name().map(str::to_string);
        assert_eq!(rayon_pool(1).unwrap().install(name).unwrap(), "rayon-1");
        let (sender, names) = mpsc::channel();
        with_workers(1, |jobs| {
            jobs.send(Box::new(move || sender.send(name()).unwrap()))
                .unwrap()
        })
        .unwrap();
        assert_eq!(names.recv().unwrap().unwrap(), "worker-1");
    }

    #[test]
    fn there_are_25_primes_below_100() {
        assert_eq!(count_primes(100), 25);
    }
}
