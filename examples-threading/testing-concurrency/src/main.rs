//! How to test concurrent code: one small type, tested by stress, by loom and by shuttle. Beside the
//! right version is a broken one, to see which of the tests is worth anything.
//!
//! In Python there is only the first:
//!
//! ```python
//! def test_thread_safety():
//!     threads = [Thread(target=sell_twenty) for _ in range(5)]
//!     for thread in threads: thread.start()
//!     for thread in threads: thread.join()
//!     assert sorted(sold) == list(range(1, 101))      # passes, with the lock or without
//! ```
//!
//! Most of its threads are over before they meet. Loom and shuttle run all of them on one real
//! thread and decide at each lock who goes on: loom takes every order there is, shuttle many.
//!
//! Run it with `cargo run -p testing-concurrency`. Look at the schedule that each of the two prints
//! for the broken version: loom's to be read, shuttle's to be replayed. To take: the layout.
//! `src/seats.rs` gets its lock from `super::sync`; each `src/by_*.rs` includes it with a `sync` of
//! its own. In a project of yours, the three are files in `tests`, as in `bounded-buffer`.

#![forbid(unsafe_code)]
#![allow(
    clippy::duplicate_mod,
    reason = "each of the three tests includes seats.rs with a lock of its own"
)]

use std::env;
use std::error::Error;
use std::io;
use std::process::{Command, ExitCode, Output, Stdio};

#[macro_use]
mod say;
mod by_loom;
mod by_shuttle;
mod by_stress;

const STRESS_RUNS: usize = 200;
/// A test that fails panics. To show that, and all that it prints, the program starts itself once
/// more for each of them, with the name of the test in this variable.
const TEST: &str = "TESTING_CONCURRENCY_TEST";

fn main() -> ExitCode {
    let result = match env::var(TEST) {
        Ok(test) => run_test(&test),
        Err(_) => tell(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell() -> Result<(), Box<dyn Error>> {
    say!("1. Stress: real threads, {STRESS_RUNS} runs of each version");
    stress()?;
    say!("\n2. Loom: every schedule of a tiny test");
    loom()?;
    say!("\n3. Shuttle: random schedules of a larger test");
    shuttle()?;
    say!("\nok: the right version passes all; loom and shuttle find the broken one, in every run");
    Ok(())
}

fn stress() -> Result<(), String> {
    use by_stress::{Seats, failures};
    let right = failures(STRESS_RUNS, Seats::sell);
    say!("   right:   {right} of {STRESS_RUNS} runs sell a seat twice");
    let broken = failures(STRESS_RUNS, Seats::sell_in_two_steps);
    say!(
        "   broken:  {broken} of {STRESS_RUNS} do: how many is luck, and one run is likely to see nothing"
    );
    expect(right == 0, "the right version passes the stress test")
}

fn loom() -> Result<(), Box<dyn Error>> {
    let right = start_test("loom-right", None)?;
    expect(right.status.success(), "the right version passes loom")?;
    let schedules = String::from_utf8(right.stdout)?;
    say!("   right:   passes all {} schedules", schedules.trim());

    let report = failure_of(start_test("loom-broken", None)?)?;
    let last = report.rfind("schedule ").ok_or("loom names no schedule")?;
    say!("   broken:  fails. These are its last lines:\n");
    show(&report[last..]);
    Ok(())
}

fn shuttle() -> Result<(), Box<dyn Error>> {
    let (schedules, seed) = (by_shuttle::SCHEDULES, by_shuttle::SEED);
    let right = start_test("shuttle-right", None)?;
    expect(right.status.success(), "the right version passes shuttle")?;
    say!("   right:   passes {schedules} schedules, seed {seed}");

    let report = failure_of(start_test("shuttle-broken", None)?)?;
    say!("   broken:  fails. These are its first lines:\n");
    show(&report);

    let schedule = printed_schedule(&report).ok_or("shuttle prints no schedule")?;
    let replayed = failure_of(start_test("shuttle-replay", Some(schedule))?)?;
    let same = sold(&report).is_some() && sold(&report) == sold(&replayed);
    say!("\n   replay:  this one schedule sells the same seat twice again: {same}");
    expect(same, "a replay fails as the first time")?;
    Ok(())
}

/// What shuttle prints between two lines with a quotation mark.
fn printed_schedule(report: &str) -> Option<&str> {
    let (_, rest) = report.split_once("failing schedule:\n\"\n")?;
    Some(rest.split_once("\n\"")?.0)
}

/// The seats that were sold, from the message of the panic.
fn sold(report: &str) -> Option<&str> {
    report.lines().find(|line| line.contains("sold twice"))
}

/// The interesting part of what a failing test prints.
fn show(report: &str) {
    let end = "note: run with `RUST_BACKTRACE";
    let interesting = report.lines().take_while(|line| !line.starts_with(end));
    for line in interesting.filter(|line| !line.is_empty()) {
        say!("   | {line}");
    }
}

/// Starts this program again, for one test, and waits for it.
fn start_test(name: &str, argument: Option<&str>) -> io::Result<Output> {
    Command::new(env::current_exe()?)
        .args(argument)
        .env(TEST, name)
        .env("RUST_BACKTRACE", "0")
        .env_remove("LOOM_LOG")
        .stdin(Stdio::null())
        .output()
}

/// What a test has printed that has to fail.
fn failure_of(test: Output) -> Result<String, Box<dyn Error>> {
    let report = String::from_utf8(test.stderr)?;
    expect(!test.status.success(), "the broken version is found")?;
    expect(report.contains("sold twice"), "and for the right reason")?;
    Ok(report)
}

/// The other side of `start_test`: a test as in `cargo test`.
fn run_test(name: &str) -> Result<(), Box<dyn Error>> {
    use {by_loom::Seats as LoomSeats, by_shuttle::Seats as ShuttleSeats};
    match name {
        "loom-right" => say!("{}", by_loom::check(LoomSeats::sell)),
        "loom-broken" => say!("{}", by_loom::check(LoomSeats::sell_in_two_steps)),
        "shuttle-right" => by_shuttle::check(ShuttleSeats::sell),
        "shuttle-broken" => by_shuttle::check(ShuttleSeats::sell_in_two_steps),
        "shuttle-replay" => {
            let schedule = env::args().nth(1).ok_or("which schedule?")?;
            by_shuttle::replay(ShuttleSeats::sell_in_two_steps, &schedule);
        }
        _ => return Err(format!("{TEST}={name}: there is no such test").into()),
    }
    Ok(())
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_found_in_what_shuttle_prints() {
        let report = "first\nfailing schedule:\n\"\n91ab\n\"\npass that string\nsold twice: [1]";
        assert_eq!(printed_schedule(report), Some("91ab"));
        assert_eq!(sold(report), Some("sold twice: [1]"));
        assert_eq!(printed_schedule("no such thing"), None);
        assert_eq!(sold("no such thing"), None);
    }

    #[test]
    fn the_stress_test_passes_the_right_version() {
        stress().unwrap();
    }
}
