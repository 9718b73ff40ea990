//! One job in one mode, with a progress line.

use crate::crew::{self, Failure, Found, Outcome, Worker};
use crate::job::{Finder, Job};
use crate::processes::ProcessWorker;
use crate::progress::Progress;
use crate::stop;
use std::fmt;
use std::io;
use std::ops::{ControlFlow, Range};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Sequential,
    Threads,
    Processes,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Mode::Sequential => "sequential",
            Mode::Threads => "threads",
            Mode::Processes => "processes",
        })
    }
}

/// How many workers there are something to do for: never more than pieces.
pub fn useful_workers(job: &Job, mode: Mode, workers: usize) -> usize {
    let pieces = usize::try_from(job.pieces()).unwrap_or(usize::MAX);
    match mode {
        Mode::Sequential => 1,
        Mode::Threads | Mode::Processes => workers.min(pieces).max(1),
    }
}

/// Finds the primes and hands each piece's text, if it is a list, to `deliver` in order.
pub fn run<D>(job: &Job, mode: Mode, workers: usize, mut deliver: D) -> io::Result<Outcome>
where
    D: FnMut(&[u8]) -> io::Result<()>,
{
    let workers = useful_workers(job, mode, workers);
    let mut progress = Progress::new(job, mode);
    let mut deliver = |piece: Range<u64>, found: &Found| {
        progress.reached(piece.end);
        deliver(found.text.as_bytes())
    };
    let tables = (mode != Mode::Processes).then(|| job.tables()).flatten();
    let local = |_| LocalWorker {
        finder: Finder::new(tables.as_ref()),
        list: job.list,
    };
    let mut outcome = match mode {
        Mode::Processes => crew::work(job, workers, |n| ProcessWorker::new(n, job), deliver),
        Mode::Threads if workers > 1 => crew::work(job, workers, local, deliver),
        _ => crew::work_alone(job, local(1), &mut deliver),
    }?;
    outcome.count += job
        .first_primes()
        .filter(|&prime| prime < outcome.reached)
        .count() as u64;
    Ok(outcome)
}

/// A worker in this process.
struct LocalWorker<'a> {
    finder: Finder<'a>,
    list: bool,
}

impl Worker for LocalWorker<'_> {
    fn work(&mut self, piece: Range<u64>, found: &mut Found) -> Result<(), Failure> {
        let list = self.list;
        let done = self.finder.run_until(stop::requested, piece, |segment| {
            found.count += segment.count();
            if list {
                found.text.push_primes(&segment);
            }
            ControlFlow::Continue(())
        });
        if done.is_break() {
            Err(Failure::Stopped)
        } else {
            Ok(())
        }
    }
}
