//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

#[test]
fn it_tells_the_story_and_ends_with_the_verdict() {
    let output = Command::new(env!("CARGO_BIN_EXE_event-flag"))
        .output_in_time()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    // Nobody begins before the event is set.
    let (before, after) = text.split_once("sets the event").unwrap();
    assert!(!before.contains("  begins"), "{text}");
    assert_eq!(after.matches("  begins").count(), 3);
    assert!(
        text.lines()
            .last()
            .unwrap()
            .starts_with("ok: one set woke all 3"),
        "{text}"
    );
}
