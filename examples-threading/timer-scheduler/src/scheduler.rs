//! A scheduler runs jobs at their times, one after another, in one thread of its own: `after` a
//! delay, `at` a time, or `every` so often. A job never runs before its time; it runs later when
//! the one before it takes long. A job that panics is reported and ends nothing but itself.
//!
//! To take it along, copy this file and `sync.rs`, or replace `super::sync` below by `std::sync`
//! and `std::thread`.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, Write};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::sync::{Condvar, Mutex, MutexGuard, thread};

pub struct Scheduler {
    shared: Arc<Shared>,
    /// Taken at the end.
    thread: Option<thread::JoinHandle<()>>,
}

/// What became of a cancelled job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It will not run, or not again.
    InTime,
    /// It runs right now, and nothing can stop that. It will not run again.
    Running,
    /// It has run, or panicked, or was cancelled before.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// What a scheduler leaves behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The delayed jobs whose time had not come, in the order of their times.
    pub not_run: Vec<String>,
    /// The jobs that panicked, and their messages.
    pub panicked: Vec<(String, String)>,
}

struct Shared {
    now: Box<dyn Fn() -> Instant + Send + Sync>,
    state: Mutex<State>,
    /// Told whenever the next thing to do may be another one.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// When which job is due: the earliest first, and of several the one that came first. A job
    /// that was cancelled leaves its entry behind; what counts is `jobs`.
    due: BinaryHeap<Reverse<(Instant, JobId)>>,
    jobs: HashMap<JobId, Job>,
    running: Option<JobId>,
    running_is_cancelled: bool,
    last_id: u64,
    panicked: Vec<(String, String)>,
    stopped: bool,
}

struct Job {
    name: String,
    due: Instant,
    period: Option<Duration>,
    work: Box<dyn FnMut() + Send>,
}

