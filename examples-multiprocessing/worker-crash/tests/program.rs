//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_worker-crash"))
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"", "a worker's noise");
    let text = String::from_utf8(output.stdout)?;
    assert!(
        text.contains("died of it: exit code 3, attempts: 2"),
        "{text}"
    );
    assert!(text.contains("tried 4 times; task 4: worker"), "{text}");
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: "), "{text}");
    assert!(cfg!(not(unix)) || verdict.contains("16 bad ends"), "{text}");
    Ok(())
}
