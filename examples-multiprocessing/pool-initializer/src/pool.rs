//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! A pool of worker processes: the same program, started again, once per worker.
//!
//! ```ignore
//! fn main() {
//!     pool::serve_if_worker(|n: u64| Ok(n * n)); // first of all: in a worker it does not return
//!     let pool = Pool::<u64, u64>::new(4).expect("workers start");
//!     for (index, result) in pool.map_unordered(1..=10) { ... }
//! }
//! ```
//!
//! Each task ends exactly once: as a value, or as a `TaskError` that says what became of it. A
//! worker that dies, in whatever way, is replaced, and its task is tried again; so tasks should be
//! such that a second run does no harm. Dropping the pool ends every worker; workers whose parent
//! is killed end by themselves (elsewhere than on Unix when their task is done).
//!
//! In a task, `println!` goes to stderr (on Unix; elsewhere, do not print). A program that a task
//! starts needs a stdin of its own, such as `Stdio::null()`: the worker's own carries the tasks.
//!
//! To take: this file, with `serde` and `serde_json`.

#![allow(dead_code, reason = "not every program uses all of it")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::iter::{Flatten, Peekable};
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::panic::{self, AssertUnwindSafe};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, vec};

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Set in workers only, to the process id of their parent.
const PARENT: &str = "PROCESS_POOL_PARENT";
/// After so many workers in a row that did not start, the pool is broken.
const FAILED_STARTS: u32 = 3;
/// How long a worker that should end by itself may take.
const GRACE: Duration = Duration::from_secs(2);
/// How often a worker looks for its parent, and a pool at least for its idle workers.
const WATCH: Duration = Duration::from_millis(100);
/// How long to look for an answer, or for the next task, before going to sleep.
#[cfg(unix)]
const ATTENTION: Duration = Duration::from_micros(50);
/// With automatic chunks, how much work a chunk should be: enough that sending it costs little.
const CHUNK_NANOS: u64 = 500_000;
/// How much work may wait in front of a worker, beyond the chunk that it has begun.
const AHEAD_NANOS: u64 = 500_000;
/// Several frames may be on their way to a worker only if they surely fit the socket's buffer.
/// Then writing never blocks while the worker, for its part, waits for its answers to be read. A
/// larger frame goes alone: the worker has nothing to say before it has read all of it.
const AHEAD_BYTES: usize = 4096;
const AHEAD_FRAMES: usize = 64;
const BUFFER: usize = 64 * 1024;

// ---- What a user of the pool sees ------------------------------------------------------------

/// What became of one task.
pub type TaskResult<R> = Result<R, Box<TaskError>>;

#[derive(Clone, Debug, PartialEq)]
pub struct TaskError {
    /// The task's place among those given to `map`; `None` for `call`.
    pub task: Option<usize>,
    /// How many times a worker began it, as far as that is known.
    pub attempts: u32,
    pub cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Cause {
    /// The task's own error.
    Failed(String),
    /// The task panicked, with this message. Its worker lives on.
    Panicked(String),
    WorkerDied {
        worker: u32,
        how: String,
    },
    /// The task took longer than allowed, and its worker was killed.
    TimedOut {
        worker: u32,
        limit: Duration,
    },
    /// The worker sent something that is no answer, and was killed.
    Protocol {
        worker: u32,
        what: String,
    },
    /// The task has no serialised form.
    NotSerializable(String),
    /// The pool was ended before the task was.
    Cancelled,
    /// No worker can be started any more.
    Broken(String),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.task {
            Some(task) => write!(f, "task {task}: ")?,
            None => f.write_str("the task: ")?,
        }
        match &self.cause {
            Cause::Failed(error) => write!(f, "{error}"),
            Cause::Panicked(message) => write!(f, "panicked: {message}"),
            Cause::WorkerDied { worker, how } => {
                write!(f, "worker {worker} died of it: {how}, ")?;
                write!(f, "attempts: {}", self.attempts)
            }
            Cause::TimedOut { worker, limit } => {
                write!(f, "worker {worker} was killed, not done after {limit:?}")
            }
            Cause::Protocol { worker, what } => write!(f, "worker {worker} was killed: {what}"),
            Cause::NotSerializable(error) => write!(f, "cannot be sent: {error}"),
            Cause::Cancelled => f.write_str("cancelled, the pool was ended"),
            Cause::Broken(reason) => write!(f, "not run, the pool is broken: {reason}"),
        }
    }
}

impl Error for TaskError {}

/// Why a pool could not start.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolError(String);

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for PoolError {}

/// How a pool is to be; `Options::new(4).retries(0).start()`.
pub struct Options {
    workers: usize,
    command: Option<Command>,
    config: Result<Frame, String>,
    retries: u32,
    chunk_size: Option<usize>,
    timeout: Option<Duration>,
    max_tasks: Option<usize>,
    start_limit: Duration,
}

impl Options {
    pub fn new(workers: usize) -> Options {
        Options {
            workers,
            command: None,
            config: encode(&()),
            retries: 1,
            chunk_size: None,
            timeout: None,
            max_tasks: None,
            start_limit: Duration::from_secs(60),
        }
    }

    /// Which program to start as worker: by default this one, without arguments.
    pub fn command(mut self, command: Command) -> Options {
        self.command = Some(command);
        self
    }

    /// What each worker's set-up is given; see `serve_with_set_up_if_worker`.
    pub fn config(mut self, config: &impl Serialize) -> Options {
        self.config = encode(config);
        self
    }

    /// How many times a task whose worker died is tried again; once by default.
    pub fn retries(mut self, retries: u32) -> Options {
        self.retries = retries;
        self
    }

    /// How many tasks `map` sends at a time. By default that follows the time they take: slow ones
    /// go one by one, tiny ones by the thousand.
    pub fn chunk_size(mut self, tasks: usize) -> Options {
        self.chunk_size = Some(tasks);
        self
    }

    /// A task that takes longer is given up and its worker replaced, also one that is stopped or
    /// stuck. Tasks go one by one then, as only so is it known which one takes the time.
    pub fn timeout(mut self, limit: Duration) -> Options {
        self.timeout = Some(limit);
        self
    }

    /// After so many tasks a worker is replaced by a fresh one.
    pub fn max_tasks_per_worker(mut self, tasks: usize) -> Options {
        self.max_tasks = Some(tasks);
        self
    }

    /// How long a worker's start and set-up may take; a minute by default.
    pub fn start_limit(mut self, limit: Duration) -> Options {
        self.start_limit = limit;
        self
    }

