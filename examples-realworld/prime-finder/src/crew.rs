//! Workers that take pieces dynamically, and their results in the order of the pieces.
//!
//! Nobody is given a range beforehand: whoever is free takes the next piece. Results that come
//! early wait for those before them, and nobody works further ahead than a window allows, so the
//! memory stays bounded however slowly the results are taken.

use crate::job::Job;
use crate::stop;
use crate::text::Text;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

/// After so many failed pieces nothing more is tried.
const FAILURES_ALLOWED: usize = 5;

/// What a piece contains.
#[derive(Default)]
pub struct Found {
    pub count: u64,
    pub text: Text,
}

pub enum Failure {
    /// Someone pressed Ctrl-C.
    Stopped,
    /// The piece could not be done, and why.
    Failed(String),
}

pub trait Worker {
    fn work(&mut self, piece: Range<u64>, found: &mut Found) -> Result<(), Failure>;
}

/// What became of a job.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The primes in all pieces that were done.
    pub count: u64,
    /// Everything below this number was done, failed pieces apart.
    pub reached: u64,
    pub failed: Vec<(Range<u64>, String)>,
    pub stopped: bool,
}

impl Outcome {
    /// Notes a failure. One piece is no reason to leave the rest; many of them are.
    fn is_end(&mut self, job: &Job, piece: Range<u64>, failure: Failure) -> bool {
        match failure {
            Failure::Stopped => self.stopped = true,
            Failure::Failed(why) => {
                let rest = piece.end..job.range.end;
                self.failed.push((piece, why));
                if self.failed.len() < FAILURES_ALLOWED {
                    return false;
                }
                if !rest.is_empty() {
                    self.failed
                        .push((rest, "not tried after so many failures".into()));
                }
            }
        }
        true
    }
}

/// Does all pieces with `workers` threads, each with the worker that `hire(number)` gives, and
/// hands what they find to `deliver` in the order of the pieces.
pub fn work<W, H, D>(job: &Job, workers: usize, hire: H, mut deliver: D) -> io::Result<Outcome>
where
    W: Worker,
    H: Fn(usize) -> W + Sync,
    D: FnMut(Range<u64>, &Found) -> io::Result<()>,
{
    let mut outcome = Outcome {
        reached: job.range.start,
        ..Outcome::default()
    };
    let desk = Desk {
        state: Mutex::new(State::default()),
        changed: Condvar::new(),
        pieces: job.pieces(),
        window: if job.list {
            2 * workers as u64
        } else {
            u64::MAX
        },
    };
    thread::scope(|scope| {
        let _closing = CloseAtEnd(&desk);
        for number in 1..=workers {
            let (desk, hire) = (&desk, &hire);
            thread::Builder::new()
                .name(format!("finder-{number}"))
                .spawn_scoped(scope, move || desk.serve(job, || hire(number)))?;
        }
        for index in 0..desk.pieces {
            let piece = job.piece(index);
            match desk.wait_for(index) {
                Ok(found) => {
                    outcome.count += found.count;
                    outcome.reached = piece.end;
                    deliver(piece, &found)?;
                    desk.take_back(found);
                }
                Err(failure) => {
                    if outcome.is_end(job, piece, failure) {
                        break;
                    }
                }
            }
        }
        Ok(outcome)
    })
}

/// The same without any thread: for one worker, and for work that is too small to share.
pub fn work_alone<W, D>(job: &Job, mut worker: W, mut deliver: D) -> io::Result<Outcome>
where
    W: Worker,
    D: FnMut(Range<u64>, &Found) -> io::Result<()>,
{
    let mut outcome = Outcome {
        reached: job.range.start,
        ..Outcome::default()
    };
    let mut found = Found::default();
    for piece in (0..job.pieces()).map(|index| job.piece(index)) {
        (found.count, found.text) = (0, std::mem::take(&mut found.text));
        found.text.clear();
        match worker.work(piece.clone(), &mut found) {
            Ok(()) => {
                outcome.count += found.count;
                outcome.reached = piece.end;
                deliver(piece, &found)?;
            }
            Err(failure) => {
                if outcome.is_end(job, piece, failure) {
                    break;
                }
            }
        }
    }
    Ok(outcome)
}

