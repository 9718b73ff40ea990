//! Workers as processes: this program, started again. Requests and outcomes travel in frames over
//! their stdin and stdout.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::files::{self, Job};
use crate::scan::Scanner;
use crate::shared::Shared;
use crate::shown::Shown;
use crate::signals;
use crate::work::{Outcome, process, run};

const WORKER_ENV: &str = "JSON_PIPELINE_WORKER";
const WORKER_VALUE: &str = "frames-1";
const ATTEMPTS: u32 = 2;
const FRAME_LIMIT: u32 = 1 << 20;
const PATIENCE: Duration = Duration::from_millis(500);

/// A path as text where it is text, and as the system's own units where it is not.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WirePath {
    Text(String),
    Raw(OsString),
}

impl From<PathBuf> for WirePath {
    fn from(path: PathBuf) -> Self {
        path.into_os_string()
            .into_string()
            .map_or_else(WirePath::Raw, WirePath::Text)
    }
}

impl From<WirePath> for PathBuf {
    fn from(path: WirePath) -> Self {
        match path {
            WirePath::Text(text) => text.into(),
            WirePath::Raw(raw) => raw.into(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Request {
    input: WirePath,
    output: Option<WirePath>,
    sync: bool,
}

/// A frame is its length in four bytes, least significant first, and so many bytes of JSON.
fn send(pipe: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    pipe.write_all(&frame)
}

/// The next frame, or `None` at the end between two frames.
fn receive<T: for<'de> Deserialize<'de>>(pipe: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match pipe.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => pipe.read_exact(&mut length[1..])?,
    }
    let length = u32::from_le_bytes(length);
    if length > FRAME_LIMIT {
        let error = format!("a frame of {length} bytes is no message");
        return Err(io::Error::new(ErrorKind::InvalidData, error));
    }
    let mut frame = vec![0; length as usize];
    pipe.read_exact(&mut frame)?;
    Ok(Some(serde_json::from_slice(&frame)?))
}

/// To be called first in `main`: the exit code of a worker if this process is one.
pub fn worker_main() -> Option<ExitCode> {
    let value = std::env::var_os(WORKER_ENV)?;
    if value != WORKER_VALUE {
        let _ = writeln!(
            io::stderr(),
            "error: {WORKER_ENV} is not for users; unset it"
        );
        return Some(ExitCode::from(2));
    }
    Some(match signals::leave_to_parent().and_then(|()| serve()) {
        Ok(()) => ExitCode::SUCCESS,
        // The parent ended at once, and nobody waits for an answer.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "worker {}: {error}", std::process::id());
            ExitCode::FAILURE
        }
    })
}

/// Answers requests until the end of stdin. A thread of its own reads them, so that this end is
/// noticed also in the midst of a giant: the parent wants to stop, or is gone.
fn serve() -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let (requests, queue) = mpsc::channel();
    let at_end = stop.clone();
    let reader = move || {
        let mut input = io::stdin().lock();
        let ended = loop {
            match receive::<Request>(&mut input) {
                Ok(Some(request)) => {
                    if requests.send(Ok(request)).is_err() {
                        break None;
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        at_end.store(true, Ordering::Relaxed);
        if let Some(error) = ended {
            let _ = requests.send(Err(error));
        }
        drop(requests);
        // A read that hangs, from a pipe or a lost network drive, must not keep the worker alive.
        thread::sleep(PATIENCE);
        files::end_writing();
        std::process::exit(1);
    };
    thread::Builder::new()
        .name("requests".into())
        .spawn(reader)?;
    let mut scanner = Scanner::default();
    for request in queue {
        let request = request?;
        let shared = Shared {
            stop: stop.clone(),
            sync: request.sync,
            ..Shared::default()
        };
        let job = Job {
            input: request.input.into(),
            output: request.output.map(PathBuf::from),
        };
        let outcome = process(&mut scanner, &job, &shared);
        let mut answers = io::stdout().lock();
        send(&mut answers, &outcome)?;
        answers.flush()?;
    }
    Ok(())
}

/// Where the pipe to a worker process is kept: taking it out tells the worker to stop.
type Slot = Mutex<Option<ChildStdin>>;

/// As `run`, by processes: each of the threads owns one, asks and waits for its answers.
pub fn run_processes(
    jobs: &[Job],
    workers: usize,
    shared: &Shared,
    report: impl FnMut(&Job, Outcome),
) {
    let slots: Vec<Slot> = (0..workers).map(|_| Slot::default()).collect();
    thread::scope(|scope| {
        let (done, waiting) = mpsc::channel::<()>();
        let slots = &slots;
        // A worker within a giant is told to stop by the end of its input.
        scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) =
                waiting.recv_timeout(Duration::from_millis(20))
            {
                if shared.stopped() {
                    slots
                        .iter()
                        .for_each(|slot| drop(slot.lock().unwrap().take()));
                }
            }
        });
        run(
            jobs,
            workers,
            shared,
            |number| remote(number, &slots[number - 1], shared),
            report,
        );
        drop(done);
    });
}

/// A worker that is another process. If it dies, the file gets another one, once.
fn remote<'a>(
    number: usize,
    slot: &'a Slot,
    shared: &'a Shared,
) -> impl FnMut(&Job) -> Outcome + 'a {
    let mut process: Option<Process> = None;
    move |job| {
        let mut death = String::new();
        for attempt in 1..=ATTEMPTS {
            if shared.stopped() {
                return Outcome::NotDone;
            }
            let mut current = match process.take().map_or_else(|| Process::start(slot), Ok) {
                Ok(current) => current,
                Err(error) => {
                    return Outcome::failed(format!("cannot start a worker process: {error}"));
                }
            };
            let error = match current.ask(job, shared.sync) {
                Ok(outcome) => {
                    process = Some(current);
                    if let Outcome::Done { bytes, .. } = outcome {
                        shared.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
                    }
                    return outcome;
                }
                Err(_) if shared.stopped() => return Outcome::NotDone,
                Err(error) => error,
            };
            let (pid, status) = current.end();
            death = format!("worker-{number} (process {pid}) died: {status} ({error})");
            if attempt < ATTEMPTS {
                let file = job.input.display();
                let note = format!("note: {file}: {death}; another one tries again");
                let _ = writeln!(io::stderr(), "{}", Shown(&note));
            }
        }
        Outcome::failed(format!("{death}; tried {ATTEMPTS} times"))
    }
}

