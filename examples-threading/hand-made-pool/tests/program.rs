//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hand-made-pool");

#[test]
fn it_accounts_for_every_job_and_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
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
    let output = program.stdin(Stdio::null()).output_in_time()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr)?, "");
    assert!(text.contains("5 of 5 jobs are finished"), "{text}");
    assert!(
        text.contains("[0, 3, 6, 9, 12, 15, 18, 21, 24, 27]"),
        "{text}"
    );
    assert_eq!(
        text.matches("main hears: the job panicked").count(),
        3,
        "{text}"
    );
    assert!(text.contains("5 jobs came back"), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("ok: each of 29 jobs"), "{text}");
    Ok(())
}
