//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;
use std::thread;

const PROGRAM: &str = env!("CARGO_BIN_EXE_worker-count");

fn text(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn it_ends_with_its_verdict_and_two_curves() -> Result<(), Box<dyn Error>> {
    let text = text(&mut Command::new(PROGRAM))?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(
        verdict.starts_with("ok: equal answers from any number of workers; "),
        "{text}"
    );
    assert_eq!(text.matches(" times as fast  ").count(), 10, "{text}");
    let cores = thread::available_parallelism()?;
    let first = format!("cores that this process may use: {cores}\n");
    assert!(text.starts_with(&first), "{text}");
    Ok(())
}

/// Python's `cpu_count` told of all cores of the machine.
#[test]
#[cfg(target_os = "linux")]
fn the_number_honours_the_affinity_that_the_process_was_given() -> Result<(), Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .ok_or("no list of CPUs")?;
    // As in "0-3,8".
    let first = allowed.trim().split(['-', ',']).next().unwrap_or("0");
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", first, PROGRAM]);
    if let Err(error) = Command::new("taskset").arg("--version").output() {
        println!("not tested: there is no taskset: {error}");
        return Ok(());
    }
    let text = text(&mut pinned)?;
    assert!(
        text.starts_with("cores that this process may use: 1\n"),
        "{text}"
    );
    Ok(())
}
