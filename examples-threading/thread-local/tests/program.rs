//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

fn output() -> Result<String, Box<dyn Error>> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_thread-local"));
    let output = program.output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr)?, "");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let text = output()?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: 11 requests"), "{text}");
    Ok(())
}

#[test]
fn each_request_is_answered_for_its_own_user_only() -> Result<(), Box<dyn Error>> {
    let text = output()?;
    for request in (1..=5).chain(11..=16) {
        let line = format!("request {request:2} answered for user-{request}\n");
        let times = usize::from(request != 13);
        assert_eq!(text.matches(&line).count(), times, "{line}{text}");
    }
    assert_eq!(text.matches(" answered for ").count(), 10, "{text}");
    Ok(())
}
