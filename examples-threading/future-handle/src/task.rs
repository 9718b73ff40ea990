//! A task: work that some thread will run, and the handle of who wants to know how it ended.
//!
//! ```ignore
//! let (job, task) = task(|| Ok(6 * 7));
//! pool.execute(|| job.run())?; // or thread::spawn(|| job.run()), or run it right here
//! assert_eq!(task.wait()?, 42);
//! ```
//!
//! Each task ends exactly once: as a value, an error, a panic, or cancelled. That also holds for a
//! job that is dropped and never runs, so nobody waits in vain. Waiting takes the task and gives
//! what it returned; to drop the task instead is fine, the job runs all the same.
//!
//! A task that waits, without a time limit, for tasks that have not begun runs them itself. So
//! tasks may wait for tasks of their own pool, even if it has one thread only.
//!
//! To take it along, copy this file and `sync.rs`, or put what that one names in for `super::sync`.

use std::any::Any;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::slice;
use std::sync::PoisonError;
use std::time::Duration;

use super::sync::{Arc, Condvar, Instant, Mutex, MutexGuard, ThreadId, thread, thread_local};

/// How long to look for the end before going to sleep: waking a sleeper takes longer than a tiny
/// task.
const ATTENTION: Duration = Duration::from_micros(50);

pub type AnyError = Box<dyn Error + Send + Sync>;
pub type Outcome<T> = Result<T, Failure>;
type Work<T> = Box<dyn FnOnce() -> Result<T, AnyError> + Send>;
type Callback<T> = Box<dyn FnOnce(&Outcome<T>) + Send>;

/// The two ends of one task: who runs it, and who waits.
pub fn task<T, F>(work: F) -> (Job<T>, Task<T>)
where
    F: FnOnce() -> Result<T, AnyError> + Send + 'static,
{
    let core = Arc::new(Core(Mutex::new(State {
        stage: Stage::Waiting(Box::new(work)),
        ended: None,
        callbacks: Vec::new(),
        watchers: Vec::new(),
    })));
    (Job(Arc::clone(&core)), Task(core))
}

/// Who runs it. To drop it is to cancel the task.
pub struct Job<T>(Arc<Core<T>>);

impl<T> Job<T> {
    /// Does nothing if the task was cancelled, or has run already.
    pub fn run(self) {
        self.0.run();
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Who wants to know.
pub struct Task<T>(Arc<Core<T>>);

impl<T> Task<T> {
    /// Waits until the task has ended.
    pub fn wait(self) -> Outcome<T> {
        if !IN_A_TASK.with(Cell::get) {
            look_for_a_moment(None, || self.is_done());
        }
        if !self.is_done() {
            wait_for(slice::from_ref(&self), Until::All, None);
        }
        self.0.take()
    }

    /// Waits for at most `timeout`. `Err` gives the task back: it has not ended yet.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Outcome<T>, Self> {
        wait_for(slice::from_ref(&self), Until::All, Some(timeout));
        if self.is_done() {
            Ok(self.0.take())
        } else {
            Err(self)
        }
    }

    pub fn is_done(&self) -> bool {
        self.0.lock().ended.is_some()
    }

    /// Before the work has begun this ends the task at once, and the work is dropped. After that it
    /// changes nothing. Tells whether the task is cancelled.
    pub fn cancel(&self) -> bool {
        self.0.cancel()
    }

    /// Calls `callback` once with the outcome: in the thread that ends the task, or right here if it
    /// has ended. Callbacks run in the order in which they were added, before those who wait go on.
    /// One that panics does not keep the next from running.
    pub fn on_done(&self, callback: impl FnOnce(&Outcome<T>) + Send + 'static) {
        let mut state = self.0.lock();
        state.callbacks.push(Box::new(callback));
        if let Some(outcome) = state.take_outcome() {
            drop(state);
            self.0.end(outcome);
        }
    }
}

struct Core<T>(Mutex<State<T>>);

struct State<T> {
    stage: Stage<T>,
    /// Set as soon as who waits may go on: whether it failed.
    ended: Option<bool>,
    callbacks: Vec<Callback<T>>,
    /// Who waits, and as which of its tasks it knows this one.
    watchers: Vec<(Arc<Watch>, usize)>,
}

enum Stage<T> {
    Waiting(Work<T>),
    /// This thread runs the work, or then the callbacks.
    Running(ThreadId),
    Ended(Outcome<T>),
    Taken,
}

impl<T> State<T> {
    /// To whom this gives the work, that one has to end the task.
    fn begin(&mut self) -> Option<Work<T>> {
        match self.stage {
            Stage::Waiting(_) => match self.replace_by_running() {
                Stage::Waiting(work) => Some(work),
                _ => None,
            },
            _ => None,
        }
    }

