//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

#[test]
fn it_tells_the_story_and_ends_with_the_verdict() {
    let output = Command::new(env!("CARGO_BIN_EXE_bounded-buffer"))
        .output_in_time()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(text.matches("  put item ").count(), 10);
    assert_eq!(text.matches("  got item ").count(), 10);
    assert_eq!(text.matches("  ends").count(), 2);
    assert!(
        text.lines()
            .last()
            .unwrap()
            .starts_with("ok: each of 10 items"),
        "{text}"
    );
}
