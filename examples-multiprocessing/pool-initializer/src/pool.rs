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

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::net::Shutdown;
use std::ops::{Deref, Range};
use std::panic::{self, AssertUnwindSafe};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, mem, slice, vec};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Set in workers only, to the process id of their parent.
const PARENT: &str = "PROCESS_POOL_PARENT";
/// After so many workers in a row that did not start, the pool is broken.
const FAILED_STARTS: u32 = 3;
/// How long a worker that should end by itself may take.
const GRACE: Duration = Duration::from_secs(2);
/// How often a worker looks for its parent, and a pool at least for its idle workers.
const WATCH: Duration = Duration::from_millis(100);
/// With automatic chunks, how much work a chunk should be, enough that sending it costs little; and
/// how much may wait in front of a worker, beyond the chunk that it has begun.
const CHUNK_NANOS: u64 = 500_000;
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
    #[serde(skip)] // As the rest, it is the parent's own finding.
    WorkerDied { worker: u32, how: String },
    /// The task took longer than allowed, and its worker was killed.
    #[serde(skip)]
    TimedOut { worker: u32, limit: Duration },
    /// The worker sent something that is no answer, and was killed.
    #[serde(skip)]
    Protocol { worker: u32, what: String },
    /// The task has no serialised form.
    #[serde(skip)]
    NotSerializable(String),
    /// The pool was ended before the task was.
    #[serde(skip)]
    Cancelled,
    /// No worker can be started any more.
    #[serde(skip)]
    Broken(String),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.task {
            Some(task) => write!(f, "task {task}: {}", self.cause)?,
            None => write!(f, "the task: {}", self.cause)?,
        }
        match self.cause {
            Cause::WorkerDied { .. } => write!(f, ", attempts: {}", self.attempts),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Cause::Failed(error) => f.write_str(error),
            Cause::Panicked(message) => write!(f, "panicked: {message}"),
            Cause::WorkerDied { worker, how } => write!(f, "worker {worker} died of it: {how}"),
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
    pub fn start<T, R>(self) -> io::Result<Pool<T, R>> {
        // From here on, an error drops the pool and with it all that has been started.
        let mut pool = Pool {
            shared: Arc::new(Shared::new(self)?),
            housekeeper: None,
            types: PhantomData,
        };
        let shared = pool.shared.clone();
        pool.housekeeper = Some(spawn("pool-housekeeper", move || shared.keep_house())?);
        pool.shared.start_workers()?;
        Ok(pool)
    }
}

/// Worker processes that turn a `T` into an `R`; what they do with it, `serve_if_worker` says.
pub struct Pool<T, R> {
    shared: Arc<Shared>,
    housekeeper: Option<JoinHandle<()>>,
    types: PhantomData<fn(T) -> R>,
}

impl<T, R> Pool<T, R> {
    /// A pool with the usual options.
    pub fn new(workers: usize) -> io::Result<Pool<T, R>> {
        Options::new(workers).start()
    }

    /// Ends the workers now. Tasks that have no result yet are reported as cancelled.
    pub fn kill(&self) {
        self.shared.kill();
    }

    /// Waits for the tasks that have been given, then lets the workers end by themselves.
    pub fn shut_down(self) {
        self.shared.join_drivers();
        self.shared.dismiss_workers();
    }
}

impl<T, R> Drop for Pool<T, R> {
    fn drop(&mut self) {
        self.shared.kill();
        // Their workers are dead, so they end.
        self.shared.join_drivers();
        if let Some(housekeeper) = self.housekeeper.take() {
            housekeeper.thread().unpark();
            housekeeper.join().expect("the housekeeper does not panic");
        }
        // Every worker has come back by now; dropping it waits for its process.
        self.shared.state.lock().unwrap().idle.clear();
    }
}

impl<T: Serialize + Send + Sync + 'static, R: DeserializeOwned + Send + 'static> Pool<T, R> {
    /// One task, on the caller's own thread, when a worker is free.
    pub fn call(&self, task: &T) -> TaskResult<R> {
        let write = Box::new(|_, frame: &mut Frame| frame.fill(slice::from_ref(task)));
        let ended = Arc::default();
        let (edge, batch) = (Typed { write, ended }, Batch::new(1));
        drive(&self.shared, &batch, &edge);
        let mut result = None;
        for ended in batch.wait_for(&edge.ended) {
            ended.for_each(|_, only| result = Some(only));
        }
        let result = result.expect("every task ends");
        result.map_err(|mut error| {
            error.task = None;
            error
        })
    }

    /// All tasks, with the results in the order of the tasks.
    pub fn map(&self, tasks: impl IntoIterator<Item = T>) -> Vec<TaskResult<R>> {
        let results = self.map_unordered(tasks);
        let mut remaining = results.remaining;
        let mut slots: Vec<Option<TaskResult<R>>> = Vec::new();
        slots.resize_with(remaining, || None);
        while remaining > 0 {
            for ended in results.batch.wait_for(&results.ended) {
                remaining -= ended.values.len() + ended.failures.len();
                ended.for_each(|index, result| slots[index] = Some(result));
            }
        }
        let each = slots.into_iter();
        each.map(|slot| slot.expect("every task ends")).collect()
    }

