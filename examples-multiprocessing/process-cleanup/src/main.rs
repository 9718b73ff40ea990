//! An owner that ends and reaps its processes, and theirs, on every way out of the program.
//!
//! What a Python developer knows as
//!
//! ```python
//! workers = [Process(target=work, daemon=True) for _ in range(4)]
//! try: ...
//! finally:                                   # SIGTERM does not come here, nor does a kill
//!     for worker in workers: worker.terminate()      # done or not; and what it has started?
//!     for worker in workers: worker.join()           # and if it does not listen?
//! ```
//!
//! is a `Drop` here, which nobody can forget: it comes at a return, at `?`, at a panic, and a signal
//! is made an error like any other. To wait and to end are two calls: no worker is killed because a
//! block is over, and none delays the exit. A wrong name does not compile, where Python has its
//! `NameError` when the workers are gone. At `exit` and at a kill they see the end of their stdin.
//!
//! Run it with `cargo run -p process-cleanup`; with `-- wait` behind it, it waits for your Ctrl-C or
//! `kill -9`. Look at the zombie, and at the ways out: none leaves a process.
//! To take: `src/family.rs`. Before this: `process-errors`; after it: `process-pool`.

#![forbid(unsafe_code)]

mod family;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.
mod signals;
mod witness;
mod workers;

use std::env;
use std::error::Error;
use std::io;
use std::process::{self, ExitCode};
use std::time::{Duration, Instant};

use family::{Ended, Family, How};
use witness::{leave, zombie};
use workers::{ROLE, start};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long a worker may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
const WAYS: [&str; 6] = ["return", "error", "panic", "exit", "wait", "deaf"];
const USAGE: &str = "\
Usage: process-cleanup [WAY]

Four workers, one of which has a child, and one way out, after which none of them is left:
return, error, panic, exit; wait: for Ctrl-C; deaf: the same, but the workers do not listen, so
that it takes a second one. Without WAY: all of them.";

fn main() -> ExitCode {
    let role = env::var_os(ROLE).map(|role| role.to_string_lossy().into_owned());
    let text = |argument: std::ffi::OsString| argument.to_string_lossy().into_owned();
    let arguments: Vec<String> = env::args_os().skip(1).map(text).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match (role.as_deref(), &arguments[..]) {
        (None, []) => demonstrate(),
        (None, [way]) if WAYS.contains(way) => own(way),
        (Some("own"), [way]) if WAYS.contains(way) => match family::end_with_parent() {
            Ok(()) => own(way),
            Err(error) => Err(error.into()),
        },
        (Some(role), _) => workers::work(role),
        (None, ["--help" | "-h"]) => {
            say!("{USAGE}");
            Ok(())
        }
        (None, _) => {
            eprintln!("error: no such way out: {arguments:?}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match (done, signals::received()) {
        (Ok(()), _) => ExitCode::SUCCESS,
        (Err(_), Some(signal)) => ExitCode::from(signal.exit_code),
        (Err(error), None) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Outcome<()> {
    family::adopt_orphans()?;
    let family = family_that_hears()?;
    say!("1. A process that has ended and was not waited for is a zombie");
    zombie()?;

    say!("\n2. Workers that are waited for are not ended before they are done");
    finish(&family)?;

    say!("\n3. One that does not listen is killed after its time of grace");
    if cfg!(unix) {
        let strict = Family::new(Duration::from_millis(50));
        start(&strict, &["deaf"])?;
        let begin = Instant::now();
        let ended = &strict.end()[0];
        say!(
            "   after {} ms: {}",
            begin.elapsed().as_millis(),
            describe(ended)
        );
        check(ended.how == How::Killed, "it listened")?;
    } else {
        say!("   nobody can be asked here: a process that is ended is killed at once");
    }

    say!("\n4. Ways out of a program with four workers, one of which has a child");
    let mut gone = leave(&family, "a return", "return", &[], Some(0))?;
    gone += leave(&family, "an error, by `?`", "error", &[], Some(1))?;
    gone += leave(&family, "a panic", "panic", &[], Some(101))?;
    gone += leave(&family, "exit, which runs no drop", "exit", &[], Some(3))?;
    if cfg!(unix) {
        gone += leave(&family, "Ctrl-C", "wait", &["INT"], Some(130))?;
        gone += leave(&family, "SIGTERM", "wait", &["TERM"], Some(143))?;
        gone += leave(
            &family,
            "two, for deaf workers",
            "deaf",
            &["INT", "TERM"],
            Some(130),
        )?;
        gone += leave(&family, "a kill", "wait", &["KILL"], None)?;
    } else {
        say!("   the other ways begin with a signal, which only Unix has");
    }
    say!("\nok: {gone} processes ended with their owners; no zombie, no orphan");
    Ok(())
}

/// A first signal makes `wait_for_all` an error, a second one kills all.
fn family_that_hears() -> io::Result<Family> {
    let family = Family::new(GRACE);
    let kill = family.kill_then(|killed| {
        say!("again: {killed} killed at once, and reaped");
        process::exit(signals::received().map_or(1, |first| first.exit_code.into()));
    });
    signals::listen(|_| (), kill)?;
    Ok(family)
}

/// `children` is what `active_children` is in Python.
fn finish(family: &Family) -> Outcome<()> {
    let answers = start(family, &["count"; 4])?;
    say!("   children: {:?}", family.children());
    let ended = wait_for_all(family)?;
    for answer in &answers {
        say!("   worker {}: {} primes", answer[0], answer[1]);
    }
    let done = |it: &Ended| it.how == How::ByItself && it.status.is_some_and(|it| it.success());
    let all_done = ended.len() == 4 && ended.iter().all(done);
    check(all_done, "a worker was not let finish")?;
    say!(
        "   all ended by themselves; children: {:?}",
        family.children()
    );
    let primes = workers::count_primes(workers::PRIMES_BELOW);
    let right = answers.iter().all(|answer| answer[1] == primes);
    check(right, "a worker counted wrong")
}

/// Has four workers, and leaves.
fn own(way: &str) -> Outcome<()> {
    family::adopt_orphans()?;
    let family = family_that_hears()?;
    let others = if way == "deaf" { "deaf" } else { "plain" };
    let members = start(&family, &[others, others, "tidy", "forgetful"])?.concat();
    // What they are there for.
    family.wait(Duration::from_millis(30));
    say!("workers, and the child of one: {members:?}");
    match way {
        "return" => Ok(()),
        "error" => Err("on purpose".into()),
        "panic" => panic!("on purpose"),
        "exit" => process::exit(3),
        _ => wait_for_all(&family).map(drop),
    }
}

/// A signal is an error, but not before all are ended.
fn wait_for_all(family: &Family) -> Outcome<Vec<Ended>> {
    let mut ended = Vec::new();
    while !family.children().is_empty() {
        if let Some(signal) = signals::received() {
            let (name, all) = (signal.name, family.children().len());
            say!("{name}: {all} asked to end; a second signal kills them");
            let ended = family.end();
            let killed = ended.iter().filter(|it| it.how == How::Killed).count();
            say!("{name}: {all} ended, {killed} of them killed, all reaped");
            return Err(name.into());
        }
        ended.extend(family.wait(Duration::from_millis(5)));
    }
    Ok(ended)
}

fn describe(ended: &Ended) -> String {
    let status = ended.status.map(|status| status.to_string());
    status.unwrap_or("unknown".to_string())
}

fn check(holds: bool, complaint: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(complaint.into()) }
}
