//! What the program says: a table with a row as soon as a run ends, the meaning of the figures,
//! the verdict, or all of it as JSON.

use crate::bank::Cents;
use crate::orders::MAX_CENTS;
use crate::rules;
use crate::run::{Outcome, Setup};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

pub fn opening(out: &mut impl Write, setup: &Setup) -> io::Result<()> {
    writeln!(
        out,
        "{} accounts with {} each, {} transfers of 0.01 to {} by {} threads, seed {}\n",
        grouped(setup.accounts),
        money(setup.initial),
        grouped(setup.transfers),
        money(MAX_CENTS),
        setup.threads,
        setup.seed
    )
}

pub fn refusals(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "refused by every locking, with nothing changed:")?;
    for (order, reason) in &rules::REFUSED {
        writeln!(out, "   {:38} {reason}", order.text())?;
    }
    writeln!(out)
}

pub fn table_head(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<11} {:>7} {:>12} {:>8} {:>13} {:>11} {:>9} {:>7} {:>13}",
        "locking",
        "threads",
        "transfers/s",
        "of limit",
        "applied",
        "refused",
        "retries",
        "audits",
        "longest audit"
    )?;
    out.flush()
}

pub fn table_row(out: &mut impl Write, run: &Outcome, limit: Option<&Outcome>) -> io::Result<()> {
    let of_limit = limit.map_or("".into(), |limit| {
        format!(
            "{:.2}",
            run.transfers_per_second / limit.transfers_per_second
        )
    });
    writeln!(
        out,
        "{:<11} {:>7} {:>10.2} M {:>8} {:>13} {:>11} {:>9} {:>7} {:>10.3} ms",
        run.locking,
        run.threads,
        run.transfers_per_second / 1e6,
        of_limit,
        grouped(run.applied),
        grouped(run.refused),
        grouped(run.retries),
        grouped(run.audits),
        run.longest_audit_seconds * 1e3
    )?;
    out.flush()
}

/// What the figures mean; they are of this machine and this run.
pub fn meaning(out: &mut impl Write, runs: &[Outcome]) -> io::Result<()> {
    let speed = |name| {
        let run = runs.iter().find(|run| run.locking == name);
        run.map_or(0.0, |run| run.transfers_per_second)
    };
    writeln!(
        out,
        "
The limit is one thread that needs no lock. A transfer is a few nanoseconds of work: to take
a lock costs more than that, and to hand accounts from core to core more still, so threads
need not reach the limit. They pay where the work under the lock is longer.

A finer lock is not faster by itself. Here a lock per account (ordered) made {:.2} times the
transfers of one lock for all (global), and the optimistic one {:.2} times: each transfer takes
two locks instead of one, and that must first be earned back by waiting less.

An audit stops everyone with global and ordered. With optimistic it stops nobody: a retry is
a transfer that another one, or the auditor, got ahead of.",
        speed("ordered") / speed("global"),
        speed("optimistic") / speed("global"),
    )
}

pub fn verdict(out: &mut impl Write, setup: &Setup, runs: &[Outcome]) -> io::Result<()> {
    let audits = match runs.iter().map(|run| run.audits).sum() {
        0 => "no audit came in between; the one at the end saw".into(),
        audits => format!(
            "every audit during these transfers, {} in all, saw",
            grouped(audits)
        ),
    };
    writeln!(
        out,
        "\nok: {audits} {} in {} accounts and no\n\
         negative balance; every account ends with what the journal says",
        money(setup.initial * setup.accounts as Cents),
        grouped(setup.accounts),
    )
}

pub fn not_done(out: &mut impl Write, signal: &str, runs: &[Outcome]) -> io::Result<()> {
    writeln!(out, "\nstopped by {signal}; transfers not done:")?;
    for run in runs {
        writeln!(out, "   {:<11} {:>13}", run.locking, grouped(run.not_done))?;
    }
    Ok(())
}

