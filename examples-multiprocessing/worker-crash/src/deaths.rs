//! Workers that die on demand, at any stage of a task and in any way, and what a pool is to make
//! of each such death.
//!
//! The stages are real ones, without a word of it in the pool: a task dies while serde reads it, a
//! result while serde writes it, or when it is dropped, which is after it has been sent.
//!
//! To take: this file, to try a pool that you have changed.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize, Serializer};

use super::pool::{Cause, Options, Pool, TaskResult};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stage {
    /// The task has come, but the worker has not read it yet. It is the one after the bad one.
    BeforeReading,
    ReadingTheTask,
    Running,
    WritingTheAnswer,
    HalfAnAnswerSent,
    AnswerSent,
    Idle,
}

#[allow(dead_code, reason = "for whoever tries them all")]
pub const STAGES: [Stage; 7] = [
    Stage::BeforeReading,
    Stage::ReadingTheTask,
    Stage::Running,
    Stage::WritingTheAnswer,
    Stage::HalfAnAnswerSent,
    Stage::AnswerSent,
    Stage::Idle,
];

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Way {
    Exit(i32),
    Panic,
    Abort,
    Kill,
    /// Stopped, not ended: only a time limit notices.
    Stop,
    /// Closes its channel to the parent and goes on as if nothing were.
    Close,
    /// Closes its channel and never ends.
    CloseAndStay,
}

#[cfg(unix)]
pub const WAYS: &[Way] = &[
    Way::CloseAndStay,
    Way::Stop,
    Way::Exit(0),
    Way::Exit(3),
    Way::Panic,
    Way::Abort,
    Way::Kill,
    Way::Close,
];
/// What needs no signal and no socket.
#[cfg(not(unix))]
pub const WAYS: &[Way] = &[Way::Exit(0), Way::Exit(3), Way::Panic, Way::Abort];

// ---- The worker --------------------------------------------------------------------------------

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    Square(u64),
    Die(Trap),
    /// Leaves a mark in the file, and dies unless there are more marks than `deaths`.
    DieUntil {
        marks: PathBuf,
        deaths: u64,
        way: Way,
    },
    Spin,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    pub worker: u32,
    pub square: u64,
    /// Stays with the worker.
    #[serde(skip_deserializing, serialize_with = "write_trap")]
    trap: Option<Trap>,
}

/// Springs in a worker, when it comes to this stage.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(from = "(Stage, Way)")]
pub struct Trap(pub Stage, pub Way);

impl From<(Stage, Way)> for Trap {
    /// serde calls this in the midst of reading a task.
    fn from((stage, way): (Stage, Way)) -> Trap {
        Trap(stage, way).spring_at(Stage::ReadingTheTask);
        Trap(stage, way)
    }
}

fn write_trap<S: Serializer>(trap: &Option<Trap>, serializer: S) -> Result<S::Ok, S::Error> {
    if let Some(trap) = trap {
        trap.spring_at(Stage::WritingTheAnswer);
    }
    serializer.serialize_none()
}

impl Drop for Reply {
    /// A worker drops an answer when it has sent it.
    fn drop(&mut self) {
        let Some(trap) = self.trap else { return };
        trap.spring_at(Stage::AnswerSent);
        match trap.0 {
            Stage::BeforeReading => {
                wait_for_the_next_task();
                trap.spring_at(Stage::BeforeReading);
            }
            Stage::Idle => drop(thread::spawn(move || {
                // The worker has nothing to do now. In a moment it has noticed that.
                thread::sleep(Duration::from_millis(10));
                trap.spring_at(Stage::Idle);
            })),
            _ => {}
        }
    }
}

/// What a worker does.
pub fn perform(task: Task) -> Result<Reply, String> {
    let (number, trap) = match task {
        Task::Square(number) => {
            // Stands for the work that would make a pool worth while.
            black_box(count_primes(5_000));
            (number, None)
        }
        Task::Die(trap) => {
            trap.spring_at(Stage::Running);
            if trap.0 == Stage::HalfAnAnswerSent {
                send_half_an_answer().map_err(|error| error.to_string())?;
                trap.spring_at(Stage::HalfAnAnswerSent);
            }
            (BAD as u64, Some(trap))
        }
        Task::DieUntil { marks, deaths, way } => {
            if mark(&marks).map_err(|error| error.to_string())? <= deaths {
                way.go();
            }
            (0, None)
        }
        Task::Spin => loop {
            black_box(0);
        },
    };
    Ok(Reply {
        worker: process::id(),
        square: number * number,
        trap,
    })
}

