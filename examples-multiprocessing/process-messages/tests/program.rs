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
    Command::new(env!("CARGO_BIN_EXE_process-messages"))
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: every answer"), "{text}");
    Ok(())
}

/// Python finds out when it pickles them, in the middle of the run; and dill, which can, gives the
/// function to a process that has no such names.
#[test]
fn closures_and_handles_are_refused_by_the_compiler() -> Result<(), Box<dyn Error>> {
    let text = String::from_utf8(program().output_in_time()?.stdout)?;
    let refused = [
        "fn(u64) -> u64",
        "Box<dyn Fn(u64) -> u64>",
        "File",
        "TcpStream",
        "Child",
        "JoinHandle<u64>",
        "MutexGuard<'static, u64>",
        "Instant",
    ];
    for name in refused {
        assert!(text.contains(&format!("   no   {name} ")), "{name}\n{text}");
    }
    for name in ["u64", "Request", "Vec<(String, f64)>"] {
        assert!(text.contains(&format!("   yes  {name} ")), "{name}\n{text}");
    }
    Ok(())
}

#[test]
fn an_unknown_role_starts_nothing() -> Result<(), Box<dyn Error>> {
    for role in [
        "", "1", "parent", "break", "break 99", "break -1", "serve 1",
    ] {
        let output = program()
            .env("PROCESS_MESSAGES_ROLE", role)
            .output_in_time()?;
        assert_eq!(output.status.code(), Some(1), "{role:?}");
        assert_eq!(output.stdout, b"", "{role:?}");
        let complaint = String::from_utf8(output.stderr)?;
        assert!(complaint.contains("PROCESS_MESSAGES_ROLE"), "{complaint}");
    }
    Ok(())
}

#[test]
fn a_worker_whose_input_ends_ends() -> Result<(), Box<dyn Error>> {
    let output = program()
        .env("PROCESS_MESSAGES_ROLE", "serve")
        .output_in_time()?;
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b""[..]));
    Ok(())
}

/// Its parent is gone, and with it the work.
#[test]
fn a_worker_whose_output_nobody_reads_ends_quietly() -> Result<(), Box<dyn Error>> {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    let mut worker = program();
    worker
        .env("PROCESS_MESSAGES_ROLE", "break 0")
        .stdin(Stdio::null());
    let worker = worker.stdout(writer).stderr(Stdio::piped()).spawn()?;
    let output = bounded::end_in_time(worker)?;
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn the_workers_of_a_parent_that_is_ended_by_a_signal_end_within_a_second() {
    orphans::workers_end_with_their_parent(1, || orphans::silent(program()));
}
