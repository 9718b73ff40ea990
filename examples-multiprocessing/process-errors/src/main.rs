//! Errors, panics, exits and crashes of tasks in other processes, each with its task and its text.
//!
//! What a Python developer knows as
//! ```python
//! futures = [executor.submit(risky_task, n) for n in range(10)]
//! for future in as_completed(futures):
//!     try: results.append(future.result())
//!     except Exception as error: errors.append(str(error))   # of which task?
//! ```
//!
//! is one `Result` per task here, in the order of the tasks. What went wrong has two levels: the
//! task's own error, a type of ours that crosses as it is, and around it what became of the process
//! that ran it. A task that aborts fails alone; in Python it would fail all that are still waiting,
//! as `BrokenProcessPool`. And an error cannot be taken for a result: it is not in the same place.
//!
//! Run it with `cargo run -p process-errors`, or with a seed, `cargo run -p process-errors 17`, for
//! other failures. Look at the ten lines: each kind of failure says what it was.
//!
//! To take: `Trouble` and `perform`, the two levels. The pool, `src/pool.rs`, is only used here;
//! `process-pool` explains it. Before this: `process-queue`; after it: `process-cleanup`.

#![forbid(unsafe_code)]

mod pool;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::num::ParseIntError;
use std::process::{self, ExitCode};
use std::{env, fmt, panic};

use pool::{Cause, Options, Pool, TaskResult};
use serde::{Deserialize, Serialize};

const TASKS: u64 = 10;
const WORKERS: usize = 4;
/// One with every kind of failure. The same seed always brings the same failures.
const SEED: u64 = 861;

/// A task's own error. It crosses the boundary with its type, so that the parent can match on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Trouble {
    TooLarge {
        value: u64,
        limit: u64,
    },
    /// A library's error has no serialised form; its text has.
    NotANumber {
        text: String,
        why: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Trouble::TooLarge { value, limit } => write!(f, "{value} is beyond {limit}"),
            Trouble::NotANumber { text, why } => write!(f, "{text:?} is no number: {why}"),
        }
    }
}

impl Error for Trouble {}

/// What becomes of a task. The parent draws it, so the seed alone decides, not who runs what when.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Fate {
    Completes,
    IsRefused,
    MisreadsANumber,
    Panics,
    Exits,
    Aborts,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Task {
    number: u64,
    fate: Fate,
}

/// The outer level is the pool's: what became of the process. The inner one is ours.
type Outcome = TaskResult<Result<u64, Trouble>>;

fn main() -> ExitCode {
    pool::serve_with_set_up_if_worker(quiet_panics, |(), task| Ok(perform(task)));

    let arguments: Vec<String> = env::args().skip(1).collect();
    let seed = match &arguments[..] {
        [] => Ok(SEED),
        [seed] => seed.parse(),
        _ => "".parse(),
    };
    let Ok(seed) = seed else {
        eprintln!("usage: process-errors [SEED], a whole number");
        return ExitCode::from(2);
    };
    match run(seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A panic comes back with its message; printed by the worker as well, it would be there twice.
fn quiet_panics((): ()) -> Result<(), String> {
    panic::set_hook(Box::new(|_| {}));
    Ok(())
}

fn run(seed: u64) -> Result<(), Box<dyn Error>> {
    say!(
        "{TASKS} tasks for {WORKERS} workers; which of them fail, and how, follows from seed {seed}\n"
    );
    // By default a task whose worker died is tried once more. These would only die again.
    let pool: Pool<Task, Result<u64, Trouble>> = Options::new(WORKERS).retries(0).start()?;
    let tasks = draw(seed);
    let outcomes = pool.map(tasks.clone());
    for (task, outcome) in tasks.iter().zip(&outcomes) {
        let what = match outcome {
            Ok(Ok(primes)) => format!("completed: {primes} primes"),
            Ok(Err(trouble)) => format!("failed: {trouble}"),
            Err(error) => format!("failed: {}", told(&error.cause)),
        };
        say!("   task {:2}  {what}", task.number);
        let expected = suits(task.fate, outcome);
        check(
            expected,
            &format!("task {} {:?}, but {what}", task.number, task.fate),
        )?;
    }
    let completed = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Ok(_))))
        .count();
    let failed = outcomes.len() - completed;
    check(outcomes.len() == tasks.len(), "a task has no outcome")?;

    // The pool is as good as new: the workers that died have been replaced.
    let fate = Fate::Completes;
    let again = pool.map(tasks.into_iter().map(|task| Task { fate, ..task }));
    let all = again.iter().all(|outcome| suits(fate, outcome));
    check(all, "the pool did not survive")?;
    say!(
        "\n   the same pool again, without failures: {} completed",
        again.len()
    );

    say!(
        "\nok: completed {completed} + failed {failed} = {TASKS}, each failure with its task and its reason"
    );
    Ok(())
}