    /// All tasks, each with its index, in the order in which they complete. Dropping the iterator
    /// cancels what has not begun. How many are still to come, `len` says.
    pub fn map_unordered(&self, tasks: impl IntoIterator<Item = T>) -> Results<R> {
        let tasks: Vec<T> = tasks.into_iter().collect();
        let results = Results {
            remaining: tasks.len(),
            batch: Arc::new(Batch::new(tasks.len())),
            ended: Arc::default(),
            ready: Vec::new().into_iter(),
        };
        let write = Box::new(move |range, frame: &mut Frame| frame.fill(&tasks[range]));
        let ended = results.ended.clone();
        let edge = Arc::new(Typed { write, ended });
        self.shared.start_drivers(&results.batch, edge);
        results
    }
}

/// The results of `map_unordered`, as they come.
pub struct Results<R> {
    remaining: usize,
    batch: Arc<Batch>,
    ended: Arc<Mutex<Vec<Ended<R>>>>,
    ready: vec::IntoIter<(usize, TaskResult<R>)>,
}

impl<R> Iterator for Results<R> {
    type Item = (usize, TaskResult<R>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.remaining > 0 {
            if let Some(result) = self.ready.next() {
                self.remaining -= 1;
                return Some(result);
            }
            let mut ready = Vec::new();
            for ended in self.batch.wait_for(&self.ended) {
                ended.for_each(|index, result| ready.push((index, result)));
            }
            self.ready = ready.into_iter();
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl<R> ExactSizeIterator for Results<R> {}

impl<R> Drop for Results<R> {
    fn drop(&mut self) {
        self.batch.cancelled.store(true, Ordering::Relaxed);
    }
}

// ---- The edge: where tasks become frames, and frames results ---------------------------------

/// All that is below deals in frames and numbers, whatever the types, and so is compiled once.
trait Edge {
    /// Makes the frame that says these tasks.
    fn write(&self, tasks: Range<usize>, frame: &mut Frame) -> Result<(), String>;

    /// Keeps the results that a worker sends. An error: this is no answer. A text: the worker could
    /// not read the tasks, or not write their results.
    fn read(&self, chunk: &Chunk, frame: &Frame) -> Result<Option<String>, String>;

    /// Keeps the cause as the end of these tasks.
    fn fail(&self, chunk: &Chunk, cause: &Cause);
}

type WriteTasks<'a> = dyn Fn(Range<usize>, &mut Frame) -> Result<(), String> + Send + Sync + 'a;

struct Typed<'a, R> {
    write: Box<WriteTasks<'a>>,
    ended: Arc<Mutex<Vec<Ended<R>>>>,
}

/// What a worker says to a chunk: the values in the order of the tasks, and beside them the
/// failures with their places. Or one error, if it cannot read the tasks or write the results.
type Answer<V> = Result<(Vec<V>, Vec<(usize, Cause)>), String>;

/// Tasks that follow each other, with their values and failures.
struct Ended<R> {
    first: usize,
    attempts: u32,
    values: Vec<R>,
    failures: Vec<(usize, Cause)>,
}

impl<R> Ended<R> {
    fn for_each(self, mut keep: impl FnMut(usize, TaskResult<R>)) {
        let (mut index, attempts) = (self.first, self.attempts);
        let mut values = self.values.into_iter();
        for (place, cause) in self.failures {
            for value in values.by_ref().take(self.first + place - index) {
                keep(index, Ok(value));
                index += 1;
            }
            let task = Some(index);
            let error = TaskError {
                task,
                attempts,
                cause,
            };
            keep(index, Err(Box::new(error)));
            index += 1;
        }
        for (index, value) in (index..).zip(values) {
            keep(index, Ok(value));
        }
    }
}

impl<R> Typed<'_, R> {
    fn keep(&self, chunk: &Chunk, values: Vec<R>, failures: Vec<(usize, Cause)>) {
        self.ended.lock().unwrap().push(Ended {
            first: chunk.tasks.start,
            attempts: chunk.attempts,
            values,
            failures,
        });
    }
}

impl<R: DeserializeOwned> Edge for Typed<'_, R> {
    fn write(&self, tasks: Range<usize>, frame: &mut Frame) -> Result<(), String> {
        (self.write)(tasks, frame)
    }

    fn read(&self, chunk: &Chunk, frame: &Frame) -> Result<Option<String>, String> {
        let unreadable = |error| format!("an answer that cannot be read: {error}");
        let (values, failures) = match decode::<Answer<R>>(frame).map_err(unreadable)? {
            Ok(both) => both,
            Err(error) => return Ok(Some(error)),
        };
        let count = chunk.tasks.len();
        let ascending = failures.is_sorted_by(|a, b| a.0 < b.0);
        let inside = failures.last().is_none_or(|last| last.0 < count);
        if values.len() + failures.len() != count || !ascending || !inside {
            return Err(format!("an answer that does not fit the {count} tasks"));
        }
        self.keep(chunk, values, failures);
        Ok(None)
    }

    fn fail(&self, chunk: &Chunk, cause: &Cause) {
        let failures = (0..chunk.tasks.len()).map(|place| (place, cause.clone()));
        self.keep(chunk, Vec::new(), failures.collect());
    }
}

// ---- Parent: who has which worker --------------------------------------------------------------