    /// Starts the workers and returns when all are ready.
    pub fn start<T, R>(mut self) -> Result<Pool<T, R>, PoolError> {
        let refused = |what: &str| Err(PoolError(what.to_string()));
        if env::var_os(PARENT).is_some() {
            return refused("a worker cannot start a pool; does main call serve_if_worker first?");
        }
        if self.workers == 0 {
            return refused("a pool needs a worker at least");
        }
        if self.chunk_size == Some(0) || self.max_tasks == Some(0) {
            return refused("a chunk, or a worker's share, needs a task at least");
        }
        if let Err(error) = &self.config {
            return refused(&format!(
                "the workers' configuration cannot be sent: {error}"
            ));
        }
        let command = match self.command.take() {
            Some(command) => command,
            None => Command::new(env::current_exe().map_err(|error| PoolError(error.to_string()))?),
        };
        Pool::start(self, command)
    }
}

/// Worker processes that turn a `T` into an `R`; what they do with it, `serve_if_worker` says.
pub struct Pool<T, R> {
    shared: Arc<Shared>,
    housekeeper: Option<(Sender<()>, JoinHandle<()>)>,
    drivers: Mutex<Vec<JoinHandle<()>>>,
    types: PhantomData<fn(T) -> R>,
}

impl<T, R> Pool<T, R> {
    /// A pool with the usual options.
    pub fn new(workers: usize) -> Result<Pool<T, R>, PoolError> {
        Options::new(workers).start()
    }

    fn start(options: Options, command: Command) -> Result<Pool<T, R>, PoolError> {
        let (give_back, idle) = mpsc::channel();
        let workers = options.workers;
        let shared = Arc::new(Shared {
            options,
            command: Mutex::new(command),
            give_back,
            idle: Mutex::new(idle),
            waiting: AtomicUsize::new(0),
            state: Mutex::default(),
        });
        let (stop, stopped) = mpsc::channel();
        let housekeeper = {
            let shared = shared.clone();
            spawn("pool-housekeeper", move || shared.keep_house(&stopped))?
        };
        // From here on, an error drops the pool and with it all that has been started.
        let pool = Pool {
            shared: shared.clone(),
            housekeeper: Some((stop, housekeeper)),
            drivers: Mutex::default(),
            types: PhantomData,
        };
        // All are started before the first is waited for.
        let started: Result<Vec<Worker>, String> =
            (0..workers).map(|_| Worker::start(&shared)).collect();
        for worker in started.map_err(PoolError)? {
            let ready = worker.get_ready(shared.options.start_limit);
            shared.put_back(Some(ready.map_err(PoolError)?));
        }
        Ok(pool)
    }

    /// Ends the workers now. Tasks that have no result yet are reported as cancelled.
    pub fn kill(&self) {
        let processes = {
            let mut state = self.shared.state.lock().unwrap();
            state.closed = Some(Cause::Cancelled);
            state.processes.clone()
        };
        let alive = processes.iter().filter_map(Weak::upgrade);
        alive.for_each(|process| process.kill());
    }

    /// Waits for the tasks that have been given, then lets the workers end by themselves.
    pub fn shut_down(self) {
        self.join_drivers();
        let idle = self.shared.idle.lock().unwrap();
        let workers: Vec<Worker> = (0..self.shared.options.workers)
            .flat_map(|_| idle.recv().expect("this very pool holds the sender"))
            .collect();
        self.shared.state.lock().unwrap().closed = Some(Cause::Cancelled);
        workers.into_iter().for_each(Worker::retire);
    }

    fn join_drivers(&self) {
        for driver in std::mem::take(&mut *self.drivers.lock().unwrap()) {
            driver.join().expect("a driver does not panic");
        }
    }
}

impl<T, R> Drop for Pool<T, R> {
    fn drop(&mut self) {
        self.kill();
        // Their workers are dead, so they end.
        self.join_drivers();
        if let Some((stop, housekeeper)) = self.housekeeper.take() {
            drop(stop);
            housekeeper.join().expect("the housekeeper does not panic");
        }
        // Every worker has come back by now; dropping it waits for its process.
        let idle = self.shared.idle.lock().unwrap();
        idle.try_iter().for_each(drop);
    }
}

impl<T: Serialize, R: DeserializeOwned> Pool<T, R> {
    /// One task, on the caller's own thread, when a worker is free.
    pub fn call(&self, task: &T) -> TaskResult<R> {
        let mut attempts = 0;
        let fail = |attempts, cause| Err(error_of(None, attempts, cause));
        let frame = match encode(&[task]) {
            Ok(frame) => frame,
            Err(error) => return fail(0, Cause::NotSerializable(error)),
        };
        loop {
            let mut lease = match self.shared.borrow() {
                Ok(lease) => lease,
                Err(cause) => return fail(attempts, cause),
            };
            attempts += 1;
            let worker = lease.worker();
            worker.process.allow(self.shared.options.timeout);
            let sent = worker.send(&frame, 1).and_then(|()| worker.flush());
            match sent.and_then(|()| worker.receive::<R>(1)) {
                Ok(answer) => {
                    if !worker.process.in_time() {
                        // Killed the moment it answered.
                        lease.worker = None;
                    }
                    let result = answer
                        .results
                        .map_err(Cause::Failed)
                        .and_then(|mut results| results.next().expect("as many results as tasks"));
                    return result.or_else(|cause| fail(attempts, cause));
                }
                Err(fault) => {
                    let cause = lease.autopsy(&fault);
                    if self.shared.is_final(&cause, attempts) {
                        return fail(attempts, cause);
                    }
                }
            }
        }
    }
}

