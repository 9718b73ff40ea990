//! Carries out the transfers with one locking, with an auditor beside the workers, and checks
//! every balance against the journal.

use crate::auditor::{Auditor, checksum, difference};
use crate::bank::{Bank, Cents, Refused, Transfer, credited, debited};
use crate::journal::Journal;
use crate::orders::Orders;
use crate::schedule::{AuditorPlace, Progress, Schedule, Worker};
use crate::signals;
use serde::Serialize;
use std::io;
use std::ops::Range;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// Transfers in a round, whose journal then takes 2 MiB.
pub const ROUND: u64 = 1 << 24;

pub struct Setup {
    pub accounts: u64,
    pub threads: usize,
    pub transfers: u64,
    pub seed: u64,
    pub initial: Cents,
    /// The journal of a round is replayed and forgotten before the next round begins, so that
    /// memory does not grow with the number of transfers.
    pub round: u64,
}

impl Setup {
    fn auditor(&self) -> Auditor {
        let total = Cents::try_from(self.accounts).ok();
        let total = total.and_then(|accounts| accounts.checked_mul(self.initial));
        Auditor::new(self.accounts, total.expect("checked with the options"))
    }

    fn balances(&self) -> Vec<Cents> {
        vec![self.initial; self.accounts as usize]
    }

    fn rounds(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let (transfers, length) = (self.transfers, self.round);
        let rounds = 0..transfers.div_ceil(length);
        rounds.map(move |round| round * length..((round + 1) * length).min(transfers))
    }
}

/// What came of a run. The report prints it; as JSON it has these keys.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub locking: &'static str,
    pub threads: usize,
    pub seconds: f64,
    pub transfers_per_second: f64,
    pub applied: u64,
    pub refused: u64,
    pub not_done: u64,
    pub retries: u64,
    pub audits: u64,
    pub longest_audit_seconds: f64,
    pub checksum: u64,
    /// Empty when every check held.
    pub problems: Vec<String>,
}

impl Outcome {
    /// Of a run that a signal came before.
    pub fn not_begun(locking: &'static str, setup: &Setup) -> Outcome {
        let places = u128::from(setup.accounts) * u128::from(setup.accounts + 1) / 2;
        Outcome {
            locking,
            threads: 0,
            seconds: 0.0,
            transfers_per_second: 0.0,
            applied: 0,
            refused: 0,
            not_done: setup.transfers,
            retries: 0,
            audits: 0,
            longest_audit_seconds: 0.0,
            checksum: setup.initial.cast_unsigned().wrapping_mul(places as u64),
            problems: Vec::new(),
        }
    }
}

/// All transfers by several threads on a bank of type `B`. `watch` is called now and then with
/// the number of transfers handed out so far.
pub fn run<B: Bank>(
    locking: &'static str,
    setup: &Setup,
    mut watch: impl FnMut(u64),
) -> io::Result<Outcome> {
    let bank = B::open(setup.accounts as usize, setup.initial).map_err(io::Error::other)?;
    let orders = Orders::new(setup.seed, setup.accounts);
    let mut auditor = setup.auditor();
    let mut expected = setup.balances();
    let mut balances = setup.balances();
    let mut tally = Tally::default();
    let mut elapsed = Duration::ZERO;

    for range in setup.rounds() {
        if signals::received().is_some() || !tally.problems.is_empty() {
            break;
        }
        let round = Round::new(&bank, orders, range, setup);
        let begin = Instant::now();
        round.carry_out(&mut auditor, &mut tally, |progress| {
            watch(round.range.start + progress.handed_out);
            if signals::received().is_some() {
                round.schedule.stop();
            }
        })?;
        elapsed += begin.elapsed();

        tally.applied += round.journal.applied();
        round
            .journal
            .replay(&mut expected, |index| orders.get(round.range.start + index));
        balances.clear();
        bank.snapshot(|balance| balances.push(balance));
        tally.problems.extend(difference(&balances, &expected));
    }
    auditor.audit(&bank);
    let threads = Schedule::useful_workers(setup.transfers, setup.accounts, setup.threads);
    let mut outcome = tally.outcome(locking, threads, setup, elapsed, auditor, &balances);
    outcome.retries = bank.retries();
    Ok(outcome)
}

