//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::{Command, Stdio};

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_process-queue"));
    program.stdin(Stdio::null()).stderr(Stdio::piped());
    program
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

/// A parent that is killed can clean up nothing; its workers have to notice by themselves. So they
/// do when Ctrl-C ends it, which does not reach them: they are in groups of their own. A machine with
/// much else to do may let them be late, but not every time.
#[test]
#[cfg(target_os = "linux")]
fn the_workers_of_a_parent_that_is_ended_by_a_signal_end_within_a_second()
-> Result<(), Box<dyn Error>> {
    use std::fs;
    use std::thread;
    use std::time::{Duration, Instant};

    // The fields after the name: state, parent, process group. A zombie has ended; who reaps it
    // depends on the machine's first process.
    let status = |id: &str| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<String> = fields.split_whitespace().map(String::from).collect();
        match &fields[..] {
            [state, _, group, ..] if state != "Z" => Some(group.clone()),
            _ => None,
        }
    };
    let children = |id: u32| {
        let threads = fs::read_dir(format!("/proc/{id}/task"))
            .into_iter()
            .flatten();
        let lists = threads
            .flatten()
            .map(|thread| thread.path().join("children"));
        let lists = lists.map(|list| fs::read_to_string(list).unwrap_or_default());
        let lists: String = lists.collect();
        lists
            .split_whitespace()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    // A process that has just been made still has to enter its own group.
    let own_group = |worker: &String| status(worker).is_some_and(|group| group == *worker);
    let time_to_end = |signal: &str| -> Result<Duration, Box<dyn Error>> {
        // On a busy machine some of these parents may be done before we look.
        let met = (0..20).find_map(|_| {
            let mut parent = program().stdout(Stdio::null()).spawn().ok()?;
            while parent.try_wait().ok()?.is_none() {
                let workers = children(parent.id());
                if workers.len() == 5 && workers.iter().all(own_group) {
                    return Some((parent, workers));
                }
            }
            None
        });
        let (mut parent, workers) = met.ok_or("no parent was met with five workers")?;
        let kill = format!("kill -s {signal} {}", parent.id());
        assert!(Command::new("sh").args(["-c", &kill]).status()?.success());
        parent.wait()?;
        let begin = Instant::now();
        while let Some(worker) = workers.iter().find(|worker| status(worker).is_some()) {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "worker {worker} outlived its parent, ended by SIG{signal}"
            );
            thread::sleep(Duration::from_millis(5));
        }
        Ok(begin.elapsed())
    };
    for signal in ["INT", "TERM", "KILL"] {
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            if fastest > Duration::from_secs(1) {
                fastest = fastest.min(time_to_end(signal)?);
            }
        }
        assert!(fastest < Duration::from_secs(1), "{signal}: {fastest:?}");
    }
    Ok(())
}