impl<T, R> Pool<T, R>
where
    T: Serialize + Send + Sync + 'static,
    R: DeserializeOwned + Send + 'static,
{
    /// All tasks, with the results in the order of the tasks.
    pub fn map(&self, tasks: impl IntoIterator<Item = T>) -> Vec<TaskResult<R>> {
        let mut results = self.map_unordered(tasks);
        let mut slots: Vec<Option<TaskResult<R>>> = Vec::new();
        slots.resize_with(results.len(), || None);
        while results.remaining > 0 {
            for ended in results.receive() {
                results.remaining -= ended.tasks.len();
                ended.place_in(&mut slots);
            }
        }
        let each = slots.into_iter();
        each.map(|slot| slot.expect("every task ends")).collect()
    }

    /// All tasks, each with its index, in the order in which they complete. Dropping the iterator
    /// cancels what has not begun. How many are still to come, `len` says.
    pub fn map_unordered(&self, tasks: impl IntoIterator<Item = T>) -> Results<R> {
        let tasks: Vec<T> = tasks.into_iter().collect();
        let remaining = tasks.len();
        let drivers = self.shared.options.workers.min(remaining);
        let batch = Arc::new(Batch {
            tasks,
            drivers,
            to_do: Mutex::default(),
            cancelled: Arc::default(),
        });
        let (sender, receiver) = mpsc::channel();
        let mut running = self.drivers.lock().unwrap();
        running.retain(|driver| !driver.is_finished());
        for number in 1..=drivers {
            let driver = Driver {
                shared: self.shared.clone(),
                batch: batch.clone(),
                results: sender.clone(),
            };
            match spawn(&format!("pool-driver-{number}"), move || driver.run()) {
                Ok(handle) => running.push(handle),
                // One does all the work if need be.
                Err(_) if number > 1 => break,
                Err(error) => {
                    let cause = Cause::Broken(error.0);
                    let tasks = 0..remaining;
                    let _ = sender.send(vec![Ended::all(tasks, 0, &cause)]);
                }
            }
        }
        Results {
            receiver,
            ready: Vec::new().into_iter().flatten(),
            remaining,
            cancelled: batch.cancelled.clone(),
        }
    }
}

/// The results of `map_unordered`, as they come.
pub struct Results<R> {
    receiver: Receiver<Vec<Ended<R>>>,
    ready: Flatten<vec::IntoIter<Ended<R>>>,
    remaining: usize,
    cancelled: Arc<AtomicBool>,
}

impl<R> Iterator for Results<R> {
    type Item = (usize, TaskResult<R>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.remaining > 0 {
            if let Some(result) = self.ready.next() {
                self.remaining -= 1;
                return Some(result);
            }
            self.ready = self.receive().into_iter().flatten();
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl<R> Results<R> {
    fn receive(&self) -> Vec<Ended<R>> {
        self.receiver.recv().expect("every task ends")
    }
}

impl<R> ExactSizeIterator for Results<R> {}

impl<R> Drop for Results<R> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

// ---- Parent: who has which worker --------------------------------------------------------------

/// A pool has as many places as workers. A place is in the channel `idle` or lent out; a worker
/// sits in it, or none when it has died and is not yet replaced.
struct Shared {
    options: Options,
    command: Mutex<Command>,
    give_back: Sender<Option<Worker>>,
    idle: Mutex<Receiver<Option<Worker>>>,
    /// How many wait for a place: who works through a batch gives way to them.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: Option<Cause>,
    failed_starts: u32,
    processes: Vec<Weak<Process>>,
}

impl Shared {
    fn closed(&self) -> Option<Cause> {
        self.state.lock().unwrap().closed.clone()
    }

    fn put_back(&self, place: Option<Worker>) {
        self.give_back.send(place).expect("the receiver is in self");
    }

    /// Waits for a place, and for a worker that is ready in it.
    fn borrow(&self) -> Result<Lease<'_>, Cause> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // One waits at the channel, the others for the lock.
        let place = self.idle.lock().unwrap().recv();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut lease = Lease {
            shared: self,
            worker: place.expect("the sender is in self"),
        };
        loop {
            if let Some(cause) = self.closed() {
                return Err(cause);
            }
            let usable = lease.worker.take().filter(Worker::is_usable);
            let worker = usable.map_or_else(|| Worker::start(self), Ok);
            let new = worker.as_ref().is_ok_and(|worker| !worker.ready);
            match worker.and_then(|worker| worker.get_ready(self.options.start_limit)) {
                Ok(worker) => {
                    lease.worker = Some(worker);
                    if new {
                        self.state.lock().unwrap().failed_starts = 0;
                    }
                    return Ok(lease);
                }
                Err(reason) => self.start_failed(reason),
            }
        }
    }

    fn start_failed(&self, reason: String) {
        let mut state = self.state.lock().unwrap();
        state.failed_starts += 1;
        if state.failed_starts >= FAILED_STARTS && state.closed.is_none() {
            state.closed = Some(Cause::Broken(reason));
        }
    }

    /// Kills what is overdue and replaces what died while idle, until the pool ends.
    fn keep_house(&self, stopped: &Receiver<()>) {
        let often = |limit: Duration| (limit / 10).clamp(Duration::from_millis(5), WATCH);
        let pause = self.options.timeout.map_or(WATCH, often);
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let processes = self.state.lock().unwrap().processes.clone();
            let alive = processes.iter().filter_map(Weak::upgrade);
            alive.for_each(|process| process.look_after());
            for _ in 0..self.options.workers {
                // Someone waiting has the lock: then no place is idle.
                let place = self.idle.try_lock().map(|idle| idle.try_recv());
                let Ok(Ok(place)) = place else { break };
                self.put_back(self.replaced(place));
            }
        }
    }

    fn replaced(&self, place: Option<Worker>) -> Option<Worker> {
        match place {
            Some(worker) if !worker.process.has_ended() => return Some(worker),
            // Did it end before it was ready? Then it may have said why.
            Some(worker) => {
                if let Err(reason) = worker.get_ready(self.options.start_limit) {
                    self.start_failed(reason);
                }
            }
            None => {}
        }
        if self.closed().is_some() {
            return None;
        }
        // It gets ready while it is idle; whoever takes it waits for that if need be.
        let started = Worker::start(self);
        started.map_err(|reason| self.start_failed(reason)).ok()
    }

    /// Whether the task is not to be tried again.
    fn is_final(&self, cause: &Cause, attempts: u32) -> bool {
        match cause {
            Cause::WorkerDied { .. } | Cause::Protocol { .. } => attempts > self.options.retries,
            _ => true,
        }
    }
}

/// A place that is lent out, and the worker in it.
struct Lease<'a> {
    shared: &'a Shared,
    worker: Option<Worker>,
}

impl Lease<'_> {
    fn worker(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("lent with a worker in it")
    }

    /// Takes away a worker that cannot go on, and says why it cannot.
    fn autopsy(&mut self, fault: &io::Error) -> Cause {
        let process = self.worker().process.clone();
        let worker = process.id;
        let cause = if let Some(cause) = self.shared.closed() {
            cause
        } else if process.overdue() {
            let limit = self.shared.options.timeout.unwrap_or_default();
            Cause::TimedOut { worker, limit }
        } else if fault.kind() == ErrorKind::InvalidData {
            let what = fault.to_string();
            Cause::Protocol { worker, what }
        } else if let Some(status) = process.ended_within(GRACE) {
            let how = match fault.kind() {
                ErrorKind::UnexpectedEof => format!("{}, {fault}", describe(status)),
                _ => describe(status),
            };
            Cause::WorkerDied { worker, how }
        } else {
            let what = format!("it lives on but cannot be reached: {fault}");
            Cause::Protocol { worker, what }
        };
        self.worker = None;
        cause
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let place = match self.worker.take() {
            Some(worker) if worker.tasks_left == 0 => {
                worker.retire();
                None
            }
            place => place,
        };
        self.shared.put_back(place);
    }
}

