//! The demonstration from outside: who is in the process table, and what a way out leaves there.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::family::{self, Family};
use crate::workers::{self, LIFE, command};
use crate::{check, describe, wait_for_all};

/// What becomes of a plain `Child` that is forgotten. Linux lets us see it.
pub fn zombie() -> Result<(), Box<dyn Error>> {
    let mut count = command("count")?;
    let mut child = count.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let id = child.id();
    // `wait` would close it, and a worker that sees its end is not done.
    let stdin = child.stdin.take();
    if cfg!(target_os = "linux") {
        let begin = Instant::now();
        while state(id) != Some('Z') {
            check(begin.elapsed() < LIFE, "a worker does not end")?;
            thread::sleep(Duration::from_millis(1));
        }
        say!("   process {id} is in state Z: no memory, no files, but its entry in the table");
    } else {
        say!("   process {id}: only Linux shows its state");
    }
    let status = child.wait()?;
    drop(stdin);
    let left = state(id).map_or("no entry", |_| "still there");
    say!("   waited for, that is reaped: {status}, {left}");
    check(state(id).is_none(), "the zombie is still there")?;
    check(status.success(), "the worker was not let finish")
}

/// The letter in the process table, if there is an entry; on Linux only.
fn state(id: u32) -> Option<char> {
    let entry = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    entry.rsplit_once(") ")?.1.chars().next()
}

/// Runs this program up to a way out and makes sure that nobody is left. How many were there?
pub fn leave(
    family: &Family,
    what: &str,
    way: &str,
    signals: &[&str],
    code: Option<i32>,
) -> Result<usize, Box<dyn Error>> {
    let (output, writer) = io::pipe()?;
    let mut own = command("own")?;
    // All descendants inherit stderr: this pipe ends when the last of them is gone.
    own.arg(way)
        .env("RUST_BACKTRACE", "0")
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let owner = family.spawn(&mut own)?;
    drop(own);
    let (mut output, mut text) = (BufReader::new(output), String::new());
    output.read_line(&mut text)?;
    let members = workers::numbers(&text);
    check(
        members.len() == 5,
        &format!("not four workers and a child: {text:?}"),
    )?;

    let begin = Instant::now();
    for signal in signals {
        send(owner, signal)?;
        // It says that it has heard it.
        output.read_line(&mut text)?;
    }
    let ended = &wait_for_all(family)?[0];
    output.read_to_string(&mut text)?;
    members.iter().for_each(|id| family::reap_group(*id));
    let ms = begin.elapsed().as_millis();
    say!(
        "   {what:25} {:20} {} processes gone after {ms} ms",
        describe(ended),
        members.len()
    );

    let as_expected = ended.status.is_some_and(|status| status.code() == code);
    check(as_expected, &format!("expected {code:?}; it said: {text}"))?;
    check(
        members.iter().all(|id| state(*id).is_none()),
        "a process is left",
    )?;
    check(begin.elapsed() < LIFE / 2, "nobody ended the workers")?;
    Ok(members.len())
}

#[cfg(unix)]
fn send(id: u32, signal: &str) -> io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match signal {
        "INT" => Signal::INT,
        "TERM" => Signal::TERM,
        _ => Signal::KILL,
    };
    let id = Pid::from_raw(id.cast_signed()).expect("0 is no child");
    Ok(kill_process(id, signal)?)
}

#[cfg(not(unix))]
fn send(_: u32, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
