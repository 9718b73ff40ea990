//! A lock for each account, taken in the order of the account numbers.
//!
//! Two threads that lock the same two accounts in opposite order can each hold one and wait for
//! the other for ever. If everybody locks the smaller number first, whoever holds the largest
//! number waits for nobody, and so there is always someone who can go on.

use super::bank::{Bank, Cents, Refused, Transfer, credited, debited, opened};
use super::sync::{Mutex, MutexGuard, PoisonError};

pub struct Ordered {
    accounts: Vec<Mutex<Cents>>,
}

impl Ordered {
    fn account(&self, account: usize) -> Result<&Mutex<Cents>, Refused> {
        let found = self.accounts.get(account);
        found.ok_or(Refused::UnknownAccount(account))
    }
}

/// A thread that panics with locks held leaves them poisoned. The balances are whole all the
/// same, because they are written only when nothing can fail any more: so the lock is taken.
fn lock(account: &Mutex<Cents>) -> MutexGuard<'_, Cents> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bank for Ordered {
    fn open(accounts: usize, initial: Cents) -> Result<Self, Refused> {
        let initial = opened(initial)?;
        Ok(Ordered {
            accounts: (0..accounts).map(|_| Mutex::new(initial)).collect(),
        })
    }

    fn deposit(&self, account: usize, cents: Cents) -> Result<Cents, Refused> {
        let mut balance = lock(self.account(account)?);
        *balance = credited(*balance, cents)?;
        Ok(*balance)
    }

    fn withdraw(&self, account: usize, cents: Cents) -> Result<Cents, Refused> {
        let mut balance = lock(self.account(account)?);
        *balance = debited(*balance, cents)?;
        Ok(*balance)
    }

    fn transfer_with(&self, order: Transfer, between: impl FnOnce()) -> Result<(), Refused> {
        let Transfer { from, to, cents } = order;
        if from == to {
            return Err(Refused::SameAccount(from));
        }
        let (from_account, to_account) = (self.account(from)?, self.account(to)?);
        let (mut from_balance, mut to_balance);
        if from < to {
            from_balance = lock(from_account);
            to_balance = lock(to_account);
        } else {
            to_balance = lock(to_account);
            from_balance = lock(from_account);
        }
        // Both new balances are there before either is written: a refusal or a panic on the way
        // finds nothing half done.
        let from_after = debited(*from_balance, cents)?;
        between();
        let to_after = credited(*to_balance, cents)?;
        *from_balance = from_after;
        *to_balance = to_after;
        Ok(())
    }

    /// Takes the locks in the same order as everyone and keeps each one until it has them all.
    /// An audit that let go of an account before it read the next one could see a transfer's
    /// debit without its credit. The price: in the end the whole bank stands still.
    fn snapshot(&self, mut look: impl FnMut(Cents)) {
        let read_and_keep = |account| {
            let balance = lock(account);
            look(*balance);
            balance
        };
        let held: Vec<MutexGuard<Cents>> = self.accounts.iter().map(read_and_keep).collect();
        drop(held);
    }
}