// ---- Parent: a batch of tasks and the threads that drive the workers through it ----------------

struct Batch<T> {
    tasks: Vec<T>,
    drivers: usize,
    to_do: Mutex<ToDo>,
    cancelled: Arc<AtomicBool>,
}

#[derive(Default)]
struct ToDo {
    /// The first task that nobody has taken yet.
    next: usize,
    /// Tasks that were with a worker when it died, and the attempts known of each. They go alone,
    /// so that the next death is on the right one's account.
    suspects: VecDeque<(usize, u32)>,
    /// What a task took lately, as the workers measure it; 0 before the first answer.
    nanos_per_task: u64,
    last_size: usize,
}

/// Tasks that go to a worker in one frame.
#[derive(Clone)]
struct Chunk {
    tasks: Range<usize>,
    attempts: u32,
    bytes: usize,
}

impl<T> Batch<T> {
    fn has_work(&self) -> bool {
        let to_do = self.to_do.lock().unwrap();
        let some = to_do.next < self.tasks.len() || !to_do.suspects.is_empty();
        some && !self.cancelled.load(Ordering::Relaxed)
    }

    /// The next tasks for a worker that has `ahead` tasks in front of it and may do `at_most` more.
    fn take(&self, options: &Options, ahead: usize, at_most: usize) -> Option<Chunk> {
        let mut to_do = self.to_do.lock().unwrap();
        if self.cancelled.load(Ordering::Relaxed) || at_most == 0 {
            return None;
        }
        let bytes = 0;
        if !to_do.suspects.is_empty() {
            let alone = || to_do.suspects.pop_front();
            return (ahead == 0).then(alone).flatten().map(|(task, attempts)| {
                let tasks = task..task + 1;
                Chunk {
                    tasks,
                    attempts,
                    bytes,
                }
            });
        }
        let left = self.tasks.len() - to_do.next;
        let fair = (left / (2 * self.drivers)).max(1);
        let fitting = |nanos: u64| nanos.checked_div(to_do.nanos_per_task).unwrap_or(0) as usize;
        let size = match (options.timeout, options.chunk_size) {
            (Some(_), _) => 1,
            (None, Some(size)) => size,
            (None, None) => fitting(CHUNK_NANOS).clamp(1, fair.min(8 * to_do.last_size.max(1))),
        };
        let size = size.min(left).min(at_most);
        let too_far_ahead =
            options.timeout.is_some() || ahead + size > fitting(AHEAD_NANOS).min(fair);
        if size == 0 || ahead > 0 && too_far_ahead {
            return None;
        }
        let tasks = to_do.next..to_do.next + size;
        to_do.next = tasks.end;
        to_do.last_size = size;
        Some(Chunk {
            tasks,
            attempts: 0,
            bytes,
        })
    }

    /// Slower than thought counts at once, faster only little by little.
    fn measured(&self, tasks: usize, nanos: u32) {
        let mut to_do = self.to_do.lock().unwrap();
        let measured = (u64::from(nanos) / tasks as u64).max(1);
        to_do.nanos_per_task = measured.max((to_do.nanos_per_task + measured) / 2);
    }

    fn one_by_one(&self, chunk: &Chunk, attempts: u32) {
        let suspects = chunk.tasks.clone().map(|task| (task, attempts));
        self.to_do.lock().unwrap().suspects.extend(suspects);
    }
}

/// A thread that borrows a worker and works through the batch with it.
struct Driver<T, R> {
    shared: Arc<Shared>,
    batch: Arc<Batch<T>>,
    results: Sender<Vec<Ended<R>>>,
}

/// A chunk with its results, or the one cause why it has none.
struct Ended<R> {
    tasks: Range<usize>,
    attempts: u32,
    results: Result<InOrder<R>, Cause>,
}

impl<R> Ended<R> {
    fn all(tasks: Range<usize>, attempts: u32, cause: &Cause) -> Ended<R> {
        let results = Err(cause.clone());
        Ended {
            tasks,
            attempts,
            results,
        }
    }

    fn place_in(self, slots: &mut [Option<TaskResult<R>>]) {
        match self.results {
            // What mostly happens, in a loop without questions.
            Ok(InOrder {
                values, failures, ..
            }) if failures.len() == 0 => {
                for (slot, value) in slots[self.tasks].iter_mut().zip(values) {
                    *slot = Some(Ok(value));
                }
            }
            _ => self.for_each(|(task, result)| slots[task] = Some(result)),
        }
    }
}

impl<R> Iterator for Ended<R> {
    type Item = (usize, TaskResult<R>);

    fn next(&mut self) -> Option<Self::Item> {
        let task = self.tasks.next()?;
        let result = match &mut self.results {
            Ok(results) => results.next().expect("as many results as tasks"),
            Err(cause) => Err(cause.clone()),
        };
        Some((
            task,
            result.map_err(|cause| error_of(Some(task), self.attempts, cause)),
        ))
    }
}

/// What a driver has on its way.
struct Line<R> {
    in_flight: VecDeque<Chunk>,
    /// Taken, but too large to be sent as long as others are in flight.
    held: Option<(Chunk, Frame)>,
    done: Vec<Ended<R>>,
    /// A frame that has been sent; its memory can be used again.
    spare: Frame,
}

impl<R> Line<R> {
    fn fail(&mut self, tasks: Range<usize>, attempts: u32, cause: &Cause) {
        self.done.push(Ended::all(tasks, attempts, cause));
    }
}

impl<T: Serialize, R: DeserializeOwned> Driver<T, R> {
    fn run(self) {
        let mut line = Line {
            in_flight: VecDeque::new(),
            held: None,
            done: Vec::new(),
            spare: Frame::default(),
        };
        while self.batch.has_work() {
            match self.shared.borrow() {
                Ok(mut lease) => {
                    if let Err(fault) = self.work(lease.worker(), &mut line) {
                        let cause = lease.autopsy(&fault);
                        self.recover(&mut line, &cause);
                    }
                }
                Err(cause) => self.give_up(&mut line, &cause),
            }
            self.deliver(&mut line);
        }
    }