/// A pool has as many places as workers. A place is idle or lent out; a worker sits in it, or none
/// when it has died and is not yet replaced.
struct Shared {
    options: Options,
    command: Mutex<Command>,
    state: Mutex<State>,
    place_came_back: Condvar,
    drivers: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    idle: Vec<Option<Worker>>,
    /// Whoever wants a place draws a number, and waits for its turn. Otherwise a driver that gives
    /// a place back for those who wait would have it again before they wake up.
    numbers_drawn: u64,
    turn: u64,
    closed: Option<Cause>,
    failed_starts: u32,
    processes: Vec<Arc<Process>>,
}

impl State {
    fn somebody_waits(&self) -> bool {
        self.turn < self.numbers_drawn
    }
}

impl Shared {
    fn new(mut options: Options) -> io::Result<Shared> {
        let refused = |what: &str| Err(io::Error::new(ErrorKind::InvalidInput, what));
        if env::var_os(PARENT).is_some() {
            return refused("a worker cannot start a pool; does main call serve_if_worker first?");
        }
        if [Some(options.workers), options.chunk_size, options.max_tasks].contains(&Some(0)) {
            return refused("a pool needs a worker at least, a chunk and a worker's share a task");
        }
        if let Err(error) = &options.config {
            return refused(&format!(
                "the workers' configuration cannot be sent: {error}"
            ));
        }
        let command = match options.command.take() {
            Some(command) => command,
            None => Command::new(env::current_exe()?),
        };
        Ok(Shared {
            options,
            command: Mutex::new(command),
            state: Mutex::default(),
            place_came_back: Condvar::new(),
            drivers: Mutex::default(),
        })
    }

    fn start_workers(&self) -> io::Result<()> {
        // All are started before the first is waited for.
        let started = (0..self.options.workers).map(|_| Worker::start(self));
        for worker in started.collect::<io::Result<Vec<Worker>>>()? {
            self.put_back(Some(worker.get_ready(self)?));
        }
        Ok(())
    }

    fn take_place(&self) -> Option<Worker> {
        let mut state = self.state.lock().unwrap();
        let number = state.numbers_drawn;
        state.numbers_drawn += 1;
        let not_yet = |state: &mut State| state.turn < number || state.idle.is_empty();
        let state = self.place_came_back.wait_while(state, not_yet);
        let mut state = state.unwrap();
        state.turn += 1;
        if state.somebody_waits() {
            self.place_came_back.notify_all();
        }
        state.idle.remove(0)
    }

    fn put_back(&self, place: Option<Worker>) {
        let mut state = self.state.lock().unwrap();
        state.idle.push(place);
        if state.somebody_waits() {
            self.place_came_back.notify_all();
        }
    }

    fn closed(&self) -> Option<Cause> {
        self.state.lock().unwrap().closed.clone()
    }

    /// Waits for a place, and for a worker that is ready in it.
    fn borrow(&self) -> Result<Worker, Cause> {
        let mut place = self.take_place();
        loop {
            if let Some(cause) = self.closed() {
                self.put_back(place);
                return Err(cause);
            }
            let ready = self
                .alive(place.take())
                .and_then(|alive| alive.get_ready(self));
            match ready {
                Ok(worker) => return Ok(worker),
                Err(reason) => self.start_failed(&reason),
            }
        }
    }

    /// The worker of a place that is lent out, or a new one if it has died.
    fn alive(&self, place: Option<Worker>) -> io::Result<Worker> {
        match place {
            Some(worker) if worker.process.ended_within(Duration::ZERO).is_none() => Ok(worker),
            // If it did not even get ready, it may have said why.
            Some(worker) => worker.get_ready(self).and_then(|_| Worker::start(self)),
            None => Worker::start(self),
        }
    }

    fn start_failed(&self, reason: &io::Error) {
        let mut state = self.state.lock().unwrap();
        state.failed_starts += 1;
        if state.failed_starts >= FAILED_STARTS && state.closed.is_none() {
            state.closed = Some(Cause::Broken(reason.to_string()));
        }
    }

    /// Kills what is overdue and replaces what died while idle, until the pool is ended.
    fn keep_house(&self) {
        let often = |limit: Duration| (limit / 10).clamp(Duration::from_millis(5), WATCH);
        let pause = self.options.timeout.map_or(WATCH, often);
        while self.closed() != Some(Cause::Cancelled) {
            let processes = self.state.lock().unwrap().processes.clone();
            processes.iter().for_each(|process| process.look_after());
            for _ in 0..self.options.workers {
                let mut state = self.state.lock().unwrap();
                // Whoever waits for a place looks after it himself.
                if state.somebody_waits() || state.closed.is_some() || state.idle.is_empty() {
                    break;
                }
                let place = state.idle.remove(0);
                drop(state);
                // A new worker gets ready while idle; whoever takes it waits for that if need be.
                let alive = self
                    .alive(place)
                    .inspect_err(|reason| self.start_failed(reason));
                self.put_back(alive.ok());
            }
            thread::park_timeout(pause);
        }
    }

    fn kill(&self) {
        let mut state = self.state.lock().unwrap();
        state.closed = Some(Cause::Cancelled);
        let processes = state.processes.clone();
        drop(state);
        processes.iter().for_each(|process| process.kill());
    }

    fn dismiss_workers(&self) {
        let places = (0..self.options.workers).map(|_| self.take_place());
        let mut workers: Vec<Worker> = places.flatten().collect();
        // All are told before the first is waited for.
        workers.iter_mut().for_each(Worker::end_input);
        workers.into_iter().for_each(Worker::retire);
    }

