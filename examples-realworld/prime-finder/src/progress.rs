//! A line on the terminal for whatever takes longer than a second.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::job::Job;

const BEFORE_FIRST: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(100);

pub struct Progress {
    what: String,
    from: u64,
    limit: u64,
    begin: Instant,
    next: Duration,
    wanted: bool,
    shown: bool,
}

impl Progress {
    pub fn new(job: &Job, mode: impl Display) -> Progress {
        // A list that scrolls by on the same terminal is progress enough.
        let wanted = io::stderr().is_terminal() && !(job.list && io::stdout().is_terminal());
        Progress {
            what: format!("{} by {mode}", job.algorithm),
            from: job.range.start,
            limit: job.range.end,
            begin: Instant::now(),
            next: BEFORE_FIRST,
            wanted,
            shown: false,
        }
    }

    /// Everything below this number is done.
    pub fn reached(&mut self, number: u64) {
        let elapsed = self.begin.elapsed();
        if !self.wanted || elapsed < self.next {
            return;
        }
        self.next = elapsed + BETWEEN;
        self.shown = true;
        let share = (number - self.from) as f64 / (self.limit - self.from) as f64;
        let left = elapsed.as_secs_f64() / share * (1.0 - share);
        let percent = 100.0 * share;
        // A terminal that is gone is no reason to stop.
        let _ = write!(
            io::stderr(),
            "\r{}: {percent:5.1} %, at {} of {}, {left:.0} s left \x1b[K",
            self.what,
            crate::grouped(number),
            crate::grouped(self.limit),
        );
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