    /// Works until nothing is left to do, or the worker has done its share, or others wait for it.
    fn work(&self, worker: &mut Worker, line: &mut Line<R>) -> io::Result<()> {
        let limit = self.shared.options.timeout;
        let mut give_way = false;
        loop {
            while !give_way && line.in_flight.len() < AHEAD_FRAMES {
                let held = line.held.take();
                let Some((mut chunk, frame)) = held.or_else(|| self.next_frame(worker, line))
                else {
                    break;
                };
                chunk.bytes = frame.len();
                let bytes = chunk.bytes
                    + line
                        .in_flight
                        .iter()
                        .map(|chunk| chunk.bytes)
                        .sum::<usize>();
                if !line.in_flight.is_empty() && bytes > AHEAD_BYTES {
                    line.held = Some((chunk, frame));
                    break;
                }
                worker.process.allow(limit);
                let tasks = chunk.tasks.len();
                line.in_flight.push_back(chunk);
                worker.send(&frame, tasks)?;
                line.spare = frame;
            }
            if line.in_flight.is_empty() {
                return Ok(());
            }
            worker.flush()?;
            // The answers that have come together are taken together.
            while let Some(chunk) = line.in_flight.front() {
                let answer = worker.receive(chunk.tasks.len())?;
                let chunk = line.in_flight.pop_front().expect("just seen");
                self.take_answer(&chunk, answer, line);
                if !worker.process.in_time() {
                    return Err(ErrorKind::TimedOut.into());
                }
                if worker.output.buffer().is_empty() {
                    break;
                }
            }
            self.deliver(line);
            give_way = line.held.is_none() && self.shared.waiting.load(Ordering::Relaxed) > 0;
        }
    }

    fn next_frame(&self, worker: &Worker, line: &mut Line<R>) -> Option<(Chunk, Frame)> {
        let ahead = line.in_flight.iter().map(|chunk| chunk.tasks.len()).sum();
        loop {
            let chunk = self
                .batch
                .take(&self.shared.options, ahead, worker.tasks_left)?;
            match line.spare.fill(&self.batch.tasks[chunk.tasks.clone()]) {
                Ok(()) => return Some((chunk, std::mem::take(&mut line.spare))),
                Err(error) if chunk.tasks.len() == 1 => {
                    line.fail(chunk.tasks, chunk.attempts, &Cause::NotSerializable(error));
                }
                Err(_) => self.batch.one_by_one(&chunk, 0),
            }
        }
    }

    fn take_answer(&self, chunk: &Chunk, answer: Answer<R>, line: &mut Line<R>) {
        self.batch.measured(chunk.tasks.len(), answer.nanos);
        match answer.results {
            Ok(results) => line.done.push(Ended {
                tasks: chunk.tasks.clone(),
                attempts: chunk.attempts + 1,
                results: Ok(results),
            }),
            // Something in it cannot be read or written.
            Err(_) if chunk.tasks.len() > 1 => self.batch.one_by_one(chunk, 0),
            Err(error) => line.fail(
                chunk.tasks.clone(),
                chunk.attempts + 1,
                &Cause::Failed(error),
            ),
        }
    }

    /// What becomes of the tasks that a worker leaves behind.
    fn recover(&self, line: &mut Line<R>, cause: &Cause) {
        if let Some((chunk, _)) = line.held.take() {
            self.batch.one_by_one(&chunk, chunk.attempts);
        }
        let alone = line.in_flight.len() == 1 && line.in_flight[0].tasks.len() == 1;
        for chunk in std::mem::take(&mut line.in_flight) {
            // Of several, nobody knows which one it was: no attempt is charged.
            let attempts = chunk.attempts + u32::from(alone);
            if self.shared.is_final(cause, attempts) {
                line.fail(chunk.tasks, attempts, cause);
            } else {
                self.batch.one_by_one(&chunk, attempts);
            }
        }
    }

    fn give_up(&self, line: &mut Line<R>, cause: &Cause) {
        let mut to_do = self.batch.to_do.lock().unwrap();
        line.fail(to_do.next..self.batch.tasks.len(), 0, cause);
        to_do.next = self.batch.tasks.len();
        for (task, attempts) in to_do.suspects.drain(..) {
            line.fail(task..task + 1, attempts, cause);
        }
    }

    fn deliver(&self, line: &mut Line<R>) {
        if !line.done.is_empty() {
            // Nobody listens any more when the iterator was dropped.
            let _ = self.results.send(std::mem::take(&mut line.done));
        }
    }
}

fn error_of(task: Option<usize>, attempts: u32, cause: Cause) -> Box<TaskError> {
    Box::new(TaskError {
        task,
        attempts,
        cause,
    })
}

// ---- Parent: one worker ------------------------------------------------------------------------

/// The way to a worker. Dropping it ends the process.
struct Worker {
    process: Arc<Process>,
    input: BufWriter<Box<dyn Write + Send>>,
    output: BufReader<Box<dyn Read + Send>>,
    ready: bool,
    tasks_left: usize,
    answer: Frame,
}

/// What a worker says to a frame.
struct Answer<R> {
    /// An error if the frame as a whole could not be read, or its results not be written.
    results: Result<InOrder<R>, String>,
    nanos: u32,
}

/// Values and failures, merged into the order of the tasks.
struct InOrder<R> {
    place: usize,
    values: vec::IntoIter<R>,
    failures: Peekable<vec::IntoIter<(usize, Cause)>>,
}

impl<R> InOrder<R> {
    fn new(values: Vec<R>, failures: Vec<(usize, Cause)>, tasks: usize) -> io::Result<InOrder<R>> {
        let ascending = failures.is_sorted_by(|a, b| a.0 < b.0);
        let inside = failures.last().is_none_or(|last| last.0 < tasks);
        if values.len() + failures.len() != tasks || !ascending || !inside {
            return Err(invalid(format!(
                "an answer that does not fit the {tasks} tasks"
            )));
        }
        Ok(InOrder {
            place: 0,
            values: values.into_iter(),
            failures: failures.into_iter().peekable(),
        })
    }
}

impl<R> Iterator for InOrder<R> {
    type Item = Result<R, Cause>;

    fn next(&mut self) -> Option<Self::Item> {
        let failed = self.failures.next_if(|failure| failure.0 == self.place);
        self.place += 1;
        match failed {
            Some((_, cause)) => Some(Err(cause)),
            None => self.values.next().map(Ok),
        }
    }
}

/// `Answer.results` as it travels: the values in order, and the failures with their places.
type Wire<V> = Result<(Vec<V>, Vec<(usize, Cause)>), String>;

