//! All interleavings of two or three threads, tried out by loom over the very files of `src`:
//! transfer and audit with each locking, and the schedule that lets the auditor keep up.

mod sync {
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    pub use loom::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};
    pub use loom::thread::yield_now;
    pub use std::sync::{PoisonError, TryLockError};

    pub fn pause(_times: u32) {
        spin_loop();
    }
}

#[path = "../src/bank.rs"]
#[allow(dead_code, reason = "the program uses more of it than the models do")]
mod bank;
#[path = "../src/locking/global.rs"]
mod global;
#[path = "../src/locking/optimistic.rs"]
mod optimistic;
#[path = "../src/locking/ordered.rs"]
mod ordered;
#[path = "../src/schedule.rs"]
#[allow(dead_code, reason = "the program uses more of it than the models do")]
mod schedule;

use bank::{Bank, Cents, Refused, Transfer};
use global::Global;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use optimistic::Optimistic;
use ordered::Ordered;
use schedule::Schedule;

/// Every schedule with at most this many forced switches between threads.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

macro_rules! with {
    ($($module:ident $locking:ident: $($test:ident)*;)*) => { $(mod $module {
        $(#[test] fn $test() { super::$test::<super::$locking>() })*
    })* };
}

// Three threads are too many for the optimistic locking: each of its loads may find any of
// several values. Its audit meets two transfers of one thread instead.
with! {
    global_locking Global:
        opposite_transfers_both_happen_and_do_not_deadlock
        an_audit_between_opposite_transfers_sees_the_total
        an_audit_sees_the_first_of_two_transfers_when_it_sees_the_second
        a_transfer_and_a_deposit_to_one_account_are_both_kept
        two_transfers_from_one_account_cannot_both_have_its_last_cents
        who_is_refused_because_of_a_transfer_finds_its_credit
        two_audits_beside_a_transfer_see_the_total;
    ordered_locking Ordered:
        opposite_transfers_both_happen_and_do_not_deadlock
        an_audit_between_opposite_transfers_sees_the_total
        an_audit_sees_the_first_of_two_transfers_when_it_sees_the_second
        an_audit_beside_many_transfers_sees_a_moment_between_two
        a_transfer_and_a_deposit_to_one_account_are_both_kept
        two_transfers_from_one_account_cannot_both_have_its_last_cents
        who_is_refused_because_of_a_transfer_finds_its_credit
        two_audits_beside_a_transfer_see_the_total;
    optimistic_locking Optimistic:
        opposite_transfers_both_happen_and_do_not_deadlock
        an_audit_sees_the_first_of_two_transfers_when_it_sees_the_second
        a_transfer_and_a_deposit_to_one_account_are_both_kept
        two_transfers_from_one_account_cannot_both_have_its_last_cents
        who_is_refused_because_of_a_transfer_finds_its_credit
        two_audits_beside_a_transfer_see_the_total;
}

fn transfer(from: usize, to: usize, cents: Cents) -> Transfer {
    Transfer { from, to, cents }
}

fn balances(bank: &impl Bank) -> Vec<Cents> {
    let mut balances = Vec::new();
    bank.snapshot(|balance| balances.push(balance));
    balances
}

/// A bank that each thread can have an `Arc` of.
fn open<B: Bank>(accounts: usize, initial: Cents) -> Arc<B> {
    Arc::new(B::open(accounts, initial).unwrap())
}

fn spawn<B: Bank + Send + 'static, T: 'static>(
    bank: &Arc<B>,
    work: impl FnOnce(&B) -> T + 'static,
) -> thread::JoinHandle<T> {
    let bank = Arc::clone(bank);
    thread::spawn(move || work(&bank))
}

fn opposite_transfers_both_happen_and_do_not_deadlock<B: Bank + Send + 'static>() {
    check(2, || {
        let bank = open::<B>(2, 10);
        let there = spawn(&bank, |bank| bank.transfer(transfer(0, 1, 3)));
        let back = spawn(&bank, |bank| bank.transfer(transfer(1, 0, 4)));
        assert_eq!(there.join().unwrap(), Ok(()));
        assert_eq!(back.join().unwrap(), Ok(()));
        assert_eq!(balances(&*bank), [11, 9]);
    });
}

fn an_audit_between_opposite_transfers_sees_the_total<B: Bank + Send + 'static>() {
    check(2, || {
        let bank = open::<B>(2, 10);
        let there = spawn(&bank, |bank| bank.transfer(transfer(0, 1, 3)));
        let back = spawn(&bank, |bank| bank.transfer(transfer(1, 0, 4)));
        let seen = balances(&*bank);
        let possible = [[10, 10], [7, 13], [14, 6], [11, 9]];
        assert!(possible.iter().any(|balances| seen == balances), "{seen:?}");
        there.join().unwrap().unwrap();
        back.join().unwrap().unwrap();
        assert_eq!(balances(&*bank), [11, 9]);
    });
}