    fn start_drivers(self: &Arc<Shared>, batch: &Arc<Batch>, edge: Arc<dyn Edge + Send + Sync>) {
        let mut drivers = self.drivers.lock().unwrap();
        drivers.retain(|driver| !driver.is_finished());
        for number in 1..=self.options.workers.min(batch.tasks) {
            let (shared, its_batch, its_edge) = (self.clone(), batch.clone(), edge.clone());
            let work = move || drive(&shared, &its_batch, &*its_edge);
            match spawn(&format!("pool-driver-{number}"), work) {
                Ok(driver) => drivers.push(driver),
                // If there is not even one, who asked does the work.
                Err(_) if number == 1 => return drive(self, batch, &*edge),
                Err(_) => return,
            }
        }
    }

    fn join_drivers(&self) {
        for driver in mem::take(&mut *self.drivers.lock().unwrap()) {
            driver.join().expect("a driver does not panic");
        }
    }

    /// Why a worker cannot go on.
    fn autopsy(&self, worker: Worker, fault: &io::Error) -> Cause {
        let (process, worker) = (&worker.process, worker.process.id);
        if let Some(cause) = self.closed() {
            cause
        } else if fault.kind() == ErrorKind::TimedOut || !process.in_time() {
            let limit = self.options.timeout.unwrap_or_default();
            Cause::TimedOut { worker, limit }
        } else if fault.kind() == ErrorKind::InvalidData {
            let what = fault.to_string();
            Cause::Protocol { worker, what }
        } else if let Some(status) = process.ended_within(GRACE) {
            let mut how = describe(status);
            if fault.kind() == ErrorKind::UnexpectedEof {
                how += &format!(", {fault}");
            }
            Cause::WorkerDied { worker, how }
        } else {
            let what = format!("it lives on but cannot be reached: {fault}");
            Cause::Protocol { worker, what }
        }
    }
}

// ---- Parent: a batch of tasks, and how a worker is driven through it ---------------------------

#[derive(Default)]
struct Batch {
    tasks: usize,
    to_do: Mutex<ToDo>,
    cancelled: AtomicBool,
    news: Condvar,
}

#[derive(Default)]
struct ToDo {
    /// The first task that nobody has taken yet.
    next: usize,
    /// Tasks that were with a worker when it died. They go alone, so that the next death is on the
    /// right one's account.
    suspects: VecDeque<Chunk>,
    /// What a task took lately, as the workers measure it; 0 before the first answer.
    nanos_per_task: u64,
    last_size: usize,
}

/// Tasks that go to a worker in one frame, of so many bytes.
#[derive(Default)]
struct Chunk {
    tasks: Range<usize>,
    attempts: u32,
    bytes: usize,
}

impl Chunk {
    fn new(tasks: Range<usize>) -> Chunk {
        Chunk {
            tasks,
            ..Chunk::default()
        }
    }
}

impl Batch {
    fn new(tasks: usize) -> Batch {
        Batch {
            tasks,
            ..Batch::default()
        }
    }

    fn wait_for<V>(&self, list: &Mutex<Vec<V>>) -> Vec<V> {
        let list = list.lock().unwrap();
        let mut list = self.news.wait_while(list, |list| list.is_empty()).unwrap();
        mem::take(&mut *list)
    }

    fn has_work(&self) -> bool {
        let to_do = self.to_do.lock().unwrap();
        let some = to_do.next < self.tasks || !to_do.suspects.is_empty();
        some && !self.cancelled.load(Ordering::Relaxed)
    }

    /// The next tasks for a worker that has `ahead` tasks in front of it and may do `at_most` more.
    fn take(&self, options: &Options, ahead: usize, at_most: usize) -> Option<Chunk> {
        let mut to_do = self.to_do.lock().unwrap();
        if self.cancelled.load(Ordering::Relaxed) || at_most == 0 {
            return None;
        }
        if !to_do.suspects.is_empty() {
            let alone = ahead == 0;
            return alone.then(|| to_do.suspects.pop_front()).flatten();
        }
        let left = self.tasks - to_do.next;
        let fair = (left / (2 * options.workers)).max(1);
        let worth = CHUNK_NANOS.checked_div(to_do.nanos_per_task).unwrap_or(0) as usize;
        let size = match (options.timeout, options.chunk_size) {
            (Some(_), _) => 1,
            (None, Some(size)) => size,
            (None, None) => worth.clamp(1, fair.min(8 * to_do.last_size.max(1))),
        };
        let size = size.min(left).min(at_most);
        let too_far_ahead = options.timeout.is_some() || ahead + size > worth.min(fair);
        if size == 0 || ahead > 0 && too_far_ahead {
            return None;
        }
        let tasks = to_do.next..to_do.next + size;
        to_do.next = tasks.end;
        to_do.last_size = size;
        Some(Chunk::new(tasks))
    }

    /// Slower than thought counts at once, faster only little by little.
    fn measured(&self, tasks: usize, nanos: u32) {
        let mut to_do = self.to_do.lock().unwrap();
        let measured = (u64::from(nanos) / tasks as u64).max(1);
        to_do.nanos_per_task = measured.max((to_do.nanos_per_task + measured) / 2);
    }

