//! Three tasks one after another, then at once: first tasks that wait, then tasks that compute.
//!
//! What a Python developer knows as
//!
//! ```python
//! for n in range(1, 4): task(n)                  # three tasks, three times the time
//! threads = [Thread(target=task, args=(n,)) for n in range(1, 4)]
//! for thread in threads: thread.start()
//! for thread in threads: thread.join()           # one task's time, but only if they wait
//! ```
//!
//! holds here for both kinds of task. There is no GIL, so threads that compute run at once as well,
//! on as many cores as there are: what free-threaded builds and `InterpreterPoolExecutor` are for
//! needs nothing at all.
//!
//! Run it with `cargo run -p sequential-vs-threads`. Look at the bars, which are drawn from what
//! really happened: one lane for each thread, one bar for each task.
//!
//! To take: `at_once`, and `bars` to draw your own. Before this: `thread-struct`; after it:
//! `scoped-threads`.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

const TASKS: u32 = 3;
const WAIT: Duration = Duration::from_millis(100);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    say!("1. {TASKS} tasks that wait for {WAIT:?}, as for a network");
    let waiting = one_after_another(wait_for_an_answer);
    let waiting_at_once = overlapping(|| at_once(wait_for_an_answer))?;
    compare(&waiting, &waiting_at_once)?;

    let cores = thread::available_parallelism()?;
    say!("\n2. {TASKS} tasks that compute; the number of cores for them is {cores}");
    compare(&one_after_another(count_primes), &at_once(count_primes)?)?;

    say!("\nok: the same {TASKS} results each time, and all {TASKS} waits were under way at once");
    Ok(())
}

fn wait_for_an_answer(task: u32) -> String {
    thread::sleep(WAIT);
    format!("answer {task}")
}

/// Task 1 counts the primes below 250,000, task 2 those in the next 250,000, and so on.
fn count_primes(task: u32) -> usize {
    let numbers = (task - 1) * 250_000..task * 250_000;
    numbers.filter(|&number| is_prime(number)).count()
}

fn is_prime(number: u32) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    number > 1
}

/// What a task gave, and when and where it ran.
struct Run<T> {
    thread: String,
    begin: Duration,
    result: T,
    end: Duration,
}

impl<T> Run<T> {
    fn of(work: impl FnOnce() -> T, clock: Instant) -> Run<T> {
        // The fields are worked out in this order.
        Run {
            thread: thread::current().name().unwrap_or("?").to_string(),
            begin: clock.elapsed(),
            result: work(),
            end: clock.elapsed(),
        }
    }
}

fn one_after_another<T>(task: fn(u32) -> T) -> Vec<Run<T>> {
    let clock = Instant::now();
    let run = |n| Run::of(|| task(n), clock);
    (1..=TASKS).map(run).collect()
}

/// A thread for each task. All are started before the first is waited for: whoever joins each one
/// right after its start has them one after another again.
fn at_once<T: Send + 'static>(task: fn(u32) -> T) -> Result<Vec<Run<T>>> {
    let clock = Instant::now();
    let mut handles = Vec::new();
    for n in 1..=TASKS {
        let thread = thread::Builder::new().name(format!("task-{n}"));
        handles.push(thread.spawn(move || Run::of(|| task(n), clock))?);
    }
    let joined = handles.into_iter().map(|handle| handle.join());
    let runs: thread::Result<Vec<_>> = joined.collect();
    runs.map_err(|_| "a task panicked".into())
}

/// The first attempt in which each task began before any had ended. Usually the first attempt: but
/// a machine can be so busy that one thread begins only after another has waited to its end.
fn overlapping<T>(attempt: impl Fn() -> Result<Vec<Run<T>>>) -> Result<Vec<Run<T>>> {
    for _ in 0..5 {
        let runs = attempt()?;
        if overlap(&runs) {
            return Ok(runs);
        }
    }
    Err("the tasks did not wait at once".into())
}

fn overlap<T>(runs: &[Run<T>]) -> bool {
    let last_begin = runs.iter().map(|run| run.begin).max();
    let first_end = runs.iter().map(|run| run.end).min();
    last_begin < first_end
}

/// Draws both, and makes sure that they gave the same.
fn compare<T: PartialEq>(alone: &[Run<T>], together: &[Run<T>]) -> Result<()> {
    let (wall_alone, wall_together) = (wall(alone), wall(together));
    let column = wall_alone.max(wall_together) / 60;
    for (how, wall, runs) in [
        ("one after another", wall_alone, alone),
        ("at once", wall_together, together),
    ] {
        say!("   {how}: {} ms\n{}", wall.as_millis(), bars(runs, column));
    }
    let ratio = wall_alone.as_secs_f64() / wall_together.as_secs_f64();
    say!("   {ratio:.1} times as fast");

    let same = |(a, b): (&Run<T>, &Run<T>)| a.result == b.result;
    if alone.len() != together.len() || !alone.iter().zip(together).all(same) {
        return Err("the threads gave other results than one after another".into());
    }
    Ok(())
}

/// From the start of the clock to the end of the last task.
fn wall<T>(runs: &[Run<T>]) -> Duration {
    runs.iter().map(|run| run.end).max().unwrap_or_default()
}

