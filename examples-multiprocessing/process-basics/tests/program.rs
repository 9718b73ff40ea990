//! The program as its user meets it.

use std::error::Error;
use std::process::{Command, Stdio};

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_process-basics"));
    program.stdin(Stdio::null()).stderr(Stdio::piped());
    program
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: 5 workers, one parent"), "{text}");
    Ok(())
}

/// Without a check of its role, a new process would run the parent's part and die there, or start
/// processes of its own.
#[test]
fn a_worker_does_not_run_the_parents_part_again() -> Result<(), Box<dyn Error>> {
    let worker = program()
        .env("PROCESS_BASICS_ROLE", "count 100")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let id = worker.id();
    // Kept open until the worker has ended: its end would mean that the parent is gone.
    let mut worker = worker;
    let lifeline = worker.stdin.take();
    let output = worker.wait_with_output()?;
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
    for role in ["", "1", "parent", "count"] {
        let output = program()
            .env("PROCESS_BASICS_ROLE", role)
            .stdin(Stdio::piped())
            .output()?;
        assert_ne!(output.status.code(), Some(0), "{role:?}");
        assert_eq!(output.stdout, b"", "{role:?}");
    }
    Ok(())
}

/// A killed parent can clean up nothing; its workers have to notice by themselves.
#[test]
#[cfg(target_os = "linux")]
fn the_workers_of_a_killed_parent_end() -> Result<(), Box<dyn Error>> {
    use std::fs;
    use std::thread;
    use std::time::{Duration, Instant};

    let running = |id: &str| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // A zombie has ended; who reaps it depends on the machine's first process.
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    };
    // Some of these parents may be through with their workers before we look.
    for _ in 0..20 {
        let mut parent = program().stdout(Stdio::null()).spawn()?;
        let children = format!("/proc/{0}/task/{0}/children", parent.id());
        let mut workers = String::new();
        while workers.is_empty() && parent.try_wait()?.is_none() {
            workers = fs::read_to_string(&children).unwrap_or_default();
        }
        parent.kill()?;
        parent.wait()?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while workers.split_whitespace().any(running) {
            assert!(
                Instant::now() < deadline,
                "workers {workers} outlived their parent"
            );
            thread::sleep(Duration::from_millis(5));
        }
        if !workers.is_empty() {
            return Ok(());
        }
    }
    panic!("no parent was met with a worker");
}
