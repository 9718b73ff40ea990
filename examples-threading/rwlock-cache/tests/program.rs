//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

#[test]
fn it_tells_the_story_and_ends_with_the_verdict() {
    let output = Command::new(env!("CARGO_BIN_EXE_rwlock-cache"))
        .output_in_time()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(text.matches(" computes ").count(), 8 + 1, "{text}");
    assert_eq!(text.matches(" computes home").count(), 2, "{text}");
    assert_eq!(text.matches(" has home").count(), 3, "{text}");
    assert!(text.contains("400000 reads in "), "{text}");
    let verdict = text.lines().last().unwrap();
    assert!(verdict.starts_with("ok: one computation"), "{text}");
}
