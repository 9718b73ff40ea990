//! Start processes, pass them work, wait for them, end them, and know how they ended.
//!
//! What a Python developer knows as
//!
//! ```python
//! if __name__ == "__main__":
//!     workers = [Process(target=count_primes, args=(n,)) for n in range(1, 6)]
//!     for worker in workers: worker.start()
//!     for worker in workers: worker.join()
//!     print([worker.exitcode for worker in workers])
//! ```
//!
//! Rust cannot copy a function into a new process, so the program starts *itself* once more and
//! tells the copy through a private environment variable what to be. `main` looks at the variable
//! before anything else: a worker never runs the parent's part, so no process can start processes
//! without end, and nothing has to be guarded by a `__name__`.
//!
//! Run it with `cargo run -p process-basics`. Look at the process numbers: five workers, one
//! parent; and at the ways to end, each with its exit code or signal.
//!
//! To take: `src/guard.rs`, the owner of a child, which leaves no zombie and no orphan. After this:
//! `process-messages`.

#![forbid(unsafe_code)]

mod guard;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::collections::HashSet;
use std::env;
use std::error::Error;
use std::io::{self, Read};
use std::process::{self, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use guard::{ChildExt, ChildGuard};

/// Set in workers only, to what the worker is to do.
const ROLE: &str = "PROCESS_BASICS_ROLE";
const WORKERS: u32 = 5;

fn main() -> ExitCode {
    if let Ok(role) = env::var(ROLE) {
        return work(&role);
    }
    match parent() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
    say!(
        "1. Five workers at once, each a process of its own; this one is {}",
        process::id()
    );
    five_workers()?;

    say!("\n2. A process ends in its own way or in ours, and the parent learns which");
    // Only Unix has signals; elsewhere both of the last two end a process with exit code 1.
    let by_signal = |signal| if cfg!(unix) { signal } else { "exit code 1" };
    let terminated = by_signal("signal 15 (SIGTERM)");
    let killed = by_signal("signal 9 (SIGKILL)");
    let endings = [
        (
            "returns from main",
            ending("count 10", |_| Ok(()))?,
            "exit code 0",
        ),
        (
            "calls exit(3)",
            ending("exit 3", |_| Ok(()))?,
            "exit code 3",
        ),
        ("panics", ending("panic", |_| Ok(()))?, "exit code 101"),
        (
            "is asked to end",
            ending("wait", ChildGuard::terminate)?,
            terminated,
        ),
        ("is killed", ending("wait", |worker| worker.kill())?, killed),
    ];
    for (what, seen, expected) in endings {
        say!("   a worker that {what:18} {seen}");
        check(
            seen == expected,
            &format!("a worker that {what} gave {seen}, not {expected}"),
        )?;
    }

    say!("\n3. Waiting has a limit, and a dropped guard leaves nothing behind");
    let mut patient = start("wait")?;
    let ended = patient.wait_timeout(Duration::from_millis(50))?;
    say!(
        "   after 50 ms worker {} has ended: {}",
        patient.id(),
        ended.is_some()
    );
    check(ended.is_none(), "the worker that waits for ever has ended")?;
    let id = patient.id();
    drop(patient);
    if cfg!(target_os = "linux") {
        let left = std::path::Path::new(&format!("/proc/{id}")).exists();
        say!("   after the drop of its guard it is still in the process table: {left}");
        check(!left, "the worker outlived its guard")?;
    }

    say!("\nok: {WORKERS} workers, one parent, every end as expected, no process left behind");
    Ok(())
}

/// Starts this program once more, as a worker.
fn start(role: &str) -> io::Result<ChildGuard> {
    // The worker's stdout is for its answer alone; what else it has to say goes to stderr.
    let mut command = Command::new(env::current_exe()?);
    ChildGuard::spawn(command.env(ROLE, role).stdout(Stdio::piped()))
}

/// All are started before the first is waited for: they run at the same time.
fn five_workers() -> Result<(), Box<dyn Error>> {
    let tasks: Vec<u32> = (1..=WORKERS).map(|n| n * 20_000).collect();
    let workers: io::Result<Vec<ChildGuard>> = tasks
        .iter()
        .map(|limit| start(&format!("count {limit}")))
        .collect();

    let mut ids = HashSet::new();
    for (mut worker, limit) in workers?.into_iter().zip(tasks) {
        let mut answer = String::new();
        worker
            .stdout
            .take()
            .expect("stdout is a pipe")
            .read_to_string(&mut answer)?;
        let status = worker.wait()?;
        let [id, parent, primes] = numbers(&answer)?;
        let how = guard::describe(status);
        say!("   worker {id}, child of {parent}: {primes} primes below {limit}, {how}");

        check(status.success(), "a worker failed")?;
        check(
            id == worker.id() && ids.insert(id),
            "a worker reports the wrong process number",
        )?;
        check(
            cfg!(not(unix)) || parent == process::id(),
            "a worker has another parent",
        )?;
        check(primes == count_primes(limit), "a worker counted wrong")?;
    }
    Ok(())
}

/// The three numbers of a worker's answer.
fn numbers(answer: &str) -> Result<[u32; 3], String> {
    let numbers: Vec<u32> = answer.split_whitespace().flat_map(str::parse).collect();
    numbers
        .try_into()
        .map_err(|_| format!("not a worker's answer: {answer:?}"))
}

/// Starts a worker, does something to it, and says how it ended.
fn ending(role: &str, act: impl Fn(&mut ChildGuard) -> io::Result<()>) -> io::Result<String> {
    let mut worker = start(role)?;
    act(&mut worker)?;
    Ok(guard::describe(worker.wait()?))
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

/// What a worker does instead of the parent's part.
fn work(role: &str) -> ExitCode {
    if let Err(error) = guard::end_with_parent() {
        eprintln!("error: cannot watch the parent: {error}");
        return ExitCode::FAILURE;
    }
    match role.split_once(' ').unwrap_or((role, "")) {
        ("count", limit) => {
            let limit = limit.parse().expect("the parent passes a number");
            say!("{} {} {}", process::id(), parent_id(), count_primes(limit));
            ExitCode::SUCCESS
        }
        ("exit", code) => process::exit(code.parse().expect("the parent passes a number")),
        ("panic", _) => {
            // The usual message would only startle the reader of this demonstration.
            std::panic::set_hook(Box::new(|_| {}));
            panic!("on purpose")
        }
        ("wait", _) => loop {
            thread::park();
        },
        _ => {
            // Someone else set the variable. Starting workers now could go on without end.
            eprintln!("error: {ROLE} is for this program's own workers; unset it");
            ExitCode::from(2)
        }
    }
}

/// Windows keeps no such relation; 0 stands for that.
fn parent_id() -> u32 {
    #[cfg(unix)]
    return std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    0
}

fn count_primes(limit: u32) -> u32 {
    let divides = |n: u32| {
        (2..)
            .take_while(move |d| d * d <= n)
            .any(move |d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divides(*n)).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_25_primes_below_100() {
        assert_eq!(
            (count_primes(2), count_primes(3), count_primes(100)),
            (0, 1, 25)
        );
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error_that_shows_it() {
        assert_eq!(numbers("12 34 56\n"), Ok([12, 34, 56]));
        assert!(numbers("12 34").unwrap_err().contains("12 34"));
    }
}
