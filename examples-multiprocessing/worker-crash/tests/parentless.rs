//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! A program that finds itself named a worker of the pool, but not by its parent, does nothing.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

/// Without the guard under `if __name__`, Python's workers start workers without end.
#[test]
fn a_worker_without_its_parent_starts_nothing() -> Result<(), Box<dyn Error>> {
    // Where std does not tell a process its parent, any other number may be right.
    let numbers: &[&str] = if cfg!(unix) {
        &["1", "4294967295"]
    } else {
        &[]
    };
    for value in ["", "0", "parent"].iter().chain(numbers) {
        let program = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
        let output = Command::new(program)
            .env("PROCESS_POOL_PARENT", value)
            .output_in_time()?;
        assert_eq!(output.status.code(), Some(2), "{value:?}");
        assert_eq!(output.stdout, b"", "{value:?}");
        let complaint = String::from_utf8(output.stderr)?;
        assert!(complaint.contains("PROCESS_POOL_PARENT"), "{complaint}");
    }
    Ok(())
}
