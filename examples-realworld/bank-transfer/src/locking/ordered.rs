//! A lock for each account, taken in the order of the account numbers, and one around them all
//! that only an audit does not share.
//!
//! **Transfers.** Two threads that lock the same two accounts in opposite order can each hold one
//! and wait for the other for ever. If everybody locks the smaller number first, whoever holds the
//! largest number waits for nobody, and so there is always someone who can go on.
//!
//! **Audits.** To see all accounts at one moment, an audit could take their locks one by one and
//! keep them all: a million locks for a million accounts. It takes the lock around them instead.
//! Transfers hold that one, too, but for reading, so that they do not wait for each other there.
//! Who has it alone needs no other: a `&mut Mutex` proves that nobody holds it. Databases do the
//! same; what a transfer holds is an intention lock there.

use super::bank::{Bank, Cents, Refused, Transfer, credited, debited, opened};
use super::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError, pause};

/// So many transfers share the lock around the accounts once. All threads write to one place in
/// memory to share it: for each single transfer that would cost as much as the transfer.
const TRANSFERS_AT_ONCE: usize = 64;

pub struct Ordered {
    accounts: RwLock<Vec<Mutex<Cents>>>,
}

impl Ordered {
    fn share(&self) -> RwLockReadGuard<'_, Vec<Mutex<Cents>>> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known(accounts: &[Mutex<Cents>], account: usize) -> Result<&Mutex<Cents>, Refused> {
    let found = accounts.get(account);
    found.ok_or(Refused::UnknownAccount(account))
}

/// An account is held for nanoseconds: it does not pay to go to sleep at once. But each look takes
/// the account's place in memory away from the processor that works with it, so looks become rare.
///
/// A thread that panics with locks held leaves them poisoned. The balances are whole all the
/// same, because they are written only when nothing can fail any more: so the lock is taken.
fn lock(account: &Mutex<Cents>) -> MutexGuard<'_, Cents> {
    for times in [16, 64, 256, 1_024] {
        match account.try_lock() {
            Ok(balance) => return balance,
            Err(TryLockError::Poisoned(balance)) => return balance.into_inner(),
            Err(TryLockError::WouldBlock) => pause(times),
        }
    }
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

fn transfer(
    accounts: &[Mutex<Cents>],
    order: Transfer,
    between: impl FnOnce(),
) -> Result<(), Refused> {
    let Transfer { from, to, cents } = order;
    if from == to {
        return Err(Refused::SameAccount(from));
    }
    let (from_account, to_account) = (known(accounts, from)?, known(accounts, to)?);
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

impl Bank for Ordered {
    fn open(accounts: usize, initial: Cents) -> Result<Self, Refused> {
        let initial = opened(initial)?;
        let accounts = (0..accounts).map(|_| Mutex::new(initial)).collect();
        Ok(Ordered {
            accounts: RwLock::new(accounts),
        })
    }

    fn deposit(&self, account: usize, cents: Cents) -> Result<Cents, Refused> {
        let accounts = self.share();
        let mut balance = lock(known(&accounts, account)?);
        *balance = credited(*balance, cents)?;
        Ok(*balance)
    }

    fn withdraw(&self, account: usize, cents: Cents) -> Result<Cents, Refused> {
        let accounts = self.share();
        let mut balance = lock(known(&accounts, account)?);
        *balance = debited(*balance, cents)?;
        Ok(*balance)
    }

    fn transfer_with(&self, order: Transfer, between: impl FnOnce()) -> Result<(), Refused> {
        transfer(&self.share(), order, between)
    }

    fn transfer_all(
        &self,
        mut orders: impl Iterator<Item = Transfer>,
        mut outcome: impl FnMut(Result<(), Refused>),
    ) {
        loop {
            // Let go each time round, or an audit would have to wait for the last order.
            let accounts = self.share();
            for _ in 0..TRANSFERS_AT_ONCE {
                let Some(order) = orders.next() else { return };
                outcome(transfer(&accounts, order, || ()));
            }
        }
    }

    /// Nobody can transfer while the audit reads.
    fn snapshot(&self, mut look: impl FnMut(Cents)) {
        let mut accounts = self
            .accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for account in accounts.iter_mut() {
            look(*account.get_mut().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
