//! A manager: this process owns the state, and processes that it starts work on it by requests.
//!
//! - A request is a type, and it is one step: no other request comes between its beginning and its
//!   end. So nothing needs a lock, as long as what belongs together is *one* request.
//! - A request that is unknown or malformed, or that the owner refuses, is answered with an error.
//! - A worker that dies, or that breaks the protocol, is reported; the others do not notice.
//! - The worker's handle is its stdin and stdout. There is no proxy to pass or to serialise.
//!
//! A worker that is stuck holds up nobody but the end of `run`; a time limit would come on top.
//!
//! It needs `frame.rs` and `owned.rs`, and the crates `serde` and `serde_json`.

use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::{self, FrameError};
use super::owned::{self, Owned};

/// The largest message that either side takes.
const LIMIT: usize = 1024 * 1024;

/// Who has the state, and decides what a request does to it.
pub trait Owner {
    type Request: DeserializeOwned + Send;
    type Answer: Serialize + Send;

    /// The worker is known by its connection, whatever the request says; the first one is 1.
    fn answer(&mut self, worker: usize, request: Self::Request) -> Result<Self::Answer, String>;

    /// Called once for each worker, after the last of its requests.
    fn ended(&mut self, worker: usize, how: Result<(), String>);
}

/// From a worker's thread to the owner's.
enum Call<Q, A> {
    Asked(usize, Q, Sender<Result<A, String>>),
    Ended(usize, Result<(), String>),
}

/// Starts the workers and answers their requests until all of them have ended.
///
/// A thread for each worker reads its requests and writes its answers. So a worker that does not
/// read its answers keeps its own thread waiting, and never the owner, who is this thread.
pub fn run<O: Owner>(owner: &mut O, workers: Vec<Command>) -> io::Result<()> {
    thread::scope(|scope| {
        let (calls, all_calls) = mpsc::channel();
        // Belongs to this closure. On every way out, also when the owner panics, the workers that
        // run are killed before the threads are joined, and no thread waits for a pipe any more.
        let mut running = Vec::new();
        for (worker, command) in (1..).zip(workers) {
            let calls = calls.clone();
            let (process, from, to) = match start(command) {
                Ok(started) => started,
                Err(error) => {
                    let how = Err(format!("it does not start: {error}"));
                    let _ = calls.send(Call::Ended(worker, how));
                    continue;
                }
            };
            let process = Arc::new(Mutex::new(Some(process)));
            let own = Arc::downgrade(&process);
            running.push(process);
            let attend = move || {
                let served = serve(from, to, |request| {
                    let (reply, answer) = mpsc::channel();
                    calls.send(Call::Asked(worker, request, reply)).ok()?;
                    answer.recv().ok()
                });
                let process = own.upgrade().and_then(|own| own.lock().unwrap().take());
                let how = process.map(|process| ending(process, served));
                let how = how.unwrap_or_else(|| Err("it was killed".to_string()));
                let _ = calls.send(Call::Ended(worker, how));
            };
            let thread = thread::Builder::new().name(format!("manager-{worker}"));
            thread.spawn_scoped(scope, attend)?;
        }
        drop(calls);
        for call in all_calls {
            match call {
                Call::Asked(worker, request, reply) => {
                    let _ = reply.send(owner.answer(worker, request));
                }
                Call::Ended(worker, how) => owner.ended(worker, how),
            }
        }
        Ok(())
    })
}

fn start(mut command: Command) -> io::Result<(Owned, ChildStdout, ChildStdin)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Owned::spawn(command)?;
    let from = process.stdout.take().expect("stdout is a pipe");
    let to = process.stdin.take().expect("stdin is a pipe");
    Ok((process, from, to))
}

/// How a process ended that does not talk any more; one that talks nonsense is killed.
fn ending(mut process: Owned, served: Result<(), FrameError>) -> Result<(), String> {
    let id = process.id();
    let died = |error: &FrameError| {
        error.is_broken_pipe() || matches!(error, FrameError::Truncated { .. })
    };
    if let Some(nonsense) = served.err().filter(|error| !died(error)) {
        return Err(format!("process {id} was ended: {nonsense}"));
    }
    match process.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("process {id} ended: {}", owned::describe(status))),
        Err(error) => Err(format!("process {id} is lost: {error}")),
    }
}

/// Answers one worker's requests until it ends, or the owner does: then `ask` gives `None`.
pub fn serve<Q: DeserializeOwned, A: Serialize>(
    mut from: impl Read,
    mut to: impl Write,
    mut ask: impl FnMut(Q) -> Option<Result<A, String>>,
) -> Result<(), FrameError> {
    loop {
        let answer = match frame::receive(&mut from, LIMIT) {
            Ok(Some(request)) => match ask(request) {
                Some(answer) => answer,
                None => return Err(io::Error::other("the owner has ended").into()),
            },
            Ok(None) => return Ok(()),
            Err(error) if error.is_recoverable() => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        match frame::send(&mut to, &answer, LIMIT) {
            Err(error @ (FrameError::TooLarge { .. } | FrameError::Unsendable(_))) => {
                frame::send(&mut to, &Err::<A, String>(error.to_string()), LIMIT)?;
            }
            sent => sent?,
        }
    }
}

// ---- The workers' side ------------------------------------------------------------------------

#[derive(Debug)]
pub enum AskError {
    /// The state is as it was, and the next request is welcome.
    Refused(String),
    /// The manager has ended, and with it the reason for this process.
    ManagerGone,
    Frame(FrameError),
}

/// One request to the manager that has started this process, and its answer.
pub fn ask<Q: Serialize, A: DeserializeOwned>(request: &Q) -> Result<A, AskError> {
    // Both locked until the answer is there: no request of another thread comes between.
    let (mut to, mut from) = (io::stdout().lock(), io::stdin().lock());
    frame::send(&mut to, request, LIMIT)?;
    match frame::receive(&mut from, LIMIT)? {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(refusal)) => Err(AskError::Refused(refusal)),
        None => Err(AskError::ManagerGone),
    }
}

impl From<FrameError> for AskError {
    fn from(error: FrameError) -> AskError {
        match error {
            FrameError::Truncated { .. } => AskError::ManagerGone,
            error if error.is_broken_pipe() => AskError::ManagerGone,
            error => AskError::Frame(error),
        }
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            AskError::Refused(why) => write!(f, "the manager refuses: {why}"),
            AskError::ManagerGone => write!(f, "the manager has ended"),
            AskError::Frame(error) => error.fmt(f),
        }
    }
}

impl Error for AskError {}