/// One line that two programs must agree on, and the time on a line of its own.
pub fn checksum(out: &mut impl Write, runs: &[Outcome]) -> io::Result<()> {
    for run in runs {
        writeln!(out, "checksum {} refused {}", run.checksum, run.refused)?;
        writeln!(out, "# seconds {:.6}", run.seconds)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Json<'a> {
    accounts: u64,
    threads: usize,
    transfers: u64,
    seed: u64,
    initial_cents: Cents,
    total_cents: Cents,
    stopped_by: Option<&'a str>,
    ok: bool,
    runs: &'a [Outcome],
}

pub const JSON_KEYS: &str = "\
With --json the output is one object:
  accounts, threads, transfers, seed, initial_cents   the options
  total_cents      what every audit has to see
  stopped_by       \"SIGINT\", \"SIGTERM\" or null
  ok               whether every check of every run held
  runs             one object for each locking; when all are compared and the runs are short,
                   each is run up to five times, and this is the one of median speed:
    locking                \"limit\" (one thread without a lock), \"global\", \"ordered\", \"optimistic\"
    threads                threads used, never more than there are pieces of work
    seconds                time of the transfers and of the audits between them
    transfers_per_second   applied and refused ones
    applied                transfers carried out
    refused                transfers that the balance did not cover
    not_done               transfers left when a signal stopped the run
    retries                orders begun again because another one came in between (optimistic)
    audits                 audits during the transfers; one more follows at the end
    longest_audit_seconds  time of the slowest one
    checksum               sum of balance times (account + 1), modulo 2^64
    problems               what did not hold in any of its runs, as text; empty when all is well

Exit codes: 0 done, 1 a check failed or the output could not be written, 2 usage,
130 and 143 after an orderly stop by Ctrl-C or SIGTERM. A second signal ends it at once.";

pub fn json(
    out: &mut impl Write,
    setup: &Setup,
    stopped_by: Option<&str>,
    runs: &[Outcome],
) -> io::Result<()> {
    let json = Json {
        accounts: setup.accounts,
        threads: setup.threads,
        transfers: setup.transfers,
        seed: setup.seed,
        initial_cents: setup.initial,
        total_cents: setup.initial * setup.accounts as Cents,
        stopped_by,
        ok: runs.iter().all(|run| run.problems.is_empty()),
        runs,
    };
    serde_json::to_writer_pretty(&mut *out, &json)?;
    writeln!(out)
}

/// A line on stderr, on a terminal only, once a run has taken more than a second.
pub struct ProgressLine {
    locking: &'static str,
    transfers: u64,
    begin: Instant,
    shown: Option<Instant>,
}

impl ProgressLine {
    pub fn new(locking: &'static str, transfers: u64) -> ProgressLine {
        ProgressLine {
            locking,
            transfers,
            begin: Instant::now(),
            shown: None,
        }
    }

    pub fn update(&mut self, done: u64) {
        let due = match self.shown {
            None => self.begin.elapsed() > Duration::from_secs(1),
            Some(shown) => shown.elapsed() > Duration::from_millis(200),
        };
        if due && io::stderr().is_terminal() {
            self.shown = Some(Instant::now());
            let percent = done as f64 / self.transfers as f64 * 100.0;
            let done = grouped(done);
            // A terminal may be gone by now, and that is no reason to lose the result.
            let locking = self.locking;
            let _ = write!(
                io::stderr(),
                "\r{locking}: {done} transfers, {percent:.0} % "
            );
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r{:60}\r", "");
        }
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Cents as 1,234.56.
fn money(cents: Cents) -> String {
    let (units, rest) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{rest:02}", grouped(units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_money_are_written_for_people() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 5, 123_456, -1_05].map(money),
            ["0.00", "0.05", "1,234.56", "-1.05"]
        );
        assert_eq!(money(Cents::MIN), "-92,233,720,368,547,758.08");
    }
}
