//! The work on one file, and the way to do it for many: one after another, or by threads.

use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::files::{self, Job, MADE_BY, ResultFile};
use crate::giant;
use crate::scan::{ScanError, Scanner};
use crate::shared::Shared;

/// How one file ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Done {
        records: u64,
        bytes: u64,
        seconds: f64,
    },
    Failed {
        error: String,
        place: Option<(u64, u64)>,
    },
    NotDone,
}

impl Outcome {
    pub fn failed(error: impl ToString) -> Self {
        Outcome::Failed {
            error: error.to_string(),
            place: None,
        }
    }
}

/// Does `jobs` by `workers` threads, each with a function of its own from `start`, and reports
/// each job once, in the order in which they end; what was never begun is reported at the end.
pub fn run<W>(
    jobs: &[Job],
    workers: usize,
    shared: &Shared,
    start: impl Fn(usize) -> W + Sync,
    mut report: impl FnMut(&Job, Outcome),
) where
    W: FnMut(&Job) -> Outcome,
{
    let next = AtomicUsize::new(0);
    let take = || {
        if shared.stopped() {
            None
        } else {
            jobs.get(next.fetch_add(1, Ordering::Relaxed))
        }
    };
    // A panic is the end of one job, not of its worker.
    let guarded = |work: &mut W, job: &Job| {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| work(job)));
        shared.counters.files.fetch_add(1, Ordering::Relaxed);
        outcome.unwrap_or_else(|_| {
            Outcome::failed("the program panicked over this file; its message is on stderr")
        })
    };
    let idle = workers.saturating_sub(jobs.len());
    shared.idle.store(idle, Ordering::Relaxed);
    shared.least_idle.store(idle, Ordering::Relaxed);
    let workers = workers.min(jobs.len());
    if workers <= 1 {
        let mut work = start(1);
        while let Some(job) = take() {
            report(job, guarded(&mut work, job));
        }
    } else {
        thread::scope(|scope| {
            let (outcomes, ended) = mpsc::channel();
            for number in 1..=workers {
                let (outcomes, start, take, guarded) = (outcomes.clone(), &start, &take, &guarded);
                let body = move || {
                    let mut work = start(number);
                    while let Some(job) = take() {
                        if outcomes.send((job, guarded(&mut work, job))).is_err() {
                            break;
                        }
                    }
                    shared.idle.fetch_add(1, Ordering::Relaxed);
                };
                let thread = thread::Builder::new().name(format!("worker-{number}"));
                if let Err(error) = thread.spawn_scoped(scope, body) {
                    // The others do its work, as long as there is one.
                    assert!(number > 1, "cannot start a thread: {error}");
                    break;
                }
            }
            drop(outcomes);
            ended.iter().for_each(|(job, outcome)| report(job, outcome));
        });
    }
    let begun = next.into_inner().min(jobs.len());
    jobs[begun..]
        .iter()
        .for_each(|job| report(job, Outcome::NotDone));
}

/// A worker within this process: a scanner and its buffers, for one file after another.
pub fn local(shared: &Shared) -> impl FnMut(&Job) -> Outcome {
    let mut scanner = Scanner::default();
    move |job| process(&mut scanner, job, shared)
}

pub fn process(scanner: &mut Scanner, job: &Job, shared: &Shared) -> Outcome {
    let begin = Instant::now();
    let file = match File::open(&job.input) {
        Ok(file) => file,
        Err(error) => return Outcome::failed(format!("cannot open: {error}")),
    };
    let helpers = shared.idle.load(Ordering::Relaxed);
    let count = match giant::scan(scanner, file, &job.input, helpers, shared) {
        Ok(count) => count,
        Err(_) if shared.stopped() => return Outcome::NotDone,
        Err(ScanError::Read(error)) => return Outcome::failed(format!("cannot read: {error}")),
        Err(ScanError::Invalid(fault)) => {
            job.output
                .as_deref()
                .inspect(|path| files::remove_result(path));
            let place = Some((fault.line, fault.column));
            return Outcome::Failed {
                error: fault.problem.to_string(),
                place,
            };
        }
    };
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(output) = &job.output {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let result = ResultFile {
            made_by: MADE_BY.into(),
            input: job.input.display().to_string(),
            records: count.records,
            bytes: count.bytes,
            seconds,
            processed_at: now.unwrap_or_default().as_secs_f64(),
        };
        if let Err(error) = files::write_result(output, &result, shared.sync) {
            return Outcome::failed(format!("cannot write {}: {error}", output.display()));
        }
    }
    Outcome::Done {
        records: count.records,
        bytes: count.bytes,
        seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn jobs(count: usize) -> Vec<Job> {
        let job = |number| Job {
            input: format!("{number}").into(),
            output: None,
        };
        (0..count).map(job).collect()
    }

    fn outcomes<W: FnMut(&Job) -> Outcome>(
        count: usize,
        workers: usize,
        shared: &Shared,
        start: impl Fn(usize) -> W + Sync,
    ) -> BTreeMap<String, Outcome> {
        let mut outcomes = BTreeMap::new();
        run(&jobs(count), workers, shared, start, |job, outcome| {
            let twice = outcomes.insert(job.input.display().to_string(), outcome);
            assert_eq!(twice, None, "each job is reported once");
        });
        outcomes
    }

    const DONE: Outcome = Outcome::Done {
        records: 1,
        bytes: 1,
        seconds: 0.0,
    };

    #[test]
    fn every_job_is_reported_once_whatever_the_number_of_workers() {
        for (count, workers) in [(0, 2), (1, 1), (1, 8), (100, 1), (100, 3), (3, 100)] {
            let found = outcomes(count, workers, &Shared::default(), |_| |_: &Job| DONE);
            assert_eq!(
                (found.len(), found.values().all(|outcome| *outcome == DONE)),
                (count, true)
            );
        }
    }

    #[test]
    fn there_are_never_more_workers_than_jobs() {
        let started = AtomicUsize::new(0);
        let start = |_| {
            started.fetch_add(1, Ordering::Relaxed);
            |_: &Job| DONE
        };
        outcomes(3, 100, &Shared::default(), start);
        assert!(started.into_inner() <= 3);
    }

    #[test]
    fn a_panic_fails_one_job_and_no_worker_is_lost() {
        for workers in [1, 2] {
            let start = |_| {
                |job: &Job| {
                    if job.input.ends_with("7") {
                        panic!("planned")
                    } else {
                        DONE
                    }
                }
            };
            let found = outcomes(20, workers, &Shared::default(), start);
            let failed: Vec<_> = found
                .iter()
                .filter(|(_, outcome)| **outcome != DONE)
                .collect();
            assert!(
                matches!(failed[..], [(name, Outcome::Failed { .. })] if name == "7"),
                "{failed:?}"
            );
        }
    }

    #[test]
    fn after_a_stop_what_was_not_begun_is_reported_as_not_done() {
        for workers in [1, 2] {
            let shared = Shared::default();
            let start = |_| {
                |_: &Job| {
                    shared.stop.store(true, Ordering::Relaxed);
                    DONE
                }
            };
            let found = outcomes(20, workers, &shared, start);
            let done = found.values().filter(|outcome| **outcome == DONE).count();
            let not_done = found
                .values()
                .filter(|outcome| **outcome == Outcome::NotDone)
                .count();
            assert!((1..=workers).contains(&done), "{done} done");
            assert_eq!(done + not_done, 20);
        }
    }
}
