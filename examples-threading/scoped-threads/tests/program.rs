//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

#[test]
fn two_failures_and_two_results_all_arrive() -> Result<(), Box<dyn Error>> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_scoped-threads"));
    let output = program.output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    for expected in [
        "20000068000057 has the smallest factor 2000003",
        "twelve         failed: invalid digit found in string",
        "1              panicked: 1 has no prime factor",
        "30000227000323 has the smallest factor 3000017",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("ok: all threads were joined"), "{text}");
    // The panic is the only thing on stderr, and names its thread.
    let message = String::from_utf8(output.stderr)?;
    assert!(message.contains("thread 'item-3'"), "{message}");
    assert_eq!(message.matches("panicked at").count(), 1, "{message}");
    Ok(())
}

/// The threads of an abandoned scope end before the caller hears of the error.
#[test]
fn the_caller_gets_the_error_last() -> Result<(), Box<dyn Error>> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_scoped-threads"));
    let text = String::from_utf8(program.output_in_time()?.stdout)?;
    let (before, after) = text.split_once("the caller gets").ok_or("no error")?;
    assert_eq!(before.matches("and ends\n").count(), 4, "{text}");
    assert_eq!(after.matches("and ends\n").count(), 0, "{text}");
    Ok(())
}
