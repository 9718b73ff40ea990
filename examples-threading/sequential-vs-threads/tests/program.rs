//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

#[test]
fn it_draws_one_lane_for_each_thread_and_one_bar_for_each_task() -> Result<(), Box<dyn Error>> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_sequential-vs-threads"));
    let output = program.output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let lanes = text.lines().filter(|line| line.ends_with(']'));
    let lanes: Vec<_> = lanes
        .map(|lane| (lane.split_whitespace().next(), lane.matches('[').count()))
        .collect();
    let waiting_and_computing = [
        (Some("main"), 3),
        (Some("task-1"), 1),
        (Some("task-2"), 1),
        (Some("task-3"), 1),
    ]
    .repeat(2);
    assert_eq!(lanes, waiting_and_computing, "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("ok: the same 3 results"), "{text}");
    Ok(())
}
