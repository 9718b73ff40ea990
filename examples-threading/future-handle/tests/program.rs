//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_future-handle");

#[test]
fn it_shows_the_four_ends_and_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    tells_its_story(&mut Command::new(PROGRAM))
}

/// Nothing is at the same time as anything else there, and nothing may depend on it.
#[test]
#[cfg(target_os = "linux")]
fn on_one_core_it_does_the_same() -> Result<(), Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .ok_or("no list of CPUs")?;
    // As in "0-3,8".
    let first = allowed.trim().split(['-', ',']).next().unwrap_or("0");
    if let Err(error) = Command::new("taskset").arg("--version").output() {
        println!("not tested: there is no taskset: {error}");
        return Ok(());
    }
    tells_its_story(Command::new("taskset").args(["-c", first, PROGRAM]))
}

fn tells_its_story(program: &mut Command) -> Result<(), Box<dyn Error>> {
    let output = program.output_in_time()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr)?, "");
    for line in [
        "[9, 4, 1]",
        "cancelled: the one that runs false, the next true",
        "the first completed: [0]",
        "until the first error: [0, 1], not yet [2, 3]",
        "task 2: the task panicked: this cannot be",
        "task 3: the task was cancelled",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("ok: each task ended once"), "{text}");
    Ok(())
}
