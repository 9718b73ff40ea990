//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::process::Command;

fn output() -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_thread-pool"));
    let output = program.output_in_time().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    text
}

#[test]
fn it_ends_with_its_verdict() {
    let text = output();
    let last = text.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("ok: three tasks ended in another order"),
        "{text}"
    );
}

/// In Python, every child ran half of the comparison once more.
#[test]
fn nothing_of_the_comparison_runs_again_in_a_worker() {
    let text = output();
    for heading in ["1. ", "2. ", "3. "] {
        let times = text
            .lines()
            .filter(|line| line.starts_with(heading))
            .count();
        assert_eq!(times, 1, "{text}");
    }
    for (line, times) in [(" begins on ", 6), (" is done: ", 6), (" ms", 3)] {
        assert_eq!(text.matches(line).count(), times, "{line:?} in\n{text}");
    }
}