    fn one_by_one(&self, chunk: Chunk) {
        let alone = |task| Chunk {
            tasks: task..task + 1,
            ..chunk
        };
        let each = chunk.tasks.clone().map(alone);
        self.to_do.lock().unwrap().suspects.extend(each);
    }
}

/// Works through a batch with the workers that it can borrow, until nobody has to.
fn drive(shared: &Shared, batch: &Batch, edge: &dyn Edge) {
    let in_flight = VecDeque::new();
    let mut driver = Driver {
        shared,
        batch,
        edge,
        in_flight,
    };
    while batch.has_work() {
        match shared.borrow() {
            Ok(worker) => shared.put_back(driver.work_with(worker)),
            Err(cause) => driver.give_up(&cause),
        }
        batch.news.notify_one();
    }
}

struct Driver<'a> {
    shared: &'a Shared,
    batch: &'a Batch,
    edge: &'a dyn Edge,
    /// What the worker has not answered yet, the oldest first.
    in_flight: VecDeque<Chunk>,
}

impl Driver<'_> {
    /// Returns the worker if it may go on.
    fn work_with(&mut self, mut worker: Worker) -> Option<Worker> {
        match self.work(&mut worker) {
            Ok(()) if worker.tasks_left > 0 => return Some(worker),
            Ok(()) => worker.retire(),
            Err(fault) => {
                let cause = self.shared.autopsy(worker, &fault);
                self.recover(&cause);
            }
        }
        None
    }

    /// Works until nothing is left to do, or the worker has done its share, or others wait for it.
    fn work(&mut self, worker: &mut Worker) -> io::Result<()> {
        let mut give_way = false;
        loop {
            while !give_way
                && self.in_flight.len() < AHEAD_FRAMES
                && let Some(mut chunk) = self.next_chunk(worker)
            {
                let ahead: usize = self.in_flight.iter().map(|chunk| chunk.bytes).sum();
                if ahead + chunk.bytes > AHEAD_BYTES
                    && let Err(fault) = self.take_answers(worker, true)
                {
                    // It has not been sent, and nobody is to blame it.
                    self.batch.one_by_one(chunk);
                    return Err(fault);
                }
                chunk.attempts += 1;
                worker.tasks_left -= chunk.tasks.len();
                worker.process.allow(self.shared.options.timeout);
                self.in_flight.push_back(chunk);
                worker.link.said.write(&mut worker.link.output)?;
            }
            if self.in_flight.is_empty() {
                return Ok(());
            }
            self.take_answers(worker, false)?;
            give_way = self.shared.state.lock().unwrap().somebody_waits();
        }
    }

    /// Takes tasks from the batch and makes the frame that says them.
    fn next_chunk(&self, worker: &mut Worker) -> Option<Chunk> {
        let ahead = self.in_flight.iter().map(|chunk| chunk.tasks.len()).sum();
        let (options, frame) = (&self.shared.options, &mut worker.link.said);
        loop {
            let mut chunk = self.batch.take(options, ahead, worker.tasks_left)?;
            match self.edge.write(chunk.tasks.clone(), frame) {
                Ok(()) => {
                    chunk.bytes = frame.len();
                    return Some(chunk);
                }
                Err(_) if chunk.tasks.len() > 1 => self.batch.one_by_one(chunk),
                Err(error) => self.edge.fail(&chunk, &Cause::NotSerializable(error)),
            }
        }
    }

    /// Waits for the oldest answer, or for all, and takes those that have come with it.
    fn take_answers(&mut self, worker: &mut Worker, all: bool) -> io::Result<()> {
        worker.link.output.flush()?;
        while !self.in_flight.is_empty() {
            self.take_answer(worker)?;
            if !all && worker.link.input.buffer().is_empty() {
                break;
            }
        }
        self.batch.news.notify_one();
        Ok(())
    }

    fn take_answer(&mut self, worker: &mut Worker) -> io::Result<()> {
        if !worker.link.hear()? {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let heard = &worker.link.heard;
        let refused = self.edge.read(&self.in_flight[0], heard).map_err(invalid)?;
        let mut chunk = self.in_flight.pop_front().expect("just seen");
        self.batch.measured(chunk.tasks.len(), heard.nanos);
        match refused {
            None => {}
            Some(_) if chunk.tasks.len() > 1 => {
                chunk.attempts -= 1;
                self.batch.one_by_one(chunk);
            }
            Some(error) => self.edge.fail(&chunk, &Cause::Failed(error)),
        }
        match worker.process.in_time() {
            true => Ok(()),
            false => Err(ErrorKind::TimedOut.into()),
        }
    }

    /// What becomes of the tasks that a worker leaves behind.
    fn recover(&mut self, cause: &Cause) {
        let alone = self.in_flight.len() == 1 && self.in_flight[0].tasks.len() == 1;
        let died = matches!(cause, Cause::WorkerDied { .. } | Cause::Protocol { .. });
        for mut chunk in self.in_flight.drain(..) {
            // Of several, nobody knows which one it was: no attempt is charged.
            chunk.attempts -= u32::from(!alone);
            if died && chunk.attempts <= self.shared.options.retries {
                self.batch.one_by_one(chunk);
            } else {
                self.edge.fail(&chunk, cause);
            }
        }
    }

    fn give_up(&self, cause: &Cause) {
        let mut to_do = self.batch.to_do.lock().unwrap();
        let rest = mem::replace(&mut to_do.next, self.batch.tasks)..self.batch.tasks;
        to_do.suspects.push_back(Chunk::new(rest));
        for chunk in to_do.suspects.drain(..) {
            self.edge.fail(&chunk, cause);
        }
    }
}

