//! The program as its user meets it, and the single tests that it starts.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::{Command, Output};

fn program(test: Option<&str>, argument: Option<&str>) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_testing-concurrency"));
    program.args(argument).env_remove("LOOM_LOG");
    program.env("RUST_BACKTRACE", "0");
    if let Some(test) = test {
        program.env("TESTING_CONCURRENCY_TEST", test);
    }
    program.output_in_time().unwrap()
}

fn report(test: &Output) -> String {
    String::from_utf8(test.stderr.clone()).unwrap()
}

#[test]
fn it_tells_the_story_and_ends_with_the_verdict() {
    let output = program(None, None);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(report(&output), "");
    assert!(text.contains("| schedule "), "{text}");
    assert!(text.contains("| failing schedule:"), "{text}");
    assert!(
        text.lines().last().unwrap().starts_with("ok: the right"),
        "{text}"
    );
}

/// Without the lock around both steps, the Python test still passed. These two do not, in any run.
#[test]
fn the_test_passed_with_the_lock_removed_and_here_it_does_not() {
    for _ in 0..5 {
        for test in ["loom-broken", "shuttle-broken"] {
            let output = program(Some(test), None);
            assert_eq!(output.status.code(), Some(101), "{test}");
            assert!(report(&output).contains("sold twice"), "{test}");
        }
    }
    for test in ["loom-right", "shuttle-right"] {
        assert!(program(Some(test), None).status.success(), "{test}");
    }
}

#[test]
fn the_printed_schedule_replays_the_failure() {
    let first = report(&program(Some("shuttle-broken"), None));
    let (_, rest) = first.split_once("failing schedule:\n\"\n").unwrap();
    let (schedule, _) = rest.split_once("\n\"").unwrap();
    let second = program(Some("shuttle-replay"), Some(schedule));
    assert_eq!(second.status.code(), Some(101));
    let message = |report: &str| {
        let line = report.lines().find(|line| line.contains("sold twice"));
        line.unwrap().to_string()
    };
    assert_eq!(message(&first), message(&report(&second)));
}

/// A wrong name starts nothing: neither the story nor, by way of it, the program again.
#[test]
fn an_unknown_test_is_an_error() {
    for name in ["", "nonsense"] {
        let output = program(Some(name), None);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stdout, b"");
        assert_eq!(report(&output).lines().count(), 1);
    }
    let output = program(Some("shuttle-replay"), None);
    assert_eq!(report(&output), "error: which schedule?\n");
}