fn count_primes(limit: u32) -> usize {
    let divides = |n: u32| {
        (2..)
            .take_while(move |d| d * d <= n)
            .any(move |d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divides(*n)).count()
}

fn mark(marks: &PathBuf) -> io::Result<u64> {
    let mut file = OpenOptions::new().append(true).create(true).open(marks)?;
    file.write_all(b"x")?;
    Ok(file.metadata()?.len())
}

/// Announces 64 bytes of text, sends fewer.
fn send_half_an_answer() -> io::Result<()> {
    let mut channel = channel()?;
    channel.write_all(b"POOL\x40\0\0\0\0\0\0\0\0\0\0\0")?;
    channel.write_all(br#"{"Ok":[[{"worker":"#)?;
    channel.flush()
}

/// std cannot look without reading; what it has read, nobody will miss.
fn wait_for_the_next_task() {
    // Nothing or an error: the parent wants no more. To die is right then, too.
    let _ = io::stdin().read(&mut [0]);
}

/// Past the pool, to the worker's end of the socket.
#[cfg(unix)]
fn channel() -> io::Result<std::os::unix::net::UnixStream> {
    use std::os::fd::AsFd;
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

#[cfg(not(unix))]
fn channel() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}

impl Trap {
    fn spring_at(self, stage: Stage) {
        if self.0 == stage {
            self.1.go();
        }
    }
}

impl Way {
    /// Returns after `Close` only.
    fn go(self) {
        match self {
            Way::Exit(code) => process::exit(code),
            Way::Panic => panic!("on purpose"),
            Way::Abort => process::abort(),
            Way::Kill => send_self("KILL"),
            Way::Stop => send_self("STOP"),
            Way::Close => close_the_channel(),
            Way::CloseAndStay => {
                close_the_channel();
                loop {
                    thread::park();
                }
            }
        }
    }
}

/// std sends no signals; a shell does. This process becomes that shell, so that none is left over.
#[cfg(unix)]
fn send_self(signal: &str) {
    use std::os::unix::process::CommandExt;
    let mut shell = process::Command::new("sh");
    let error = shell.arg("-c").arg(format!("kill -{signal} $$")).exec();
    panic!("no shell: {error}");
}

#[cfg(unix)]
fn close_the_channel() {
    let channel = channel().expect("the channel is open");
    // Closes it for all who have it. An error: the parent has closed it already.
    let _ = channel.shutdown(std::net::Shutdown::Both);
}

#[cfg(not(unix))]
fn send_self(_: &str) {
    unreachable!("not among the ways of this system");
}

#[cfg(not(unix))]
fn close_the_channel() {
    unreachable!("not among the ways of this system");
}

// ---- The parent --------------------------------------------------------------------------------

pub const TASKS: usize = 10;
/// The place of the bad one among them.
pub const BAD: usize = 4;

/// What the parent learnt.
pub struct Seen {
    pub bad: TaskResult<Reply>,
    pub beside: Vec<TaskResult<Reply>>,
    pub after: Vec<TaskResult<Reply>>,
}

/// One cell of the table: a pool, a bad task among others, and more tasks for the same pool. A
/// worker that is stopped is given up after `patience`.
pub fn strike(options: Options, patience: Duration, stage: Stage, way: Way) -> io::Result<Seen> {
    // A limit makes tasks go one by one, so that no other is on its way to the dying worker.
    let limit = match way {
        Way::Stop => patience,
        _ => Duration::from_secs(30),
    };
    let pool: Pool<Task, Reply> = options.timeout(limit).start()?;
    let squares = || (0..TASKS as u64).map(Task::Square);
    let bad = Task::Die(Trap(stage, way));
    let (bad, beside) = if stage == Stage::Idle {
        // Alone, so that the worker has nothing to do afterwards.
        let bad = pool.map([bad]).remove(0);
        match &bad {
            Ok(reply) if way != Way::Panic => wait_while_running(reply.worker),
            _ => {}
        }
        (bad, Vec::new())
    } else {
        let mut tasks: Vec<Task> = squares().collect();
        tasks[BAD] = bad;
        let mut results = pool.map(tasks);
        (results.remove(BAD), results)
    };
    let after = pool.map(squares());
    Ok(Seen { bad, beside, after })
}

/// Until it has ended or is stopped; not at all where the system does not tell.
fn wait_while_running(worker: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let running = || {
        let stat = fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().unwrap_or_default();
        state.starts_with(['R', 'S', 'D'])
    };
    while running() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

impl Seen {
    /// How many other tasks completed.
    pub fn done(&self) -> usize {
        self.others().filter(|other| other.is_ok()).count()
    }

    fn others(&self) -> impl Iterator<Item = &TaskResult<Reply>> {
        self.beside.iter().chain(&self.after)
    }

    /// What is wrong with it.
    pub fn complaint(&self, stage: Stage, way: Way) -> Option<String> {
        if !self.bad_is_right(stage, way) {
            return Some(format!("the bad task ended as {:?}", self.bad));
        }
        let mut forgiven = match (stage, way) {
            // A worker that is stopped looks like a slow one: the next task has to pay for it.
            (stage, Way::Stop) if stage.is_after_the_answer() => 1,
            _ => 0,
        };
        for error in self.others().filter_map(|other| other.as_ref().err()) {
            if forgiven == 0 || !matches!(error.cause, Cause::TimedOut { .. }) {
                return Some(format!("another task did not complete: {error}"));
            }
            forgiven -= 1;
        }
        // A panic in a thread of an idle worker ends that thread only. And where the system does
        // not tell when an idle worker has ended, it may have done another task before.
        let lives_on = stage == Stage::Idle && (way == Way::Panic || !cfg!(target_os = "linux"));
        let by_the_dead = |after: &&Reply| {
            self.bad
                .as_ref()
                .is_ok_and(|bad| bad.worker == after.worker)
        };
        let mut after = self.after.iter().flatten();
        let dead = after.find(by_the_dead).filter(|_| !lives_on);
        dead.map(|reply| format!("worker {} was to die, but goes on", reply.worker))
    }

    fn bad_is_right(&self, stage: Stage, way: Way) -> bool {
        let error = match &self.bad {
            // Its answer had been sent before anything happened.
            Ok(_) => return stage.is_after_the_answer(),
            Err(error) => error,
        };
        let expected = match &error.cause {
            Cause::Failed(text) => {
                let serde = matches!(stage, Stage::ReadingTheTask | Stage::WritingTheAnswer);
                way == Way::Panic && serde && text.contains("panicked: on purpose")
            }
            Cause::Panicked(_) => way == Way::Panic && stage == Stage::Running,
            Cause::TimedOut { .. } => way == Way::Stop,
            Cause::Protocol { what, .. } => match way {
                // The worker goes on after half an answer, and starts the next one.
                Way::Panic => stage == Stage::HalfAnAnswerSent,
                Way::CloseAndStay => what.contains("cannot be reached"),
                _ => false,
            },
            Cause::WorkerDied { how, .. } => {
                let half = how.contains("in the middle of a message");
                how.starts_with(way.leaves()) && half == (stage == Stage::HalfAnAnswerSent)
            }
            _ => false,
        };
        let second_try = matches!(
            error.cause,
            Cause::Protocol { .. } | Cause::WorkerDied { .. }
        );
        let attempts = if second_try { 2 } else { 1 };
        expected
            && !stage.is_after_the_answer()
            && (error.task, error.attempts) == (Some(BAD), attempts)
    }
}

impl Stage {
    /// Of the bad task; so it is done, and what happens then is another's concern.
    fn is_after_the_answer(self) -> bool {
        matches!(self, Stage::BeforeReading | Stage::AnswerSent | Stage::Idle)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Stage::BeforeReading => "before reading",
            Stage::ReadingTheTask => "reading the task",
            Stage::Running => "running it",
            Stage::WritingTheAnswer => "writing its answer",
            Stage::HalfAnAnswerSent => "half of it sent",
            Stage::AnswerSent => "all of it sent",
            Stage::Idle => "idle",
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Way::Exit(0) => "exit(0)",
            Way::Exit(3) => "exit(3)",
            Way::Exit(_) => "exit",
            Way::Panic => "panic",
            Way::Abort => "abort",
            Way::Kill => "SIGKILL",
            Way::Stop => "SIGSTOP",
            Way::Close => "closes the channel",
            Way::CloseAndStay => "closes it, and stays",
        })
    }
}

impl Way {
    /// The beginning of what the parent hears of such an end.
    fn leaves(self) -> &'static str {
        match self {
            Way::Exit(0) => "exit code 0",
            Way::Exit(3) => "exit code 3",
            Way::Abort if cfg!(unix) => "signal 6 (SIGABRT)",
            Way::Abort => "exit code",
            Way::Kill => "signal 9 (SIGKILL)",
            // It cannot send its answer, and ends.
            Way::Close => "exit code 1",
            _ => "no such end",
        }
    }
}
