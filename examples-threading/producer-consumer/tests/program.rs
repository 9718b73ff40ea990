//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

#[test]
fn it_tells_the_story_and_ends_with_the_verdict() {
    let output = Command::new(env!("CARGO_BIN_EXE_producer-consumer"))
        .output_in_time()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let of_batches = 2 * 4;
    assert_eq!(
        text.matches("  handled ").count(),
        23 + of_batches,
        "{text}"
    );
    assert_eq!(text.matches("  could not handle ").count(), 2);
    assert_eq!(text.matches("  ends, ").count(), 2 + 3 + 3);
    let verdict = text.lines().last().unwrap();
    assert!(verdict.starts_with("ok: each of 25 lines"), "{text}");
}
