//! One thread that locks twice: why a `Mutex` refuses, a lock that allows it, and how to do without.
//!
//! What a Python developer knows as
//!
//! ```python
//! class Account:
//!     def save(self, amount):
//!         with self._lock:                # an RLock; a Lock would wait here for itself, below
//!             self.withdraw(amount)       # locks again
//!             self.put_aside(amount)      # and again
//! ```
//!
//! is `parking_lot::ReentrantMutex` here. The guard of std's `Mutex` gives `&mut`, and two of those to
//! the same data cannot be. A reentrant guard gives `&` only, and lets in what most locks keep out:
//! code that runs in the middle of a change. Better: lock in the public methods, and do the work in
//! functions on `&mut State`. They cannot be called without the lock, nor lock again.
//!
//! Run it with `cargo run --release -p reentrant-lock`. Look at part 2: when does the other thread get
//! the lock? To take: `Account` and `State` in `src/accounts.rs`; what the compiler refuses stands in
//! `tests/refused`. Before this: `deadlock`; after it: `event-flag`.

#![forbid(unsafe_code)]

mod accounts;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::io;
use std::sync::{Mutex, TryLockError};
use std::thread;
use std::time::Instant;

use parking_lot::ReentrantMutex;

use accounts::{Account, NotEnough, ReentrantAccount, Save, State};

const THREADS: usize = 4;
const ROUNDS: u64 = 200_000;
const BEGIN: State = State {
    cash: 10_000_000,
    saved: 0,
};

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. A Mutex that this thread has locked already");
    a_mutex_does_not_re_enter()?;

    say!("\n2. A ReentrantMutex, locked twice by this thread; does another thread get it?");
    a_reentrant_mutex_counts()?;

    say!("\n3. {THREADS} threads save and spend, {ROUNDS} times each");
    let reentrant = save_and_spend("reentrant", &ReentrantAccount::new(BEGIN))?;
    let plain = save_and_spend("plain", &Account::new(BEGIN))?;
    check(reentrant == plain, "the two designs disagree")?;

    let times = THREADS as u64 * ROUNDS;
    let expected = State {
        cash: BEGIN.cash - times * (3 + 2),
        saved: times * 3,
    };
    check(plain == expected, "both designs have lost a step")?;
    say!("\nok: both designs end with the same {expected:?}");
    Ok(())
}

fn a_mutex_does_not_re_enter() -> Result<(), String> {
    let lock = Mutex::new(());
    let guard = lock.lock().unwrap();
    // `lock` instead of `try_lock` would wait for ever here, or panic.
    let again = lock.try_lock();
    say!("   try_lock, with the guard still there:  {again:?}");
    let refused = matches!(again, Err(TryLockError::WouldBlock));
    check(refused, "a Mutex was locked twice")?;

    drop(guard);
    let afterwards = lock.try_lock();
    say!("   try_lock, after the guard is dropped:  {afterwards:?}");
    check(afterwards.is_ok(), "a Mutex stayed locked")
}

fn a_reentrant_mutex_counts() -> Result<(), Box<dyn Error>> {
    let lock = ReentrantMutex::new(());
    let first = lock.lock();
    let second = lock.lock();
    let locked_twice = another_thread_gets(&lock)?;
    drop(second);
    let released_once = another_thread_gets(&lock)?;
    drop(first);
    let released_twice = another_thread_gets(&lock)?;
    say!("   locked twice:    {locked_twice}");
    say!("   released once:   {released_once}");
    say!("   released twice:  {released_twice}");
    let as_expected = [locked_twice, released_once, released_twice] == [false, false, true];
    check(as_expected, "the other thread got it at the wrong time")?;
    Ok(())
}

fn another_thread_gets(lock: &ReentrantMutex<()>) -> io::Result<bool> {
    thread::scope(|scope| {
        let other = thread::Builder::new().name("other".into());
        let other = other.spawn_scoped(scope, || lock.try_lock().is_some())?;
        Ok(other.join().expect("the other thread does not panic"))
    })
}

/// Each thread saves 3 and spends 2 in each round. Returns what there is in the end.
fn save_and_spend(name: &str, account: &impl Save) -> Result<State, Box<dyn Error>> {
    let round = || -> Result<bool, NotEnough> {
        account.save(3)?;
        account.withdraw(2)?;
        // Only what is spent is missing, so nobody ever sees 3 of it on their way to the savings.
        let State { cash, saved } = account.state();
        Ok((BEGIN.cash - cash - saved).is_multiple_of(2))
    };
    let begin = Instant::now();
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let start = |n| {
            let builder = thread::Builder::new().name(format!("{name}-{n}"));
            builder.spawn_scoped(scope, || (0..ROUNDS).all(|_| round() == Ok(true)))
        };
        let threads: io::Result<Vec<_>> = (1..=THREADS).map(start).collect();
        for thread in threads? {
            let well = thread.join().expect("no thread panics");
            check(well, "the cash ran out, or money was seen on its way")?;
        }
        Ok(())
    })?;
    let state = account.state();
    let ms = begin.elapsed().as_millis();
    say!("   {name:10} {ms:4} ms  {state:?}");
    Ok(state)
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::mpsc;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn both_designs_keep_every_step_whole_under_threads() {
        let reentrant = save_and_spend("reentrant", &ReentrantAccount::new(BEGIN)).unwrap();
        assert_eq!(
            reentrant,
            save_and_spend("plain", &Account::new(BEGIN)).unwrap()
        );
    }

    #[test]
    fn the_same_thread_locks_a_reentrant_lock_again_and_a_mutex_not() {
        a_mutex_does_not_re_enter().unwrap();
        let lock = ReentrantMutex::new(());
        let guards = [(); 3].map(|()| lock.try_lock());
        assert!(guards.iter().all(Option::is_some));
    }

    #[test]
    fn another_thread_waits_until_it_is_released_as_often_as_it_was_locked() {
        a_reentrant_mutex_counts().unwrap();

        let lock = ReentrantMutex::new(Cell::new(0));
        let (first, second) = (lock.lock(), lock.lock());
        let (about_to_lock, waits) = mpsc::channel();
        thread::scope(|scope| {
            let lock = &lock;
            let other = scope.spawn(move || {
                let _ = about_to_lock.send(());
                lock.try_lock_for(LIMIT).map(|value| value.get())
            });
            waits.recv_timeout(LIMIT).unwrap();
            drop(second);
            // Only the last release lets the other one in: it sees what is written before that.
            first.set(1);
            drop(first);
            assert_eq!(other.join().unwrap(), Some(1));
        });
    }

    #[test]
    fn a_timed_lock_gives_up_when_its_time_is_over_and_works_afterwards() {
        let lock = ReentrantMutex::new(());
        let guard = lock.lock();
        let limit = Duration::from_millis(20);
        thread::scope(|scope| {
            let begin = Instant::now();
            let other = scope.spawn(|| lock.try_lock_for(limit).is_some());
            assert!(!other.join().unwrap());
            assert!(begin.elapsed() >= limit);
        });
        drop(guard);
        assert!(another_thread_gets(&lock).unwrap());
    }
}
