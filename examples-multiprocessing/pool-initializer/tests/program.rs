//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;
#[path = "shared/orphans.rs"]
mod orphans;

use bounded::OutputInTime;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pool-initializer"))
}

/// What a program of this number has in the temp folder.
fn folder(program: u32) -> PathBuf {
    std::env::temp_dir().join(format!("pool-initializer-{program}"))
}

fn story() -> Result<String, Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"", "a worker's noise");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn four_workers_are_set_up_four_times_for_all_their_tasks() -> Result<(), Box<dyn Error>> {
    let text = story()?;
    let ready = text.lines().find(|line| line.contains("are ready"));
    let processes = ready.unwrap_or_default().matches(", ").count();
    // Three between the processes, one before the time.
    assert_eq!(processes, 4, "{text}");
    let results = "[1, 2, 3, 4, 5] become [10, 20, 30, 40, 50]";
    assert_eq!(text.matches(results).count(), 2, "{text}");
    assert_eq!(text.matches("; set-ups: 4\n").count(), 2, "{text}");
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: 4 set-ups, "), "{text}");
    Ok(())
}

/// Python's pool replaced its workers without end: 2,656 times in five seconds.
#[test]
fn a_failing_set_up_is_one_error_and_no_replacing_without_end() -> Result<(), Box<dyn Error>> {
    let text = story()?;
    for error in [
        "of 4: a worker's set-up failed: no licence: ",
        "of 4: a worker's set-up panicked: this cannot be\n",
        "of 4: a worker ended before it was ready: exit code 3",
        "later: task 0: not run, the pool is broken: a worker's set-up failed: no licence: ",
        "a thread's set-up failed: no licence for a third thread; tasks begun: 0\n",
    ] {
        assert_eq!(text.matches(error).count(), 1, "{error}\n{text}");
    }
    assert!(text.contains("then given up, after "), "{text}");
    Ok(())
}

#[test]
fn its_folder_goes_with_it_also_when_the_reader_leaves() -> Result<(), Box<dyn Error>> {
    for lines in [0, 1, 3, 100] {
        let mut child = program().stdout(Stdio::piped()).spawn()?;
        let folder = folder(child.id());
        let output = child.stdout.take().expect("a pipe");
        // As in `| head`.
        let read = BufReader::new(output).lines().take(lines).count();
        child.wait()?;
        assert!(!folder.exists(), "after {read} lines");
    }
    Ok(())
}

/// For busy and idle ones of the same pool, `worker-crash` has the test.
#[test]
#[cfg(target_os = "linux")]
fn workers_in_the_midst_of_their_set_up_end_when_their_parent_is_killed() {
    orphans::within_a_second("their end", || {
        let (mut parent, workers) = orphans::meet(4, || orphans::silent(program()));
        let took = orphans::time_to_end("KILL", &mut parent, &workers);
        // It could not do that itself.
        let _ = std::fs::remove_dir_all(folder(parent.id()));
        took
    });
}