impl Worker {
    /// Starts the process and sends its configuration; `get_ready` waits for the answer.
    fn start(shared: &Shared) -> Result<Worker, String> {
        let cannot = |error: io::Error| format!("cannot start a worker: {error}");
        let mut command = shared.command.lock().unwrap();
        command.env(PARENT, process::id().to_string());
        let (process, input, output) = start_linked(&mut command).map_err(cannot)?;
        drop(command);
        let mut worker = Worker {
            process: Arc::new(process),
            input: BufWriter::with_capacity(BUFFER, input),
            output: BufReader::with_capacity(BUFFER, output),
            ready: false,
            tasks_left: shared.options.max_tasks.unwrap_or(usize::MAX),
            answer: Frame::default(),
        };
        let mut state = shared.state.lock().unwrap();
        if state.closed.is_some() {
            return Err("the pool was ended".to_string());
        }
        // From now on it is within reach of `kill`, whoever waits for it.
        state.processes.retain(|process| process.strong_count() > 0);
        state.processes.push(Arc::downgrade(&worker.process));
        drop(state);
        // If it died already, `get_ready` finds out.
        let config = shared
            .options
            .config
            .as_ref()
            .expect("checked before the start");
        let _ = config
            .write(&mut worker.input, 0)
            .and_then(|()| worker.flush());
        Ok(worker)
    }

    /// Waits until the worker is set up.
    fn get_ready(mut self, limit: Duration) -> Result<Worker, String> {
        if self.ready {
            return Ok(self);
        }
        self.process.allow(Some(limit));
        let set_up = match self.answer.read(&mut self.output) {
            Ok(true) => decode::<Result<(), Cause>>(&self.answer).map_err(invalid),
            Ok(false) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        };
        match set_up {
            Ok(Ok(())) if self.process.in_time() => {
                self.ready = true;
                Ok(self)
            }
            Ok(Err(Cause::Panicked(message))) => {
                Err(format!("a worker's set-up panicked: {message}"))
            }
            Ok(Err(Cause::Failed(error))) => Err(format!("a worker's set-up failed: {error}")),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err(format!("a worker does not speak as one: {error}"))
            }
            _ if self.process.overdue() => Err("a worker took too long to start".to_string()),
            _ => match self.process.ended_within(GRACE) {
                Some(status) => Err(format!(
                    "a worker ended before it was ready: {}; does main call serve_if_worker first?",
                    describe(status)
                )),
                None => Err("a worker closed its channel".to_string()),
            },
        }
    }

    fn is_usable(&self) -> bool {
        !self.ready || !self.process.has_ended()
    }

    fn send(&mut self, frame: &Frame, tasks: usize) -> io::Result<()> {
        self.tasks_left -= tasks;
        frame.write(&mut self.input, 0)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.flush()
    }

    /// The answer to the oldest frame, of so many tasks, that has none yet.
    fn receive<R: DeserializeOwned>(&mut self, tasks: usize) -> io::Result<Answer<R>> {
        if !self.answer.read(&mut self.output)? {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let nanos = self.answer.nanos;
        let unreadable = |error| invalid(format!("an answer that cannot be read: {error}"));
        let results = match decode::<Wire<R>>(&self.answer).map_err(unreadable)? {
            Ok((values, failures)) => Ok(InOrder::new(values, failures, tasks)?),
            Err(error) => Err(error),
        };
        Ok(Answer { results, nanos })
    }

    /// Lets the process end by itself: for a worker, the end of its input is the end.
    fn retire(mut self) {
        let _ = self.flush();
        self.input = BufWriter::new(Box::new(io::sink()));
        self.process.end_of_input();
        self.process.ended_within(GRACE);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.process.kill();
        let _ = self.process.child.lock().unwrap().wait();
    }
}

struct Process {
    id: u32,
    child: Mutex<Child>,
    deadline: Mutex<Deadline>,
    #[cfg(unix)]
    stream: std::os::unix::net::UnixStream,
}

#[derive(Default)]
struct Deadline {
    at: Option<Instant>,
    missed: bool,
}

impl Process {
    /// Sets the deadline, for the housekeeper to see to.
    fn allow(&self, limit: Option<Duration>) {
        if let Some(limit) = limit {
            self.deadline.lock().unwrap().at = Instant::now().checked_add(limit);
        }
    }

    /// Lifts the deadline; false if it was too late for that.
    fn in_time(&self) -> bool {
        let mut deadline = self.deadline.lock().unwrap();
        deadline.at = None;
        !deadline.missed
    }

    fn overdue(&self) -> bool {
        self.deadline.lock().unwrap().missed
    }

    fn look_after(&self) {
        let mut deadline = self.deadline.lock().unwrap();
        if deadline.at.is_some_and(|at| at <= Instant::now()) {
            *deadline = Deadline {
                at: None,
                missed: true,
            };
            self.kill();
        }
        drop(deadline);
        if self.has_ended() {
            // A child of the worker may still hold the other end; do not wait for that one.
            self.hang_up();
        }
    }

    fn status(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().ok().flatten()
    }

    fn has_ended(&self) -> bool {
        self.status().is_some()
    }

    fn ended_within(&self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status();
            if status.is_some() || Instant::now() > deadline {
                return status;
            }
            thread::sleep(Duration::from_micros(300));
        }
    }

    /// Kills the process, also a stopped one, and wakes whoever reads from it or writes to it.
    fn kill(&self) {
        // Once it has been waited for, its number may be another's: `Child` sees to that.
        let _ = self.child.lock().unwrap().kill();
        self.hang_up();
    }

    #[cfg(unix)]
    fn hang_up(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    #[cfg(unix)]
    fn end_of_input(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    #[cfg(not(unix))]
    fn hang_up(&self) {}

    #[cfg(not(unix))]
    fn end_of_input(&self) {}
}

type Linked = (Process, Box<dyn Write + Send>, Box<dyn Read + Send>);

/// Starts the command with one end of a socket as its stdin, for both directions. So its stdout
/// is free: what a task prints goes to stderr and cannot be taken for an answer.
#[cfg(unix)]
fn start_linked(command: &mut Command) -> io::Result<Linked> {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;

    let (stream, theirs) = UnixStream::pair()?;
    let (input, output) = (stream.try_clone()?, stream.try_clone()?);
    // In a group of its own the worker does not get the terminal's Ctrl-C: the parent decides.
    command.process_group(0);
    command.stdin(OwnedFd::from(theirs)).stdout(io::stderr());
    let child = command.spawn();
    // The command would keep the worker's end open, and so hide its death.
    command.stdin(Stdio::null());
    let child = child?;
    let process = Process {
        id: child.id(),
        child: Mutex::new(child),
        deadline: Mutex::default(),
        stream,
    };
    Ok((process, Box::new(input), Box::new(Attentive(output))))
}

/// A socket that looks for a moment whether something comes before it goes to sleep. Waking a
/// sleeper up takes longer than a tiny task, most of all if its core sleeps as well.
#[cfg(unix)]
struct Attentive(std::os::unix::net::UnixStream);

#[cfg(unix)]
impl Read for Attentive {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        // The mode holds for both directions, but nobody writes meanwhile: each side of a link is
        // used by one thread at a time.
        self.0.set_nonblocking(true)?;
        let begin = Instant::now();
        let read = loop {
            match self.0.read(part) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if begin.elapsed() > ATTENTION {
                        break None;
                    }
                    // Whoever is to answer may need this very core.
                    thread::yield_now();
                }
                read => break Some(read),
            }
        };
        self.0.set_nonblocking(false)?;
        read.unwrap_or_else(|| self.0.read(part))
    }
}

