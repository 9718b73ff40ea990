//! Workers in processes of their own: this program, started again.
//!
//! A request is a line, `count FROM LIMIT` or `list FROM LIMIT`. The answer is a line with a
//! number: the primes counted, or the bytes that follow, each the primes of 30 numbers as the
//! sieve has them. The end of its input ends a worker, also in the middle of a piece: so no
//! worker outlives its parent, whatever ended that one. There is no time limit for an answer, as
//! a piece may take long: a worker that someone halts (SIGSTOP) is waited for until it is
//! continued, killed (then its piece is done again) or Ctrl-C ends it all.

use crate::crew::{Failure, Found, Worker};
use crate::job::{Algorithm, Finder, Job};
use crate::sieve::Segment;
use crate::{number, signals, stop};
use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::{ControlFlow, Range};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Set only by a parent for its worker: the algorithm and the limit.
pub const WORKER: &str = "PRIME_FINDER_WORKER";

/// A piece that three workers died of is given up.
const TRIES: u32 = 3;

/// How long a worker whose output has ended may take to exit.
const TIME_TO_EXIT: Duration = Duration::from_secs(1);

/// A worker process as its parent sees it; started when there is something to do.
pub struct ProcessWorker {
    number: usize,
    algorithm: Algorithm,
    limit: u64,
    list: bool,
    process: Option<Process>,
}

impl ProcessWorker {
    pub fn new(number: usize, job: &Job) -> ProcessWorker {
        let (algorithm, limit, list) = (job.algorithm, job.range.end, job.list);
        ProcessWorker {
            number,
            algorithm,
            limit,
            list,
            process: None,
        }
    }

    fn ask(&mut self, piece: &Range<u64>, found: &mut Found) -> io::Result<()> {
        let process = match &mut self.process {
            Some(process) => process,
            none => none.insert(Process::start(self.algorithm, self.limit)?),
        };
        let what = if self.list { "list" } else { "count" };
        writeln!(process.requests, "{what} {} {}", piece.start, piece.end)?;
        let mut line = String::new();
        (&mut process.answers).take(32).read_line(&mut line)?;
        let answer: Option<u64> = line.strip_suffix('\n').and_then(|line| line.parse().ok());
        let answer = answer.filter(|&answer| answer <= piece.end - piece.start);
        let answer = answer.ok_or(io::ErrorKind::InvalidData)?;
        if !self.list {
            found.count = answer;
            return Ok(());
        }
        let mut bytes = vec![0; answer as usize];
        process.answers.read_exact(&mut bytes)?;
        let segment = Segment {
            first: piece.start / 30 * 30,
            bytes: &bytes,
        };
        found.count = segment.count();
        found.text.push_primes(&segment);
        Ok(())
    }
}

impl Worker for ProcessWorker {
    fn work(&mut self, piece: Range<u64>, found: &mut Found) -> Result<(), Failure> {
        let number = self.number;
        let mut last = String::new();
        for _ in 0..TRIES {
            if stop::requested() {
                return Err(Failure::Stopped);
            }
            match self.ask(&piece, found) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    last = match self.process.take() {
                        Some(process) => {
                            let id = process.id;
                            format!("worker {number} (process {id}): {}", process.end(error))
                        }
                        None => format!("worker {number} cannot be started: {error}"),
                    };
                    if stop::requested() {
                        return Err(Failure::Stopped);
                    }
                    let _ = writeln!(
                        io::stderr(),
                        "note: {last}; at {} to {}",
                        piece.start,
                        piece.end
                    );
                }
            }
        }
        Err(Failure::Failed(format!(
            "given up after {TRIES} tries, {last}"
        )))
    }
}

/// All living children, so that a signal reaches those, too, whose threads wait for an answer.
static CHILDREN: Mutex<BTreeMap<u32, Child>> = Mutex::new(BTreeMap::new());

pub fn kill_all() {
    for child in CHILDREN.lock().unwrap().values_mut() {
        // It may have ended by itself in this moment.
        let _ = child.kill();
    }
}

/// Owns a child: dropped means killed and waited for.
struct Process {
    id: u32,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(algorithm: Algorithm, limit: u64) -> io::Result<Process> {
        let mut command = Command::new(env::current_exe()?);
        command.env(WORKER, format!("{algorithm} {limit}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // The terminal sends its Ctrl-C to a whole process group. In a group of its own the worker
        // leaves the decision to the parent, also before it can ask for that itself.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut children = CHILDREN.lock().unwrap();
        if stop::requested() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut child = command.spawn()?;
        let (requests, answers) = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .expect("both are pipes");
        let id = child.id();
        children.insert(id, child);
        Ok(Process {
            id,
            requests,
            answers: BufReader::new(answers),
        })
    }

    /// Its pipe failed: has it ended, and how?
    fn end(self, error: io::Error) -> String {
        let begin = Instant::now();
        while begin.elapsed() < TIME_TO_EXIT {
            let mut children = CHILDREN.lock().unwrap();
            match children.get_mut(&self.id).map(Child::try_wait) {
                Some(Ok(Some(status))) => return describe(status),
                Some(Ok(None)) => {}
                _ => break,
            }
            drop(children);
            thread::sleep(Duration::from_millis(1));
        }
        format!("killed, because it did not answer as agreed ({error})")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = CHILDREN.lock().unwrap().remove(&self.id);
        if let Some(mut child) = child {
            // Neither can fail but for a child that is gone, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("ended by signal {signal}");
    }
    format!("ended with {status}")
}

/// The worker's side: what `main` does when the variable is set.
pub fn serve(task: &str) -> ExitCode {
    match try_to_serve(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "prime-finder worker: {error}");
            ExitCode::from(2)
        }
    }
}

fn try_to_serve(task: &str) -> Result<(), Box<dyn Error>> {
    signals::leave_to_parent()?;
    let (algorithm, limit) = task.split_once(' ').ok_or("not started by a parent")?;
    let algorithm = clap::ValueEnum::from_str(algorithm, false)?;
    let job = Job::new(algorithm, 0..number::parse(limit)?, false);
    let tables = job.tables();
    let mut finder = Finder::new(tables.as_ref());
    let mut stdout = io::stdout().lock();
    let mut bytes = Vec::new();
    for request in requests()? {
        let words: Vec<&str> = request.split(' ').collect();
        let [what @ ("count" | "list"), from, limit] = words[..] else {
            return Err(format!("malformed request {request:?}").into());
        };
        let piece = number::parse(from)?..number::parse(limit)?;
        let mut count = 0;
        bytes.clear();
        // Whether to stop is for the parent to decide, who ends this process then.
        let never = || false;
        let _ = finder.run_until(never, piece, |segment| {
            if what == "count" {
                count += segment.count();
            } else {
                bytes.extend_from_slice(segment.bytes);
                count = bytes.len() as u64;
            }
            ControlFlow::Continue(())
        });
        // A parent that does not read any more has no use for an error message either.
        let answer = writeln!(stdout, "{count}").and_then(|()| stdout.write_all(&bytes));
        if answer.and_then(|()| stdout.flush()).is_err() {
            break;
        }
    }
    Ok(())
}

/// The lines of the standard input. Their end ends the process, whatever it does just then.
fn requests() -> io::Result<mpsc::Receiver<String>> {
    let (sender, requests) = mpsc::channel();
    thread::Builder::new()
        .name("requests".into())
        .spawn(move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
            process::exit(0);
        })?;
    Ok(requests)
}
