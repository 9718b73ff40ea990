//! Two locks taken in opposite order: the hang, watched from outside, and what to do instead.
//!
//! What a Python developer knows as
//!
//! ```python
//! def task_1():                        def task_2():
//!     with left:                           with right:
//!         with right: ...                      with left: ...      # each waits for the other
//! ```
//!
//! compiles in Rust, too, and hangs as well: the compiler excludes data races, not deadlocks. What
//! it does exclude is what goes wrong with the cures. A lock cannot stay locked after an error or a
//! panic, as its guard unlocks; and a time-out gives no guard, hence no data to work on by mistake.
//!
//! Run it with `cargo run --release -p deadlock`. Look at part 1, where the program starts itself as
//! a child that hangs for certain, waits a little, and ends it; and at part 2, where each cure does
//! all of its work. `cargo xtask trace deadlock` shows the child's two tasks, which never run again.
//!
//! To take: `src/both.rs` with `src/sync.rs`, two locks at once. Its model is `tests/model.rs`.
//! Before this: `race-condition`; after it: `reentrant-lock`, a deadlock of one thread alone.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.
mod both;
mod cures;
#[allow(dead_code, reason = "this child is killed, never asked to end")]
mod guard;
mod sync;

use std::env::{self, VarError};
use std::error::Error;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use cures::MOVES;
use guard::{ChildExt, ChildGuard};

/// Set in the child only, to the order in which its second task takes the locks.
const ROLE: &str = "DEADLOCK_ROLE";
const TRAPPED: &str = "both tasks hold one lock and now want the other's";
/// How long the child is left alone with its deadlock.
const BOUND: Duration = Duration::from_millis(200);
/// For a child that does not even get there. Only a very busy machine comes near it.
const START_LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let result = match env::var(ROLE).as_deref() {
        Err(VarError::NotPresent) => parent(),
        Ok("opposite") => child(opposite_order),
        Ok("same") => child(same_order),
        _ => {
            eprintln!("error: {ROLE} is for this program's own child; unset it");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
    say!("1. Two tasks, two locks; in a child, because a hung thread cannot be ended");
    the_hang()?;

    say!("\n2. The cures: two tasks move {MOVES} books each, one to the right, one to the left");
    cures::all()?;

    say!("\nok: the child hung as expected, and each cure moved every book");
    Ok(())
}

fn the_hang() -> Result<(), Box<dyn Error>> {
    match watch("opposite")? {
        None => say!("   as expected: it hung"),
        Some(status) => return Err(format!("the child did not hang: {status}").into()),
    }
    match watch("same")? {
        Some(status) if status.success() => {
            say!("   with the locks in the same order the child ends by itself");
            Ok(())
        }
        _ => Err("the child failed with the locks in the same order".into()),
    }
}

/// Starts this program once more, as the child. `None`: it did not end by itself, and was killed.
fn watch(role: &str) -> Result<Option<ExitStatus>, Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    let mut child = ChildGuard::spawn(command.env(ROLE, role).stdout(Stdio::piped()))?;
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let (sender, said) = mpsc::channel();
    // A thread reads, since reading has no time limit. It ends with the child.
    let forward = move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        lines.try_for_each(|line| sender.send(line))
    };
    thread::Builder::new()
        .name("child-says".into())
        .spawn(forward)?;

    let line = said.recv_timeout(START_LIMIT);
    let line = line.map_err(|error| format!("no word from the child: {error}"))?;
    say!("   the child says: {line}");
    let bound = if line == TRAPPED { BOUND } else { START_LIMIT };
    // The bound is no guess at how fast the child is: once trapped, it would not end in a year.
    let ended = child.wait_timeout(bound)?;
    if ended.is_none() {
        child.kill()?;
        let how = guard::describe(child.wait()?);
        say!("   not ended {bound:?} later; killed, {how}");
    }
    Ok(ended)
}

fn child(work: fn() -> io::Result<()>) -> Result<(), Box<dyn Error>> {
    // Or else, if the parent were killed, a child that hangs would stay for ever.
    guard::end_with_parent()?;
    work()?;
    Ok(())
}

/// This version is problematic, and here it is so for certain: the tasks meet between the locks.
fn opposite_order() -> io::Result<()> {
    let (left, right) = (Mutex::new(()), Mutex::new(()));
    let meeting = Barrier::new(2);
    let task = |first: &Mutex<()>, second: &Mutex<()>| {
        let _first = first.lock().unwrap();
        if meeting.wait().is_leader() {
            say!("{TRAPPED}");
        }
        let _second = second.lock().unwrap();
    };
    two_tasks("task", |n| {
        if n == 1 {
            task(&left, &right)
        } else {
            task(&right, &left)
        }
    })?;
    say!("both tasks are done");
    Ok(())
}

fn same_order() -> io::Result<()> {
    let (left, right) = (Mutex::new(()), Mutex::new(()));
    two_tasks("task", |_| {
        let _first = left.lock().unwrap();
        let _second = right.lock().unwrap();
    })?;
    say!("both tasks are done");
    Ok(())
}

/// Runs `work(1)` and `work(2)` at the same time.
fn two_tasks<T: Send>(name: &str, work: impl Fn(usize) -> T + Sync) -> io::Result<[T; 2]> {
    let work = &work;
    thread::scope(|scope| {
        let second = thread::Builder::new()
            .name(format!("{name}-2"))
            .spawn_scoped(scope, move || work(2))?;
        let first = thread::Builder::new()
            .name(format!("{name}-1"))
            .spawn_scoped(scope, move || work(1))?;
        let join = |task: thread::ScopedJoinHandle<T>| task.join().expect("no task panics");
        Ok([join(first), join(second)])
    })
}
