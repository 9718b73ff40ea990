//! What can be asked for on the command line.

use crate::bank::Cents;
use crate::{orders, report};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use std::ops::RangeInclusive;

/// Moves money between accounts from many threads, with an auditor that reads all accounts during
/// the transfers, and compares lockings. Without options: a demonstration that checks itself.
///
/// The same seed gives the same transfers, whatever the locking and the number of threads. Each
/// run ends with a check of every single balance against a journal of what was applied.
#[derive(Parser)]
#[command(version, after_help = report::JSON_KEYS, allow_negative_numbers = true)]
pub struct Options {
    /// Number of accounts, 2 to 10 million
    #[arg(long, value_name = "N", default_value = "1000", value_parser = accounts)]
    pub accounts: u64,

    /// Number of threads that transfer, 1 to 1024; the auditor is one more
    #[arg(long, value_name = "N", default_value = "4", value_parser = threads)]
    pub threads: u64,

    /// Number of transfers with each locking, up to 1e12; 1e6 and 1_000_000 are numbers, too
    #[arg(long, value_name = "N", default_value = "200_000", value_parser = transfers)]
    pub transfers: u64,

    /// How the accounts are protected
    #[arg(long, value_enum, default_value = "all")]
    pub locking: Locking,

    /// Where the random transfers begin; the same seed gives the same transfers
    #[arg(long, value_name = "N", default_value = "1", value_parser = number)]
    pub seed: u64,

    /// Opening balance of each account
    #[arg(long, value_name = "CENTS", default_value = "100_000", value_parser = cents)]
    pub initial: u64,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,

    /// Print only the checksum of the balances and the time as "# seconds", to compare programs
    #[arg(long, conflicts_with = "json")]
    pub checksum: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Locking {
    /// One thread without a lock as the limit, and then the three others one after another
    All,
    /// One lock around all accounts
    Global,
    /// A lock for each account, taken in the order of the accounts
    Ordered,
    /// A version for each account: compute first, lock only if nothing has changed
    Optimistic,
}

impl Options {
    /// A comparison of short runs is a matter of luck: they take turns, and the median counts.
    pub fn turns(&self) -> u64 {
        match self.locking {
            Locking::All => (1_000_000 / self.transfers).clamp(1, 5),
            _ => 1,
        }
    }

    /// What no option can check alone.
    pub fn checked(self) -> Result<Options, clap::Error> {
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

impl Locking {
    /// The runs that it stands for, in this order.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Locking::All => &["limit", "global", "ordered", "optimistic"],
            Locking::Global => &["global"],
            Locking::Ordered => &["ordered"],
            Locking::Optimistic => &["optimistic"],
        }
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