// ---- Parent: one worker ------------------------------------------------------------------------

/// The way to a worker. Dropping it ends the process.
struct Worker {
    process: Arc<Process>,
    link: Link,
    ready: bool,
    tasks_left: usize,
}

impl Worker {
    /// Starts the process and sends its configuration; `get_ready` waits for the answer.
    fn start(shared: &Shared) -> io::Result<Worker> {
        let mut command = shared.command.lock().unwrap();
        command.env(PARENT, process::id().to_string());
        let cannot = |error| io::Error::other(format!("cannot start a worker: {error}"));
        let (process, link) = system::start(&mut command).map_err(cannot)?;
        drop(command);
        let mut worker = Worker {
            process: Arc::new(process),
            link,
            ready: false,
            tasks_left: shared.options.max_tasks.unwrap_or(usize::MAX),
        };
        let mut state = shared.state.lock().unwrap();
        if state.closed.is_some() {
            return Err(io::Error::other("the pool was ended"));
        }
        // From now on it is within reach of `kill`, whoever waits for it.
        state
            .processes
            .retain(|process| Arc::strong_count(process) > 1);
        state.processes.push(worker.process.clone());
        drop(state);
        let config = shared.options.config.as_ref();
        let config = config.expect("checked before the start");
        // If it died already, `get_ready` finds out.
        let _ = config.write(&mut worker.link.output);
        let _ = worker.link.output.flush();
        Ok(worker)
    }

    /// Waits until the worker is set up.
    fn get_ready(mut self, shared: &Shared) -> io::Result<Worker> {
        if self.ready {
            return Ok(self);
        }
        self.process.allow(Some(shared.options.start_limit));
        let heard = self.link.hear();
        let in_time = self.process.in_time();
        Err(io::Error::other(match heard {
            Ok(true) if !self.link.heard.text.is_empty() => {
                let reason = String::from_utf8_lossy(&self.link.heard.text);
                format!("a worker's set-up {reason}")
            }
            Ok(true) if in_time => {
                self.ready = true;
                shared.state.lock().unwrap().failed_starts = 0;
                return Ok(self);
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                format!("a worker does not speak as one: {error}")
            }
            _ if !in_time => "a worker took too long to start".to_string(),
            _ => match self.process.ended_within(GRACE).map(describe) {
                Some(how) => format!(
                    "a worker ended before it was ready: {how}; \
                     does main call serve_if_worker first?"
                ),
                None => "a worker closed its channel".to_string(),
            },
        }))
    }

    /// For a worker, the end of its input is the end.
    fn end_input(&mut self) {
        let _ = self.link.output.flush();
        self.link.output = BufWriter::new(Box::new(io::sink()));
        self.process.line.shut(Shutdown::Write);
    }

    /// Lets the process end by itself.
    fn retire(mut self) {
        self.end_input();
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
    deadline: Mutex<Option<Instant>>,
    line: system::Line,
}

impl Process {
    fn new(child: Child, line: system::Line) -> Process {
        Process {
            id: child.id(),
            child: Mutex::new(child),
            deadline: Mutex::default(),
            line,
        }
    }

    /// Sets the deadline, for the housekeeper to see to, if there is to be one.
    fn allow(&self, limit: Option<Duration>) {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        *self.deadline.lock().unwrap() = deadline;
    }

    /// Lifts the deadline; false if it was too late for that.
    fn in_time(&self) -> bool {
        let deadline = self.deadline.lock().unwrap().take();
        deadline.is_none_or(|at| Instant::now() < at)
    }

    fn look_after(&self) {
        let deadline = *self.deadline.lock().unwrap();
        if deadline.is_some_and(|at| at <= Instant::now()) {
            self.kill();
        } else if self.ended_within(Duration::ZERO).is_some() {
            // A child of the worker may still hold the other end; do not wait for that one.
            self.line.shut(Shutdown::Both);
        }
    }

    fn ended_within(&self, limit: Duration) -> Option<ExitStatus> {
        const PAUSE: Duration = Duration::from_micros(300);
        let mut waited = Duration::ZERO;
        loop {
            let status = self.child.lock().unwrap().try_wait().ok().flatten();
            if status.is_some() || waited >= limit {
                return status;
            }
            thread::sleep(PAUSE);
            waited += PAUSE;
        }
    }

