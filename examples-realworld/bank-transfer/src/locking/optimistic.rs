//! Decide first, lock afterwards: a transfer reads and computes without a lock, and then takes
//! its two accounts only if nobody has changed them meanwhile. And an audit that stops nobody.
//!
//! **Versions.** Each account has a version number: even when it is free, odd while one thread
//! holds it. Taking an account is one `compare_exchange` from the version that was read to the
//! next odd one. It fails when anything has happened since, and then the order begins again.
//! Accounts are taken in the order of their numbers, as with ordinary locks.
//!
//! **Audits without standstill.** An audit begins a new epoch and then visits the accounts one by
//! one. A transfer looks up the epoch while it holds both its accounts, and the first one to write
//! an account in a new epoch leaves the old balance beside it. The auditor takes that balance
//! where there is one: so it sees every account as it was between the last transfer of the old
//! epoch and the first one of the new.
//!
//! **Orderings.** Who takes an account (`Acquire`) sees all that its last holder did before
//! letting it go (`Release`). That covers the other fields, which may be `Relaxed`, and also the
//! epoch: if a transfer takes an account after the auditor's visit, it finds the new epoch. If it
//! took the account before the visit, the auditor waits for it and finds what it left. Only
//! `read` looks at a balance without holding the account; it says why that is enough.

use super::bank::{Bank, Cents, Refused, Transfer, credited, debited, opened};
use super::sync::{AtomicI64, AtomicU64, Mutex, Ordering, PoisonError, spin_loop, yield_now};
use Ordering::{Acquire, Relaxed, Release};

pub struct Optimistic {
    accounts: Vec<Account>,
    epoch: AtomicU64,
    /// There is room for one old balance, so there is one audit at a time.
    audit: Mutex<()>,
    retries: AtomicU64,
}

/// Aligned so that no account lies across two cache lines.
#[repr(align(32))]
struct Account {
    version: AtomicU64,
    balance: AtomicI64,
    /// The epoch of the last change, and the balance from before the first change in it.
    epoch: AtomicU64,
    balance_before: AtomicI64,
}

impl Account {
    /// Waits until nobody holds the account, and returns its version and its balance.
    ///
    /// The balance may already be the next one: then `hold` fails for this version. And a refusal
    /// because of it is right all the same. Its writer cannot fail any more and holds both its
    /// accounts; `Acquire` here and `Release` in `set` make sure that who has seen the one new
    /// balance finds the other account held, too, and does not read the old balance there.
    fn read(&self) -> (u64, Cents) {
        let mut patience = Patience::default();
        loop {
            let version = self.version.load(Acquire);
            if version.is_multiple_of(2) {
                return (version, self.balance.load(Acquire));
            }
            patience.wait();
        }
    }

    /// Takes the account if it still has this version.
    fn hold(&self, version: u64) -> Option<Held<'_>> {
        let taken = self
            .version
            .compare_exchange(version, version + 1, Acquire, Relaxed);
        let held = |_| Held {
            account: self,
            version,
        };
        // Made only now: a guard made in vain would let go of an account that another one holds.
        taken.ok().map(held)
    }
}

/// An account in one thread's hands. Dropped without `set`, also by a panic, it leaves the
/// account as it was.
struct Held<'a> {
    account: &'a Account,
    /// The version to leave the account with.
    version: u64,
}

impl Held<'_> {
    fn set(&mut self, epoch: u64, before: Cents, after: Cents) {
        if self.account.epoch.load(Relaxed) != epoch {
            self.account.epoch.store(epoch, Relaxed);
            self.account.balance_before.store(before, Relaxed);
        }
        self.account.balance.store(after, Release);
        self.version += 2;
    }

    fn balance_before(&self, epoch: u64) -> Cents {
        let changed_since = self.account.epoch.load(Relaxed) == epoch;
        let place = if changed_since {
            &self.account.balance_before
        } else {
            &self.account.balance
        };
        place.load(Relaxed)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.account.version.store(self.version, Release);
    }
}

/// An account is held for nanoseconds, unless its holder has lost the processor: then spinning
/// only keeps the holder from going on, and the rest of the time is better given away.
#[derive(Default)]
struct Patience {
    rounds: u32,
}

impl Patience {
    fn wait(&mut self) {
        self.rounds += 1;
        if self.rounds < 64 {
            spin_loop();
        } else {
            yield_now();
        }
    }
}

impl Optimistic {
    fn account(&self, account: usize) -> Result<&Account, Refused> {
        let found = self.accounts.get(account);
        found.ok_or(Refused::UnknownAccount(account))
    }

    fn change(
        &self,
        account: usize,
        change: impl Fn(Cents) -> Result<Cents, Refused>,
    ) -> Result<Cents, Refused> {
        let account = self.account(account)?;
        loop {
            let (version, before) = account.read();
            let after = change(before)?;
            if let Some(mut held) = account.hold(version) {
                held.set(self.epoch.load(Relaxed), before, after);
                return Ok(after);
            }
            self.retries.fetch_add(1, Relaxed);
        }
    }
}

impl Bank for Optimistic {
    fn open(accounts: usize, initial: Cents) -> Result<Self, Refused> {
        let initial = opened(initial)?;
        let account = |_| Account {
            version: AtomicU64::new(0),
            balance: AtomicI64::new(initial),
            epoch: AtomicU64::new(0),
            balance_before: AtomicI64::new(initial),
        };
        Ok(Optimistic {
            accounts: (0..accounts).map(account).collect(),
            epoch: AtomicU64::new(0),
            audit: Mutex::new(()),
            retries: AtomicU64::new(0),
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
        let (from_account, to_account) = (self.account(from)?, self.account(to)?);
        loop {
            let (from_version, from_before) = from_account.read();
            let (to_version, to_before) = to_account.read();
            let from_after = debited(from_before, cents)?;
            let to_after = credited(to_before, cents)?;

            let hold_from = || from_account.hold(from_version);
            let hold_to = || to_account.hold(to_version);
            let both = if from < to {
                hold_from().and_then(|from| Some((from, hold_to()?)))
            } else {
                hold_to().and_then(|to| Some((hold_from()?, to)))
            };
            if let Some((mut from_held, mut to_held)) = both {
                between();
                let epoch = self.epoch.load(Relaxed);
                from_held.set(epoch, from_before, from_after);
                to_held.set(epoch, to_before, to_after);
                return Ok(());
            }
            self.retries.fetch_add(1, Relaxed);
        }
    }

    fn snapshot(&self, mut look: impl FnMut(Cents)) {
        let _alone = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.epoch.load(Relaxed) + 1;
        self.epoch.store(epoch, Relaxed);
        for account in &self.accounts {
            let held = loop {
                if let Some(held) = account.hold(account.read().0) {
                    break held;
                }
            };
            let balance = held.balance_before(epoch);
            drop(held);
            look(balance);
        }
    }

    fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }
}
