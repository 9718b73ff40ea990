//! What a bank is, without a thread or a lock in sight: accounts in whole cents, the orders, the
//! reasons to refuse one, and the promise that each locking keeps.

use std::error::Error;
use std::fmt;

/// Money is counted in whole cents: three times 10 is exactly 30, and there is no NaN to slip
/// through `cents <= 0` and `cents > balance` alike. For `bank.deposit(0, f64::NAN)` the compiler
/// says "mismatched types: expected `i64`, found `f64`".
pub type Cents = i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub from: usize,
    pub to: usize,
    pub cents: Cents,
}

/// Why an order was not carried out. A refused order has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    UnknownAccount(usize),
    SameAccount(usize),
    NotPositive(Cents),
    Insufficient { balance: Cents, cents: Cents },
    Overflow { balance: Cents, cents: Cents },
    NegativeOpening(Cents),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Refused::NegativeOpening(cents) => {
                write!(f, "an account cannot open with {cents} cents")
            }
            Refused::UnknownAccount(account) => write!(f, "there is no account {account}"),
            Refused::SameAccount(account) => write!(f, "account {account} is on both sides"),
            Refused::NotPositive(cents) => write!(f, "{cents} cents is not a positive amount"),
            Refused::Insufficient { balance, cents } => {
                write!(f, "a balance of {balance} cents does not cover {cents}")
            }
            Refused::Overflow { balance, cents } => {
                write!(
                    f,
                    "{balance} and {cents} cents are more than a balance can hold"
                )
            }
        }
    }
}

impl Error for Refused {}

/// What each locking promises: every order is carried out as a whole or not at all, and a
/// snapshot sees all accounts at one moment, between two orders.
pub trait Bank: Sync + Sized {
    /// Accounts 0..accounts, each with `initial` cents, but no debts.
    fn open(accounts: usize, initial: Cents) -> Result<Self, Refused>;

    /// Returns the new balance.
    fn deposit(&self, account: usize, cents: Cents) -> Result<Cents, Refused>;

    /// Returns the new balance.
    fn withdraw(&self, account: usize, cents: Cents) -> Result<Cents, Refused>;

    fn transfer(&self, order: Transfer) -> Result<(), Refused> {
        self.transfer_with(order, || ())
    }

    /// Many transfers, one by one as with `transfer`. `outcome` is told what came of each.
    fn transfer_all(
        &self,
        orders: impl Iterator<Item = Transfer>,
        outcome: impl FnMut(Result<(), Refused>),
    ) {
        orders.map(|order| self.transfer(order)).for_each(outcome);
    }

    /// `between` runs after the debit and before the credit, with the locks held: a test lets it
    /// panic there.
    fn transfer_with(&self, order: Transfer, between: impl FnOnce()) -> Result<(), Refused>;

    /// Shows all balances, in the order of the accounts, as they are at one moment.
    fn snapshot(&self, look: impl FnMut(Cents));

    /// How often an order had to be begun again because another one came in between.
    fn retries(&self) -> u64 {
        0
    }
}

/// The balance that an account can be opened with.
pub fn opened(initial: Cents) -> Result<Cents, Refused> {
    if initial < 0 {
        return Err(Refused::NegativeOpening(initial));
    }
    Ok(initial)
}

/// The balance after a withdrawal.
pub fn debited(balance: Cents, cents: Cents) -> Result<Cents, Refused> {
    if cents <= 0 {
        return Err(Refused::NotPositive(cents));
    }
    if cents > balance {
        return Err(Refused::Insufficient { balance, cents });
    }
    Ok(balance - cents)
}

/// The balance after a deposit.
pub fn credited(balance: Cents, cents: Cents) -> Result<Cents, Refused> {
    if cents <= 0 {
        return Err(Refused::NotPositive(cents));
    }
    balance
        .checked_add(cents)
        .ok_or(Refused::Overflow { balance, cents })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_opens_with_nothing_or_more() {
        assert_eq!(opened(0), Ok(0));
        assert_eq!(opened(-1), Err(Refused::NegativeOpening(-1)));
    }

    #[test]
    fn a_withdrawal_needs_a_positive_amount_and_cover() {
        assert_eq!(debited(100, 100), Ok(0));
        assert_eq!(debited(100, 0), Err(Refused::NotPositive(0)));
        assert_eq!(
            debited(100, Cents::MIN),
            Err(Refused::NotPositive(Cents::MIN))
        );
        let (balance, cents) = (100, 101);
        assert_eq!(
            debited(balance, cents),
            Err(Refused::Insufficient { balance, cents })
        );
    }

    #[test]
    fn a_deposit_needs_a_positive_amount_and_room() {
        assert_eq!(credited(0, Cents::MAX), Ok(Cents::MAX));
        assert_eq!(credited(100, -1), Err(Refused::NotPositive(-1)));
        let (balance, cents) = (1, Cents::MAX);
        assert_eq!(
            credited(balance, cents),
            Err(Refused::Overflow { balance, cents })
        );
    }

    /// The checks `amount <= 0` and `amount > balance` do not stop a float that is not a number,
    /// and it turns both balances into NaN. An amount in cents has no such value.
    #[test]
    fn nan_passes_both_checks_and_is_no_amount_of_cents() {
        let (amount, balance) = (f64::NAN, 100.0);
        let stopped = amount <= 0.0 || amount > balance;
        assert!(!stopped && (balance - amount).is_nan());
        assert!("NaN".parse::<Cents>().is_err());
    }

    #[test]
    fn a_refusal_says_what_was_wrong_in_words() {
        let (balance, cents) = (100, 250);
        let refused: Box<dyn Error> = Refused::Insufficient { balance, cents }.into();
        assert_eq!(
            refused.to_string(),
            "a balance of 100 cents does not cover 250"
        );
    }
}
