//! An account whose steps are made of one another, in two designs: with a lock that re-enters, and
//! with the work split from the locking.
//!
//! To take the second one along, copy `Account` and `State`.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use parking_lot::ReentrantMutex;

/// What both designs can do.
pub trait Save: Sync {
    fn withdraw(&self, amount: u64) -> Result<(), NotEnough>;
    /// Two steps that are one for all others: nobody sees the money withdrawn and not put aside.
    fn save(&self, amount: u64) -> Result<(), NotEnough>;
    fn state(&self) -> State;
}

/// As in Python: each method locks, and may call the others. The lock gives `&`, so that the state
/// has to stand in a cell.
pub struct ReentrantAccount {
    state: ReentrantMutex<RefCell<State>>,
}

impl ReentrantAccount {
    pub fn new(state: State) -> ReentrantAccount {
        let state = ReentrantMutex::new(RefCell::new(state));
        ReentrantAccount { state }
    }

    fn put_aside(&self, amount: u64) {
        self.state.lock().borrow_mut().put_aside(amount);
    }
}

impl Save for ReentrantAccount {
    fn withdraw(&self, amount: u64) -> Result<(), NotEnough> {
        self.state.lock().borrow_mut().withdraw(amount)
    }

    fn save(&self, amount: u64) -> Result<(), NotEnough> {
        let _guard = self.state.lock();
        self.withdraw(amount)?;
        self.put_aside(amount);
        Ok(())
    }

    fn state(&self) -> State {
        *self.state.lock().borrow()
    }
}

/// The better design: a public method locks once, and then works on the state.
pub struct Account {
    state: Mutex<State>,
}

impl Account {
    pub fn new(state: State) -> Account {
        let state = Mutex::new(state);
        Account { state }
    }

    /// A panic leaves a Mutex marked as poisoned. None of the functions below can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Save for Account {
    fn withdraw(&self, amount: u64) -> Result<(), NotEnough> {
        self.lock().withdraw(amount)
    }

    fn save(&self, amount: u64) -> Result<(), NotEnough> {
        let mut state = self.lock();
        state.withdraw(amount)?;
        state.put_aside(amount);
        Ok(())
    }

    fn state(&self) -> State {
        *self.lock()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State {
    pub cash: u64,
    pub saved: u64,
}

/// Whoever has `&mut State` holds the lock. There is no lock in sight to be taken a second time.
impl State {
    fn withdraw(&mut self, amount: u64) -> Result<(), NotEnough> {
        self.cash = self.cash.checked_sub(amount).ok_or(NotEnough)?;
        Ok(())
    }

    fn put_aside(&mut self, amount: u64) {
        self.saved += amount;
    }
}

#[derive(Debug, PartialEq)]
pub struct NotEnough;

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::TryLockError;

    const LITTLE: State = State { cash: 10, saved: 5 };

    #[test]
    fn both_designs_give_the_same_answers() {
        let answers = |account: &dyn Save| {
            let results = [
                account.save(4),
                account.withdraw(7),
                account.save(6),
                account.save(9),
            ];
            (results, account.state())
        };
        let reentrant = answers(&ReentrantAccount::new(LITTLE));
        assert_eq!(reentrant, answers(&Account::new(LITTLE)));
        let results = [Ok(()), Err(NotEnough), Ok(()), Err(NotEnough)];
        assert_eq!(reentrant, (results, State { cash: 0, saved: 15 }));
    }

    /// What a Mutex keeps out: code of the same thread in the middle of a change.
    #[test]
    fn a_reentrant_lock_shows_its_own_thread_a_half_done_change() {
        let account = ReentrantAccount::new(LITTLE);
        let _guard = account.state.lock();
        account.withdraw(3).unwrap();
        assert_eq!(account.state(), State { cash: 7, saved: 5 });
        account.put_aside(3);

        let account = Account::new(LITTLE);
        let _guard = account.lock();
        assert!(matches!(
            account.state.try_lock(),
            Err(TryLockError::WouldBlock)
        ));
    }

    #[test]
    fn an_error_or_a_panic_releases_every_level() {
        let account = ReentrantAccount::new(LITTLE);
        assert_eq!(account.save(11), Err(NotEnough));
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let _levels = [account.state.lock(), account.state.lock()];
            panic!("on purpose, two levels deep");
        }));
        assert!(outcome.is_err());
        assert!(!account.state.is_locked());

        let account = Account::new(LITTLE);
        assert_eq!(account.save(11), Err(NotEnough));
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let _guard = account.lock();
            panic!("on purpose, under the lock");
        }));
        assert!(outcome.is_err());
        assert_eq!(
            (account.save(1), account.state()),
            (Ok(()), State { cash: 9, saved: 6 })
        );
    }
}