/// The limit to compare with: the same transfers, journal and audits by this thread alone, on
/// balances that need no lock because nobody else can reach them.
pub fn run_alone(setup: &Setup, mut watch: impl FnMut(u64)) -> Outcome {
    let orders = Orders::new(setup.seed, setup.accounts);
    let mut auditor = setup.auditor();
    let mut expected = setup.balances();
    let mut balances = setup.balances();
    let mut tally = Tally::default();
    let mut elapsed = Duration::ZERO;

    for range in setup.rounds() {
        if signals::received().is_some() || !tally.problems.is_empty() {
            break;
        }
        let transfers = range.end - range.start;
        let journal = Journal::new(transfers);
        let interval = Schedule::interval(transfers, setup.accounts);
        let begin = Instant::now();
        for first in (0..transfers).step_by(interval as usize) {
            watch(range.start + first);
            if signals::received().is_some() {
                break;
            }
            auditor.audit_balances(&balances);
            let mut pen = journal.pen(first);
            for index in first..(first + interval).min(transfers) {
                let outcome = transfer_alone(&mut balances, orders.get(range.start + index));
                pen.record(tally.is_applied(outcome));
            }
        }
        elapsed += begin.elapsed();
        tally.applied += journal.applied();
        journal.replay(&mut expected, |index| orders.get(range.start + index));
        tally.problems.extend(difference(&balances, &expected));
    }
    auditor.audit_balances(&balances);
    tally.outcome("limit", 1, setup, elapsed, auditor, &balances)
}

fn transfer_alone(balances: &mut [Cents], order: Transfer) -> Result<(), Refused> {
    let Transfer { from, to, cents } = order;
    let after_debit = debited(balances[from], cents)?;
    balances[to] = credited(balances[to], cents)?;
    balances[from] = after_debit;
    Ok(())
}

/// The run of median speed, with the problems of all. A run that a signal stopped comes first.
pub fn median(mut runs: Vec<Outcome>) -> Outcome {
    let problems = runs.iter_mut().flat_map(|run| run.problems.drain(..));
    let problems = problems.collect();
    runs.sort_by(|a, b| a.transfers_per_second.total_cmp(&b.transfers_per_second));
    let stopped = runs.iter().position(|run| run.not_done > 0);
    let mut median = runs.swap_remove(stopped.unwrap_or(runs.len() / 2));
    median.problems = problems;
    median
}

/// One round: the threads' shared view of the work.
struct Round<'a, B> {
    bank: &'a B,
    orders: Orders,
    range: Range<u64>,
    workers: usize,
    schedule: Schedule,
    journal: Journal,
}

impl<'a, B: Bank> Round<'a, B> {
    fn new(bank: &'a B, orders: Orders, range: Range<u64>, setup: &Setup) -> Self {
        let transfers = range.end - range.start;
        Round {
            bank,
            orders,
            range,
            workers: Schedule::useful_workers(transfers, setup.accounts, setup.threads),
            schedule: Schedule::new(transfers, Schedule::interval(transfers, setup.accounts)),
            journal: Journal::new(transfers),
        }
    }

    fn carry_out(
        &self,
        auditor: &mut Auditor,
        tally: &mut Tally,
        mut watch: impl FnMut(Progress),
    ) -> io::Result<()> {
        // All places are taken before a thread starts: nobody sees an empty bank and leaves.
        let places: Vec<Worker> = (0..self.workers).map(|_| self.schedule.worker()).collect();
        let auditor_place = self.schedule.auditor();
        thread::scope(|scope| {
            let named = |name: String| thread::Builder::new().name(name);
            let start = || -> io::Result<Vec<ScopedJoinHandle<Tally>>> {
                let mut threads = Vec::new();
                let audit = || {
                    self.audit(auditor, auditor_place);
                    Tally::default()
                };
                threads.push(named("auditor".into()).spawn_scoped(scope, audit)?);
                for (n, place) in (1..).zip(places) {
                    let name = format!("worker-{n}");
                    threads.push(named(name).spawn_scoped(scope, || self.work(place))?);
                }
                Ok(threads)
            };
            let threads = start().map_err(|error| {
                self.schedule.stop();
                io::Error::new(error.kind(), format!("cannot start a thread: {error}"))
            })?;
            loop {
                let progress = self.schedule.wait(Duration::from_millis(20));
                if progress.finished {
                    break;
                }
                watch(progress);
            }
            for thread in threads {
                let name = thread.thread().name().unwrap_or("a thread").to_string();
                match thread.join() {
                    Ok(part) => tally.add(part),
                    Err(_) => tally.problems.push(format!("{name} panicked")),
                }
            }
            Ok(())
        })
    }

    fn work(&self, place: Worker) -> Tally {
        let mut tally = Tally::default();
        while let Some(piece) = place.next_piece() {
            let mut pen = self.journal.pen(piece.start);
            let orders = piece.map(|index| self.orders.get(self.range.start + index));
            let record = |outcome| pen.record(tally.is_applied(outcome));
            self.bank.transfer_all(orders, record);
        }
        tally
    }

