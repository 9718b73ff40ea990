//! The processes that this program starts: what they are told, what they do, what they say.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::family::{self, Family};
use crate::signals;

/// Set in them only, to what they are to be.
pub const ROLE: &str = "PROCESS_CLEANUP_ROLE";
/// A worker that nobody ends is still not for ever.
pub const LIFE: Duration = Duration::from_secs(60);
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
    match role {
        "plain" | "count" | "stray" => {}
        "tidy" => signals::listen(|_| process::exit(0), || ())?,
        "deaf" | "child" => signals::leave_to_parent()?,
        "forgetful" | "careless" => {
            // It inherits stdin, and can watch the same pipe, which a stray does not.
            let role = if role == "careless" { "stray" } else { "child" };
            let mut child = command(role)?.stdout(Stdio::piped()).spawn()?;
            let stdout = child.stdout.take().expect("stdout is a pipe");
            line += " ";
            BufReader::new(stdout).read_line(&mut line)?;
        }
        // Someone else set the variable. Starting processes now could go on without end.
        _ => return Err(format!("{ROLE} is for this program's own processes; unset it").into()),
    }
    if role != "stray" {
        family::end_with_parent()?;
    }
    if role == "count" {
        line += &format!(" {}", count_primes(PRIMES_BELOW));
    }
    // Not `say!`, which calls exit if nobody reads: then the parent is gone, and who watches it
    // ends the whole group.
    let _ = writeln!(io::stdout(), "{}", line.trim_end());
    if role != "count" {
        thread::sleep(LIFE);
    }
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
