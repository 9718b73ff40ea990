//! The program as its user meets it.

use std::error::Error;
use std::process::{Command, Stdio};

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_thread-basics"));
    program.stdin(Stdio::null()).stderr(Stdio::piped());
    program
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output()?;
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
    let text = String::from_utf8(program().output()?.stdout)?;
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

/// As in `thread-basics | head -0`: the reader is gone before the first line.
#[test]
fn a_closed_pipe_ends_it_quietly() -> Result<(), Box<dyn Error>> {
    let mut child = program().stdout(Stdio::piped()).spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_one_line_and_exit_code_1() -> Result<(), Box<dyn Error>> {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
    let output = program().stdout(full).output()?;
    let message = String::from_utf8(output.stderr)?;
    assert_eq!(
        (output.status.code(), message.lines().count()),
        (Some(1), 1),
        "{message}"
    );
    Ok(())
}