/// A worker process. Dropped means its input ends, then it does, and it is waited for.
struct Process<'a> {
    child: Child,
    requests: &'a Slot,
    answers: ChildStdout,
}

impl<'a> Process<'a> {
    fn start(slot: &'a Slot) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(WORKER_ENV, WORKER_VALUE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // In a group of its own it is out of reach of the terminal's Ctrl-C, also before it can
        // ignore that itself.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        *slot.lock().unwrap() = child.stdin.take();
        let answers = child.stdout.take().expect("the pipe was asked for");
        Ok(Self {
            child,
            requests: slot,
            answers,
        })
    }

    fn ask(&mut self, job: &Job, sync: bool) -> io::Result<Outcome> {
        let input = job.input.clone().into();
        let request = Request {
            input,
            output: job.output.clone().map(WirePath::from),
            sync,
        };
        match &mut *self.requests.lock().unwrap() {
            Some(pipe) => send(pipe, &request)?,
            None => return Err(ErrorKind::BrokenPipe.into()),
        }
        receive(&mut self.answers)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// For one that answers no more, or nonsense.
    fn end(mut self) -> (u32, String) {
        let _ = self.child.kill();
        let status = self
            .child
            .wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string());
        (self.child.id(), status)
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        drop(self.requests.lock().unwrap().take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Outcome = Outcome::Done {
        records: 1,
        bytes: 2,
        seconds: 0.5,
    };

    #[test]
    fn frames_come_back_and_damaged_ones_are_errors() {
        let mut pipe = Vec::new();
        send(&mut pipe, &DONE).unwrap();
        send(&mut pipe, &Outcome::NotDone).unwrap();
        let mut input = &pipe[..];
        assert_eq!(receive(&mut input).unwrap(), Some(DONE));
        assert_eq!(receive(&mut input).unwrap(), Some(Outcome::NotDone));
        assert_eq!(receive::<Outcome>(&mut input).unwrap(), None);

        let error = |bytes: &[u8]| receive::<Outcome>(&mut &*bytes).unwrap_err().kind();
        assert_eq!(error(&pipe[..3]), ErrorKind::UnexpectedEof);
        assert_eq!(error(&pipe[..9]), ErrorKind::UnexpectedEof);
        assert_eq!(error(b"\xff\xff\xff\x7f"), ErrorKind::InvalidData);
        assert_eq!(error(b"\x02\0\0\0{}"), ErrorKind::InvalidData);
    }

    #[test]
    #[cfg(unix)]
    fn any_file_name_crosses_to_a_worker_process() {
        use std::os::unix::ffi::OsStringExt;
        for name in [
            &b"plain.json"[..],
            "näme\n.json".as_bytes(),
            b"\xff\xfe.json",
        ] {
            let path = PathBuf::from(OsString::from_vec(name.to_vec()));
            let wire = serde_json::to_vec(&WirePath::from(path.clone())).unwrap();
            let back: WirePath = serde_json::from_slice(&wire).unwrap();
            assert_eq!(PathBuf::from(back), path);
        }
    }
}
