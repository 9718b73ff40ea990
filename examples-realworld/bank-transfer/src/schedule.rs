//! Hands the transfers to the workers piece by piece, and lets the auditor keep up: the piece to
//! take where one thread must get its turn **while** others work, not merely after them.

use super::sync::{Condvar, Mutex, MutexGuard};
use std::ops::Range;
use std::time::Duration;

/// Enough work for the lock that hands it out not to matter, and little enough to stop soon.
const LARGEST_PIECE: u64 = 4_096;

/// The transfers are divided into intervals, with one audit due in each. Workers may run one
/// interval ahead of the auditor and then wait for it: that many audits happen during the
/// transfers, whatever the system's scheduler prefers to run.
pub struct Schedule {
    transfers: u64,
    interval: u64,
    state: Mutex<State>,
    // One for each kind of waiting: with a single one, each piece of news would wake everybody.
    audit_due: Condvar,
    audit_done: Condvar,
    worker_left: Condvar,
}

struct State {
    next: u64,
    audits: u64,
    workers: usize,
    auditor: bool,
    stopped: bool,
}

pub struct Progress {
    pub handed_out: u64,
    pub finished: bool,
}

impl Schedule {
    pub fn new(transfers: u64, interval: u64) -> Schedule {
        assert!(interval > 0);
        Schedule {
            transfers,
            interval,
            state: Mutex::new(State {
                next: 0,
                audits: 0,
                workers: 0,
                auditor: false,
                stopped: false,
            }),
            audit_due: Condvar::new(),
            audit_done: Condvar::new(),
            worker_left: Condvar::new(),
        }
    }

    /// Audits in 18 intervals or more, and up to 64 where they are cheap beside the transfers.
    pub fn interval(transfers: u64, accounts: u64) -> u64 {
        (transfers / 64)
            .max(4 * accounts)
            .min(transfers / 18)
            .max(1)
    }

    /// Not more workers than there are pieces.
    pub fn useful_workers(transfers: u64, accounts: u64, asked: usize) -> usize {
        let piece = Self::interval(transfers, accounts).min(LARGEST_PIECE);
        asked.min(usize::try_from(transfers.div_ceil(piece)).unwrap_or(usize::MAX))
    }

    /// A worker's place, taken before any thread starts. Dropping it says that the worker has
    /// left, also when it panicked or could not even be started.
    pub fn worker(&self) -> Worker<'_> {
        self.lock().workers += 1;
        Worker { schedule: self }
    }

    /// The auditor's place, likewise. Without an auditor nobody waits for audits.
    pub fn auditor(&self) -> AuditorPlace<'_> {
        self.lock().auditor = true;
        AuditorPlace { schedule: self }
    }

    /// No further piece is handed out.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.audit_done.notify_all();
    }

    /// Waits until a worker leaves, but no longer than `limit`.
    pub fn wait(&self, limit: Duration) -> Progress {
        let state = self.lock();
        let finished = |state: &State| state.workers == 0;
        let state = if finished(&state) {
            state
        } else {
            let waited = self.worker_left.wait_timeout(state, limit);
            waited.expect("nothing panics under this lock").0
        };
        Progress {
            handed_out: state.next,
            finished: finished(&state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

fn wait<'a>(news: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    news.wait(state).expect("nothing panics under this lock")
}

pub struct Worker<'a> {
    schedule: &'a Schedule,
}

impl Worker<'_> {
    /// The next piece of the work, or `None` when there is no more to do.
    pub fn next_piece(&self) -> Option<Range<u64>> {
        let schedule = self.schedule;
        let mut state = schedule.lock();
        loop {
            if state.stopped || state.next == schedule.transfers {
                return None;
            }
            let interval_now = state.next / schedule.interval;
            if !state.auditor || interval_now <= state.audits + 1 {
                break;
            }
            state = wait(&schedule.audit_done, state);
        }
        let first = state.next;
        // No piece reaches over the end of its interval.
        let end_of_interval = (first / schedule.interval + 1) * schedule.interval;
        let end = end_of_interval
            .min(first + LARGEST_PIECE)
            .min(schedule.transfers);
        state.next = end;
        drop(state);
        if first.is_multiple_of(schedule.interval) {
            schedule.audit_due.notify_one();
        }
        Some(first..end)
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.schedule.lock().workers -= 1;
        // The auditor leaves when nobody works any more.
        self.schedule.audit_due.notify_one();
        self.schedule.worker_left.notify_one();
    }
}

pub struct AuditorPlace<'a> {
    schedule: &'a Schedule,
}

impl AuditorPlace<'_> {
    /// Waits until workers have begun an interval without an audit; `false` when all have left.
    pub fn wait_until_due(&self) -> bool {
        let schedule = self.schedule;
        let mut state = schedule.lock();
        while state.workers > 0 {
            if state.next > state.audits * schedule.interval {
                return true;
            }
            state = wait(&schedule.audit_due, state);
        }
        false
    }

    /// Lets the workers go on into the next interval.
    pub fn audited(&self) {
        self.schedule.lock().audits += 1;
        self.schedule.audit_done.notify_all();
    }
}

impl Drop for AuditorPlace<'_> {
    fn drop(&mut self) {
        self.schedule.lock().auditor = false;
        self.schedule.audit_done.notify_all();
    }
}
