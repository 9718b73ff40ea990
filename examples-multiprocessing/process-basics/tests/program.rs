//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;
#[path = "shared/orphans.rs"]
mod orphans;

use bounded::{OutputInTime, end_in_time};
use std::error::Error;
use std::process::{Command, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_process-basics"))
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: 5 workers, "), "{text}");
    // Elsewhere std does not tell it.
    assert_eq!(verdict.contains("one parent"), cfg!(unix), "{text}");
    Ok(())
}

/// Without a check of its role, a new process would run the parent's part and die there, or start
/// processes of its own.
#[test]
fn a_worker_does_not_run_the_parents_part_again() -> Result<(), Box<dyn Error>> {
    let mut worker = program()
        .env("PROCESS_BASICS_ROLE", "count 100")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let id = worker.id();
    // Kept open until the worker has ended: its end would mean that the parent is gone.
    let lifeline = worker.stdin.take();
    let output = end_in_time(worker)?;
    drop(lifeline);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(
        matches!(words[..], [own, _, "25"] if own == id.to_string()),
        "{text}"
    );
    Ok(())
}

#[test]
fn an_unknown_role_starts_nothing() -> Result<(), Box<dyn Error>> {
    for role in ["", "1", "parent"] {
        let mut worker = program()
            .env("PROCESS_BASICS_ROLE", role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // As long as this is open, it does not end because its parent seems to be gone.
        let lifeline = worker.stdin.take();
        let output = end_in_time(worker)?;
        drop(lifeline);
        assert_eq!(output.status.code(), Some(2), "{role:?}");
        assert_eq!(output.stdout, b"", "{role:?}");
        let complaint = String::from_utf8(output.stderr)?;
        assert!(complaint.contains("PROCESS_BASICS_ROLE"), "{complaint}");
    }
    Ok(())
}

/// All five that work, and the one that would wait for ever.
#[test]
#[cfg(target_os = "linux")]
fn the_workers_of_a_parent_that_is_ended_by_a_signal_end_within_a_second() {
    use std::io::{BufRead, BufReader};

    for (part, workers) in [("1. ", 5), ("3. ", 1)] {
        orphans::workers_end_with_their_parent(workers, || {
            let parent = program().stdout(Stdio::piped()).spawn();
            let mut parent = parent.expect("the program starts");
            let story = BufReader::new(parent.stdout.as_mut().expect("stdout is a pipe"));
            let mut lines = story.lines().map_while(Result::ok);
            let told = lines.find(|line| line.starts_with(part));
            assert!(told.is_some(), "it does not tell {part:?}");
            parent
        });
    }
}