/// Where pieces are taken and results are left.
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
    pieces: u64,
    window: u64,
}

#[derive(Default)]
struct State {
    next: u64,
    delivered: u64,
    closed: bool,
    results: BTreeMap<u64, Result<Found, Failure>>,
    /// Buffers to be used again.
    empty: Vec<Found>,
}

impl Desk {
    /// What a worker's thread does: piece after piece, until there are no more.
    fn serve<W: Worker>(&self, job: &Job, hire: impl Fn() -> W) {
        let mut worker = None;
        while let Some((index, mut found)) = self.take_piece() {
            let work = || {
                worker
                    .get_or_insert_with(&hire)
                    .work(job.piece(index), &mut found)
            };
            // A panic costs its piece, not the crew: the next piece gets a new worker.
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
                worker = None;
                Err(Failure::Failed("its worker panicked".into()))
            });
            self.lock().results.insert(index, result.map(|()| found));
            self.changed.notify_all();
        }
    }

    fn take_piece(&self) -> Option<(u64, Found)> {
        let too_far = |state: &mut State| {
            !state.closed
                && state.next < self.pieces
                && state.next >= state.delivered.saturating_add(self.window)
        };
        let mut state = self.changed.wait_while(self.lock(), too_far).unwrap();
        if state.closed || state.next == self.pieces || stop::requested() {
            return None;
        }
        state.next += 1;
        Some((state.next - 1, state.empty.pop().unwrap_or_default()))
    }

    fn wait_for(&self, index: u64) -> Result<Found, Failure> {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.results.remove(&index) {
                state.delivered = index + 1;
                self.changed.notify_all();
                return result;
            }
            // Pieces are taken in order: one that nobody took will never come after a stop.
            if state.next <= index && stop::requested() {
                return Err(Failure::Stopped);
            }
            let (changed, _) = self.changed.wait_timeout(state, stop::LOOK_AGAIN).unwrap();
            state = changed;
        }
    }

    fn take_back(&self, mut found: Found) {
        found.count = 0;
        found.text.clear();
        self.lock().empty.push(found);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Whatever ends the delivery, an error or a panic: the workers go home and can be joined.
struct CloseAtEnd<'a>(&'a Desk);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Algorithm;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    const LIMIT: Duration = Duration::from_secs(30);

    /// A worker made of a function.
    struct Call<F>(F);

    impl<F: FnMut(Range<u64>, &mut Found) -> Result<(), Failure>> Worker for Call<F> {
        fn work(&mut self, piece: Range<u64>, found: &mut Found) -> Result<(), Failure> {
            (self.0)(piece, found)
        }
    }

    /// Pieces of 100 numbers each.
    fn job(pieces: u64, list: bool) -> Job {
        let from = 1_000_000_000_000_020;
        let job = Job::new(Algorithm::Trial, from..from + 120 * pieces, list);
        assert_eq!(job.pieces(), pieces);
        job
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(
                begin.elapsed() < LIMIT,
                "what was waited for did not happen"
            );
            thread::yield_now();
        }
    }

    #[test]
    fn equal_ranges_are_unequal_work_so_whoever_is_free_takes_the_next() {
        // The first piece ends only when the other worker has done all nine others: with two
        // ranges given out beforehand, five of them would wait behind the first.
        let job = job(10, false);
        let others = AtomicUsize::new(0);
        let hire = |_| {
            Call(|piece: Range<u64>, found: &mut Found| {
                found.count = 1;
                if piece.start == job.range.start {
                    wait_until(|| others.load(Ordering::SeqCst) == 9);
                } else {
                    others.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        };
        let outcome = work(&job, 2, hire, |_, _| Ok(())).unwrap();
        assert_eq!((outcome.count, outcome.reached), (10, job.range.end));
    }

    #[test]
    fn results_come_in_the_order_of_the_pieces_and_each_once() {
        let job = job(50, true);
        let hire = |_| {
            Call(|piece: Range<u64>, found: &mut Found| {
                for _ in 0..piece.start % 7 {
                    thread::yield_now();
                }
                found.count = piece.start;
                Ok(())
            })
        };
        let mut starts = Vec::new();
        work(&job, 5, hire, |piece, found| {
            assert_eq!(piece.start, found.count);
            starts.push(piece.start);
            Ok(())
        })
        .unwrap();
        let expected: Vec<u64> = (0..50).map(|index| job.piece(index).start).collect();
        assert_eq!(starts, expected);
    }

    #[test]
    fn nobody_works_further_ahead_than_the_window() {
        let job = job(40, true);
        let (begun, most_ahead) = (AtomicU64::new(0), AtomicU64::new(0));
        let delivered = AtomicU64::new(0);
        let hire = |_| {
            Call(|_, _: &mut Found| {
                let begun = begun.fetch_add(1, Ordering::SeqCst) + 1;
                let ahead = begun - delivered.load(Ordering::SeqCst);
                most_ahead.fetch_max(ahead, Ordering::SeqCst);
                Ok(())
            })
        };
        work(&job, 3, hire, |_, _| {
            // The reader is slow: all that may be begun is begun before it goes on.
            let taken = delivered.load(Ordering::SeqCst) + 1;
            wait_until(|| begun.load(Ordering::SeqCst) >= (taken + 6).min(40));
            delivered.store(taken, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert!(
            most_ahead.load(Ordering::SeqCst) <= 2 * 3 + 1,
            "{most_ahead:?}"
        );
    }

    #[test]
    fn a_failed_or_panicking_piece_is_reported_and_the_rest_is_done() {
        let job = job(20, false);
        let (third, fifth) = (job.piece(2), job.piece(4));
        let hired = AtomicUsize::new(0);
        let hire = |_| {
            hired.fetch_add(1, Ordering::SeqCst);
            Call(|piece: Range<u64>, found: &mut Found| {
                if piece == third {
                    return Err(Failure::Failed("worn out".into()));
                }
                assert!(piece != fifth, "this panic belongs to the test");
                found.count = 1;
                Ok(())
            })
        };
        let outcome = work(&job, 2, hire, |_, _| Ok(())).unwrap();
        let expected = [
            (third.clone(), "worn out".into()),
            (fifth.clone(), "its worker panicked".into()),
        ];
        assert_eq!((outcome.count, outcome.failed), (18, expected.to_vec()));
        let hired = hired.load(Ordering::SeqCst);
        assert!(
            (2..=3).contains(&hired),
            "{hired} workers for two places and one panic"
        );
    }

    #[test]
    fn when_everything_fails_it_gives_up_and_names_the_rest() {
        let job = job(100, false);
        let hire = |_| Call(|_, _: &mut Found| Err(Failure::Failed("worn out".into())));
        for outcome in [
            work(&job, 2, hire, |_, _| Ok(())),
            work_alone(&job, hire(1), |_, _| Ok(())),
        ] {
            let failed = outcome.unwrap().failed;
            assert_eq!(failed.len(), FAILURES_ALLOWED + 1);
            assert_eq!(
                failed[FAILURES_ALLOWED].0,
                job.piece(5).start..job.range.end
            );
        }
    }

    #[test]
    fn when_the_results_cannot_be_delivered_the_workers_go_home() {
        let job = job(1000, true);
        let done = AtomicUsize::new(0);
        let hire = |_| {
            Call(|_, _: &mut Found| {
                done.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        };
        let error = work(&job, 4, hire, |_, _| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(done.load(Ordering::SeqCst) <= 9 + 4, "{done:?}");
    }

    #[test]
    fn more_workers_than_pieces_and_no_pieces_at_all_are_fine() {
        let hire = |_| {
            Call(|_, found: &mut Found| {
                found.count = 1;
                Ok(())
            })
        };
        assert_eq!(
            work(&job(3, false), 16, hire, |_, _| Ok(())).unwrap().count,
            3
        );
        assert_eq!(
            work(&job(0, false), 16, hire, |_, _| Ok(())).unwrap().count,
            0
        );
        assert_eq!(
            work_alone(&job(0, false), hire(1), |_, _| Ok(()))
                .unwrap()
                .count,
            0
        );
    }
}
