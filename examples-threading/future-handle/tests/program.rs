//! The program as its user meets it.

use std::process::{Command, Stdio};

#[test]
fn it_shows_the_four_ends_and_ends_with_its_verdict() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_future-handle"));
    let output = program.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    for line in [
        "[1, 4, 9]",
        "cancelled: the one that runs false, the next true",
        "the first completed: [0]",
        "until the first error: [0, 1], not yet [2, 3]",
        "task 2: the task panicked: this cannot be",
        "task 3: the task was cancelled",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("ok: each task ended once"), "{text}");
}