    /// To whom this gives the outcome, that one has to end the task once more.
    fn take_outcome(&mut self) -> Option<Outcome<T>> {
        match self.stage {
            Stage::Ended(_) => match self.replace_by_running() {
                Stage::Ended(outcome) => Some(outcome),
                _ => None,
            },
            _ => None,
        }
    }

    fn replace_by_running(&mut self) -> Stage<T> {
        mem::replace(&mut self.stage, Stage::Running(thread::current().id()))
    }
}

impl<T> Core<T> {
    /// A poisoned lock is used as it is: neither work nor callbacks run under it.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.0)
    }

    fn run(&self) {
        let Some(work) = self.lock().begin() else {
            return;
        };
        // What the work owns is dropped in there, before anybody hears of the end.
        let outcome = match catch(work) {
            Ok(result) => result.map_err(Failure::Error),
            Err(message) => Err(Failure::Panicked(message)),
        };
        self.end(outcome);
    }

    fn cancel(&self) -> bool {
        let mut state = self.lock();
        let Some(work) = state.begin() else {
            return matches!(state.stage, Stage::Ended(Err(Failure::Cancelled)));
        };
        drop(state);
        self.end(Err(Failure::Cancelled));
        drop(work); // last, because it may panic
        true
    }

    /// Calls the callbacks, also those that are added meanwhile, and then tells who waits.
    fn end(&self, outcome: Outcome<T>) {
        let failed = matches!(outcome, Err(Failure::Error(_) | Failure::Panicked(_)));
        let mut state = self.lock();
        while !state.callbacks.is_empty() {
            let callbacks = mem::take(&mut state.callbacks);
            drop(state);
            for callback in callbacks {
                let _ = catch(|| callback(&outcome));
            }
            state = self.lock();
        }
        state.stage = Stage::Ended(outcome);
        state.ended = Some(failed);
        let watchers = mem::take(&mut state.watchers);
        drop(state);
        for (watch, index) in watchers {
            watch.tell(index, failed);
        }
    }

    /// Only for the owner of the task, and once it is done: then nobody else can have it.
    fn take(&self) -> Outcome<T> {
        match mem::replace(&mut self.lock().stage, Stage::Taken) {
            Stage::Ended(outcome) => outcome,
            _ => unreachable!("a task that is done has an outcome until it is taken"),
        }
    }
}

/// What to wait for. No tasks at all are always enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    FirstCompleted,
    /// An error or a panic; if there is none, all. A cancelling is neither, as in Python.
    FirstError,
    All,
}

/// Which tasks had ended, in the order of their ends, and which had not.
#[derive(Debug, PartialEq, Eq)]
pub struct Waited {
    pub done: Vec<usize>,
    pub pending: Vec<usize>,
}

/// Waits until enough of the tasks have ended, or the time is up.
///
/// # Panics
///
/// In a task, or in one of its callbacks, that waits for this task: that would be for ever.
pub fn wait_for<T>(tasks: &[Task<T>], until: Until, timeout: Option<Duration>) -> Waited {
    let watch = Watch::over(tasks.iter().enumerate());
    let enough = |ended: &[(usize, bool)]| match until {
        _ if ended.len() == tasks.len() => true,
        Until::FirstCompleted => !ended.is_empty(),
        Until::FirstError => ended.iter().any(|&(_, failed)| failed),
        Until::All => false,
    };
    let ended = watch.wait(tasks.iter(), timeout, enough);
    let done: Vec<usize> = ended.iter().map(|&(index, _)| index).collect();
    drop(ended);
    for task in tasks {
        let mut state = task.0.lock();
        state
            .watchers
            .retain(|(other, _)| !Arc::ptr_eq(other, &watch));
    }
    let pending = (0..tasks.len())
        .filter(|index| !done.contains(index))
        .collect();
    Waited { done, pending }
}

/// Gives each task's outcome once, with its index, in the order in which the tasks end.
pub fn as_completed<T>(tasks: Vec<Task<T>>) -> AsCompleted<T> {
    let watch = Watch::over(tasks.iter().enumerate());
    let tasks = tasks.into_iter().map(Some).collect();
    AsCompleted {
        tasks,
        watch,
        given: 0,
    }
}

