//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_reentrant-lock")).output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(
        verdict.starts_with("ok: both designs end with the same"),
        "{text}"
    );
    // In part 3 and in the verdict: 10,000,000 less 800,000 times 5, and 800,000 times 3.
    assert_eq!(
        text.matches("State { cash: 6000000, saved: 2400000 }")
            .count(),
        3,
        "{text}"
    );
    Ok(())
}