    /// Kills the process, also a stopped one, and wakes whoever reads from it or writes to it.
    fn kill(&self) {
        // Once it has been waited for, its number may be another's: `Child` sees to that.
        let _ = self.child.lock().unwrap().kill();
        self.line.shut(Shutdown::Both);
    }
}

/// `exit code 3`, or `signal 9 (SIGKILL)`; std says `exit status: 3` and `signal: 9 (SIGKILL)`.
fn describe(status: ExitStatus) -> String {
    let text = status.to_string().replace("status:", "code");
    text.replace(": ", " ").replace(" (core dumped)", "")
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // In a box it has one type, for which std's part is compiled once.
    let work: Box<dyn FnOnce() + Send> = Box::new(work);
    thread::Builder::new().name(name.to_string()).spawn(work)
}

// ---- The worker --------------------------------------------------------------------------------

/// In a worker: serves until the parent has no more tasks, and ends the process. Otherwise: returns
/// at once. The first thing to call in `main`.
pub fn serve_if_worker<T: DeserializeOwned, R: Serialize>(
    mut handle: impl FnMut(T) -> Result<R, String>,
) {
    serve_with_set_up_if_worker(|()| Ok(()), |(), task| handle(task));
}

/// The same for workers with a state of their own, made once from `Options::config`.
pub fn serve_with_set_up_if_worker<C: DeserializeOwned, S, T: DeserializeOwned, R: Serialize>(
    set_up: impl FnOnce(C) -> Result<S, String>,
    handle: impl FnMut(&mut S, T) -> Result<R, String>,
) {
    let Some(parent) = env::var_os(PARENT) else {
        return;
    };
    // Anything but our parent's number: someone else set it. To go on as if it were not there
    // could mean processes that start processes without end.
    let parent = parent.to_str().and_then(|id| id.parse().ok());
    let Some(parent) = parent.filter(|id| system::is_parent(*id)) else {
        eprintln!("error: {PARENT} is for the workers of a process pool; unset it");
        process::exit(2);
    };
    let served = watch(parent).and_then(|()| serve(set_up, handle));
    let Err(error) = served else { process::exit(0) };
    // Otherwise the parent is gone, or does not want to hear more.
    if error.kind() != ErrorKind::BrokenPipe {
        eprintln!("error: worker {}: {error}", process::id());
    }
    process::exit(1);
}

/// An idle worker sees the end of its input when its parent is gone, however it ended. One that is
/// busy does not look: this thread does, and ends it in the midst of its task.
fn watch(parent: u32) -> io::Result<()> {
    let watch = move || {
        while system::is_parent(parent) {
            thread::sleep(WATCH);
        }
        process::exit(1);
    };
    spawn("watch-parent", watch).map(drop)
}

fn serve<C: DeserializeOwned, S, T: DeserializeOwned, R: Serialize>(
    set_up: impl FnOnce(C) -> Result<S, String>,
    mut handle: impl FnMut(&mut S, T) -> Result<R, String>,
) -> io::Result<()> {
    let mut link = system::link()?;
    if !link.hear()? {
        return Ok(());
    }
    let state = catch(|| set_up(decode(&link.heard)?));
    // Nothing: it is ready. Otherwise: why it is not.
    link.said.text = match &state {
        Ok(_) => Vec::new(),
        Err(Cause::Panicked(message)) => format!("panicked: {message}").into_bytes(),
        Err(error) => format!("failed: {error}").into_bytes(),
    };
    link.said.write(&mut link.output)?;
    link.output.flush()?;
    let Ok(mut state) = state else {
        return Ok(());
    };
    while link.hear()? {
        let begin = Instant::now();
        let answer = answer(&link.heard, |task| handle(&mut state, task));
        if let Err(error) = link.said.fill(&answer) {
            // A value has no serialised form, or is too large for one.
            let unsendable: Answer<()> = Err(format!("its result cannot be sent: {error}"));
            link.said.fill(&unsendable).map_err(invalid)?;
        }
        link.said.nanos = begin.elapsed().as_nanos().try_into().unwrap_or(u32::MAX);
        link.said.write(&mut link.output)?;
        if link.input.buffer().is_empty() {
            link.output.flush()?;
        }
    }
    Ok(())
}

fn answer<T: DeserializeOwned, R>(
    frame: &Frame,
    mut handle: impl FnMut(T) -> Result<R, String>,
) -> Answer<R> {
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
        Err(payload) => Err(Cause::Panicked(message_of(&*payload))),
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_string()
}

// ---- Messages ----------------------------------------------------------------------------------

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
    value.map_err(|cause| cause.to_string())
}

impl Frame {
    /// Makes it the message that says `value`; the memory of the one before is used again.
    fn fill<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), String> {
        self.text.clear();
        BESIDE.set(Some(Vec::new()));
        // The value's own code may panic here, and should not take a thread of the pool with it.
        let text = &mut self.text;
        let written = catch(|| serde_json::to_writer(text, value).map_err(|e| e.to_string()));
        self.beside = BESIDE.take().unwrap_or_default();
        written.map_err(|cause| cause.to_string())?;
        self.lengths().try_for_each(check)
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        let pieces = self.beside.iter().map(|piece| piece.len());
        [self.text.len()].into_iter().chain(pieces)
    }

    /// How many bytes it is on the wire.
    fn len(&self) -> usize {
        12 + self.lengths().map(|length| 4 + length).sum::<usize>()
    }

    fn write(&self, output: &mut Output) -> io::Result<()> {
        let mut lengths = self.lengths().map(|length| (length as u32).to_le_bytes());
        output.write_all(&MARK)?;
        output.write_all(&lengths.next().expect("the text's"))?;
        output.write_all(&(self.beside.len() as u32).to_le_bytes())?;
        output.write_all(&self.nanos.to_le_bytes())?;
        lengths.try_for_each(|length| output.write_all(&length))?;
        output.write_all(&self.text)?;
        let mut pieces = self.beside.iter();
        pieces.try_for_each(|piece| output.write_all(piece))
    }

    fn read(&mut self, input: &mut Input) -> io::Result<()> {
        let mut head = [0; 16];
        input.read_exact(&mut head)?;
        if head[..4] != MARK {
            let head = String::from_utf8_lossy(&head);
            return Err(invalid(format!("not a message: {head:?}")));
        }
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("4 bytes"));
        self.nanos = number(&head[12..]);
        let mut lengths = Vec::new();
        read_part(input, 4 * number(&head[8..12]) as usize, &mut lengths)?;
        read_part(input, number(&head[4..8]) as usize, &mut self.text)?;
        self.beside.clear();
        for length in lengths.chunks_exact(4) {
            let mut piece = Vec::new();
            read_part(input, number(length) as usize, &mut piece)?;
            self.beside.push(piece.into());
        }
        Ok(())
    }
}

