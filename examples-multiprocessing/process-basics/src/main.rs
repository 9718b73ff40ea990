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
//! Run it with `cargo run -p process-basics`. Look at the process numbers, and the ways to end.
//! To take: `src/guard.rs`, the owner of a child, which leaves no zombie and no orphan.
//! After this: `process-messages`.

#![forbid(unsafe_code)]

mod guard;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::collections::HashSet;
use std::env;
use std::error::Error;
use std::io::{self, Read};
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use guard::{ChildExt, ChildGuard};

/// Set in workers only, to what the worker is to do.
const ROLE: &str = "PROCESS_BASICS_ROLE";
const WORKERS: u32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(role) = env::var_os(ROLE) {
        return work(&role.to_string_lossy());
    }
    say!(
        "1. Five workers at once, each a process of its own; this one is {}",
        process::id()
    );
    five_workers()?;

    say!("\n2. A process ends in its own way or in ours, and the parent learns which");
    five_ends()?;

    say!("\n3. Waiting has a limit, and a dropped guard leaves nothing behind");
    wait_and_drop()?;

    let parent = if cfg!(unix) { "one parent, " } else { "" };
    say!("\nok: {WORKERS} workers, {parent}every end as expected, no process left behind");
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
    let tasks = (1..=WORKERS).map(|n| n * 20_000);
    let start_one = |limit| Ok((start(&format!("count {limit}"))?, limit));
    let workers: io::Result<Vec<(ChildGuard, u32)>> = tasks.map(start_one).collect();

    let mut ids = HashSet::new();
    for (mut worker, limit) in workers? {
        let mut answer = String::new();
        let stdout = worker.stdout.as_mut().expect("stdout is a pipe");
        stdout.read_to_string(&mut answer)?;
        let status = worker.wait()?;
        let [id, parent, primes] = numbers(&answer)?;
        let how = guard::describe(status);
        check(
            cfg!(not(unix)) || parent == process::id(),
            "a worker has another parent",
        )?;
        let parent = match parent {
            0 => String::new(),
            parent => format!(", child of {parent}"),
        };
        say!("   worker {id}{parent}: {primes} primes below {limit}, {how}");

        check(status.success(), "a worker failed")?;
        check(
            id == worker.id() && ids.insert(id),
            "a worker reports the wrong process number",
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

fn five_ends() -> Result<(), Box<dyn Error>> {
    type Act = fn(&mut ChildGuard) -> io::Result<()>;
    let nothing: Act = |_| Ok(());
    if cfg!(not(unix)) {
        say!("   there are no signals here: to be asked and to be killed is one, with exit code 1");
    }
    let by_signal = |signal| if cfg!(unix) { signal } else { "exit code 1" };
    let (terminated, killed) = (
        by_signal("signal 15 (SIGTERM)"),
        by_signal("signal 9 (SIGKILL)"),
    );
    let ends: [(&str, &str, Act, &str); 5] = [
        ("returns from main", "count 10", nothing, "exit code 0"),
        ("calls exit(3)", "exit 3", nothing, "exit code 3"),
        ("panics", "panic", nothing, "exit code 101"),
        ("is asked to end", "wait", ChildGuard::terminate, terminated),
        ("is killed", "wait", |worker| worker.kill(), killed),
    ];
    for (what, role, act, expected) in ends {
        let mut worker = start(role)?;
        act(&mut worker)?;
        let seen = guard::describe(worker.wait()?);
        say!("   a worker that {what:18} {seen}");
        check(
            seen == expected,
            &format!("a worker that {what} gave {seen}, not {expected}"),
        )?;
    }
    Ok(())
}

fn wait_and_drop() -> Result<(), Box<dyn Error>> {
    let mut patient = start("wait")?;
    let ended = patient.wait_timeout(Duration::from_millis(50))?.is_some();
    let id = patient.id();
    say!("   after 50 ms worker {id} has ended: {ended}");
    check(!ended, "the worker that waits for ever has ended")?;
    drop(patient);
    if cfg!(target_os = "linux") {
        let left = Path::new(&format!("/proc/{id}")).exists();
        say!("   after the drop of its guard it is still in the process table: {left}");
        check(!left, "the worker outlived its guard")?;
    }
    Ok(())
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

/// What a worker does instead of the parent's part.
fn work(role: &str) -> Result<(), Box<dyn Error>> {
    guard::end_with_parent()?;
    match role.split_once(' ').unwrap_or((role, "")) {
        ("count", limit) => {
            let primes = count_primes(limit.parse()?);
            say!("{} {} {primes}", process::id(), parent_id());
            Ok(())
        }
        ("exit", code) => process::exit(code.parse()?),
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
            process::exit(2)
        }
    }
}

/// 0 where std does not tell, as on Windows.
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
