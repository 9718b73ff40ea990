//! The processes that this program starts: what they are told, what they do, what they say.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::family::{self, Family};
use crate::signals;

/// Set in them only, to what they are to be.
pub const ROLE: &str = "PROCESS_CLEANUP_ROLE";
/// A worker that nobody ends is still not for ever.
pub const LIFE: Duration = Duration::from_secs(20);
/// For those that count: each needs some 15 ms.
pub const PRIMES_BELOW: u32 = 80_000;

/// This program once more.
pub fn command(role: &str) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, role);
    Ok(command)
}

/// Starts a worker for each role and returns the numbers that it says as soon as it is ready.
pub fn start(family: &Family, roles: &[&str]) -> Result<Vec<Vec<u32>>, Box<dyn Error>> {
    let (answers, writer) = io::pipe()?;
    for role in roles {
        family.spawn(command(role)?.stdout(writer.try_clone()?))?;
    }
    drop(writer);
    let lines = BufReader::new(answers).lines().take(roles.len());
    let answers: io::Result<Vec<_>> = lines.map(|line| Ok(numbers(&line?))).collect();
    let answers = answers?;
    if answers.len() < roles.len() {
        return Err("a worker ended without a word".into());
    }
    Ok(answers)
}

pub fn numbers(line: &str) -> Vec<u32> {
    let words = line.split(|c: char| !c.is_ascii_digit());
    words.flat_map(str::parse).collect()
}

/// What a worker does: mostly, it waits.
pub fn work(role: &str) -> Result<(), Box<dyn Error>> {
    let mut line = process::id().to_string();
    let mut child = None;
    match role {
        "plain" | "count" => {}
        "tidy" => signals::listen(|_| process::exit(0), || ())?,
        "deaf" | "child" => signals::leave_to_parent()?,
        "forgetful" => {
            let mut command = command("child")?;
            let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut started = piped.spawn()?;
            let stdout = started.stdout.take().expect("stdout is a pipe");
            line += " ";
            BufReader::new(stdout).read_line(&mut line)?;
            // Dropping it ends nothing, but on Windows closes what the child watches.
            child = Some(started);
        }
        // Someone else set the variable. Starting processes now could go on without end.
        _ => return Err(format!("{ROLE} is for this program's own processes; unset it").into()),
    }
    // A child of a worker is to be ended with the worker's group. Elsewhere there is none.
    if role != "child" || cfg!(not(unix)) {
        family::end_with_parent()?;
    }
    if role == "count" {
        say!("{line} {}", count_primes(PRIMES_BELOW));
        return Ok(());
    }
    say!("{}", line.trim_end());
    thread::sleep(LIFE);
    drop(child);
    Ok(())
}

pub fn count_primes(limit: u32) -> u32 {
    let divides = |n: u32| {
        (2..)
            .take_while(move |d| d * d <= n)
            .any(move |d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divides(*n)).count() as u32
}
