//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::{Command, Output};

const ROLE: &str = "DAEMON_THREADS_ROLE";

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_daemon-threads"));
    program.env_remove(ROLE);
    program
}

fn text(output: &Output) -> Result<String, Box<dyn Error>> {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"", "{output:?}");
    Ok(String::from_utf8(output.stdout.clone())?)
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let text = text(&program().output_in_time()?)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: forgotten, the thread"), "{text}");
    assert_eq!(text.matches("=> as expected").count(), 1, "{text}");
    Ok(())
}

/// Certain in every run, not only in most.
#[test]
fn a_thread_that_nobody_waits_for_is_cut_off_without_clean_up_and_with_exit_code_0()
-> Result<(), Box<dyn Error>> {
    for _ in 0..5 {
        let text = text(&program().env(ROLE, "forgotten").output_in_time()?)?;
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("saver")).collect();
        let expected = [
            "saver    record 1, first half",
            "saver    record 1, second half",
            "saver    record 2, first half",
            "saver    record 2, second half",
            "saver    record 3, first half",
        ];
        assert_eq!(lines, expected);
        assert!(text.contains("regular  step 3\n"), "{text}");
        assert!(text.ends_with("main     returns\n"), "{text}");
    }
    Ok(())
}

#[test]
fn a_scope_and_a_stop_signal_lose_nothing() -> Result<(), Box<dyn Error>> {
    for role in ["scope", "stop"] {
        let text = text(&program().env(ROLE, role).output_in_time()?)?;
        let halves = ["first half\n", "second half\n"].map(|half| text.matches(half).count());
        assert!(halves[0] >= 3 && halves[0] == halves[1], "{text}");
        let end = "saver    cleans up\nmain     returns\n";
        assert!(text.ends_with(end), "{text}");
    }
    Ok(())
}

#[test]
fn an_unknown_role_starts_nothing() -> Result<(), Box<dyn Error>> {
    for role in ["", "1", "tell", "scope "] {
        let output = program().env(ROLE, role).output_in_time()?;
        assert_eq!(output.status.code(), Some(2), "{role:?}");
        assert_eq!(output.stdout, b"", "{role:?}");
    }
    Ok(())
}