/// As good as never, and no clock overflows.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Scheduler {
    pub fn start() -> io::Result<Self> {
        Self::with_clock(Instant::now)
    }

    /// With a clock of its own, for tests. When that clock jumps, `clock_changed` has to tell.
    pub fn with_clock(now: impl Fn() -> Instant + Send + Sync + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            now: Box::new(now),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = thread::Builder::new().name("scheduler".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Runs `job` once, as soon as `delay` is over.
    pub fn after(
        &self,
        name: impl Into<String>,
        delay: Duration,
        job: impl FnOnce() + Send + 'static,
    ) -> JobId {
        self.at(name, self.due_in(delay), job)
    }

    /// Runs `job` once, as soon as the clock shows `due`; if that is past, now.
    pub fn at(
        &self,
        name: impl Into<String>,
        due: Instant,
        job: impl FnOnce() + Send + 'static,
    ) -> JobId {
        let mut job = Some(job);
        let work = move || {
            if let Some(job) = job.take() {
                job();
            }
        };
        self.add(name.into(), due, None, Box::new(work))
    }

    /// Runs `job` again and again, the first time when one `period` is over. The times are
    /// multiples of the period, however long the job takes; those that are missed are left out.
    ///
    /// # Panics
    ///
    /// If `period` is zero: the job would never let another one run.
    pub fn every(
        &self,
        name: impl Into<String>,
        period: Duration,
        job: impl FnMut() + Send + 'static,
    ) -> JobId {
        assert!(!period.is_zero(), "a job needs a period longer than zero");
        let first = self.due_in(period);
        self.add(name.into(), first, Some(period), Box::new(job))
    }

    pub fn cancel(&self, id: JobId) -> Cancel {
        let mut state = self.shared.lock();
        if state.running == Some(id) {
            state.running_is_cancelled = true;
            return Cancel::Running;
        }
        let job = state.jobs.remove(&id);
        // What was cancelled long before its time must not pile up in the heap.
        if state.due.len() > 2 * state.jobs.len() + 64 {
            let State { due, jobs, .. } = &mut *state;
            due.retain(|Reverse((_, id))| jobs.contains_key(id));
        }
        drop(state);
        // The job itself is dropped down here, where nobody waits for the lock.
        match job {
            Some(_) => Cancel::InTime,
            None => Cancel::Over,
        }
    }

    /// Looks at the clock again at once, for one that does not just go on by itself.
    #[allow(dead_code, reason = "for tests with a clock of their own")]
    pub fn clock_changed(&self) {
        // Through the lock, so that the change cannot fall between a look at the clock and a wait.
        drop(self.shared.lock());
        self.shared.changed.notify_one();
    }

    /// Waits for the job that is running, if there is one, but for no other, and says what is left.
    pub fn stop(mut self) -> Ended {
        self.end()
    }

    fn due_in(&self, delay: Duration) -> Instant {
        (self.shared.now)() + delay.min(FAR)
    }

    fn add(
        &self,
        name: String,
        due: Instant,
        period: Option<Duration>,
        work: Box<dyn FnMut() + Send>,
    ) -> JobId {
        let mut state = self.shared.lock();
        state.last_id += 1;
        let id = JobId(state.last_id);
        let job = Job {
            name,
            due,
            period,
            work,
        };
        state.add(id, job);
        drop(state);
        // It may be due before the one for which the thread sleeps.
        self.shared.changed.notify_one();
        id
    }

    fn end(&mut self) -> Ended {
        let Some(thread) = self.thread.take() else {
            return Ended::default();
        };
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
        // A job may own the scheduler and drop it. The thread ends all the same, but not in time to
        // wait for itself.
        if thread.thread().id() != thread::current().id() {
            thread.join().expect("the panics of jobs are caught");
        }
        let mut state = self.shared.lock();
        let panicked = mem::take(&mut state.panicked);
        let left = mem::take(&mut state.jobs);
        drop(state);
        let mut left: Vec<_> = left.into_iter().collect();
        left.retain(|(_, job)| job.period.is_none());
        left.sort_by_key(|(id, job)| (job.due, *id));
        let not_run = left.into_iter().map(|(_, job)| job.name).collect();
        Ended { not_run, panicked }
    }
}

/// Ends the thread as `stop` does. What `stop` would return is a line on stderr.
impl Drop for Scheduler {
    fn drop(&mut self) {
        let Ended { not_run, panicked } = self.end();
        let panicked: Vec<_> = panicked.into_iter().map(|(name, _)| name).collect();
        for (jobs, what) in [(not_run, "did not run"), (panicked, "panicked")] {
            if !jobs.is_empty() {
                // If even stderr is gone, there is nobody to tell.
                let _ = writeln!(io::stderr(), "scheduler: {what}: {}", jobs.join(", "));
            }
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.lock();
        while !state.stopped {
            // Everything is looked at anew after each wait: a wake-up is a hint.
            let now = (self.now)();
            let Some((due, id)) = state.next() else {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if due > now {
                let woken = self.changed.wait_timeout(state, due - now);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.due.pop();
            let mut job = state.jobs.remove(&id).expect("next found it");
            state.running = Some(id);
            state.running_is_cancelled = false;
            drop(state);

            let outcome = panic::catch_unwind(AssertUnwindSafe(|| (job.work)()));

            state = self.lock();
            state.running = None;
            let again = job.period.filter(|_| !state.running_is_cancelled);
            if let (Ok(()), Some(period)) = (&outcome, again) {
                job.due = next_time(job.due, period, (self.now)());
                state.add(id, job);
                continue;
            }
            if let Err(payload) = outcome {
                state.panicked.push((job.name, message(payload)));
            }
            // What the job owns is dropped without the lock, too: that may be any code.
            drop(state);
            let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(job.work)));
            state = self.lock();
        }
    }

    /// A poisoned lock is used as it is: no job runs or ends under it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, id: JobId, job: Job) {
        self.due.push(Reverse((job.due, id)));
        self.jobs.insert(id, job);
    }

    /// The first entry whose job was not cancelled.
    fn next(&mut self) -> Option<(Instant, JobId)> {
        loop {
            let &Reverse((due, id)) = self.due.peek()?;
            if self.jobs.contains_key(&id) {
                return Some((due, id));
            }
            self.due.pop();
        }
    }
}

/// The first of `last + period`, `last + 2 * period`, … that is later than `now`.
fn next_time(last: Instant, period: Duration, now: Instant) -> Instant {
    let next = last + period.min(FAR);
    if next > now {
        return next;
    }
    let since = (now - last).as_nanos() % period.as_nanos();
    let left = period.as_nanos() - since;
    now + Duration::from_nanos_u128(left)
}

/// What `panic!` was called with.
fn message(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a text".into())
}
