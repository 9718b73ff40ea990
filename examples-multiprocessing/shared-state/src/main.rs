//! A manager: one process owns the list, the map and the counter; the others send it requests.
//!
//! What a Python developer knows as
//!
//! ```python
//! manager = multiprocessing.Manager()
//! entries, progress, total = manager.list(), manager.dict(), manager.Namespace(value=0)
//! def worker(number):
//!     total.value += 1              # asks for the value, then sets it: two requests
//! ```
//!
//! loses updates between the two messages of its `+=`. Here a request is a variant of an enum and
//! happens as a whole: `Add(1)` cannot lose anything, and no lock is needed. A name that does not
//! exist is an error of the compiler, not a `NameError` in the worker; and a worker asks on its own
//! stdout, so there is no manager or proxy to pass to it, none that cannot be pickled.
//!
//! Run it with `cargo run -p shared-state`, on a terminal for the bars; with a number at the end, as
//! in `-- 2`, that worker dies half-way. Look at part 2, where the update as two requests loses.
//! To take: `src/manager.rs`, with `src/frame.rs` and `src/owned.rs`; `src/board.rs`, the bars.
//! Before this: `worker-crash`; after it: `shared-memory`.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.
mod board;
mod frame;
mod manager;
mod owned;
mod state;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::process::{self, Command, ExitCode};
use std::thread;

use board::Board;
use manager::AskError;
use state::{Answer, Request, State};

/// Set in workers only, to what the worker is to do.
const ROLE: &str = "SHARED_STATE_ROLE";
const WORKERS: usize = 3;
const PIECES: u64 = 5;
const STEPS: u64 = 100 / PIECES;
/// Below the limit of each worker, as the tables have it.
const PRIMES: [usize; WORKERS] = [33_860, 49_098, 63_951];

fn main() -> ExitCode {
    let done = match env::var_os(ROLE) {
        Some(role) => work(&role.to_string_lossy()),
        None => parent(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // This worker's parent is gone, and with it the work.
        Err(error) if matches!(error.downcast_ref(), Some(AskError::ManagerGone)) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
    let Some(dies) = which_dies(env::args_os().skip(1)) else {
        eprintln!("usage: shared-state [WORKER], the one of 1 to {WORKERS} that is to die");
        process::exit(2);
    };

    say!("1. {WORKERS} workers share a list, a counter, and a map with the progress of each");
    let role = |worker| {
        let fate = if worker == dies { "dies" } else { "lives" };
        format!("count {worker} {fate}")
    };
    let names = (1..=WORKERS).map(|worker| format!("worker {worker}"));
    let mut state = State::new(WORKERS);
    state.board = Some(Board::new(names));
    manager::run(&mut state, start((1..=WORKERS).map(role))?)?;
    let (entries, counter) = (state.pieces.len(), state.counter);
    say!("   the list has {entries} entries, the counter is {counter}");
    state.check(PIECES, &PRIMES)?;

    say!("\n2. Two workers add 1 each to a counter that is 0");
    let outcome = |how: &str| {
        let mut state = State::new(2);
        manager::run(&mut state, start([how, how].map(String::from))?)?;
        let history = state.history.join(", ");
        say!("   {how:13} {history}: the counter is {}", state.counter);
        match state.failures.first() {
            Some(failure) => Err(failure.clone().into()),
            None => Ok::<i64, Box<dyn Error>>(state.counter),
        }
    };
    let (two, one) = (outcome("two requests")?, outcome("one request")?);
    if (two, one) != (1, 2) {
        return Err(format!("the counters are {two} and {one} instead of 1 and 2").into());
    }

    say!(
        "\nok: {entries} entries, counter {counter}, every worker at 100 %; one request loses nothing"
    );
    Ok(())
}

/// The worker that is to die, or 0 for none; `None` for arguments that say neither.
fn which_dies(mut arguments: impl Iterator<Item = OsString>) -> Option<usize> {
    let Some(worker) = arguments.next() else {
        return Some(0);
    };
    let worker = worker.to_str()?.parse().ok()?;
    let right = (1..=WORKERS).contains(&worker) && arguments.next().is_none();
    right.then_some(worker)
}

/// How to start this program once more for each role.
fn start(roles: impl IntoIterator<Item = String>) -> io::Result<Vec<Command>> {
    let program = env::current_exe()?;
    let command = |role| {
        let mut command = Command::new(&program);
        command.env(ROLE, role);
        command
    };
    Ok(roles.into_iter().map(command).collect())
}

/// What a worker does instead of the parent's part.
fn work(role: &str) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = role.split(' ').collect();
    match words[..] {
        ["count", worker, fate] => count_with_progress(worker.parse()?, fate == "dies")?,
        ["two", "requests"] => add_by_two_requests()?,
        ["one", "request"] => tell(&Request::Add(1))?,
        ["add", times] => (0..times.parse()?).try_for_each(|_: u32| tell(&Request::Add(1)))?,
        // Someone else set the variable. Starting workers now could go on without end.
        _ => Err(format!(
            "{ROLE} is for this program's own workers; unset it"
        ))?,
    }
    Ok(())
}

/// Counts piece by piece, each in small steps.
fn count_with_progress(worker: usize, dies: bool) -> Result<(), AskError> {
    let step = limit(worker) / (PIECES * STEPS) as usize;
    let mut primes = 0;
    for percent in 1..=PIECES * STEPS {
        let from = step * (percent as usize - 1);
        primes += (from..from + step).filter(|n| is_prime(*n)).count();
        tell(&Request::Progress(percent))?;
        if percent % STEPS == 0 {
            let number = percent / STEPS;
            tell(&Request::Piece { number, primes })?;
            primes = 0;
        }
        if dies && percent == 50 {
            process::abort();
        }
    }
    Ok(())
}

/// What `value += 1` does through a Python proxy. Both workers get the value before one sets it.
fn add_by_two_requests() -> Result<(), Box<dyn Error>> {
    let Answer::Counter(value) = manager::ask(&Request::Get)? else {
        return Err("not the counter".into());
    };
    tell(&Request::Progress(50))?;
    while let Answer::Everyone(progress) = manager::ask(&Request::Everyone)? {
        if progress.values().all(|percent| *percent >= 50) {
            break;
        }
        thread::yield_now();
    }
    Ok(tell(&Request::Set(value + 1))?)
}

fn tell(request: &Request) -> Result<(), AskError> {
    manager::ask::<_, Answer>(request).map(drop)
}

fn limit(worker: usize) -> usize {
    200_000 * (worker + 1)
}

fn is_prime(n: usize) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= n && !n.is_multiple_of(divisor) {
        divisor += 1;
    }
    n >= 2 && divisor * divisor > n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_25_primes_below_100() {
        assert_eq!((0..100).filter(|n| is_prime(*n)).count(), 25);
        assert!(!is_prime(0) && !is_prime(1) && is_prime(2));
    }

    #[test]
    fn the_steps_of_a_worker_reach_its_limit() {
        for worker in 1..=WORKERS {
            assert_eq!(limit(worker) % (PIECES * STEPS) as usize, 0);
        }
    }
}
