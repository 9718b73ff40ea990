//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;
#[path = "shared/orphans.rs"]
mod orphans;

use bounded::OutputInTime;
use std::error::Error;
use std::io;
use std::process::{Command, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_process-queue"))
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(
        verdict.starts_with("ok: 20 items, each with one result"),
        "{text}"
    );
    Ok(())
}

#[test]
fn an_unknown_role_starts_nothing() -> Result<(), Box<dyn Error>> {
    for role in ["", "1", "parent", "produce", "produce 1 x 0", "consume 2"] {
        let output = program().env("PROCESS_QUEUE_ROLE", role).output_in_time()?;
        assert_eq!(output.status.code(), Some(1), "{role:?}");
        assert_eq!(output.stdout, b"", "{role:?}");
        let complaint = String::from_utf8(output.stderr)?;
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
    Ok(())
}

#[test]
fn a_worker_whose_input_ends_ends() -> Result<(), Box<dyn Error>> {
    for role in ["consume", "produce 1 0 0"] {
        let output = program().env("PROCESS_QUEUE_ROLE", role).output_in_time()?;
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b""[..]));
    }
    Ok(())
}

/// Its parent is gone, and with it the work.
#[test]
fn a_worker_whose_output_nobody_reads_ends_quietly() -> Result<(), Box<dyn Error>> {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    let mut worker = program();
    worker
        .env("PROCESS_QUEUE_ROLE", "produce 1 5 0")
        .stdin(Stdio::null());
    let worker = worker.stdout(writer).stderr(Stdio::piped()).spawn()?;
    let output = bounded::end_in_time(worker)?;
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn the_workers_of_a_parent_that_is_ended_by_a_signal_end_within_a_second() {
    orphans::workers_end_with_their_parent(5, || orphans::silent(program()));
}
