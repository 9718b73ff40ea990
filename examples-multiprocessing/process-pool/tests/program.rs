//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_process-pool"))
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"");
    let text = String::from_utf8(output.stdout)?;
    assert!(
        text.contains("[1, 4, 9, 16, 25, 36, 49, 64, 81, 100]"),
        "{text}"
    );
    assert!(text.contains("the same again in chunks of five"), "{text}");
    assert!(text.contains("task 1: no such number"), "{text}");
    assert!(text.contains("task 2: panicked: this cannot be"), "{text}");
    assert!(text.contains("attempts: 2"), "{text}");
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: equal answers"), "{text}");
    Ok(())
}

/// Python numbered them by completion: then the fourth result is not that of the fourth task.
#[test]
fn results_are_named_after_their_tasks_not_by_completion() -> Result<(), Box<dyn Error>> {
    let text = String::from_utf8(program().output_in_time()?.stdout)?;
    let tasks = [(0, 11734), (1, 2762), (2, 9592), (3, 5133), (4, 7393)];
    for (task, primes) in tasks {
        assert!(
            text.contains(&format!("task {task}: {primes} primes")),
            "{text}"
        );
    }
    Ok(())
}

/// The right parent's number, but no parent that talks: the end of the input is the end.
#[test]
#[cfg(unix)]
fn a_worker_whose_input_ends_ends() -> Result<(), Box<dyn Error>> {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::Stdio;

    let own = std::process::id().to_string();
    let (ours, theirs) = UnixStream::pair()?;
    drop(ours);
    let mut worker = program();
    worker.stdin(OwnedFd::from(theirs));
    worker
        .env("PROCESS_POOL_PARENT", own)
        .stdout(Stdio::piped());
    let output = bounded::end_in_time(worker.spawn()?)?;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"");
    Ok(())
}
