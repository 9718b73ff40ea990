//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::{Command, Stdio};

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_process-basics"));
    program.stdin(Stdio::null()).stderr(Stdio::piped());
    program
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
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
    for role in ["", "1", "parent"] {
        let mut worker = program()
            .env("PROCESS_BASICS_ROLE", role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // As long as this is open, it does not end because its parent seems to be gone.
        let lifeline = worker.stdin.take();
        let output = worker.wait_with_output()?;
        drop(lifeline);
        assert_eq!(output.status.code(), Some(2), "{role:?}");
        assert_eq!(output.stdout, b"", "{role:?}");
        let complaint = String::from_utf8(output.stderr)?;
        assert!(complaint.contains("PROCESS_BASICS_ROLE"), "{complaint}");
    }
    Ok(())
}

/// A killed parent can clean up nothing; its workers have to notice by themselves: all five that
/// work, and the one that would wait for ever. A machine with much else to do may let them be late,
/// but not every time.
#[test]
#[cfg(target_os = "linux")]
fn the_workers_of_a_killed_parent_end_within_a_second() -> Result<(), Box<dyn Error>> {
    use std::fs;
    use std::io::{BufRead, BufReader};
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
    // The time it takes, if the parent is met with so many workers in that part of its story.
    let time_to_end = |part: &str, count: usize| -> Result<Option<Duration>, Box<dyn Error>> {
        let mut parent = program().stdout(Stdio::piped()).spawn()?;
        let story = BufReader::new(parent.stdout.take().expect("stdout is a pipe"));
        let mut lines = story.lines().map_while(Result::ok);
        let told = lines.find(|line| line.starts_with(part));
        assert!(told.is_some(), "it does not tell {part:?}");
        let mut workers = Vec::new();
        let met = loop {
            if workers.len() == count && workers.iter().all(running) {
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
        Ok(met.then(|| begin.elapsed()))
    };
    for (part, count) in [("1. ", 5), ("3. ", 1)] {
        let (mut in_time, mut late) = (false, Vec::new());
        // Some of these parents may be through with their workers before we look.
        for _ in 0..20 {
            match time_to_end(part, count)? {
                Some(took) if took < Duration::from_secs(1) => in_time = true,
                Some(took) => late.push(took),
                None => {}
            }
            if in_time || late.len() == 5 {
                break;
            }
        }
        assert!(in_time, "met {count} at {part:?}: {late:?}");
    }
    Ok(())
}
