//! The program as its user meets it.

use std::process::{Command, Stdio};

#[test]
fn it_accounts_for_every_job_and_ends_with_its_verdict() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_hand-made-pool"));
    let output = program.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(text.contains("5 of 5 jobs are finished"), "{text}");
    assert!(
        text.contains("[0, 3, 6, 9, 12, 15, 18, 21, 24, 27]"),
        "{text}"
    );
    assert_eq!(
        text.matches("main hears: the job panicked").count(),
        3,
        "{text}"
    );
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("ok: each of 29 jobs"), "{text}");
}
