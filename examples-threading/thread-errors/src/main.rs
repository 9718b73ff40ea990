//! Errors and panics of threads: each reaches the caller, says which task it belongs to, and counts.
//!
//! What a Python developer knows as
//!
//! ```python
//! futures = {executor.submit(risky_task, n): n for n in range(1, 11)}
//! for future in as_completed(futures):
//!     try: results[futures[future]] = future.result()
//!     except Exception as error: errors[futures[future]] = error
//! ```
//!
//! is a list of pairs here, each task with its `Result`. A failure cannot be taken for a result, as
//! a returned string `"Error: …"` can: the compiler refuses to add it up (`tests/refused`). Nor is a
//! thread's panic lost, as an exception in a plain `Thread` is, which leaves the exit code 0: it is
//! an `Err` at the join, and should nobody join, a hook has seen it.
//!
//! Run it with `cargo run -p thread-errors`. Look at the ten tasks: a worker outlives the panic of
//! its task. The failures are wanted here, so the exit code is 0. With `-- --strict` it is 1 if one
//! of the ten failed. To take: `src/run_tasks.rs` and `src/panics.rs`. Before this: `scoped-threads`;
//! after it: `memory-ownership`.

#![forbid(unsafe_code)]

mod panics;
mod run_tasks;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::env;
use std::error::Error;
use std::io;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;

use panics::PanicLog;
use run_tasks::{Cause, Outcome, TaskError, run_tasks, text_of};

const TASKS: u32 = 10;
/// Not zero: no threads would do no tasks.
const WORKERS: NonZero<usize> = NonZero::new(4).unwrap();
const USAGE: &str = "\
Usage: thread-errors [SEED] [--strict]

  SEED      a number that decides which of the ten tasks fail (default: 7)
  --strict  exit code 1 if one of the ten tasks fails";

