//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

/// `del` in Python's task freed nothing, and its process pool made a copy for each worker.
#[test]
fn each_buffer_goes_back_to_the_system_while_the_program_still_runs() -> Result<(), Box<dyn Error>>
{
    let mut program = Command::new(env!("CARGO_BIN_EXE_memory-ownership"));
    let output = program.output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: six buffers"), "{text}");
    if cfg!(not(target_os = "linux")) {
        return Ok(());
    }

    // What is said to be in use, in buffers of 40 MiB.
    let figures: Vec<f64> = text
        .split(" MiB in use")
        .filter_map(|before| before.split_whitespace().last()?.parse().ok())
        .map(|mib: f64| (mib / 40.0).round())
        .collect();
    let moved = [1.0, 0.0].repeat(4);
    let shared = [1.0, 1.0, 1.0, 0.0];
    let held = [1.0, 0.0];
    assert_eq!(
        figures,
        [&[0.0], &moved[..], &shared, &held].concat(),
        "{text}"
    );
    Ok(())
}
