//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::{Command, Stdio};

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_process-pipe"));
    program.stdin(Stdio::null()).stderr(Stdio::piped());
    program
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: every message"), "{text}");
    Ok(())
}

#[test]
fn an_unknown_role_starts_nothing() -> Result<(), Box<dyn Error>> {
    for role in ["", "1", "parent", "sender", "talk", "send 1"] {
        let output = program().env("PROCESS_PIPE_ROLE", role).output_in_time()?;
        assert_eq!(output.status.code(), Some(1), "{role:?}");
        assert_eq!(output.stdout, b"", "{role:?}");
        let complaint = String::from_utf8(output.stderr)?;
        assert!(complaint.contains("PROCESS_PIPE_ROLE"), "{complaint}");
    }
    Ok(())
}

#[test]
fn a_worker_whose_input_ends_ends() -> Result<(), Box<dyn Error>> {
    for role in ["receive", "square"] {
        let output = program().env("PROCESS_PIPE_ROLE", role).output_in_time()?;
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b""[..]));
    }
    Ok(())
}

/// A killed parent can clean up nothing; its workers have to notice by themselves, both of them.
/// A machine with much else to do may let them be late, but not every time.
#[test]
#[cfg(target_os = "linux")]
fn the_workers_of_a_killed_parent_end_within_a_second() -> Result<(), Box<dyn Error>> {
    use std::fs;
    use std::thread;
    use std::time::{Duration, Instant};

    let running = |id: &String| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // A zombie has ended; who reaps it depends on the machine's first process.
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    };
    let children = |id: u32| {
        let ids = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        ids.split_whitespace().map(String::from).collect::<Vec<_>>()
    };
    let mut late = Vec::new();
    // Some of these parents may be through with their workers before we look.
    for _ in 0..20 {
        let mut parent = program().stdout(Stdio::null()).spawn()?;
        let mut workers = Vec::new();
        let met = loop {
            if workers.len() == 2 && workers.iter().all(running) {
                break true;
            }
            if parent.try_wait()?.is_some() {
                break false;
            }
            workers = children(parent.id());
        };
        parent.kill()?;
        parent.wait()?;
        let begin = Instant::now();
        while workers.iter().any(running) {
            let left: Vec<_> = workers.iter().filter(|id| running(id)).collect();
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "workers {left:?} outlived their parent"
            );
            thread::sleep(Duration::from_millis(5));
        }
        match begin.elapsed() {
            took if met && took < Duration::from_secs(1) => return Ok(()),
            took if met => late.push(took),
            _ => {}
        }
        assert!(late.len() < 5, "{late:?}");
    }
    panic!("no parent was met with both its workers; late were {late:?}");
}