    fn audit(&self, auditor: &mut Auditor, place: AuditorPlace) {
        while place.wait_until_due() {
            auditor.audit(self.bank);
            place.audited();
        }
    }
}

#[derive(Default)]
struct Tally {
    applied: u64,
    refused: u64,
    problems: Vec<String>,
}

impl Tally {
    /// These orders can lack cover and nothing else: any other refusal is a mistake of the bank.
    #[inline]
    fn is_applied(&mut self, outcome: Result<(), Refused>) -> bool {
        match outcome {
            Ok(()) => return true,
            Err(Refused::Insufficient { .. }) => {}
            Err(refused) if self.problems.is_empty() => {
                let problem = format!("a proper order was refused: {refused}");
                self.problems.push(problem);
            }
            Err(_) => {}
        }
        self.refused += 1;
        false
    }

    fn add(&mut self, part: Tally) {
        self.applied += part.applied;
        self.refused += part.refused;
        self.problems.extend(part.problems);
    }

    fn outcome(
        mut self,
        locking: &'static str,
        threads: usize,
        setup: &Setup,
        elapsed: Duration,
        auditor: Auditor,
        balances: &[Cents],
    ) -> Outcome {
        self.problems.extend(auditor.first_failure);
        let done = self.applied + self.refused;
        let seconds = elapsed.as_secs_f64();
        Outcome {
            locking,
            threads,
            seconds,
            transfers_per_second: done as f64 / seconds.max(1e-9),
            applied: self.applied,
            refused: self.refused,
            not_done: setup.transfers - done,
            retries: 0,
            // The last one came after the transfers.
            audits: auditor.audits - 1,
            longest_audit_seconds: auditor.longest.as_secs_f64(),
            checksum: checksum(balances),
            problems: self.problems,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locking::{global::Global, optimistic::Optimistic, ordered::Ordered};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// So little money that some transfers are refused, and so much that none is.
    const LITTLE: Cents = 20_000;
    const MUCH: Cents = 1_000_000_000;

    fn setup(transfers: u64, initial: Cents) -> Setup {
        Setup {
            accounts: 20,
            threads: 4,
            transfers,
            seed: 3,
            initial,
            round: ROUND,
        }
    }

    /// A bank with a mistake: `transfer` is what the test says, everything else is in order.
    struct Faulty<const FAULT: u8> {
        balances: Mutex<Vec<Cents>>,
        transfers: AtomicU64,
    }

    const PANICS_ONCE: u8 = 0;
    const LOSES_A_CENT: u8 = 1;
    const BOOKS_THE_WRONG_WAY: u8 = 2;
    const TORN_FOR_A_MOMENT: u8 = 3;

    impl<const FAULT: u8> Bank for Faulty<FAULT> {
        fn open(accounts: usize, initial: Cents) -> Result<Self, Refused> {
            Ok(Faulty {
                balances: Mutex::new(vec![initial; accounts]),
                transfers: AtomicU64::new(0),
            })
        }

        fn deposit(&self, account: usize, cents: Cents) -> Result<Cents, Refused> {
            let balance = &mut self.balances.lock().unwrap()[account];
            *balance = credited(*balance, cents)?;
            Ok(*balance)
        }

        fn withdraw(&self, account: usize, cents: Cents) -> Result<Cents, Refused> {
            let balance = &mut self.balances.lock().unwrap()[account];
            *balance = debited(*balance, cents)?;
            Ok(*balance)
        }

        fn transfer_with(&self, order: Transfer, between: impl FnOnce()) -> Result<(), Refused> {
            let Transfer { from, to, cents } = order;
            let faulty = self.transfers.fetch_add(1, Ordering::Relaxed) == 700;
            match FAULT {
                PANICS_ONCE if faulty => panic!("as a test"),
                LOSES_A_CENT if faulty => {
                    self.withdraw(from, cents)?;
                    self.deposit(to, cents + 1)?;
                }
                BOOKS_THE_WRONG_WAY if faulty => {
                    transfer_alone(
                        &mut self.balances.lock().unwrap(),
                        Transfer {
                            from: to,
                            to: from,
                            cents,
                        },
                    )?;
                }
                // Debit and credit each under the lock, but not both under one.
                TORN_FOR_A_MOMENT => {
                    self.withdraw(from, cents)?;
                    thread::yield_now();
                    self.deposit(to, cents)?;
                }
                _ => transfer_alone(&mut self.balances.lock().unwrap(), order)?,
            }
            between();
            Ok(())
        }

        fn snapshot(&self, look: impl FnMut(Cents)) {
            self.balances.lock().unwrap().iter().copied().for_each(look);
        }
    }

    fn problems<const FAULT: u8>(transfers: u64) -> Vec<String> {
        let setup = setup(transfers, MUCH);
        let run = run::<Faulty<FAULT>>("faulty", &setup, |_| ());
        run.unwrap().problems
    }

    #[test]
    fn each_locking_passes_every_check() {
        fn check<B: Bank>() {
            let setup = setup(20_000, LITTLE);
            let run = run::<B>("this", &setup, |_| ()).unwrap();
            assert_eq!(run.problems, [""; 0]);
            assert_eq!(run.applied + run.refused, setup.transfers);
            assert!(run.refused > 0 && run.audits >= 16, "{run:?}");
        }
        check::<Global>();
        check::<Ordered>();
        check::<Optimistic>();
        let alone = run_alone(&setup(20_000, LITTLE), |_| ());
        assert_eq!(alone.problems, [""; 0]);
        assert!(alone.refused > 0 && alone.audits >= 16, "{alone:?}");
    }

    #[test]
    fn many_rounds_pass_the_same_checks_as_one() {
        let mut setup = setup(20_000, MUCH);
        let one = run::<Ordered>("this", &setup, |_| ()).unwrap();
        setup.round = 3_001;
        let many = run::<Ordered>("this", &setup, |_| ()).unwrap();
        let alone = run_alone(&setup, |_| ());
        for run in [&one, &many, &alone] {
            assert_eq!(run.problems, [""; 0]);
            assert_eq!((run.applied, run.not_done), (20_000, 0));
            assert_eq!(run.checksum, one.checksum);
        }
    }

    #[test]
    fn a_lost_cent_is_found() {
        let problems = problems::<LOSES_A_CENT>(2_000);
        assert!(problems[0].starts_with("account "), "{problems:?}");
        assert!(
            problems[1].contains("a total of 20000000001 cents"),
            "{problems:?}"
        );
    }

    /// Neither the total nor a sign tells.
    #[test]
    fn money_that_went_the_wrong_way_is_found_by_the_journal() {
        let problems = problems::<BOOKS_THE_WRONG_WAY>(2_000);
        assert!(problems[0].ends_with("(2 accounts differ)"), "{problems:?}");
        assert_eq!(problems.len(), 1);
    }

    /// The total at the end is right: only an audit during the transfers can tell.
    #[test]
    fn a_transfer_in_two_steps_is_found_by_an_audit_during_the_run() {
        let problems = (0..100).find_map(|_| {
            let problems = problems::<TORN_FOR_A_MOMENT>(20_000);
            (!problems.is_empty()).then_some(problems)
        });
        let problems = problems.expect("no audit of 1,600 fell between debit and credit");
        assert!(problems[0].contains("a total of"), "{problems:?}");
        assert_eq!(problems.len(), 1, "the balances at the end are right");
    }

    /// One transfer is missing, and that is said; the other workers go on, no audit fails, and
    /// each balance is what the journal says.
    #[test]
    fn a_worker_that_panics_is_reported_and_the_others_go_on() {
        let problems = problems::<PANICS_ONCE>(20_000);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].ends_with("panicked"), "{problems:?}");
    }

