//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

#[test]
fn it_tells_the_story_and_ends_with_the_verdict() {
    let output = Command::new(env!("CARGO_BIN_EXE_connection-pool"))
        .output_in_time()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(text.matches("for \"how are you, ").count(), 10, "{text}");
    assert!(text.contains(" connection 6: opened"), "{text}");
    assert!(text.contains("acquire within 20ms: all connections are in use"));
    let verdict = text.lines().last().unwrap();
    assert!(verdict.starts_with("ok: never more than "), "{text}");
}
