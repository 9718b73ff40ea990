//! Three ways to keep the promise of a `Bank`. Each file is a piece to take, together with
//! bank.rs; sync.rs only says where the types of the standard library are.

pub mod global;
pub mod optimistic;
pub mod ordered;

use crate::bank;
use crate::sync;

#[cfg(test)]
mod tests {
    use super::bank::{Bank, Cents, Refused, Transfer};
    use super::{global::Global, optimistic::Optimistic, ordered::Ordered};
    use crate::orders::Orders;
    use crate::rules;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Barrier, mpsc};
    use std::thread;
    use std::time::Duration;

    /// The same tests for each locking.
    macro_rules! for_each_locking {
        ($($test:ident)*) => {
            mod global { $(#[test] fn $test() { super::$test::<super::Global>() })* }
            mod ordered { $(#[test] fn $test() { super::$test::<super::Ordered>() })* }
            mod optimistic { $(#[test] fn $test() { super::$test::<super::Optimistic>() })* }
        };
    }

    for_each_locking! {
        a_refused_order_gives_its_reason_and_changes_nothing
        a_deposit_a_withdrawal_and_a_transfer_book_exactly_their_amount
        many_orders_are_carried_out_one_by_one_and_each_gives_its_outcome
        a_credit_beyond_the_largest_balance_is_refused_before_the_debit
        a_negative_opening_balance_is_refused
        a_third_tenth_out_of_three_tenths_is_paid
        a_panic_between_debit_and_credit_loses_nothing_and_locks_nobody_out
        a_ring_of_opposite_transfers_does_not_deadlock
        an_audit_during_the_transfers_sees_the_total
        two_audits_at_once_see_the_total
    }

    fn transfer(from: usize, to: usize, cents: Cents) -> Transfer {
        Transfer { from, to, cents }
    }

    fn balances(bank: &impl Bank) -> Vec<Cents> {
        let mut balances = Vec::new();
        bank.snapshot(|balance| balances.push(balance));
        balances
    }

    fn a_refused_order_gives_its_reason_and_changes_nothing<B: Bank>() {
        assert_eq!(rules::broken_by::<B>(), None);
    }

    fn a_deposit_a_withdrawal_and_a_transfer_book_exactly_their_amount<B: Bank>() {
        let bank = B::open(3, 100).unwrap();
        assert_eq!(bank.deposit(0, 1), Ok(101));
        assert_eq!(bank.withdraw(1, 100), Ok(0));
        assert_eq!(bank.transfer(transfer(2, 1, 100)), Ok(()));
        assert_eq!(bank.transfer(transfer(0, 2, 50)), Ok(()));
        assert_eq!(balances(&bank), [51, 100, 50]);
    }

    fn many_orders_are_carried_out_one_by_one_and_each_gives_its_outcome<B: Bank>() {
        let bank = B::open(2, 100).unwrap();
        let orders = [transfer(0, 1, 100), transfer(0, 1, 1), transfer(1, 0, 200)];
        let mut outcomes = Vec::new();
        bank.transfer_all(orders.into_iter(), |outcome| outcomes.push(outcome));
        let (balance, cents) = (0, 1);
        let refused = Err(Refused::Insufficient { balance, cents });
        assert_eq!(outcomes, [Ok(()), refused, Ok(())]);
        assert_eq!(balances(&bank), [200, 0]);
    }

    fn a_credit_beyond_the_largest_balance_is_refused_before_the_debit<B: Bank>() {
        let bank = B::open(2, Cents::MAX).unwrap();
        let refused = Refused::Overflow {
            balance: Cents::MAX,
            cents: 1,
        };
        assert_eq!(bank.transfer(transfer(0, 1, 1)), Err(refused));
        assert_eq!(bank.deposit(0, 1), Err(refused));
        assert_eq!(balances(&bank), [Cents::MAX; 2]);
    }

    fn a_negative_opening_balance_is_refused<B: Bank>() {
        let refused = Refused::NegativeOpening(-100);
        assert_eq!(B::open(2, -100).err(), Some(refused));
        assert!(B::open(2, 0).is_ok());
    }

    /// With floats, 0.3 - 0.1 - 0.1 leaves 0.09999999999999998, which does not cover 0.1.
    fn a_third_tenth_out_of_three_tenths_is_paid<B: Bank>() {
        let bank = B::open(2, 30).unwrap();
        let left: Vec<_> = (0..3).map(|_| bank.withdraw(0, 10)).collect();
        assert_eq!(left, [Ok(20), Ok(10), Ok(0)]);
        let tenth: f64 = "0.1".parse().unwrap();
        assert!(0.3 - tenth - tenth < tenth);
    }

    fn a_panic_between_debit_and_credit_loses_nothing_and_locks_nobody_out<B: Bank>() {
        within_seconds(30, || {
            let bank = B::open(2, 100).unwrap();
            for order in [transfer(0, 1, 60), transfer(1, 0, 60)] {
                let panicking = || bank.transfer_with(order, || panic!("between, as a test"));
                assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
                assert_eq!(balances(&bank), [100, 100]);
            }
            // Both accounts can be used from this thread and from another one.
            assert_eq!(bank.transfer(transfer(0, 1, 60)), Ok(()));
            thread::scope(|scope| {
                let back = scope.spawn(|| bank.transfer(transfer(1, 0, 60)));
                assert_eq!(back.join().unwrap(), Ok(()));
            });
            assert_eq!(balances(&bank), [100, 100]);
        });
    }

    /// Five accounts in a ring, two threads at each, one for each direction.
    fn a_ring_of_opposite_transfers_does_not_deadlock<B: Bank>() {
        const ACCOUNTS: usize = 5;
        within_seconds(60, || {
            let bank = B::open(ACCOUNTS, 1_000_000).unwrap();
            let start = Barrier::new(2 * ACCOUNTS);
            thread::scope(|scope| {
                for n in 0..2 * ACCOUNTS {
                    let (bank, start) = (&bank, &start);
                    let (here, next) = (n / 2, (n / 2 + 1) % ACCOUNTS);
                    let order = if n % 2 == 0 {
                        transfer(here, next, 1)
                    } else {
                        transfer(next, here, 1)
                    };
                    scope.spawn(move || {
                        start.wait();
                        for _ in 0..500 {
                            // Who holds both and pauses makes others hold one and wait.
                            let outcome = bank.transfer_with(order, thread::yield_now);
                            assert_eq!(outcome, Ok(()));
                        }
                    });
                }
            });
            assert_eq!(balances(&bank), [1_000_000; ACCOUNTS]);
        });
    }

    fn an_audit_during_the_transfers_sees_the_total<B: Bank>() {
        audits_during_transfers::<B>(1);
    }

    fn two_audits_at_once_see_the_total<B: Bank>() {
        audits_during_transfers::<B>(2);
    }

    fn audits_during_transfers<B: Bank>(auditors: usize) {
        within_seconds(60, || {
            // So many that transfers go on while an audit is on its way.
            const ACCOUNTS: usize = 300;
            const INITIAL: Cents = 20_000;
            let bank = B::open(ACCOUNTS, INITIAL).unwrap();
            let over = AtomicBool::new(false);
            let start = Barrier::new(auditors + 1);
            thread::scope(|scope| {
                for n in 0..3 {
                    let (bank, over) = (&bank, &over);
                    scope.spawn(move || {
                        // Orders without end: who never let an audit in would be seen here.
                        let orders = Orders::new(n, ACCOUNTS as u64);
                        let orders = (0..).map(|index| orders.get(index));
                        let orders = orders.take_while(|_| !over.load(Ordering::Relaxed));
                        if n == 0 {
                            orders.for_each(|order| {
                                let _ = bank.transfer(order);
                            });
                        } else {
                            bank.transfer_all(orders, |_| ());
                        }
                    });
                }
                let audit = || {
                    start.wait();
                    let audits: Vec<_> = (0..200).map(|_| balances(&bank)).collect();
                    audits.into_iter().find(|balances| {
                        balances.iter().sum::<Cents>() != INITIAL * ACCOUNTS as Cents
                            || balances.iter().any(|balance| *balance < 0)
                    })
                };
                let audits: Vec<_> = (0..auditors).map(|_| scope.spawn(audit)).collect();
                start.wait();
                let wrong: Vec<_> = audits.into_iter().map(|audit| audit.join()).collect();
                // The others are let go before anything is asserted, or a failure would hang.
                over.store(true, Ordering::Relaxed);
                for wrong in wrong {
                    assert_eq!(wrong.unwrap(), None);
                }
            });
        });
    }

    /// A deadlock cannot be unwound: the watchdog ends the process, and that is a failed test.
    fn within_seconds(limit: u64, test: impl FnOnce()) {
        let (finished, ending) = mpsc::channel::<()>();
        let name = thread::current().name().unwrap_or("a test").to_string();
        let watchdog = thread::spawn(move || {
            let waited = ending.recv_timeout(Duration::from_secs(limit));
            if waited == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{name} hangs: no end after {limit} seconds");
                process::abort();
            }
        });
        test();
        drop(finished);
        watchdog.join().unwrap();
    }
}
