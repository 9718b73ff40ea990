//! Runs one program from start to end: the one door for run-all, trace and bench.
//!
//! xtask runs one program at a time, so every child that it has belongs to that program.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::launch::{self, Job, Usage};
use crate::os;

/// How long a program may take to end after SIGTERM, before it is killed.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long descendants may take to end after the program itself.
const GRACE: Duration = Duration::from_millis(100);

/// How a program ended, and what it took.
pub struct Run {
    pub ending: Ending,
    /// Processes that were alive after the program's end; they have been killed.
    pub left_behind: usize,
    pub wall: Duration,
    /// None where the system does not tell.
    pub usage: Option<Usage>,
}

pub enum Ending {
    Code(i32),
    /// The signal's name.
    Signal(String),
    TimedOut(Duration),
    /// xtask itself was asked to end.
    Interrupted,
    NotStarted(io::Error),
}

/// Whoever wants to see a program run.
pub trait Watch {
    /// It runs, since `start`.
    fn start(&mut self, _pid: u32, _start: Instant) {}
    /// Called again and again while it runs; answers when the next look is due.
    fn look(&mut self) -> Duration {
        Duration::from_millis(20)
    }
    /// It ended `_at` this time, and can be looked at for the last time.
    fn end(&mut self, _at: Instant) {}
}

/// Nobody watches.
pub struct Unwatched;

impl Watch for Unwatched {}

/// Runs a program. When this returns, nothing that the program has started is alive any more.
pub fn run(job: Job, watch: &mut dyn Watch) -> Run {
    os::take_charge();
    if interrupted().is_some() {
        return Run::without_time(Ending::Interrupted);
    }
    let limit = job.limit;
    let mut child = match launch::start(job) {
        Ok(child) => child,
        Err(error) => return Run::without_time(Ending::NotStarted(error)),
    };
    let (pid, started) = (child.pid, child.started);
    watch.start(pid, started);
    let (sender, end) = mpsc::channel();
    // A thread that does nothing but wait notices the end at once.
    let waiter = thread::spawn(move || {
        child.wait_for_end();
        // The receiver is there until the time has arrived.
        let _ = sender.send(Instant::now());
        child
    });
    let (ended, stopped) = supervise(pid, started, limit, &end, watch);
    watch.end(ended);
    let child = waiter.join().expect("the waiter does not panic");
    let (ending, usage) = match child.reap() {
        Ok((status, usage)) => (stopped.unwrap_or_else(|| status.into()), usage),
        Err(error) => (Ending::NotStarted(error), None),
    };
    Run {
        ending,
        left_behind: end_what_is_left(pid),
        wall: ended - started,
        usage,
    }
}

/// The exit code with which to end, once Ctrl-C or SIGTERM has asked for it.
pub fn interrupted() -> Option<u8> {
    os::asked_to_end().map(|(signal, _)| 128 + signal as u8)
}

/// Waits for the program's end, and brings it about when it is time. Answers when it ended, and
/// why it was stopped if it was.
fn supervise(
    pid: u32,
    started: Instant,
    limit: Option<Duration>,
    end: &Receiver<Instant>,
    watch: &mut dyn Watch,
) -> (Instant, Option<Ending>) {
    let mut stop: Option<(Ending, Instant, usize)> = None;
    loop {
        if let Ok(ended) = end.recv_timeout(watch.look()) {
            return (ended, stop.map(|(why, ..)| why));
        }
        #[cfg(target_os = "linux")]
        os::reap_others(Some(pid));
        let signals = os::asked_to_end().map_or(0, |(_, count)| count);
        if let Some((_, since, before)) = &stop {
            if since.elapsed() > PATIENCE || signals > *before {
                send(pid, os::KILL);
            }
        } else if let Some(why) = reason_to_stop(started, limit) {
            send(pid, os::TERMINATE);
            stop = Some((why, Instant::now(), signals));
        }
    }
}

/// To the program's group, or to the program alone if it has left its group.
fn send(pid: u32, signal: i32) {
    if !os::signal_group(pid, signal) {
        os::signal_process(pid, signal);
    }
}

fn reason_to_stop(started: Instant, limit: Option<Duration>) -> Option<Ending> {
    if interrupted().is_some() {
        return Some(Ending::Interrupted);
    }
    limit
        .filter(|limit| started.elapsed() > *limit)
        .map(Ending::TimedOut)
}

/// Ends and reaps what the program has left behind. Answers how many processes were still alive
/// after a moment of grace.
#[cfg(target_os = "linux")]
fn end_what_is_left(_group: u32) -> usize {
    use crate::procfs;
    let ended = Instant::now();
    while os::reap_others(None) {
        if ended.elapsed() > GRACE {
            let left = procfs::living_descendants();
            // A process that waits for a broken disk cannot be killed, nor waited for.
            while os::reap_others(None) && ended.elapsed() < PATIENCE * 5 {
                // Only children are killed, whose pids cannot have passed to someone else; their
                // children become ours in turn.
                for pid in procfs::own_children() {
                    os::signal_process(pid, os::KILL);
                }
                thread::sleep(Duration::from_millis(1));
            }
            return left;
        }
        thread::sleep(Duration::from_millis(2));
    }
    0
}

/// Without orphans becoming our children, only the process group is known, and not its size.
#[cfg(not(target_os = "linux"))]
fn end_what_is_left(group: u32) -> usize {
    let ended = Instant::now();
    while cfg!(unix) && os::signal_group(group, 0) {
        if ended.elapsed() > GRACE {
            os::signal_group(group, os::KILL);
            return 1;
        }
        thread::sleep(Duration::from_millis(2));
    }
    0
}

impl Run {
    fn without_time(ending: Ending) -> Run {
        Run {
            ending,
            left_behind: 0,
            wall: Duration::ZERO,
            usage: None,
        }
    }

    pub fn is_ok(&self) -> bool {
        matches!(self.ending, Ending::Code(0)) && self.left_behind == 0
    }

    /// The result in at most 13 characters, for a column of a table.
    pub fn short(&self) -> String {
        match (&self.ending, self.left_behind) {
            (Ending::Code(0), 1..) => format!("left {} alive", self.left_behind),
            (Ending::TimedOut(_), _) => "timed out".to_string(),
            (Ending::NotStarted(_), _) => "cannot start".to_string(),
            (ending, _) => ending.to_string(),
        }
    }
}

/// The result in full: `ok` or what went wrong.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let left = match self.left_behind {
            0 => return self.ending.fmt(f),
            1 => "left 1 process behind".to_string(),
            n => format!("left {n} processes behind"),
        };
        match self.ending {
            Ending::Code(0) => f.write_str(&left),
            _ => write!(f, "{}, {left}", self.ending),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Ending::Code(0) => f.write_str("ok"),
            Ending::Code(code) => write!(f, "exit code {code}"),
            Ending::Signal(name) => f.write_str(name),
            Ending::TimedOut(limit) => write!(f, "timed out after {} s", limit.as_secs_f64()),
            Ending::Interrupted => f.write_str("interrupted"),
            Ending::NotStarted(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl From<ExitStatus> for Ending {
    fn from(status: ExitStatus) -> Ending {
        match (status.code(), os::signal_name(&status)) {
            (Some(code), _) => Ending::Code(code),
            (None, Some(name)) => Ending::Signal(name),
            (None, None) => Ending::Signal(status.to_string()),
        }
    }
}