    #[test]
    fn the_median_run_carries_the_problems_of_all_runs() {
        let setup = setup(1_000, MUCH);
        let run = |speed: f64, not_done, problem: Option<&str>| Outcome {
            transfers_per_second: speed,
            not_done,
            problems: problem.into_iter().map(str::to_string).collect(),
            ..run_alone(&setup, |_| ())
        };
        let (a, b, c) = (
            run(3.0, 0, None),
            run(1.0, 0, Some("wrong")),
            run(2.0, 0, None),
        );
        let shown = median(vec![a, b, c]);
        assert_eq!(
            (shown.transfers_per_second, shown.problems),
            (2.0, vec!["wrong".into()])
        );
        let stopped = median(vec![
            run(1.0, 0, None),
            run(9.0, 5, None),
            run(1.0, 0, None),
        ]);
        assert_eq!(stopped.not_done, 5);
    }

    #[test]
    fn a_run_that_was_not_begun_has_left_every_account_as_it_was() {
        let setup = setup(1_000, Cents::MAX / 20);
        let run = Outcome::not_begun("this", &setup);
        assert_eq!(run.checksum, checksum(&setup.balances()));
        assert_eq!((run.applied, run.not_done), (0, 1_000));
    }

    #[test]
    fn rounds_cover_all_transfers_once() {
        for transfers in [1, ROUND, ROUND + 1, 3 * ROUND - 1] {
            let mut next = 0;
            for round in setup(transfers, MUCH).rounds() {
                assert_eq!(round.start, next);
                assert!(round.end - round.start <= ROUND);
                next = round.end;
            }
            assert_eq!(next, transfers);
        }
    }
}
