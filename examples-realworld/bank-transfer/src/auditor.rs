//! Looks at all balances at one moment and says what is wrong with them.

use crate::bank::{Bank, Cents};
use std::time::{Duration, Instant};

/// An auditor for a bank in which transfers only move money about.
///
/// The total after the run says too little: a torn read, one account before a transfer and the
/// other one after it, is gone by then. That is why the auditor looks during the run.
pub struct Auditor {
    accounts: u64,
    total: Cents,
    pub audits: u64,
    pub longest: Duration,
    pub failed: u64,
    pub first_failure: Option<String>,
}

impl Auditor {
    pub fn new(accounts: u64, total: Cents) -> Auditor {
        Auditor {
            accounts,
            total,
            audits: 0,
            longest: Duration::ZERO,
            failed: 0,
            first_failure: None,
        }
    }

    pub fn audit(&mut self, bank: &impl Bank) {
        self.audit_with(|seen| bank.snapshot(|balance| seen.add(balance)));
    }

    /// For balances that nobody else can reach.
    pub fn audit_balances(&mut self, balances: &[Cents]) {
        self.audit_with(|seen| balances.iter().for_each(|balance| seen.add(*balance)));
    }

    fn audit_with(&mut self, look: impl FnOnce(&mut Seen)) {
        let begin = Instant::now();
        let mut seen = Seen {
            accounts: 0,
            total: 0,
            lowest: Cents::MAX,
        };
        look(&mut seen);
        self.longest = self.longest.max(begin.elapsed());
        self.audits += 1;
        let Seen {
            accounts,
            total,
            lowest,
        } = seen;
        let failure = if accounts != self.accounts {
            format!("{accounts} accounts instead of {}", self.accounts)
        } else if total != i128::from(self.total) {
            format!("a total of {total} cents instead of {}", self.total)
        } else if lowest < 0 {
            format!("a balance of {lowest} cents")
        } else {
            return;
        };
        self.failed += 1;
        let audit = self.audits;
        self.first_failure
            .get_or_insert_with(|| format!("audit {audit} found {failure}"));
    }
}

struct Seen {
    accounts: u64,
    total: i128,
    lowest: Cents,
}

impl Seen {
    #[inline]
    fn add(&mut self, balance: Cents) {
        self.accounts += 1;
        self.total += i128::from(balance);
        self.lowest = self.lowest.min(balance);
    }
}

/// The balances that are not what they must be, in one line, or `None` when all are right.
pub fn difference(balances: &[Cents], expected: &[Cents]) -> Option<String> {
    let pairs = balances.iter().zip(expected).enumerate();
    let mut wrong = pairs.filter(|(_, (balance, expected))| balance != expected);
    let (account, (balance, expected)) = wrong.next()?;
    Some(format!(
        "account {account} ends with {balance} cents, the journal says {expected} \
         ({} accounts differ)",
        1 + wrong.count()
    ))
}

/// One number for all balances, to compare runs of different programs by.
pub fn checksum(balances: &[Cents]) -> u64 {
    let weighted = (1..).zip(balances);
    weighted.fold(0, |sum: u64, (place, balance)| {
        sum.wrapping_add((balance.cast_unsigned()).wrapping_mul(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(balances: &[Cents]) -> Option<String> {
        let mut auditor = Auditor::new(3, 300);
        auditor.audit_balances(balances);
        assert_eq!(auditor.failed, u64::from(auditor.first_failure.is_some()));
        auditor.first_failure
    }

    #[test]
    fn an_audit_notices_a_wrong_total_a_negative_balance_and_an_unknown_account() {
        assert_eq!(finding(&[100, 0, 200]), None);
        let found = |balances| finding(balances).unwrap_or_default();
        assert!(found(&[100, 100, 99]).ends_with("a total of 299 cents instead of 300"));
        assert!(found(&[-1, 100, 201]).ends_with("a balance of -1 cents"));
        assert!(found(&[100, 100, 100, 0]).ends_with("4 accounts instead of 3"));
        assert!(found(&[100, 200]).ends_with("2 accounts instead of 3"));
        assert!(found(&[Cents::MAX, Cents::MAX, 0]).contains("18446744073709551614 cents"));
    }

    #[test]
    fn the_first_failure_is_kept_and_the_others_are_counted() {
        let mut auditor = Auditor::new(1, 5);
        for balance in [5, 6, 7] {
            auditor.audit_balances(&[balance]);
        }
        assert_eq!((auditor.audits, auditor.failed), (3, 2));
        assert!(auditor.first_failure.unwrap().starts_with("audit 2 found"));
    }

    /// Money that went the wrong way leaves total and signs as they must be.
    #[test]
    fn the_model_check_notices_money_that_went_the_wrong_way() {
        assert_eq!(difference(&[90, 110], &[90, 110]), None);
        let found = difference(&[110, 90], &[90, 110]).unwrap();
        assert!(found.starts_with("account 0 ends with 110 cents, the journal says 90 (2 "));
    }

    #[test]
    fn the_checksum_depends_on_the_place() {
        assert_eq!(checksum(&[1, 2]), 5);
        assert_eq!(checksum(&[2, 1]), 4);
    }
}