/// Six of ten complete, on average.
fn draw(seed: u64) -> Vec<Task> {
    let mut random = Random(seed);
    let mut fate = || match random.next() % 100 {
        0..60 => Fate::Completes,
        60..68 => Fate::IsRefused,
        68..76 => Fate::MisreadsANumber,
        76..84 => Fate::Panics,
        84..92 => Fate::Exits,
        _ => Fate::Aborts,
    };
    (1..=TASKS)
        .map(|number| Task {
            number,
            fate: fate(),
        })
        .collect()
}

/// What a worker does. `Err` is for what may happen; a panic is for what may not.
fn perform(task: Task) -> Result<u64, Trouble> {
    let limit = 20_000 + 3_000 * task.number;
    match task.fate {
        Fate::Completes => Ok(count_primes(limit)),
        Fate::IsRefused => Err(Trouble::TooLarge {
            value: limit * 1_000,
            limit,
        }),
        Fate::MisreadsANumber => {
            let text = format!("{limit}x");
            let number: Result<u64, ParseIntError> = text.parse();
            number.map_err(|error| Trouble::NotANumber {
                why: error.to_string(),
                text,
            })
        }
        Fate::Panics => panic!("there is no prime between {limit} and {limit}"),
        Fate::Exits => process::exit(3),
        Fate::Aborts => process::abort(),
    }
}

/// In the words of this program; the error's own `Display` names the task as well.
fn told(cause: &Cause) -> String {
    match cause {
        Cause::Panicked(message) => format!("it panicked: {message}"),
        Cause::WorkerDied { worker, how } => format!("its process {worker} ended: {how}"),
        other => format!("{other:?}"),
    }
}

/// Whether a task ended as it had to.
fn suits(fate: Fate, outcome: &Outcome) -> bool {
    let cause = outcome.as_ref().map_err(|error| &error.cause);
    match fate {
        Fate::Completes => matches!(cause, Ok(Ok(_))),
        Fate::IsRefused => matches!(cause, Ok(Err(Trouble::TooLarge { .. }))),
        Fate::MisreadsANumber => matches!(cause, Ok(Err(Trouble::NotANumber { .. }))),
        Fate::Panics => matches!(cause, Err(Cause::Panicked(text)) if text.contains("no prime")),
        Fate::Exits => matches!(cause, Err(Cause::WorkerDied { how, .. }) if how.contains('3')),
        Fate::Aborts => matches!(cause, Err(Cause::WorkerDied { .. })),
    }
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_usual_seed_brings_every_kind_of_failure() {
        let fates: HashSet<String> = draw(SEED)
            .iter()
            .map(|task| format!("{:?}", task.fate))
            .collect();
        assert_eq!(fates.len(), 6, "{fates:?}");
    }

    #[test]
    fn a_seed_always_brings_the_same_failures_and_another_one_others() {
        let fates = |seed| -> Vec<Fate> { draw(seed).iter().map(|task| task.fate).collect() };
        assert_eq!(fates(5), fates(5));
        assert_ne!(fates(5), fates(6));
    }

    /// "Error: …" among the results would have to be told from them by its text.
    #[test]
    fn an_error_crosses_the_boundary_as_what_it_is() -> Result<(), Box<dyn Error>> {
        let fate = Fate::MisreadsANumber;
        let result = perform(Task { number: 1, fate });
        let received: Result<u64, Trouble> =
            serde_json::from_str(&serde_json::to_string(&result)?)?;
        let trouble = received.unwrap_err();
        assert_eq!(Err(&trouble), result.as_ref());
        let text = trouble.to_string();
        assert_eq!(
            text,
            "\"23000x\" is no number: invalid digit found in string"
        );
        Ok(())
    }
}
