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
//! same total in the middle of the transfers. A final sum alone would not notice a torn read, and
//! neither total nor sign notices money that goes the wrong way: hence the journal.
//!
//! To take: bank.rs with one of locking/*.rs; journal.rs, what happened in one bit per order;
//! schedule.rs, which gives one thread its turn while others work; signals.rs for Ctrl-C.

#![forbid(unsafe_code)]

mod auditor;
mod bank;
mod journal;
mod locking;
mod orders;
mod report;
mod rules;
mod run;
mod schedule;
mod signals;
mod sync;

use bank::{Bank, Cents};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use locking::{global::Global, optimistic::Optimistic, ordered::Ordered};
use report::ProgressLine;
use run::{Outcome, Setup};
use std::fmt;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::process::ExitCode;

/// Moves money between accounts from many threads, with an auditor that reads all accounts during
/// the transfers, and compares lockings. Without options: a demonstration that checks itself.
///
/// The same seed gives the same transfers, whatever the locking and the number of threads. Each
/// run ends with a check of every single balance against a journal of what was applied.
#[derive(Parser)]
#[command(version, after_help = report::JSON_KEYS, allow_negative_numbers = true)]
struct Options {
    /// Number of accounts, 2 to 10 million
    #[arg(long, value_name = "N", default_value = "1000", value_parser = accounts)]
    accounts: u64,

    /// Number of threads that transfer, 1 to 1024; the auditor is one more
    #[arg(long, value_name = "N", default_value = "4", value_parser = threads)]
    threads: u64,

    /// Number of transfers with each locking, up to 1e12; 1e6 and 1_000_000 are numbers, too
    #[arg(long, value_name = "N", default_value = "200_000", value_parser = transfers)]
    transfers: u64,

    /// How the accounts are protected
    #[arg(long, value_enum, default_value = "all")]
    locking: Locking,

    /// Where the random transfers begin; the same seed gives the same transfers
    #[arg(long, value_name = "N", default_value = "1", value_parser = number)]
    seed: u64,

    /// Opening balance of each account
    #[arg(long, value_name = "CENTS", default_value = "100_000", value_parser = cents)]
    initial: u64,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Print only the checksum of the balances and the time as "# seconds", to compare programs
    #[arg(long, conflicts_with = "json")]
    checksum: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Locking {
    /// One thread without a lock as the limit, and then the three others one after another
    All,
    /// One lock around all accounts
    Global,
    /// A lock for each account, taken in the order of the accounts
    Ordered,
    /// A version for each account: compute first, lock only if nothing has changed
    Optimistic,
}

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

impl Options {
    /// A comparison of short runs is a matter of luck: they take turns, and the median counts.
    fn turns(&self) -> u64 {
        match self.locking {
            Locking::All => (1_000_000 / self.transfers).clamp(1, 5),
            _ => 1,
        }
    }

    /// What no option can check alone.
    fn checked(self) -> Result<Options, clap::Error> {
        let usage = |message| Options::command().error(ErrorKind::ValueValidation, message);
        if self
            .initial
            .checked_mul(self.accounts)
            .is_none_or(|total| total > Cents::MAX as u64)
        {
            let message = "--accounts times --initial is more than the 9223372036854775807 cents \
                           that a total can hold";
            return Err(usage(message));
        }
        if self.checksum && self.locking == Locking::All {
            return Err(usage(
                "--checksum needs one --locking: global, ordered or optimistic",
            ));
        }
        Ok(self)
    }
}

fn accounts(text: &str) -> Result<u64, String> {
    number_in(text, 2..=orders::MAX_ACCOUNTS)
}

fn threads(text: &str) -> Result<u64, String> {
    number_in(text, 1..=1_024)
}

fn transfers(text: &str) -> Result<u64, String> {
    number_in(text, 1..=1_000_000_000_000)
}

fn cents(text: &str) -> Result<u64, String> {
    number_in(text, 1..=Cents::MAX as u64)
}

fn number_in(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number = number(text)?;
    if range.contains(&number) {
        return Ok(number);
    }
    Err(format!("must be from {} to {}", range.start(), range.end()))
}

/// A whole number, also written as 1_000_000 or 1e6.
fn number(text: &str) -> Result<u64, String> {
    let (digits, zeros) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let digits = digits.replace('_', "").parse::<u64>().ok();
    let factor = zeros
        .parse()
        .ok()
        .and_then(|zeros| 10u64.checked_pow(zeros));
    let number = digits.and_then(|digits| digits.checked_mul(factor?));
    number.ok_or_else(|| "not a whole number from 0 to 18446744073709551615".into())
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
            if taken.is_empty() || signals::received().is_none() {
                taken.push(run_named(name, &setup).map_err(Failure::Run)?);
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

impl Locking {
    fn names(self) -> &'static [&'static str] {
        match self {
            Locking::All => &["limit", "global", "ordered", "optimistic"],
            Locking::Global => &["global"],
            Locking::Ordered => &["ordered"],
            Locking::Optimistic => &["optimistic"],
        }
    }
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
