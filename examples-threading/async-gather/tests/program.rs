//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

/// What it prints, when it ends well and has nothing to complain of.
fn printed() -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_async-gather"));
    let output = program.output_in_time().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_ends_with_its_verdict() {
    let text = printed();
    let last = text.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("ok: 5 answers in about one wait"),
        "{text}"
    );
    let answers = "answer 1, answer 2, answer 3, answer 4, answer 5";
    assert!(text.contains(answers), "{text}");
}

#[test]
fn offline_it_printed_completed_4_requests() {
    let text = printed();
    assert!(
        text.contains("no server there: completed 0, failed 5\n"),
        "{text}"
    );
    assert!(text.contains("\n   completed 3, failed 2\n"), "{text}");
    for question in [2, 4] {
        let failed = format!("question {question} failed: the server hung up\n");
        assert!(text.contains(&failed), "{text}");
    }
}

/// Not only the program says so: the server saw them go.
#[test]
fn the_first_error_left_the_others_running() {
    let text = printed();
    assert!(
        text.contains("question 3 failed: the server hung up, after"),
        "{text}"
    );
    let seen = "the server: answered 0 of the others, was left by 4 of them\n";
    assert!(text.contains(seen), "{text}");
}
