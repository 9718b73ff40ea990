//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_safe-counter")).output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(
        verdict.starts_with("ok: every way counted exactly 5000000,"),
        "{text}"
    );
    // The four ways to count, each with the exact number.
    assert_eq!(text.matches("  5000000  ").count(), 4, "{text}");
    assert!(text.contains("found locked 40 of 40 times"), "{text}");
    Ok(())
}
