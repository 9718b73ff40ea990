//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

#[test]
fn it_tells_the_story_and_ends_with_the_verdict() {
    let output = Command::new(env!("CARGO_BIN_EXE_barrier-phases"))
        .output_in_time()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    for round in 1..=4 {
        let line = format!("  round {round} complete: ");
        assert_eq!(text.matches(&line).count(), 1, "{text}");
    }
    assert!(
        text.lines()
            .last()
            .unwrap()
            .starts_with("ok: all 4 rounds complete, one leader in each"),
        "{text}"
    );
}
