//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_thread-basics"))
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    assert!(
        text.lines()
            .last()
            .unwrap_or_default()
            .starts_with("ok: 5 results"),
        "{text}"
    );
    Ok(())
}

/// Two threads that print at the same time: no line is torn or glued to another.
#[test]
fn printed_lines_do_not_glue_together() -> Result<(), Box<dyn Error>> {
    let text = String::from_utf8(program().output_in_time()?.stdout)?;
    let steps: Vec<&str> = text.lines().filter(|line| line.contains("task ")).collect();
    assert_eq!(steps.len(), 6, "{text}");
    for step in steps {
        let words: Vec<&str> = step.split_whitespace().collect();
        assert!(
            matches!(words[..], [_, "ms", "task", "A:" | "B:", "step", _]),
            "{step:?}"
        );
    }
    Ok(())
}
