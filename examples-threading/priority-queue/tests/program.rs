//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

#[test]
fn it_tells_the_story_and_ends_with_the_verdict() {
    let output = Command::new(env!("CARGO_BIN_EXE_priority-queue"))
        .output_in_time()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let begun: Vec<_> = text.lines().filter(|it| it.ends_with("begins")).collect();
    assert_eq!(begun.len(), 7, "{text}");
    assert_eq!(begun[1].trim(), "alarm (Critical) begins");
    assert!(text.contains("alarm, contract, archive, photo, invoice, backup"));
    let verdict = text.lines().last().unwrap();
    assert!(verdict.starts_with("ok: the order held"), "{text}");
}
