//! One lock around all accounts: the least that can go wrong, and often as fast as any other.

use super::bank::{Bank, Cents, Refused, Transfer, credited, debited, opened};
use super::sync::{Mutex, MutexGuard, PoisonError};

pub struct Global {
    balances: Mutex<Vec<Cents>>,
}

impl Global {
    /// A thread that panics with the lock held leaves it poisoned. The balances are whole all the
    /// same, because they are written only when nothing can fail any more: so the lock is taken.
    fn lock(&self) -> MutexGuard<'_, Vec<Cents>> {
        self.balances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        account: usize,
        change: impl FnOnce(Cents) -> Result<Cents, Refused>,
    ) -> Result<Cents, Refused> {
        let mut balances = self.lock();
        let balance = balances
            .get_mut(account)
            .ok_or(Refused::UnknownAccount(account))?;
        *balance = change(*balance)?;
        Ok(*balance)
    }
}

impl Bank for Global {
    fn open(accounts: usize, initial: Cents) -> Result<Self, Refused> {
        let initial = opened(initial)?;
        Ok(Global {
            balances: Mutex::new(vec![initial; accounts]),
        })
    }

    fn deposit(&self, account: usize, cents: Cents) -> Result<Cents, Refused> {
        self.change(account, |balance| credited(balance, cents))
    }

    fn withdraw(&self, account: usize, cents: Cents) -> Result<Cents, Refused> {
        self.change(account, |balance| debited(balance, cents))
    }

    fn transfer_with(&self, order: Transfer, between: impl FnOnce()) -> Result<(), Refused> {
        let Transfer { from, to, cents } = order;
        if from == to {
            return Err(Refused::SameAccount(from));
        }
        let mut balances = self.lock();
        let known = |account: usize| balances.get(account).copied();
        let from_before = known(from).ok_or(Refused::UnknownAccount(from))?;
        let to_before = known(to).ok_or(Refused::UnknownAccount(to))?;
        // Both new balances are there before either is written: a refusal or a panic on the way
        // finds nothing half done.
        let from_after = debited(from_before, cents)?;
        between();
        let to_after = credited(to_before, cents)?;
        balances[from] = from_after;
        balances[to] = to_after;
        Ok(())
    }

    /// Nobody can transfer while the audit reads.
    fn snapshot(&self, look: impl FnMut(Cents)) {
        self.lock().iter().copied().for_each(look);
    }
}