pub struct AsCompleted<T> {
    tasks: Vec<Option<Task<T>>>,
    watch: Arc<Watch>,
    given: usize,
}

impl<T> AsCompleted<T> {
    /// `Err`: the time is up, and none has ended. To ask again is fine.
    pub fn next_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<(usize, Outcome<T>)>, TimedOut> {
        self.next_within(Some(timeout))
    }

    fn next_within(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<(usize, Outcome<T>)>, TimedOut> {
        if self.given == self.tasks.len() {
            return Ok(None);
        }
        let one_more = |ended: &[(usize, bool)]| ended.len() > self.given;
        let ended = self
            .watch
            .wait(self.tasks.iter().flatten(), timeout, one_more);
        let &(index, _) = ended.get(self.given).ok_or(TimedOut)?;
        drop(ended);
        self.given += 1;
        let task = self.tasks[index].take().expect("a task ends once");
        Ok(Some((index, task.0.take())))
    }
}

impl<T> Iterator for AsCompleted<T> {
    type Item = (usize, Outcome<T>);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_within(None).expect("no time limit")
    }
}

/// One who waits for several tasks: which have ended, in this order, and whether they failed.
struct Watch {
    ended: Mutex<Vec<(usize, bool)>>,
    news: Condvar,
}

impl Watch {
    fn over<'a, T: 'a>(tasks: impl Iterator<Item = (usize, &'a Task<T>)>) -> Arc<Self> {
        let (ended, news) = (Mutex::new(Vec::new()), Condvar::new());
        let watch = Arc::new(Self { ended, news });
        for (index, task) in tasks {
            let mut state = task.0.lock();
            match state.ended {
                None => state.watchers.push((Arc::clone(&watch), index)),
                Some(failed) => watch.tell(index, failed),
            }
        }
        watch
    }

    fn tell(&self, index: usize, failed: bool) {
        lock(&self.ended).push((index, failed));
        self.news.notify_one(); // Each watch has one owner.
    }

    fn wait<'a, T: 'a>(
        &self,
        tasks: impl Iterator<Item = &'a Task<T>>,
        timeout: Option<Duration>,
        enough: impl Fn(&[(usize, bool)]) -> bool,
    ) -> MutexGuard<'_, Vec<(usize, bool)>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if IN_A_TASK.with(Cell::get) && timeout.is_none() {
            let this_thread = thread::current().id();
            for task in tasks {
                if enough(&lock(&self.ended)) {
                    break;
                }
                task.0.run();
                let itself = matches!(task.0.lock().stage, Stage::Running(it) if it == this_thread);
                assert!(!itself, "a task must not wait for itself");
            }
        }
        look_for_a_moment(deadline, || enough(&lock(&self.ended)));
        let mut ended = lock(&self.ended);
        while !enough(&ended) {
            // Gives the lock away and sleeps in one step: no end can slip in between.
            ended = match deadline {
                None => self
                    .news
                    .wait(ended)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let woken = self.news.wait_timeout(ended, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        ended
    }
}

thread_local! {
    /// Whether this thread runs a task, or a callback.
    static IN_A_TASK: Cell<bool> = Cell::default();
}

/// Runs a part of a task. `Err` is the message of its panic.
fn catch<R>(part: impl FnOnce() -> R) -> Result<R, String> {
    let outer = IN_A_TASK.with(|it| it.replace(true));
    let result = panic::catch_unwind(AssertUnwindSafe(part)).map_err(message);
    IN_A_TASK.with(|it| it.set(outer));
    result
}

fn look_for_a_moment(deadline: Option<Instant>, there: impl Fn() -> bool) {
    let begin = Instant::now();
    let late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    while !there() && begin.elapsed() < ATTENTION && !late() {
        thread::yield_now(); // Whoever is to bring it may need this very core.
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message").to_string();
    // Even a panic's payload may panic when it is dropped.
    mem::forget(panic::catch_unwind(AssertUnwindSafe(|| drop(payload))));
    text
}

/// Why there is no value.
#[derive(Debug)]
pub enum Failure {
    Error(AnyError),
    Panicked(String),
    /// The work never began.
    Cancelled,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::Panicked(message) => write!(f, "the task panicked: {message}"),
            Self::Cancelled => f.write_str("the task was cancelled"),
        }
    }
}

impl Error for Failure {}

/// No task ended in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the time is up")
    }
}

impl Error for TimedOut {}