#[cfg(not(unix))]
fn start_linked(command: &mut Command) -> io::Result<Linked> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let input = child.stdin.take().expect("stdin is a pipe");
    let output = child.stdout.take().expect("stdout is a pipe");
    let process = Process {
        id: child.id(),
        child: Mutex::new(child),
        deadline: Mutex::default(),
    };
    Ok((process, Box::new(input), Box::new(output)))
}

/// `exit code 3`, or `signal 9 (SIGKILL)`.
fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            1 => " (SIGHUP)",
            2 => " (SIGINT)",
            3 => " (SIGQUIT)",
            4 => " (SIGILL)",
            6 => " (SIGABRT)",
            8 => " (SIGFPE)",
            9 => " (SIGKILL)",
            11 => " (SIGSEGV)",
            13 => " (SIGPIPE)",
            15 => " (SIGTERM)",
            _ => "",
        };
        return format!("signal {signal}{name}");
    }
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, PoolError> {
    let started = thread::Builder::new().name(name.to_string()).spawn(work);
    started.map_err(|error| PoolError(format!("cannot start a thread: {error}")))
}

// ---- The worker --------------------------------------------------------------------------------

/// In a worker: serves until the parent has no more tasks, and ends the process. Otherwise: returns
/// at once. The first thing to call in `main`.
pub fn serve_if_worker<T, R>(mut handle: impl FnMut(T) -> Result<R, String>)
where
    T: DeserializeOwned,
    R: Serialize,
{
    serve_with_set_up_if_worker(|()| Ok(()), |(), task| handle(task));
}

/// The same for workers with a state of their own, made once from `Options::config`.
pub fn serve_with_set_up_if_worker<C, S, T, R>(
    set_up: impl FnOnce(C) -> Result<S, String>,
    handle: impl FnMut(&mut S, T) -> Result<R, String>,
) where
    C: DeserializeOwned,
    T: DeserializeOwned,
    R: Serialize,
{
    let Some(parent) = env::var_os(PARENT) else {
        return;
    };
    // Anything but our parent's number: someone else set it. To go on as if it were not there
    // could mean processes that start processes without end.
    let parent = parent.to_str().and_then(|id| id.parse().ok());
    let Some(parent) = parent.filter(|id| is_parent(*id)) else {
        eprintln!("error: {PARENT} is for the workers of a process pool; unset it");
        process::exit(2);
    };
    let ended = watch(parent).and_then(|()| serve(set_up, handle));
    let code = match ended {
        Ok(()) => 0,
        // The parent is gone, or does not want to hear more.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => 1,
        Err(error) => {
            eprintln!("error: worker {}: {error}", process::id());
            1
        }
    };
    process::exit(code);
}

fn is_parent(id: u32) -> bool {
    #[cfg(unix)]
    return std::os::unix::process::parent_id() == id;
    #[cfg(not(unix))]
    return id != 0;
}

/// An idle worker sees the end of its input when its parent is gone, however it ended. One that is
/// busy does not look: this thread does, and ends it in the midst of its task.
fn watch(parent: u32) -> io::Result<()> {
    let watch = move || {
        while is_parent(parent) {
            thread::sleep(WATCH);
        }
        process::exit(1);
    };
    let named = thread::Builder::new().name("watch-parent".into());
    named.spawn(watch).map(|_| ())
}

fn serve<C, S, T, R>(
    set_up: impl FnOnce(C) -> Result<S, String>,
    mut handle: impl FnMut(&mut S, T) -> Result<R, String>,
) -> io::Result<()>
where
    C: DeserializeOwned,
    T: DeserializeOwned,
    R: Serialize,
{
    let (input, output) = link()?;
    let mut input = BufReader::with_capacity(BUFFER, input);
    let mut output = BufWriter::with_capacity(BUFFER, output);
    let mut frame = Frame::default();
    if !frame.read(&mut input)? {
        return Ok(());
    }
    let state = catch(|| set_up(decode(&frame)?));
    let mut said = encode(&state.as_ref().map(|_| ())).map_err(invalid)?;
    said.write(&mut output, 0)?;
    output.flush()?;
    let Ok(mut state) = state else {
        return Ok(());
    };
    while frame.read(&mut input)? {
        let begin = Instant::now();
        let wire = answer(&frame, |task| handle(&mut state, task));
        if let Err(error) = said.fill(&wire) {
            // A value has no serialised form, or is too large for one.
            let unsendable = format!("its result cannot be sent: {error}");
            said.fill(&Wire::<()>::Err(unsendable)).map_err(invalid)?;
        }
        let nanos = begin.elapsed().as_nanos().try_into().unwrap_or(u32::MAX);
        said.write(&mut output, nanos)?;
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    Ok(())
}

fn answer<T, R>(frame: &Frame, mut handle: impl FnMut(T) -> Result<R, String>) -> Wire<R>
where
    T: DeserializeOwned,
{
    let tasks: Vec<T> = decode(frame).map_err(|error| format!("it cannot be read: {error}"))?;
    let mut values = Vec::with_capacity(tasks.len());
    let mut failures = Vec::new();
    for (place, task) in tasks.into_iter().enumerate() {
        match catch(|| handle(task)) {
            Ok(value) => values.push(value),
            Err(cause) => failures.push((place, cause)),
        }
    }
    Ok((values, failures))
}

/// A panic ends the task, not the worker. A state that the task had borrowed is as it left it.
fn catch<V>(work: impl FnOnce() -> Result<V, String>) -> Result<V, Cause> {
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Cause::Failed),
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            Err(Cause::Panicked(
                text.unwrap_or("without a message").to_string(),
            ))
        }
    }
}

