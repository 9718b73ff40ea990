//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Result<(Output, String, String), Box<dyn Error>> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_thread-errors"));
    let output = program.args(arguments).output_in_time()?;
    let stdout = String::from_utf8(output.stdout.clone())?;
    let stderr = String::from_utf8(output.stderr.clone())?;
    Ok((output, stdout, stderr))
}

#[test]
fn ten_tasks_have_ten_outcomes_and_each_failure_carries_its_task() -> Result<(), Box<dyn Error>> {
    let (output, text, message) = run(&[])?;
    assert_eq!(
        (output.status.code(), message.as_str()),
        (Some(0), ""),
        "{text}"
    );
    for task in 1..=10 {
        let outcomes = ["completed:", "failed:", "panicked:"];
        let line = |outcome| text.matches(&format!("\n   task {task} {outcome}")).count();
        assert_eq!(
            outcomes.map(line).iter().sum::<usize>(),
            1,
            "task {task} in {text}"
        );
    }
    assert!(text.contains("seed 7\n"), "{text}");
    assert!(text.contains("   task 4 failed: had bad luck\n"), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("ok: 7 completed + 3 failed = 10"),
        "{text}"
    );
    Ok(())
}

/// In Python, an exception that nobody catches ends its thread and leaves the exit code 0.
#[test]
fn the_exit_code_tells_of_failed_tasks_when_asked_to_be_strict() -> Result<(), Box<dyn Error>> {
    let (output, text, message) = run(&["--strict"])?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        message.ends_with("error: 3 of 10 tasks failed\n"),
        "{message}"
    );
    assert!(!text.contains("ok:"), "{text}");

    let (output, text, _) = run(&["41", "--strict"])?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.contains("ok: 10 completed + 0 failed = 10"), "{text}");
    Ok(())
}

#[test]
fn a_panic_names_its_thread_at_once_and_in_the_collection() -> Result<(), Box<dyn Error>> {
    let (_, text, _) = run(&[])?;
    let (story, collection) = text.split_once("\n3. ").ok_or("no third part")?;
    for thread in ["lonely", "worker-"] {
        assert!(story.contains(&format!("   ! thread {thread}")), "{text}");
        assert!(collection.contains(thread), "{text}");
    }
    assert_eq!(story.matches(" ! ").count(), 2, "{text}");
    Ok(())
}

#[test]
fn other_arguments_are_refused_with_the_usage() -> Result<(), Box<dyn Error>> {
    for arguments in [&["x"][..], &["-1"], &["1", "2"], &["--strikt"], &[""]] {
        let (output, text, message) = run(arguments)?;
        assert_eq!(
            (output.status.code(), text.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(
            message.starts_with("error: unexpected argument"),
            "{message}"
        );
        assert!(
            message.contains("\nUsage: thread-errors [SEED] [--strict]\n"),
            "{message}"
        );
    }
    let (output, text, message) = run(&["--help"])?;
    assert_eq!((output.status.code(), message.as_str()), (Some(0), ""));
    assert!(
        text.starts_with("Usage: thread-errors [SEED] [--strict]\n"),
        "{text}"
    );
    Ok(())
}