/// A lane for each thread, a bar like `[====]` for each task, a character for each `column` of time.
fn bars<T>(runs: &[Run<T>], column: Duration) -> String {
    let column = column.max(Duration::from_nanos(1));
    let columns = |time: Duration| time.div_duration_f64(column).round() as usize;
    let lane = |runs: &[Run<T>]| {
        let mut lane = String::new();
        for run in runs {
            let begin = columns(run.begin).max(lane.len());
            let inside = columns(run.end).saturating_sub(begin + 2);
            // The lane so far, filled up with blanks to where the bar begins.
            lane = format!("{lane:begin$}[{}]", "=".repeat(inside));
        }
        format!("   {:6} {lane}", runs[0].thread)
    };
    let lanes = runs.chunk_by(|a, b| a.thread == b.thread).map(lane);
    lanes.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Runs of 1-based tasks, with their times in milliseconds.
    fn runs(times: &[(&str, u64, u64)]) -> Vec<Run<usize>> {
        let run = |(n, &(thread, begin, end)): (usize, &(&str, u64, u64))| Run {
            result: n,
            thread: thread.to_string(),
            begin: Duration::from_millis(begin),
            end: Duration::from_millis(end),
        };
        times.iter().enumerate().map(run).collect()
    }

    #[test]
    fn a_thread_has_one_lane_and_each_of_its_tasks_a_bar() {
        let runs = runs(&[("main", 0, 60), ("main", 60, 100), ("main", 120, 180)]);
        let picture = "   main   [====][==]  [====]";
        assert_eq!(bars(&runs, Duration::from_millis(10)), picture);
    }

    #[test]
    fn tasks_at_once_lie_one_below_the_other() {
        let runs = runs(&[("task-1", 0, 60), ("task-2", 10, 70), ("task-3", 20, 21)]);
        let picture = "   task-1 [====]\n   task-2  [====]\n   task-3   []";
        assert_eq!(bars(&runs, Duration::from_millis(10)), picture);
    }

    #[test]
    fn nothing_to_draw_is_an_empty_picture() {
        assert_eq!(bars::<()>(&[], Duration::ZERO), "");
        assert_eq!(wall::<()>(&[]), Duration::ZERO);
    }

    #[test]
    fn tasks_overlap_when_the_last_began_before_the_first_ended() {
        assert!(overlap(&runs(&[("a", 0, 60), ("b", 59, 90), ("c", 1, 80)])));
        assert!(!overlap(&runs(&[("a", 0, 60), ("b", 60, 90)])));
        assert!(!overlap(&runs(&[
            ("a", 0, 60),
            ("b", 10, 90),
            ("c", 70, 80)
        ])));
    }

    #[test]
    fn tasks_one_after_another_are_never_taken_for_overlapping_ones() {
        let runs = one_after_another(|n| n);
        assert!(runs.is_sorted_by(|a, b| a.end <= b.begin) && !overlap(&runs));
        let error = overlapping(|| Ok(one_after_another(|n| n))).err();
        assert_eq!(error.unwrap().to_string(), "the tasks did not wait at once");
    }

    /// No clock decides here: each task ends only after it has met the others.
    #[test]
    fn each_task_at_once_can_wait_for_all_the_others() {
        static HERE: AtomicU32 = AtomicU32::new(0);
        let meet = |_| {
            HERE.fetch_add(1, Ordering::SeqCst);
            let limit = Instant::now() + Duration::from_secs(10);
            while HERE.load(Ordering::SeqCst) < TASKS && Instant::now() < limit {
                thread::yield_now();
            }
            HERE.load(Ordering::SeqCst)
        };
        let runs = at_once(meet).unwrap();
        let met: Vec<u32> = runs.iter().map(|run| run.result).collect();
        assert_eq!(met, [TASKS; TASKS as usize]);
        assert!(overlap(&runs));
    }

    #[test]
    fn computing_threads_give_the_same_as_one_after_another_each_under_its_name() {
        let small = |task: u32| (task * 100..task * 200).filter(|&n| is_prime(n)).count();
        let alone = one_after_another(small);
        let together = at_once(small).unwrap();
        let results = |runs: &[Run<usize>]| runs.iter().map(|run| run.result).collect::<Vec<_>>();
        // The primes from 100 to 200, 200 to 400 and 300 to 600.
        assert_eq!(results(&alone), [21, 32, 47]);
        assert_eq!(results(&together), results(&alone));
        let names: Vec<_> = together.iter().map(|run| &run.thread).collect();
        assert_eq!(names, ["task-1", "task-2", "task-3"]);
    }

    #[test]
    fn other_or_fewer_results_are_an_error() {
        let alone = one_after_another(|n| n);
        assert!(compare(&alone, &one_after_another(|n| n)).is_ok());
        assert!(compare(&alone, &one_after_another(|n| n % 3)).is_err());
        assert!(compare(&alone, &alone[..2]).is_err());
    }

    #[test]
    fn a_panicking_task_is_an_error() {
        let runs = at_once(|n| assert_ne!(n, 2));
        assert_eq!(runs.err().unwrap().to_string(), "a task panicked");
    }
}