type Link = (Box<dyn Read>, Box<dyn Write>);

#[cfg(unix)]
fn link() -> io::Result<Link> {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    Ok((Box::new(Attentive(stream.try_clone()?)), Box::new(stream)))
}

#[cfg(not(unix))]
fn link() -> io::Result<Link> {
    Ok((Box::new(io::stdin()), Box::new(io::stdout())))
}

// ---- Frames ------------------------------------------------------------------------------------

/// Bytes that travel beside the JSON text of a message, not in it. Wherever a task or a result has
/// a `Vec<u8>`, this is the faster type. Cloning does not copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bytes(Arc<Vec<u8>>);

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(Arc::new(bytes))
    }
}

impl From<Bytes> for Vec<u8> {
    /// Copies only if there are clones.
    fn from(bytes: Bytes) -> Vec<u8> {
        Arc::unwrap_or_clone(bytes.0)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

thread_local! {
    /// The bytes that belong to the frame which this thread is writing or reading. serde has no
    /// other way to pass them by.
    static BESIDE: RefCell<Option<Vec<Bytes>>> = const { RefCell::new(None) };
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = BESIDE.with_borrow_mut(|beside| {
            let beside = beside.as_mut()?;
            beside.push(self.clone());
            Some(beside.len() - 1)
        });
        match place {
            Some(_) if self.len() > LONGEST => Err(S::Error::custom(too_long(self.len()))),
            Some(place) => place.serialize(serializer),
            // Not in a frame: as JSON knows bytes.
            None => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        if BESIDE.with_borrow(Option::is_none) {
            return Vec::deserialize(deserializer).map(Bytes::from);
        }
        let place = usize::deserialize(deserializer)?;
        let found = BESIDE.with_borrow(|beside| beside.as_ref()?.get(place).cloned());
        found.ok_or_else(|| D::Error::custom("the bytes are missing"))
    }
}

/// A message: JSON text, and bytes beside it. On the wire: `POOL`, the length of the text, how many
/// pieces of bytes there are, the nanoseconds the worker took, each as four bytes; the length of
/// each piece; the text; the pieces.
#[derive(Default)]
struct Frame {
    text: Vec<u8>,
    beside: Vec<Bytes>,
    nanos: u32,
}

const MARK: [u8; 4] = *b"POOL";
/// The longest text or piece of bytes.
const LONGEST: usize = 1 << 30;

fn encode<V: Serialize + ?Sized>(value: &V) -> Result<Frame, String> {
    let mut frame = Frame::default();
    frame.fill(value).map(|()| frame)
}

fn decode<V: DeserializeOwned>(frame: &Frame) -> Result<V, String> {
    BESIDE.set(Some(frame.beside.clone()));
    let value = catch(|| serde_json::from_slice(&frame.text).map_err(|error| error.to_string()));
    BESIDE.set(None);
    value.map_err(text_of)
}

impl Frame {
    /// Makes it the message that says `value`; the memory of the one before is used again.
    fn fill<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), String> {
        self.text.clear();
        BESIDE.set(Some(Vec::new()));
        // The value's own code may panic here, and should not take a thread of the pool with it.
        let written = catch(|| {
            let written = serde_json::to_writer(&mut self.text, value);
            written.map_err(|error| error.to_string())
        });
        self.beside = BESIDE.take().unwrap_or_default();
        written.map_err(text_of)?;
        match self.text.len() {
            length if length > LONGEST => Err(too_long(length)),
            _ => Ok(()),
        }
    }

    /// How many bytes it is on the wire.
    fn len(&self) -> usize {
        let pieces = self.beside.iter().map(|piece| 4 + piece.len());
        16 + self.text.len() + pieces.sum::<usize>()
    }

    fn write(&self, output: &mut impl Write, nanos: u32) -> io::Result<()> {
        let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
        output.write_all(&MARK)?;
        output.write_all(&length(&self.text))?;
        output.write_all(&(self.beside.len() as u32).to_le_bytes())?;
        output.write_all(&nanos.to_le_bytes())?;
        for piece in &self.beside {
            output.write_all(&length(piece))?;
        }
        output.write_all(&self.text)?;
        self.beside
            .iter()
            .try_for_each(|piece| output.write_all(piece))
    }

    /// Reads the next frame into this one; false when there is none.
    fn read<I: Read>(&mut self, input: &mut BufReader<I>) -> io::Result<bool> {
        if at_end(input)? {
            return Ok(false);
        }
        let inside = |error: io::Error| match error.kind() {
            ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "in the middle of a message"),
            _ => error,
        };
        self.read_rest(input).map_err(inside).map(|()| true)
    }

    fn read_rest(&mut self, input: &mut impl Read) -> io::Result<()> {
        let mut head = [0; 16];
        input.read_exact(&mut head)?;
        if head[..4] != MARK {
            return Err(invalid(format!(
                "not a message: {:?}",
                String::from_utf8_lossy(&head)
            )));
        }
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        self.nanos = number(12);
        let mut lengths = Vec::new();
        if number(8) > 0 {
            read_part(input, number(8) as usize * 4, &mut lengths)?;
        }
        read_part(input, number(4) as usize, &mut self.text)?;
        self.beside.clear();
        for length in lengths.chunks_exact(4) {
            let length = u32::from_le_bytes(length.try_into().expect("4 bytes"));
            let mut piece = Vec::new();
            read_part(input, length as usize, &mut piece)?;
            self.beside.push(piece.into());
        }
        Ok(())
    }
}

fn at_end(input: &mut impl io::BufRead) -> io::Result<bool> {
    loop {
        match input.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The other side ended with something of ours unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(true),
            filled => return Ok(filled?.is_empty()),
        }
    }
}

/// A long part takes memory as it comes, not as it is announced.
fn read_part(input: &mut impl Read, length: usize, part: &mut Vec<u8>) -> io::Result<()> {
    part.clear();
    if length > LONGEST {
        return Err(invalid(too_long(length)));
    }
    if length <= BUFFER {
        part.resize(length, 0);
        return input.read_exact(part);
    }
    part.reserve(length.min(4 << 20));
    match input.take(length as u64).read_to_end(part)? {
        complete if complete == length => Ok(()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn too_long(length: usize) -> String {
    format!("{length} bytes are more than the {LONGEST} of the longest message")
}

fn invalid(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn text_of(cause: Cause) -> String {
    match cause {
        Cause::Failed(text) => text,
        Cause::Panicked(message) => format!("panicked: {message}"),
        other => format!("{other:?}"),
    }
}
