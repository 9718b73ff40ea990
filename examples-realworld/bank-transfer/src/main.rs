//! Moves money between accounts from many threads while an auditor reads all accounts, with three
//! lockings side by side, and checks every balance to the cent.
//!
//! What a Python developer writes as
//!
//! ```python
//! first, second = (a, b) if a.number < b.number else (b, a)   # or two threads may deadlock
//! with first.lock, second.lock:
//!     a.balance -= amount                                     # floats: 0.3 - 0.1 - 0.1 < 0.1
//!     b.balance += amount
//! ```
//!
//! is src/locking/ordered.rs here; beside it stand one lock for all and one that locks last. The
//! balances are whole cents: `bank.deposit(0, f64::NAN)` and `B::open(3, 0.3)` do not compile.
//!
//! Run it with `cargo run -r -p bank-transfer`, and see `--help`. Look at the audits: each sees the
//! same total in the middle of the transfers. A final sum would not notice a torn read, and neither
//! total nor sign notices money that goes the wrong way: hence the journal.
//!
//! To take: bank.rs with one of locking/*.rs; journal.rs, one bit per order; schedule.rs, turns.

#![forbid(unsafe_code)]

mod auditor;
mod bank;
mod journal;
mod locking;
mod options;
mod orders;
mod report;
mod rules;
mod run;
mod schedule;
mod signals;
mod sync;

use bank::{Bank, Cents};
use clap::Parser;
use locking::{global::Global, optimistic::Optimistic, ordered::Ordered};
use options::{Locking, Options};
use report::ProgressLine;
use run::{Outcome, Setup};
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = options().and_then(|options| transfer_money(&options));
    match outcome {
        Ok(code) => code,
        // Nobody reads on, as in `| head`: no error.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Why there is no result.
enum Failure {
    Output(io::Error),
    Run(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::Output(error) => write!(f, "cannot write to stdout: {error}"),
            Failure::Run(error) => write!(f, "{error}"),
        }
    }
}

/// Help and version go through our own output, so that a full disk is an error there, too.
fn options() -> Result<Options, Failure> {
    let options = Options::try_parse().and_then(Options::checked);
    options.or_else(|error| {
        if error.use_stderr() {
            error.exit();
        }
        let mut out = io::stdout().lock();
        write!(out, "{error}")?;
        out.flush()?;
        std::process::exit(0)
    })
}

fn transfer_money(options: &Options) -> Result<ExitCode, Failure> {
    let setup = Setup {
        accounts: options.accounts,
        threads: options.threads as usize,
        transfers: options.transfers,
        seed: options.seed,
        initial: options.initial as Cents,
        round: run::ROUND,
    };
    signals::listen(|_| (), || ()).map_err(Failure::Run)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let text = !options.json && !options.checksum;
    if text {
        report::opening(&mut out, &setup)?;
        if options.locking == Locking::All {
            report::refusals(&mut out)?;
        }
        report::table_head(&mut out)?;
    }

    let names = options.locking.names();
    let turns = options.turns();
    let mut taken: Vec<Vec<Outcome>> = names.iter().map(|_| Vec::new()).collect();
    let mut runs: Vec<Outcome> = Vec::new();
    for turn in 1..=turns {
        for (name, taken) in names.iter().zip(&mut taken) {
            if signals::received().is_none() {
                taken.push(run_named(name, &setup).map_err(Failure::Run)?);
            } else if taken.is_empty() {
                // To open ten million accounts for nothing would take a second.
                taken.push(Outcome::not_begun(name, &setup));
            }
            if turn < turns {
                continue;
            }
            let run = run::median(std::mem::take(taken));
            let begun = run.not_done < setup.transfers;
            if text && begun {
                let limit = runs.first().filter(|first| first.locking == "limit");
                report::table_row(&mut out, &run, limit)?;
            }
            runs.push(run);
        }
    }

    let failed = runs.iter().any(|run| !run.problems.is_empty());
    let signal = signals::received();
    if let (true, Some(signal)) = (text, signal) {
        report::not_done(&mut out, signal.name, &runs)?;
    } else if text && options.locking == Locking::All {
        report::meaning(&mut out, &runs)?;
    }
    if options.json {
        report::json(&mut out, &setup, signal.map(|signal| signal.name), &runs)?;
    } else if options.checksum {
        report::checksum(&mut out, &runs)?;
    } else if !failed {
        report::verdict(&mut out, &setup, &runs)?;
    }
    out.flush()?;

    for run in &runs {
        for problem in &run.problems {
            let _ = writeln!(io::stderr(), "error: {}: {problem}", run.locking);
        }
    }
    Ok(match signal {
        _ if failed => ExitCode::FAILURE,
        Some(signal) => ExitCode::from(signal.exit_code),
        None => ExitCode::SUCCESS,
    })
}

fn run_named(name: &'static str, setup: &Setup) -> io::Result<Outcome> {
    match name {
        "global" => run_checked::<Global>(name, setup),
        "ordered" => run_checked::<Ordered>(name, setup),
        "optimistic" => run_checked::<Optimistic>(name, setup),
        _ => {
            let mut line = ProgressLine::new(name, setup.transfers);
            Ok(run::run_alone(setup, |done| line.update(done)))
        }
    }
}

fn run_checked<B: Bank>(name: &'static str, setup: &Setup) -> io::Result<Outcome> {
    let mut line = ProgressLine::new(name, setup.transfers);
    let mut outcome = run::run::<B>(name, setup, |done| line.update(done))?;
    outcome.problems.extend(rules::broken_by::<B>());
    Ok(outcome)
}