/// A long part takes memory as it comes, not as it is announced.
fn read_part(input: &mut Input, length: usize, part: &mut Vec<u8>) -> io::Result<()> {
    check(length).map_err(invalid)?;
    part.clear();
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

fn check(length: usize) -> Result<(), String> {
    match length {
        0..=LONGEST => Ok(()),
        _ => Err(format!(
            "{length} bytes are more than the {LONGEST} of the longest message"
        )),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// One side's end of the way between a parent and its worker.
struct Link {
    input: Input,
    output: Output,
    heard: Frame,
    said: Frame,
}

type Input = BufReader<Box<dyn Read + Send>>;
type Output = BufWriter<Box<dyn Write + Send>>;

impl Link {
    fn new(input: impl Read + Send + 'static, output: impl Write + Send + 'static) -> Link {
        Link {
            input: BufReader::with_capacity(BUFFER, Box::new(input)),
            output: BufWriter::with_capacity(BUFFER, Box::new(output)),
            heard: Frame::default(),
            said: Frame::default(),
        }
    }

    /// Waits for the next message, which is `heard` then; false when there is none.
    fn hear(&mut self) -> io::Result<bool> {
        let at_end = loop {
            match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The other side ended with something of ours unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break true,
                filled => break filled?.is_empty(),
            }
        };
        if at_end {
            return Ok(false);
        }
        match self.heard.read(&mut self.input) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(io::Error::new(error.kind(), "in the middle of a message"))
            }
            read => read.map(|()| true),
        }
    }
}

// ---- What is Unix's own, and how it is elsewhere -----------------------------------------------

#[cfg(unix)]
mod system {
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::{CommandExt, parent_id};

    use super::*;

    /// How long to look for an answer, or for the next task, before going to sleep.
    const ATTENTION: Duration = Duration::from_micros(50);

    /// Starts the command with one end of a socket as its stdin, for both directions. So its stdout
    /// is free: what a task prints goes to stderr and cannot be taken for an answer.
    pub fn start(command: &mut Command) -> io::Result<(Process, Link)> {
        let (ours, theirs) = UnixStream::pair()?;
        let link = link_over(ours.try_clone()?)?;
        // In a group of its own the worker does not get the terminal's Ctrl-C: the parent decides.
        command.process_group(0);
        command.stdin(OwnedFd::from(theirs)).stdout(io::stderr());
        let child = command.spawn();
        // The command would keep the worker's end open, and so hide its death.
        command.stdin(Stdio::null());
        Ok((Process::new(child?, Line(ours)), link))
    }

    /// A worker's own.
    pub fn link() -> io::Result<Link> {
        link_over(io::stdin().as_fd().try_clone_to_owned()?.into())
    }

    fn link_over(stream: UnixStream) -> io::Result<Link> {
        Ok(Link::new(Attentive(stream.try_clone()?), stream))
    }

    pub fn is_parent(id: u32) -> bool {
        parent_id() == id
    }

    pub struct Line(UnixStream);

    impl Line {
        pub fn shut(&self, how: Shutdown) {
            // It may be shut already.
            let _ = self.0.shutdown(how);
        }
    }

    /// A socket that looks for a moment whether something comes before it goes to sleep. Waking a
    /// sleeper up takes longer than a tiny task, most of all if its core sleeps as well.
    struct Attentive(UnixStream);

    impl Read for Attentive {
        fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
            let nothing_yet = |read: &io::Result<usize>| match read {
                Err(error) => error.kind() == ErrorKind::WouldBlock,
                Ok(_) => false,
            };
            // The mode holds for both directions, but nobody writes meanwhile: each side of a link
            // is used by one thread at a time.
            self.0.set_nonblocking(true)?;
            let begin = Instant::now();
            let mut read = self.0.read(part);
            while nothing_yet(&read) && begin.elapsed() < ATTENTION {
                // Whoever is to answer may need this very core.
                thread::yield_now();
                read = self.0.read(part);
            }
            self.0.set_nonblocking(false)?;
            match nothing_yet(&read) {
                true => self.0.read(part),
                false => read,
            }
        }
    }
}

#[cfg(not(unix))]
mod system {
    use super::*;

    pub fn start(command: &mut Command) -> io::Result<(Process, Link)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take().expect("stdin is a pipe");
        let output = child.stdout.take().expect("stdout is a pipe");
        Ok((Process::new(child, Line), Link::new(output, input)))
    }

    pub fn link() -> io::Result<Link> {
        Ok(Link::new(io::stdin(), io::stdout()))
    }

    pub fn is_parent(id: u32) -> bool {
        id != 0
    }

    /// A pipe ends with the process that has its other end.
    pub struct Line;

    impl Line {
        pub fn shut(&self, _: Shutdown) {}
    }
}
