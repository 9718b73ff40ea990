//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

#[test]
fn it_tells_the_story_and_ends_with_the_verdict() {
    let output = Command::new(env!("CARGO_BIN_EXE_timer-scheduler"))
        .output_in_time()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(text.matches(", due at ").count(), 4, "{text}");
    assert_eq!(text.matches("  tick ").count(), 4, "{text}");
    assert!(text.contains("did not run: in an hour, in two hours"));
    let verdict = text.lines().last().unwrap();
    assert!(verdict.starts_with("ok: each job ran once"), "{text}");
}
