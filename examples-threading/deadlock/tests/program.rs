//! The program as its user meets it.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use guard::{ChildExt, ChildGuard};

#[path = "../src/guard.rs"]
#[allow(dead_code, reason = "the tests need only a part of it")]
mod guard;

/// A program that hangs where it should not is a failed test, and the guard's drop ends it.
const LIMIT: Duration = Duration::from_secs(30);

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_deadlock"));
    program.stdout(Stdio::piped());
    program
}

/// Starts it with a pipe as its stdin, which stays open as long as the guard lives.
fn start(mut program: Command) -> Result<(ChildGuard, BufReader<ChildStdout>), Box<dyn Error>> {
    let mut child = ChildGuard::spawn(&mut program)?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    Ok((child, BufReader::new(stdout)))
}

/// The exit code, and what it wrote, which fits into a pipe that nobody reads yet.
fn outcome(program: Command) -> Result<(Option<i32>, String), Box<dyn Error>> {
    let (mut child, mut stdout) = start(program)?;
    let status = child.wait_timeout(LIMIT)?.ok_or("it hangs")?;
    let mut text = String::new();
    stdout.read_to_string(&mut text)?;
    Ok((status.code(), text))
}

fn in_role(role: &str) -> Command {
    let mut program = program();
    program.env("DEADLOCK_ROLE", role);
    program
}

#[test]
fn it_reports_the_expected_hang_and_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let (code, text) = outcome(program())?;
    assert_eq!(code, Some(0), "{text}");
    let verdict = text.lines().last().unwrap_or_default();
    assert!(
        verdict.starts_with("ok: the child hung as expected"),
        "{text}"
    );
    let hung = "ms later; killed, ";
    assert_eq!(text.matches(hung).count(), 1, "{text}");
    assert!(text.contains("as expected: it hung"), "{text}");
    assert_eq!(text.matches("  400000 moves, ").count(), 4, "{text}");
    Ok(())
}

#[test]
fn in_opposite_order_the_child_hangs_until_it_is_killed() -> Result<(), Box<dyn Error>> {
    let (mut child, stdout) = start(in_role("opposite"))?;
    let mut lines = stdout.lines();
    let line = lines.next().ok_or("it ended without a word")??;
    assert!(line.starts_with("both tasks hold one lock"), "{line}");
    let ended = child.wait_timeout(Duration::from_millis(300))?;
    assert!(ended.is_none(), "{ended:?}");
    drop(child);
    // Had the tasks got out of it, they would have said so.
    assert!(lines.next().is_none());
    Ok(())
}

#[test]
fn in_the_same_order_the_child_ends_by_itself() -> Result<(), Box<dyn Error>> {
    let expected = (Some(0), "both tasks are done\n".to_string());
    assert_eq!(outcome(in_role("same"))?, expected);
    Ok(())
}

#[test]
fn an_unknown_role_starts_nothing() -> Result<(), Box<dyn Error>> {
    for role in ["", "1", "parent"] {
        let mut program = in_role(role);
        program.stderr(Stdio::null()); // A usage error, as it should be.
        assert_eq!(outcome(program)?, (Some(2), String::new()), "{role:?}");
    }
    Ok(())
}

/// A killed parent can clean up nothing; the trapped child has to notice by itself.
#[test]
#[cfg(target_os = "linux")]
fn the_child_of_a_killed_program_ends() -> Result<(), Box<dyn Error>> {
    use std::fs;
    use std::thread;
    use std::time::Instant;

    let running = |id: &str| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // A zombie has ended; who reaps it depends on the machine's first process.
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    };
    let (parent, stdout) = start(program())?;
    let children = format!("/proc/{0}/task/{0}/children", parent.id());
    let mut lines = stdout.lines();
    // By then the child is trapped, and the program leaves it alone for a while.
    while !lines.next().ok_or("no child")??.contains("the child says") {}
    let child = fs::read_to_string(&children)?;
    drop(parent);
    let deadline = Instant::now() + LIMIT;
    while child.split_whitespace().any(running) {
        assert!(
            Instant::now() < deadline,
            "child {child} outlived its parent"
        );
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
