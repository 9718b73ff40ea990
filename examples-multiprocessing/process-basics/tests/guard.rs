//! The guard, with real processes as its children.

#[expect(dead_code, reason = "the child's side runs in the program")]
#[path = "../src/guard.rs"]
mod guard;

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::Duration;

use guard::{ChildExt, ChildGuard, describe};

const LIMIT: Duration = Duration::from_secs(30);

fn worker(role: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_process-basics"));
    command
        .env("PROCESS_BASICS_ROLE", role)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
#[cfg(target_os = "linux")]
fn a_dropped_guard_leaves_neither_orphan_nor_zombie() -> Result<(), Box<dyn Error>> {
    let guard = ChildGuard::spawn(&mut worker("wait"))?;
    let entry = format!("/proc/{}", guard.id());
    assert!(std::fs::exists(&entry)?);
    drop(guard);
    assert!(!std::fs::exists(&entry)?);
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_guard_ends_its_child_also_when_the_parent_panics() -> Result<(), Box<dyn Error>> {
    let guard = ChildGuard::spawn(&mut worker("wait"))?;
    let entry = format!("/proc/{}", guard.id());
    let panicked = std::thread::spawn(move || {
        let _guard = guard;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(!std::fs::exists(&entry)?);
    Ok(())
}

#[test]
fn waiting_does_not_look_like_the_parents_death() -> Result<(), Box<dyn Error>> {
    let mut guard = ChildGuard::spawn(&mut worker("count 20000"))?;
    assert_eq!(describe(guard.wait()?), "exit code 0");
    Ok(())
}

#[test]
fn a_wait_with_a_limit_gives_up_and_can_be_repeated() -> Result<(), Box<dyn Error>> {
    let mut guard = ChildGuard::spawn(&mut worker("wait"))?;
    assert!(guard.wait_timeout(Duration::from_millis(10))?.is_none());
    guard.kill()?;
    assert!(guard.wait_timeout(LIMIT)?.is_some());
    Ok(())
}

#[test]
#[cfg(unix)]
fn the_signal_that_ended_a_child_is_named() -> Result<(), Box<dyn Error>> {
    let mut guard = ChildGuard::spawn(&mut worker("wait"))?;
    guard.terminate()?;
    assert_eq!(describe(guard.wait()?), "signal 15 (SIGTERM)");
    // The process is gone; asking once more must not reach whoever has its number now.
    guard.terminate()?;
    Ok(())
}

/// The system closes the parent's end of the pipe, however the parent ended.
#[test]
fn a_child_ends_when_the_other_end_of_its_stdin_is_gone() -> Result<(), Box<dyn Error>> {
    let mut child = worker("wait").stdin(Stdio::piped()).spawn()?;
    drop(child.stdin.take());
    let status = child.wait_timeout(LIMIT)?;
    if status.is_none() {
        child.kill()?;
    }
    assert_eq!(status.map(describe).as_deref(), Some("exit code 1"));
    Ok(())
}
