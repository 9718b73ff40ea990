//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;
#[path = "shared/orphans.rs"]
mod orphans;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_shared-state"))
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    let expected = "ok: 15 entries, counter 15, every worker at 100 %";
    assert!(verdict.starts_with(expected), "{text}");
    assert!(text.contains("two requests") && text.contains(": the counter is 1\n"));
    assert!(text.contains("one request ") && text.contains(": the counter is 2\n"));
    Ok(())
}

/// A log file is no place for bars: each worker has its five lines, and a last one.
#[test]
fn a_pipe_gets_plain_lines_without_escape_codes() -> Result<(), Box<dyn Error>> {
    let text = String::from_utf8(program().env("TERM", "xterm").output_in_time()?.stdout)?;
    assert!(!text.contains(['\x1b', '\r']), "{text}");
    for worker in ["worker 1", "worker 2", "worker 3"] {
        let lines = text.lines().filter_map(|line| line.split_once(" ms  "));
        let own = lines.filter_map(|(_, rest)| rest.strip_prefix(worker));
        let words: Vec<&str> = own.map(str::trim).collect();
        let expected = ["20 %", "40 %", "60 %", "80 %", "100 %", "done"];
        assert_eq!(words, expected, "{worker}\n{text}");
    }
    Ok(())
}

/// `script` gives the program a terminal of its own, and writes down what it draws there.
#[test]
#[cfg(target_os = "linux")]
fn a_terminal_gets_live_bars_unless_it_is_a_dumb_one() -> Result<(), Box<dyn Error>> {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("not tested: there is no `script` here");
        return Ok(());
    }
    let on_terminal = |term: &str| -> Result<String, Box<dyn Error>> {
        let mut script = Command::new("script");
        let quoted = format!("'{}'", env!("CARGO_BIN_EXE_shared-state"));
        script
            .args(["-qec", &quoted, "/dev/null"])
            .env("TERM", term);
        let output = script.output_in_time()?;
        assert!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let bars = on_terminal("xterm")?;
    for worker in ["worker 1", "worker 2", "worker 3"] {
        let drawn = bars.matches(&format!("{worker} [")).count();
        assert!(drawn > 3, "{worker} was drawn {drawn} times\n{bars}");
        let last = format!("{worker} [====================] 100 % done");
        assert!(bars.contains(&last), "{bars}");
    }
    assert!(bars.contains('\x1b') && !bars.contains(" ms "), "{bars}");
    let plain = on_terminal("dumb")?;
    assert!(!plain.contains('\x1b') && plain.contains(" ms "), "{plain}");
    Ok(())
}

#[test]
fn a_worker_that_dies_is_reported_and_the_others_complete() -> Result<(), Box<dyn Error>> {
    let output = program().arg("2").output_in_time()?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr)?;
    let error = message.lines().last().unwrap_or_default();
    assert!(error.starts_with("error: worker 2, process "), "{message}");
    #[cfg(unix)]
    assert!(error.ends_with(" ended: signal 6 (SIGABRT)"), "{message}");
    let text = String::from_utf8(output.stdout)?;
    for line in [
        "worker 1  100 %",
        "worker 1  done",
        "worker 3  100 %",
        "worker 3  done",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(
        text.contains("the list has 12 entries, the counter is 12\n"),
        "{text}"
    );
    assert!(!text.contains("worker 2  done"), "{text}");
    Ok(())
}

#[test]
fn other_arguments_are_a_usage_error() -> Result<(), Box<dyn Error>> {
    for arguments in [
        &["0"][..],
        &["4"],
        &["-1"],
        &["two"],
        &[""],
        &["1", "2"],
        &["--help"],
    ] {
        let output = program().args(arguments).output_in_time()?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(message.starts_with("usage: "), "{message}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
    }
    Ok(())
}

#[test]
fn an_unknown_role_starts_nothing() -> Result<(), Box<dyn Error>> {
    for role in ["", "1", "parent", "count", "count x lives", "add -1"] {
        let output = program().env("SHARED_STATE_ROLE", role).output_in_time()?;
        assert_eq!(output.status.code(), Some(1), "{role:?}");
        assert_eq!(output.stdout, b"", "{role:?}");
        let complaint = String::from_utf8(output.stderr)?;
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
    Ok(())
}

/// Its first request gets no answer.
#[test]
fn a_worker_without_a_manager_ends_quietly() -> Result<(), Box<dyn Error>> {
    for role in [
        "count 1 lives",
        "two requests",
        "one request",
        "add 1000000000",
    ] {
        let output = program().env("SHARED_STATE_ROLE", role).output_in_time()?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(
            (output.status.code(), message.as_str()),
            (Some(0), ""),
            "{role}"
        );
    }
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn the_workers_of_a_parent_that_is_ended_by_a_signal_end_within_a_second() {
    orphans::workers_end_with_their_parent(3, || orphans::silent(program()));
}