/// What one thread does one after the other, an audit sees in that order.
fn an_audit_sees_the_first_of_two_transfers_when_it_sees_the_second<B: Bank + Send + 'static>() {
    check(2, || {
        let bank = open::<B>(3, 10);
        let transfers = spawn(&bank, |bank| {
            bank.transfer(transfer(2, 1, 1)).unwrap();
            bank.transfer(transfer(1, 0, 2)).unwrap();
        });
        let seen = balances(&*bank);
        let possible = [[10, 10, 10], [10, 11, 9], [12, 9, 9]];
        assert!(possible.iter().any(|balances| seen == balances), "{seen:?}");
        transfers.join().unwrap();
        assert_eq!(balances(&*bank), [12, 9, 9]);
    });
}

fn an_audit_beside_many_transfers_sees_a_moment_between_two<B: Bank + Send + 'static>() {
    check(2, || {
        let bank = open::<B>(3, 10);
        let transfers = spawn(&bank, |bank| {
            let orders = [transfer(2, 1, 1), transfer(1, 0, 2)];
            bank.transfer_all(orders.into_iter(), |outcome| assert_eq!(outcome, Ok(())));
        });
        let seen = balances(&*bank);
        let possible = [[10, 10, 10], [10, 11, 9], [12, 9, 9]];
        assert!(possible.iter().any(|balances| seen == balances), "{seen:?}");
        transfers.join().unwrap();
        assert_eq!(balances(&*bank), [12, 9, 9]);
    });
}

fn a_transfer_and_a_deposit_to_one_account_are_both_kept<B: Bank + Send + 'static>() {
    check(3, || {
        let bank = open::<B>(2, 10);
        let deposit = spawn(&bank, |bank| bank.deposit(1, 5));
        bank.transfer(transfer(0, 1, 3)).unwrap();
        deposit.join().unwrap().unwrap();
        assert_eq!(balances(&*bank), [7, 18]);
    });
}

fn two_transfers_from_one_account_cannot_both_have_its_last_cents<B: Bank + Send + 'static>() {
    check(3, || {
        let bank = open::<B>(3, 10);
        let first = spawn(&bank, |bank| bank.transfer(transfer(0, 1, 6)));
        let second = bank.transfer(transfer(0, 2, 6));
        let first = first.join().unwrap();
        let (balance, cents) = (4, 6);
        let refused = Err(Refused::Insufficient { balance, cents });
        match (first, second) {
            (Ok(()), late) => assert_eq!((late, balances(&*bank)), (refused, vec![4, 16, 10])),
            (late, Ok(())) => assert_eq!((late, balances(&*bank)), (refused, vec![4, 10, 16])),
            none => panic!("{none:?}"),
        }
    });
}

/// One half of a transfer seen means that the other half can be seen, too.
fn who_is_refused_because_of_a_transfer_finds_its_credit<B: Bank + Send + 'static>() {
    check(3, || {
        let bank = open::<B>(2, 10);
        let paying = spawn(&bank, |bank| bank.transfer(transfer(0, 1, 6)));
        if bank.withdraw(0, 5).is_err() {
            assert_eq!(bank.withdraw(1, 16), Ok(0));
        }
        paying.join().unwrap().ok();
    });
}

fn two_audits_beside_a_transfer_see_the_total<B: Bank + Send + 'static>() {
    check(1, || {
        let bank = open::<B>(2, 10);
        let transfers = spawn(&bank, |bank| bank.transfer(transfer(1, 0, 3)));
        let audit = spawn(&bank, |bank| balances(bank));
        let seen = [balances(&*bank), audit.join().unwrap()];
        for seen in seen {
            assert!(seen == [10, 10] || seen == [13, 7], "{seen:?}");
        }
        transfers.join().unwrap().unwrap();
        assert_eq!(balances(&*bank), [13, 7]);
    });
}

/// Two workers, three transfers in three intervals: each transfer is handed out once, the auditor
/// gets its turn while they work, and nobody waits for ever.
#[test]
fn the_schedule_hands_out_everything_once_and_lets_the_auditor_keep_up() {
    check(1, || {
        // Threads without a scope want a schedule that lives on.
        let schedule: &'static Schedule = Box::leak(Box::new(Schedule::new(3, 1)));
        let done = Arc::new(AtomicU64::new(0));
        let audits = Arc::new(AtomicU64::new(0));
        // All places are taken before a thread starts, as in the program.
        let places = [schedule.worker(), schedule.worker()];
        let auditor = schedule.auditor();
        let threads = places.map(|place| {
            let (done, audits) = (Arc::clone(&done), Arc::clone(&audits));
            thread::spawn(move || {
                while let Some(piece) = place.next_piece() {
                    assert_eq!(piece.end, piece.start + 1);
                    // Interval n begins when n - 1 audits are done.
                    assert!(piece.start <= audits.load(Ordering::Relaxed) + 1);
                    done.fetch_add(1 << (8 * piece.start), Ordering::Relaxed);
                }
            })
        });
        while auditor.wait_until_due() {
            audits.fetch_add(1, Ordering::Relaxed);
            auditor.audited();
        }
        assert!(audits.load(Ordering::Relaxed) >= 1);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(done.load(Ordering::Relaxed), 0x01_01_01);
    });
}