fn main() -> ExitCode {
    let arguments = match Arguments::parse() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            say!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            eprintln!("error: {complaint}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    seed: u64,
    strict: bool,
}

impl Arguments {
    /// `None`: help was asked for.
    fn parse() -> Result<Option<Arguments>, String> {
        let (mut seed, mut strict) = (None, false);
        for argument in env::args_os().skip(1) {
            let text = argument.to_string_lossy();
            match (&*text, text.parse()) {
                ("--help" | "-h", _) => return Ok(None),
                ("--strict", _) => strict = true,
                (_, Ok(number)) if seed.is_none() => seed = Some(number),
                _ => return Err(format!("unexpected argument {text:?}")),
            }
        }
        let seed = seed.unwrap_or(7);
        Ok(Some(Arguments { seed, strict }))
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let log = PanicLog::install(|panic| say!("   ! {panic}"));
    let seed = arguments.seed;

    say!("1. A panic in a thread is an error at its join");
    panic_at_the_join()?;

    say!("\n2. {TASKS} risky tasks on {WORKERS} threads, seed {seed}");
    let outcomes = risky_tasks(seed)?;

    let panics = log.take();
    let threads: Vec<&str> = panics.iter().map(|panic| &*panic.thread).collect();
    let threads = threads.join(", ");
    say!("\n3. The hook has collected the panics of {threads}");

    let verdict = check(&outcomes, panics.len(), arguments.strict)?;
    say!("\nok: {verdict}, each under its own number");
    Ok(())
}

fn panic_at_the_join() -> Result<(), Box<dyn Error>> {
    let lonely = thread::Builder::new().name("lonely".to_string());
    let lonely = lonely.spawn(|| -> u32 { panic!("nothing works today") })?;
    match lonely.join() {
        Ok(number) => Err(format!("the panic was lost, and {number} came").into()),
        Err(payload) => {
            say!("   the caller gets {:?}", text_of(&*payload));
            Ok(())
        }
    }
}

fn risky_tasks(seed: u64) -> io::Result<Vec<Outcome<u64>>> {
    let tasks: Vec<u32> = (1..=TASKS).collect();
    let outcomes = run_tasks(&tasks, WORKERS, |task| risky_task(task, seed))?;
    for (task, outcome) in &outcomes {
        match outcome {
            Ok(draw) => say!("   task {task} completed: its largest draw is {draw:x}"),
            Err(error) => say!("   {error}"),
        }
    }
    Ok(outcomes)
}

/// Three in ten fail: two by an error, as from bad input, and one by a panic, as from a bug.
///
/// Which ones depends on the seed and the task alone, not on which thread was faster.
fn risky_task(task: u32, seed: u64) -> Result<u64, String> {
    let luck = mix(mix(seed) ^ u64::from(task));
    let draw = |n: u64| mix(luck ^ n);
    let largest = (1..=4_000_000).map(draw).fold(0, u64::max);
    match draw(0) % 10 {
        0 | 1 => Err("had bad luck".to_string()),
        2 => panic!("nobody has thought of task {task}"),
        _ => Ok(largest),
    }
}

/// Turns a number into one that looks random (a step of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Each task has its one outcome, and each panic its task.
fn check<T>(outcomes: &[Outcome<T>], panics: usize, strict: bool) -> Result<String, String> {
    if !outcomes.iter().map(|(task, _)| *task).eq(1..=TASKS) {
        return Err("a task has no outcome, or two".to_string());
    }
    let outcome_errors = outcomes.iter().map(|(_, outcome)| outcome.as_ref().err());
    let errors: Vec<&TaskError> = outcome_errors.flatten().collect();
    let is_panic = |error: &&&TaskError| matches!(error.cause, Cause::Panicked(_));
    let panicked = errors.iter().filter(is_panic).count();
    // One more is that of the first part. A third kind would be a panic nobody has looked at.
    if panics != panicked + 1 {
        return Err(format!(
            "{panics} panics, not {panicked} in tasks and 1 before"
        ));
    }
    let (completed, failed) = (outcomes.len() - errors.len(), errors.len());
    if strict && failed > 0 {
        return Err(format!("{failed} of {TASKS} tasks failed"));
    }
    Ok(format!("{completed} completed + {failed} failed = {TASKS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In Python the same program fails in other places each time.
    #[test]
    fn a_seed_always_gives_the_same_failures() {
        let tasks: Vec<u32> = (1..=TASKS).collect();
        let failed = |threads| {
            let outcomes = run_tasks(&tasks, threads, |task| risky_task(task, 7)).unwrap();
            let errors = outcomes
                .into_iter()
                .filter_map(|(_, outcome)| outcome.err());
            errors.map(|error| error.to_string()).collect::<Vec<_>>()
        };
        let expected = [
            "task 1 panicked: nobody has thought of task 1",
            "task 4 failed: had bad luck",
            "task 6 failed: had bad luck",
        ];
        assert_eq!(failed(WORKERS), expected);
        assert_eq!(failed(NonZero::<usize>::MIN), expected);
    }

    #[test]
    fn a_lost_outcome_and_a_panic_that_nobody_looked_at_are_errors() {
        let all = |fails: u32| {
            let tasks: Vec<u32> = (1..=TASKS).collect();
            let work = |task| match task > fails {
                true => Ok(()),
                false => Err("no".to_string()),
            };
            run_tasks(&tasks, WORKERS, work).unwrap()
        };
        let verdict = "10 completed + 0 failed = 10".to_string();
        assert_eq!(check(&all(0), 1, true), Ok(verdict));
        let verdict = "8 completed + 2 failed = 10".to_string();
        assert_eq!(check(&all(2), 1, false), Ok(verdict));
        let complaint = "2 of 10 tasks failed".to_string();
        assert_eq!(check(&all(2), 1, true), Err(complaint));
        assert!(check(&all(0)[1..], 1, false).is_err());
        assert!(check(&all(0), 2, false).is_err());
    }
}
