//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! What every program that prints with `say!` promises to whom it writes: a reader that leaves
//! early ends it quietly, and a full disk is one line on stderr.

#[path = "shared/bounded.rs"]
mod bounded;

use std::error::Error;
use std::io;
use std::process::{Command, Stdio};

/// Runs the program, and gives its exit code and what it wrote on stderr.
fn run(stdout: impl Into<Stdio>) -> Result<(Option<i32>, String), Box<dyn Error>> {
    let mut program = Command::new(env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME"))));
    program.stdin(Stdio::null()).stdout(stdout);
    let output = bounded::end_in_time(program.stderr(Stdio::piped()).spawn()?)?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

/// As in `| head -0`: the reader is gone before the first line.
#[test]
fn a_closed_pipe_ends_it_quietly() -> Result<(), Box<dyn Error>> {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    assert_eq!(run(writer)?, (Some(0), String::new()));
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_one_line_and_exit_code_1() -> Result<(), Box<dyn Error>> {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
    let (code, message) = run(full)?;
    assert_eq!((code, message.lines().count()), (Some(1), 1), "{message}");
    Ok(())
}
