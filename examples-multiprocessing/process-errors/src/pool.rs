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
//! To take: this file, with `serde` and `serde_json`. In its order: what a user sees; the edge, the
//! one place that knows the types of tasks and results; who has which worker; a batch of tasks and
//! the threads that drive workers through it; one worker; the worker's own side; frames.

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
use std::process::{self, Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, slice, vec};

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

#[derive(Clone, Debug, PartialEq)]
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
        let attempts = self.attempts;
        match &self.cause {
            Cause::Failed(error) => f.write_str(error),
            Cause::Panicked(message) => write!(f, "panicked: {message}"),
            Cause::WorkerDied { worker, how } => {
                write!(f, "worker {worker} died of it: {how}, attempts: {attempts}")
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
    pub fn start<T, R>(self) -> Result<Pool<T, R>, PoolError> {
        // From here on, an error drops the pool and with it all that has been started.
        let mut pool = Pool {
            shared: Arc::new(Shared::new(self).map_err(PoolError)?),
            housekeeper: None,
            types: PhantomData,
        };
        let shared = pool.shared.clone();
        let housekeeper = spawn("pool-housekeeper", Box::new(move || shared.keep_house()));
        pool.housekeeper = Some(housekeeper.map_err(PoolError)?);
        pool.shared.start_workers().map_err(PoolError)?;
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
    pub fn new(workers: usize) -> Result<Pool<T, R>, PoolError> {
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
        self.shared.state.lock().unwrap().housekeeper_may_go = true;
        if let Some(housekeeper) = self.housekeeper.take() {
            housekeeper.thread().unpark();
            housekeeper.join().expect("the housekeeper does not panic");
        }
        // Every worker has come back by now; dropping it waits for its process.
        let idle = std::mem::take(&mut self.shared.state.lock().unwrap().idle);
        drop(idle);
    }
}

impl<T: Serialize, R: DeserializeOwned> Pool<T, R> {
    /// One task, on the caller's own thread, when a worker is free.
    pub fn call(&self, task: &T) -> TaskResult<R> {
        let ended = Arc::new(Inbox::default());
        let edge = Typed {
            write: |_, frame: &mut Frame| frame.fill(slice::from_ref(task)),
            ended: ended.clone(),
        };
        Driver::new(&self.shared, &Batch::new(1, 1), &edge).run();
        let result = ended.take().remove(0).results.remove(0);
        result.map_err(|mut error| {
            error.task = None;
            error
        })
    }
}

impl<T, R> Pool<T, R>
where
    T: Serialize + Send + Sync + 'static,
    R: DeserializeOwned + Send + 'static,
{
    /// All tasks, with the results in the order of the tasks.
    pub fn map(&self, tasks: impl IntoIterator<Item = T>) -> Vec<TaskResult<R>> {
        let results = self.map_unordered(tasks);
        let mut remaining = results.remaining;
        let mut slots: Vec<Option<TaskResult<R>>> = Vec::new();
        slots.resize_with(remaining, || None);
        while remaining > 0 {
            for ended in results.ended.take() {
                remaining -= ended.results.len();
                let slots = slots[ended.first..].iter_mut();
                let each = slots.zip(ended.results);
                each.for_each(|(slot, result)| *slot = Some(result));
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
        let batch = Arc::new(Batch::new(remaining, self.shared.options.workers));
        let ended = Arc::new(Inbox::default());
        let edge = Typed {
            write: move |range, frame: &mut Frame| frame.fill(&tasks[range]),
            ended: ended.clone(),
        };
        self.shared.start_drivers(&batch, &(Arc::new(edge) as _));
        Results {
            ended,
            ready: Vec::new().into_iter(),
            remaining,
            batch,
        }
    }
}

/// The results of `map_unordered`, as they come.
pub struct Results<R> {
    ended: Arc<Inbox<R>>,
    ready: vec::IntoIter<(usize, TaskResult<R>)>,
    remaining: usize,
    batch: Arc<Batch>,
}

impl<R> Iterator for Results<R> {
    type Item = (usize, TaskResult<R>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.len() == 0 && self.remaining > 0 {
            let ended = self.ended.take().into_iter();
            let ready = ended.flat_map(|ended| (ended.first..).zip(ended.results));
            self.ready = ready.collect::<Vec<_>>().into_iter();
        }
        self.remaining -= usize::from(self.ready.len() > 0);
        self.ready.next()
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

    /// Takes what the worker says to a chunk. If that is no answer, this is an error; if it is that
    /// the worker cannot read these tasks or write their results, the result is why.
    fn read(&self, chunk: &Chunk, frame: &mut Frame) -> Result<Result<(), String>, String>;

    fn fail(&self, tasks: Range<usize>, attempts: u32, cause: &Cause);

    /// Tells whoever waits for results that there are some.
    fn deliver(&self);
}

struct Typed<W, R> {
    write: W,
    ended: Arc<Inbox<R>>,
}

/// Where results wait for those who asked.
struct Inbox<R> {
    ended: Mutex<Vec<Ended<R>>>,
    news: Condvar,
}

/// Tasks that follow each other, with their results.
struct Ended<R> {
    first: usize,
    results: Vec<TaskResult<R>>,
}

impl<R> Default for Inbox<R> {
    fn default() -> Inbox<R> {
        Inbox {
            ended: Mutex::default(),
            news: Condvar::new(),
        }
    }
}

impl<R> Inbox<R> {
    /// Waits until there is something in it.
    fn take(&self) -> Vec<Ended<R>> {
        let ended = self.ended.lock().unwrap();
        let mut ended = self.news.wait_while(ended, |e| e.is_empty()).unwrap();
        std::mem::take(&mut *ended)
    }
}

impl<W, R> Edge for Typed<W, R>
where
    W: Fn(Range<usize>, &mut Frame) -> Result<(), String>,
    R: DeserializeOwned,
{
    fn write(&self, tasks: Range<usize>, frame: &mut Frame) -> Result<(), String> {
        (self.write)(tasks, frame)
    }

    fn read(&self, chunk: &Chunk, frame: &mut Frame) -> Result<Result<(), String>, String> {
        let answer: Answer<R> =
            decode(frame).map_err(|error| format!("an answer that cannot be read: {error}"))?;
        let (values, failures) = match answer {
            Ok(both) => both,
            Err(error) => return Ok(Err(error)),
        };
        let (first, count) = (chunk.tasks.start, chunk.tasks.len());
        let mut fits = values.len() + failures.len() == count;
        let mut values = values.into_iter();
        let mut results = Vec::with_capacity(count);
        for (place, mishap) in failures {
            let between = place.saturating_sub(results.len());
            results.extend(values.by_ref().take(between).map(Ok));
            fits &= results.len() == place;
            let task = Some(first + results.len());
            results.push(Err(error_of(task, chunk.attempts, mishap.into_cause())));
        }
        results.extend(values.map(Ok));
        if !fits {
            return Err(format!("an answer that does not fit the {count} tasks"));
        }
        self.ended
            .ended
            .lock()
            .unwrap()
            .push(Ended { first, results });
        Ok(Ok(()))
    }

    fn fail(&self, tasks: Range<usize>, attempts: u32, cause: &Cause) {
        let first = tasks.start;
        let error = |task| Err(error_of(Some(task), attempts, cause.clone()));
        let results = tasks.map(error).collect();
        self.ended
            .ended
            .lock()
            .unwrap()
            .push(Ended { first, results });
    }

    fn deliver(&self) {
        self.ended.news.notify_one();
    }
}

fn error_of(task: Option<usize>, attempts: u32, cause: Cause) -> Box<TaskError> {
    Box::new(TaskError {
        task,
        attempts,
        cause,
    })
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
    idle: VecDeque<Option<Worker>>,
    /// Whoever wants a place draws a number; which one's turn it is. Otherwise a driver that gives
    /// a place back for those who wait would have it again before they wake up.
    numbers_drawn: u64,
    turn: u64,
    closed: Option<Cause>,
    failed_starts: u32,
    processes: Vec<Arc<Process>>,
    housekeeper_may_go: bool,
}

impl Shared {
    fn new(mut options: Options) -> Result<Shared, String> {
        let refused = |what: &str| Err(what.to_string());
        if env::var_os(PARENT).is_some() {
            return refused("a worker cannot start a pool; does main call serve_if_worker first?");
        }
        if options.workers == 0 {
            return refused("a pool needs a worker at least");
        }
        if options.chunk_size == Some(0) || options.max_tasks == Some(0) {
            return refused("a chunk, or a worker's share, needs a task at least");
        }
        if let Err(error) = &options.config {
            return Err(format!(
                "the workers' configuration cannot be sent: {error}"
            ));
        }
        let command = match options.command.take() {
            Some(command) => command,
            None => Command::new(env::current_exe().map_err(|error| error.to_string())?),
        };
        Ok(Shared {
            options,
            command: Mutex::new(command),
            state: Mutex::default(),
            place_came_back: Condvar::new(),
            drivers: Mutex::default(),
        })
    }

    fn start_workers(&self) -> Result<(), String> {
        // All are started before the first is waited for.
        let started = (0..self.options.workers).map(|_| Worker::start(self));
        for worker in started.collect::<Result<Vec<Worker>, String>>()? {
            let ready = worker.get_ready(self.options.start_limit)?;
            self.put_back(Some(ready));
        }
        Ok(())
    }

    fn put_back(&self, place: Option<Worker>) {
        let mut state = self.state.lock().unwrap();
        state.idle.push_back(place);
        if state.turn < state.numbers_drawn {
            self.place_came_back.notify_all();
        }
    }

    fn take_place(&self) -> Option<Worker> {
        let mut state = self.state.lock().unwrap();
        let number = state.numbers_drawn;
        state.numbers_drawn += 1;
        let not_yet = |state: &mut State| state.turn < number || state.idle.is_empty();
        let waiting = self.place_came_back.wait_while(state, not_yet);
        state = waiting.unwrap();
        state.turn += 1;
        if state.turn < state.numbers_drawn {
            self.place_came_back.notify_all();
        }
        state.idle.pop_front().expect("just seen")
    }

    fn is_waited_for(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.turn < state.numbers_drawn
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
            let alive = self.replaced(place.take());
            if let Some(worker) = alive.and_then(|worker| self.made_ready(worker)) {
                return Ok(worker);
            }
        }
    }

    /// The worker of a place that is lent out, or a new one if it has died.
    fn replaced(&self, place: Option<Worker>) -> Option<Worker> {
        match place {
            Some(worker) if !worker.process.has_ended() => return Some(worker),
            // If it was not ready yet, it may have said why.
            Some(worker) => drop(self.made_ready(worker)),
            None => {}
        }
        if self.closed().is_some() {
            return None;
        }
        let started = Worker::start(self);
        started.map_err(|reason| self.start_failed(reason)).ok()
    }

    fn made_ready(&self, worker: Worker) -> Option<Worker> {
        let new = !worker.ready;
        match worker.get_ready(self.options.start_limit) {
            Ok(worker) => {
                if new {
                    self.state.lock().unwrap().failed_starts = 0;
                }
                Some(worker)
            }
            Err(reason) => {
                self.start_failed(reason);
                None
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
    fn keep_house(&self) {
        let often = |limit: Duration| (limit / 10).clamp(Duration::from_millis(5), WATCH);
        let pause = self.options.timeout.map_or(WATCH, often);
        while !self.state.lock().unwrap().housekeeper_may_go {
            let processes = self.state.lock().unwrap().processes.clone();
            processes.iter().for_each(|process| process.look_after());
            for _ in 0..self.options.workers {
                let mut state = self.state.lock().unwrap();
                // Whoever waits for a place looks after it himself.
                let nobody_waits = state.turn == state.numbers_drawn;
                let idle = nobody_waits.then(|| state.idle.pop_front()).flatten();
                drop(state);
                let Some(place) = idle else { break };
                // A new worker gets ready while idle; whoever takes it waits for that if need be.
                self.put_back(self.replaced(place));
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
        self.state.lock().unwrap().closed = Some(Cause::Cancelled);
        // All are told before the first is waited for.
        workers.iter_mut().for_each(Worker::end_input);
        workers.into_iter().for_each(Worker::retire);
    }

    fn join_drivers(&self) {
        for driver in std::mem::take(&mut *self.drivers.lock().unwrap()) {
            driver.join().expect("a driver does not panic");
        }
    }

    fn start_drivers(self: &Arc<Shared>, batch: &Arc<Batch>, edge: &Arc<dyn Edge + Send + Sync>) {
        let mut running = self.drivers.lock().unwrap();
        running.retain(|driver| !driver.is_finished());
        for number in 1..=batch.drivers {
            let (shared, batch_too, edge_too) = (self.clone(), batch.clone(), edge.clone());
            let drive = move || Driver::new(&shared, &batch_too, &*edge_too).run();
            match spawn(&format!("pool-driver-{number}"), Box::new(drive)) {
                Ok(driver) => running.push(driver),
                // One does all the work if need be.
                Err(_) if number > 1 => break,
                Err(error) => Driver::new(self, batch, &**edge).give_up(&Cause::Broken(error)),
            }
        }
    }

    /// Why a worker cannot go on.
    fn autopsy(&self, worker: Worker, fault: &io::Error) -> Cause {
        let process = &worker.process;
        let worker = process.id;
        if let Some(cause) = self.closed() {
            return cause;
        }
        if process.was_overdue() {
            let limit = self.options.timeout.unwrap_or_default();
            return Cause::TimedOut { worker, limit };
        }
        if fault.kind() == ErrorKind::InvalidData {
            let what = fault.to_string();
            return Cause::Protocol { worker, what };
        }
        let Some(status) = process.ended_within(GRACE) else {
            let what = format!("it lives on but cannot be reached: {fault}");
            return Cause::Protocol { worker, what };
        };
        let how = match fault.kind() {
            ErrorKind::UnexpectedEof => format!("{}, {fault}", describe(status)),
            _ => describe(status),
        };
        Cause::WorkerDied { worker, how }
    }
}

/// The one place that starts threads: with a boxed closure, it is compiled once.
fn spawn(name: &str, work: Box<dyn FnOnce() + Send>) -> Result<JoinHandle<()>, String> {
    let started = thread::Builder::new().name(name.to_string()).spawn(work);
    started.map_err(|error| format!("cannot start a thread: {error}"))
}

// ---- Parent: a batch of tasks and the threads that drive the workers through it ----------------

struct Batch {
    tasks: usize,
    drivers: usize,
    to_do: Mutex<ToDo>,
    cancelled: AtomicBool,
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

/// Tasks that go to a worker in one frame.
struct Chunk {
    tasks: Range<usize>,
    attempts: u32,
    bytes: usize,
}

impl Chunk {
    fn new(tasks: Range<usize>, attempts: u32) -> Chunk {
        let bytes = 0;
        Chunk {
            tasks,
            attempts,
            bytes,
        }
    }
}

impl Batch {
    fn new(tasks: usize, workers: usize) -> Batch {
        Batch {
            tasks,
            drivers: workers.min(tasks),
            to_do: Mutex::default(),
            cancelled: AtomicBool::new(false),
        }
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
        let fair = (left / (2 * self.drivers)).max(1);
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
        Some(Chunk::new(tasks, 0))
    }

    /// Slower than thought counts at once, faster only little by little.
    fn measured(&self, tasks: usize, nanos: u32) {
        let mut to_do = self.to_do.lock().unwrap();
        let measured = (u64::from(nanos) / tasks as u64).max(1);
        to_do.nanos_per_task = measured.max((to_do.nanos_per_task + measured) / 2);
    }

    fn one_by_one(&self, tasks: Range<usize>, attempts: u32) {
        let alone = tasks.map(|task| Chunk::new(task..task + 1, attempts));
        self.to_do.lock().unwrap().suspects.extend(alone);
    }
}

/// Borrows a worker and works through a batch with it, on a thread of its own or the caller's.
struct Driver<'a> {
    shared: &'a Shared,
    batch: &'a Batch,
    edge: &'a dyn Edge,
    /// What the worker has not answered yet, the oldest first.
    in_flight: VecDeque<Chunk>,
}

impl<'a> Driver<'a> {
    fn new(shared: &'a Shared, batch: &'a Batch, edge: &'a dyn Edge) -> Driver<'a> {
        let in_flight = VecDeque::new();
        Driver {
            shared,
            batch,
            edge,
            in_flight,
        }
    }

    fn run(mut self) {
        while self.batch.has_work() {
            match self.shared.borrow() {
                Ok(mut worker) => match self.work(&mut worker) {
                    Ok(()) if worker.tasks_left > 0 => self.shared.put_back(Some(worker)),
                    Ok(()) => {
                        worker.retire();
                        self.shared.put_back(None);
                    }
                    Err(fault) => {
                        let cause = self.shared.autopsy(worker, &fault);
                        self.recover(&cause);
                        self.shared.put_back(None);
                    }
                },
                Err(cause) => self.give_up(&cause),
            }
            self.edge.deliver();
        }
    }

    /// Works until nothing is left to do, or the worker has done its share, or others wait for it.
    fn work(&mut self, worker: &mut Worker) -> io::Result<()> {
        let limit = self.shared.options.timeout;
        let mut give_way = false;
        loop {
            while !give_way
                && self.in_flight.len() < AHEAD_FRAMES
                && let Some(mut chunk) = self.next_chunk(worker)
            {
                chunk.attempts += 1;
                let tasks = chunk.tasks.len();
                self.in_flight.push_back(chunk);
                let bytes: usize = self.in_flight.iter().map(|chunk| chunk.bytes).sum();
                if bytes > AHEAD_BYTES && self.in_flight.len() > 1 {
                    worker.link.output.flush()?;
                    while self.in_flight.len() > 1 {
                        self.take_answer(worker)?;
                    }
                    self.edge.deliver();
                }
                worker.process.allow(limit);
                worker.tasks_left -= tasks;
                worker.link.say(0)?;
            }
            if self.in_flight.is_empty() {
                return Ok(());
            }
            worker.link.output.flush()?;
            self.take_answer(worker)?;
            // The answers that have come together are taken together.
            while !self.in_flight.is_empty() && !worker.link.input.buffer().is_empty() {
                self.take_answer(worker)?;
            }
            self.edge.deliver();
            give_way = self.shared.is_waited_for();
        }
    }

    /// Takes tasks from the batch and makes the frame that says them.
    fn next_chunk(&self, worker: &mut Worker) -> Option<Chunk> {
        let ahead = self.in_flight.iter().map(|chunk| chunk.tasks.len()).sum();
        let options = &self.shared.options;
        loop {
            let mut chunk = self.batch.take(options, ahead, worker.tasks_left)?;
            let Chunk {
                tasks, attempts, ..
            } = &chunk;
            match self.edge.write(tasks.clone(), &mut worker.link.said) {
                Ok(()) => {
                    chunk.bytes = worker.link.said.len();
                    return Some(chunk);
                }
                Err(error) if tasks.len() == 1 => {
                    let cause = Cause::NotSerializable(error);
                    self.edge.fail(tasks.clone(), *attempts, &cause);
                }
                Err(_) => self.batch.one_by_one(tasks.clone(), 0),
            }
        }
    }

    /// Waits for the answer to the oldest frame.
    fn take_answer(&mut self, worker: &mut Worker) -> io::Result<()> {
        if !worker.link.hear()? {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let heard = &mut worker.link.heard;
        let read = self.edge.read(&self.in_flight[0], heard).map_err(invalid)?;
        let chunk = self.in_flight.pop_front().expect("just seen");
        self.batch.measured(chunk.tasks.len(), heard.nanos);
        match read {
            Ok(()) => {}
            Err(_) if chunk.tasks.len() > 1 => self.batch.one_by_one(chunk.tasks, 0),
            Err(error) => {
                let cause = Cause::Failed(error);
                self.edge.fail(chunk.tasks, chunk.attempts, &cause);
            }
        }
        match worker.process.in_time() {
            true => Ok(()),
            false => Err(ErrorKind::TimedOut.into()),
        }
    }

    /// What becomes of the tasks that a worker leaves behind.
    fn recover(&mut self, cause: &Cause) {
        let alone = self.in_flight.len() == 1 && self.in_flight[0].tasks.len() == 1;
        for chunk in self.in_flight.drain(..) {
            // Of several, nobody knows which one it was: no attempt is charged.
            let attempts = chunk.attempts - u32::from(!alone);
            let may_be_tried_again = match cause {
                Cause::WorkerDied { .. } | Cause::Protocol { .. } => {
                    attempts <= self.shared.options.retries
                }
                _ => false,
            };
            if may_be_tried_again {
                self.batch.one_by_one(chunk.tasks, attempts);
            } else {
                self.edge.fail(chunk.tasks, attempts, cause);
            }
        }
    }

    fn give_up(&self, cause: &Cause) {
        let mut to_do = self.batch.to_do.lock().unwrap();
        let rest = to_do.next..self.batch.tasks;
        to_do.next = rest.end;
        self.edge.fail(rest, 0, cause);
        for chunk in to_do.suspects.drain(..) {
            self.edge.fail(chunk.tasks, chunk.attempts, cause);
        }
        self.edge.deliver();
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
    fn start(shared: &Shared) -> Result<Worker, String> {
        let mut command = shared.command.lock().unwrap();
        command.env(PARENT, process::id().to_string());
        let started = system::start(&mut command);
        drop(command);
        let (child, line, ends) =
            started.map_err(|error| format!("cannot start a worker: {error}"))?;
        let process = Process {
            id: child.id(),
            life: Mutex::new(Life {
                child,
                deadline: None,
                was_overdue: false,
            }),
            line,
        };
        let mut worker = Worker {
            process: Arc::new(process),
            link: Link::new(ends),
            ready: false,
            tasks_left: shared.options.max_tasks.unwrap_or(usize::MAX),
        };
        let mut state = shared.state.lock().unwrap();
        if state.closed.is_some() {
            return Err("the pool was ended".to_string());
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
        let _ = config.write(&mut worker.link.output, 0);
        let _ = worker.link.output.flush();
        Ok(worker)
    }

    /// Waits until the worker is set up.
    fn get_ready(mut self, limit: Duration) -> Result<Worker, String> {
        if self.ready {
            return Ok(self);
        }
        self.process.allow(Some(limit));
        let heard = self.link.hear();
        let in_time = self.process.in_time();
        match heard {
            Ok(true) if !self.link.heard.text.is_empty() => {
                let reason = String::from_utf8_lossy(&self.link.heard.text);
                Err(format!("a worker's set-up {reason}"))
            }
            Ok(true) if in_time => {
                self.ready = true;
                Ok(self)
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err(format!("a worker does not speak as one: {error}"))
            }
            _ if !in_time => Err("a worker took too long to start".to_string()),
            _ => match self.process.ended_within(GRACE) {
                Some(status) => Err(format!(
                    "a worker ended before it was ready: {}; does main call serve_if_worker first?",
                    describe(status)
                )),
                None => Err("a worker closed its channel".to_string()),
            },
        }
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
        let _ = self.process.life.lock().unwrap().child.wait();
    }
}

struct Process {
    id: u32,
    life: Mutex<Life>,
    line: system::Line,
}

struct Life {
    child: Child,
    deadline: Option<Instant>,
    was_overdue: bool,
}

impl Process {
    /// Sets the deadline, for the housekeeper to see to.
    fn allow(&self, limit: Option<Duration>) {
        if let Some(limit) = limit {
            self.life.lock().unwrap().deadline = Instant::now().checked_add(limit);
        }
    }

    /// Lifts the deadline; false if it was too late for that.
    fn in_time(&self) -> bool {
        let mut life = self.life.lock().unwrap();
        life.deadline = None;
        !life.was_overdue
    }

    fn was_overdue(&self) -> bool {
        self.life.lock().unwrap().was_overdue
    }

    fn look_after(&self) {
        let mut life = self.life.lock().unwrap();
        if life.deadline.is_some_and(|at| at <= Instant::now()) {
            life.deadline = None;
            life.was_overdue = true;
            drop(life);
            self.kill();
        } else if let Ok(Some(_)) = life.child.try_wait() {
            // A child of the worker may still hold the other end; do not wait for that one.
            self.line.shut(Shutdown::Both);
        }
    }

    fn status(&self) -> Option<ExitStatus> {
        self.life.lock().unwrap().child.try_wait().ok().flatten()
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
        let _ = self.life.lock().unwrap().child.kill();
        self.line.shut(Shutdown::Both);
    }
}

/// `exit code 3`, or `signal 9 (SIGKILL)`; std says `exit status: 3` and `signal: 9 (SIGKILL)`.
fn describe(status: ExitStatus) -> String {
    let text = status.to_string().replace("status:", "code");
    text.replace(':', "").replace(" (core dumped)", "")
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
    if let Some(parent) = env::var_os(PARENT) {
        // Anything but our parent's number: someone else set it. To go on as if it were not there
        // could mean processes that start processes without end.
        let parent = parent.to_str().and_then(|id| id.parse().ok());
        let Some(parent) = parent.filter(|id| system::is_parent(*id)) else {
            eprintln!("error: {PARENT} is for the workers of a process pool; unset it");
            process::exit(2);
        };
        let served = watch(parent).and_then(|()| serve(set_up, handle));
        process::exit(exit_code(served));
    }
}

fn exit_code(served: io::Result<()>) -> i32 {
    match served {
        Ok(()) => 0,
        // The parent is gone, or does not want to hear more.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => 1,
        Err(error) => {
            eprintln!("error: worker {}: {error}", process::id());
            1
        }
    }
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
    let watching = spawn("watch-parent", Box::new(watch));
    watching.map(drop).map_err(io::Error::other)
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
    let mut link = Link::new(system::ends()?);
    if !link.hear()? {
        return Ok(());
    }
    // An empty message: it is ready. Otherwise: why it is not.
    let state = catch(|| set_up(decode(&mut link.heard)?));
    link.said.text = match &state {
        Ok(_) => Vec::new(),
        Err(Mishap(true, message)) => format!("panicked: {message}").into_bytes(),
        Err(Mishap(false, error)) => format!("failed: {error}").into_bytes(),
    };
    link.say(0)?;
    link.output.flush()?;
    let Ok(mut state) = state else {
        return Ok(());
    };
    while link.hear()? {
        let begin = Instant::now();
        let answer = answer(&mut link.heard, |task| handle(&mut state, task));
        if let Err(error) = link.said.fill(&answer) {
            // A value has no serialised form, or is too large for one.
            let unsendable: Answer<()> = Err(format!("its result cannot be sent: {error}"));
            link.said.fill(&unsendable).map_err(invalid)?;
        }
        link.say(begin.elapsed().as_nanos().try_into().unwrap_or(u32::MAX))?;
        if link.input.buffer().is_empty() {
            link.output.flush()?;
        }
    }
    Ok(())
}

fn answer<T, R>(frame: &mut Frame, mut handle: impl FnMut(T) -> Result<R, String>) -> Answer<R>
where
    T: DeserializeOwned,
{
    let tasks: Vec<T> = decode(frame).map_err(|error| format!("it cannot be read: {error}"))?;
    let mut values = Vec::with_capacity(tasks.len());
    let mut failures = Vec::new();
    for (place, task) in tasks.into_iter().enumerate() {
        match catch(|| handle(task)) {
            Ok(value) => values.push(value),
            Err(mishap) => failures.push((place, mishap)),
        }
    }
    Ok((values, failures))
}

/// A panic ends the task, not the worker. A state that the task had borrowed is as it left it.
fn catch<V>(work: impl FnOnce() -> Result<V, String>) -> Result<V, Mishap> {
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| Mishap(false, error)),
        Err(payload) => Err(Mishap(true, message_of(&*payload))),
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_string()
}

// ---- Messages ----------------------------------------------------------------------------------

/// What a worker says to a chunk: the values in the order of the tasks, and beside them the
/// failures with their places. Or one error, if it cannot read the tasks or write the results.
type Answer<V> = Result<(Vec<V>, Vec<(usize, Mishap)>), String>;

/// Whether it was a panic, and the error or the message.
#[derive(Serialize, Deserialize)]
struct Mishap(bool, String);

impl Mishap {
    fn into_cause(self) -> Cause {
        match self {
            Mishap(true, message) => Cause::Panicked(message),
            Mishap(false, error) => Cause::Failed(error),
        }
    }

    fn into_text(self) -> String {
        match self {
            Mishap(true, message) => format!("panicked: {message}"),
            Mishap(false, error) => error,
        }
    }
}

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

/// Takes the bytes out of the frame: the value has them alone.
fn decode<V: DeserializeOwned>(frame: &mut Frame) -> Result<V, String> {
    BESIDE.set(Some(std::mem::take(&mut frame.beside)));
    let value = catch(|| serde_json::from_slice(&frame.text).map_err(|error| error.to_string()));
    BESIDE.set(None);
    value.map_err(Mishap::into_text)
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
        written.map_err(Mishap::into_text)?;
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

    fn write(&self, output: &mut Output, nanos: u32) -> io::Result<()> {
        let number = |length: usize| (length as u32).to_le_bytes();
        output.write_all(&MARK)?;
        output.write_all(&number(self.text.len()))?;
        output.write_all(&number(self.beside.len()))?;
        output.write_all(&nanos.to_le_bytes())?;
        for piece in &self.beside {
            output.write_all(&number(piece.len()))?;
        }
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
        let (text, pieces) = (number(&head[4..8]), number(&head[8..12]) as usize);
        self.nanos = number(&head[12..]);
        let mut lengths = Vec::new();
        read_part(input, 4 * pieces, &mut lengths)?;
        read_part(input, text as usize, &mut self.text)?;
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

/// One side's end of the way between a parent and its worker.
struct Link {
    input: Input,
    output: Output,
    heard: Frame,
    said: Frame,
}

type Input = BufReader<Box<dyn Read + Send>>;
type Output = BufWriter<Box<dyn Write + Send>>;
type Ends = (Box<dyn Read + Send>, Box<dyn Write + Send>);

impl Link {
    fn new((input, output): Ends) -> Link {
        Link {
            input: BufReader::with_capacity(BUFFER, input),
            output: BufWriter::with_capacity(BUFFER, output),
            heard: Frame::default(),
            said: Frame::default(),
        }
    }

    /// Sends `said`, with the next `flush` at the latest.
    fn say(&mut self, nanos: u32) -> io::Result<()> {
        self.said.write(&mut self.output, nanos)
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
    use std::io::{self, ErrorKind, Read};
    use std::net::Shutdown;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::{CommandExt, parent_id};
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    /// How long to look for an answer, or for the next task, before going to sleep.
    const ATTENTION: Duration = Duration::from_micros(50);

    /// Starts the command with one end of a socket as its stdin, for both directions. So its stdout
    /// is free: what a task prints goes to stderr and cannot be taken for an answer.
    pub fn start(command: &mut Command) -> io::Result<(Child, Line, super::Ends)> {
        let (ours, theirs) = UnixStream::pair()?;
        let ends = ends_of(ours.try_clone()?)?;
        // In a group of its own the worker does not get the terminal's Ctrl-C: the parent decides.
        command.process_group(0);
        command.stdin(OwnedFd::from(theirs)).stdout(io::stderr());
        let child = command.spawn();
        // The command would keep the worker's end open, and so hide its death.
        command.stdin(Stdio::null());
        Ok((child?, Line(ours), ends))
    }

    /// A worker's own.
    pub fn ends() -> io::Result<super::Ends> {
        ends_of(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
    }

    fn ends_of(stream: UnixStream) -> io::Result<super::Ends> {
        Ok((Box::new(Attentive(stream.try_clone()?)), Box::new(stream)))
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
            // The mode holds for both directions, but nobody writes meanwhile: each side of a link
            // is used by one thread at a time.
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
}

#[cfg(not(unix))]
mod system {
    use std::io;
    use std::net::Shutdown;
    use std::process::{Child, Command, Stdio};

    pub fn start(command: &mut Command) -> io::Result<(Child, Line, super::Ends)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take().expect("stdin is a pipe");
        let output = child.stdout.take().expect("stdout is a pipe");
        Ok((child, Line, (Box::new(output), Box::new(input))))
    }

    pub fn ends() -> io::Result<super::Ends> {
        Ok((Box::new(io::stdin()), Box::new(io::stdout())))
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
