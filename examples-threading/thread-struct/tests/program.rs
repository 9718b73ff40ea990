//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

#[test]
fn both_reports_are_complete_whatever_order_the_steps_came_in() -> Result<(), Box<dyn Error>> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_thread-struct"));
    let output = program.output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let found = |line: &str| text.lines().filter(|it| it.contains(line)).count();
    assert_eq!((found("A: step "), found("B: step ")), (5, 5), "{text}");
    assert_eq!(found("A: [9592, 8392, 8013, 7863, 7678] in "), 1, "{text}");
    assert_eq!(found("B: [6057, 5244, 5041, 4879, 4776] in "), 1, "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("ok: 2 reports"), "{text}");
    Ok(())
}
