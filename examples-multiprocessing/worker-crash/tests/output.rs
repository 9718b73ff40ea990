//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! What every program that prints with `say!` promises to whom it writes: a reader that leaves
//! early ends it quietly, and a full disk is one line on stderr.

use std::error::Error;
use std::process::{Command, Stdio};

fn program() -> Command {
    let mut program = Command::new(env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME"))));
    program.stdin(Stdio::null()).stderr(Stdio::piped());
    program
}

/// As in `| head -0`: the reader is gone before the first line.
#[test]
fn a_closed_pipe_ends_it_quietly() -> Result<(), Box<dyn Error>> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let output = program().stdout(writer).output()?;
    let message = String::from_utf8(output.stderr)?;
    assert_eq!((output.status.code(), message.as_str()), (Some(0), ""));
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_one_line_and_exit_code_1() -> Result<(), Box<dyn Error>> {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
    let output = program().stdout(full).output()?;
    let message = String::from_utf8(output.stderr)?;
    let lines = message.lines().count();
    assert_eq!((output.status.code(), lines), (Some(1), 1), "{message}");
    Ok(())
}
