//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

#[test]
fn it_tells_the_story_and_ends_with_the_verdict() {
    let output = Command::new(env!("CARGO_BIN_EXE_semaphore"))
        .output_in_time()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(text.matches("  enters, ").count(), 5);
    assert!(text.contains("  enters, 2 inside"), "{text}");
    assert!(!text.contains("  enters, 3 inside"), "{text}");
    assert!(
        text.lines()
            .last()
            .unwrap()
            .ends_with("at the peak exactly 2; all permits are back"),
        "{text}"
    );
}
