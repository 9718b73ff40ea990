//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! A pool of threads that run the jobs it is given, oldest first.
//!
//! ```ignore
//! let pool = Pool::new(4)?;
//! pool.execute(move || sender.send(6 * 7).unwrap())?;
//! let totals = pool.shut_down(); // once everything that was submitted is done
//! ```
//!
//! Three ways to end it: `shut_down` and `drop` finish what was submitted, `cancel` gives back what
//! has not begun. With each of them submitted = finished + cancelled. A job that panics is counted,
//! and its worker goes on with the next. A job may submit more jobs to its own pool.
//!
//! To take it along, copy this file and `sync.rs`, or put what that one names in for `super::sync`.

#![allow(dead_code, reason = "not every program uses all of it")]

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::sync::{Arc, Condvar, Instant, Mutex, MutexGuard, mpsc, thread, thread_local};

/// How long to look for a job before going to sleep: waking a sleeper takes longer than a tiny job.
const ATTENTION: Duration = Duration::from_micros(50);

/// Calling it runs it.
pub type Job = Box<dyn FnOnce() + Send>;

pub struct Pool {
    id: u64,
    shared: Arc<Shared>,
    workers: Vec<thread::JoinHandle<Totals>>,
}

/// What became of the jobs: submitted = finished + cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub submitted: usize,
    /// Those that panicked are among them.
    pub finished: usize,
    pub panicked: usize,
    pub cancelled: usize,
}

/// A job waits in `inbox`, then in `ready`, to where all of them move together. So those who submit
/// and those who work seldom need the same lock, which makes tiny jobs more than twice as fast. Who
/// needs both locks takes `ready` first.
struct Shared {
    ready: Mutex<Queue>,
    inbox: Mutex<Inbox>,
    /// There is a job in the inbox, or it was closed.
    news: Condvar,
}

#[derive(Default)]
struct Inbox {
    jobs: Queue,
    closed: bool,
    /// How many workers sleep. Only they have to be woken, which is a call to the system.
    asleep: usize,
    /// One worker looks for jobs, or was woken to do so: it will find what comes, and wake the next
    /// if there is more. So a burst of jobs costs those who submit it one call at most.
    alert: bool,
    submitted: usize,
    cancelled: usize,
}

impl Pool {
    /// Starts `size` threads with the names `worker-1`, `worker-2` and so on.
    pub fn new(size: usize) -> io::Result<Self> {
        Self::with_set_up(size, |_| Ok(()))
    }

    /// Each worker calls `set_up` with its number before its first job. If one of them fails, its
    /// error comes instead of a pool.
    pub fn with_set_up<S>(size: usize, set_up: S) -> io::Result<Self>
    where
        S: Fn(usize) -> io::Result<()> + Clone + Send + 'static,
    {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        if size == 0 {
            let message = "a pool needs at least one worker";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared::new());
        let workers = Vec::new();
        // From here on, an early return drops the pool, and that ends the threads it has by then.
        let mut pool = Self {
            id,
            shared,
            workers,
        };
        let (outcome, outcomes) = mpsc::channel();
        for number in 1..=size {
            let (shared, set_up, outcome) =
                (Arc::clone(&pool.shared), set_up.clone(), outcome.clone());
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            pool.workers.push(thread.spawn(move || {
                POOL_OF_THIS_THREAD.with(|pool| pool.set(id));
                let _ = outcome.send(set_up(number));
                drop(outcome);
                shared.work()
            })?);
        }
        drop(outcome);
        for _ in 1..=size {
            let outcome = outcomes.recv();
            outcome.map_err(|_| io::Error::other("the set-up of a worker panicked"))??;
        }
        Ok(pool)
    }

    /// Runs `job` some time. What it has to tell it tells by itself, as through a channel.
    pub fn execute<F>(&self, job: F) -> Result<(), Refused<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.push(job, |job| job)
    }

    /// `execute` for a job that needs something around it.
    pub fn push<F, G>(&self, job: F, wrap: impl FnOnce(F) -> G) -> Result<(), Refused<F>>
    where
        G: FnOnce() + Send + 'static,
    {
        let mut inbox = lock(&self.shared.inbox);
        if inbox.closed {
            return Err(Refused(job));
        }
        inbox.jobs.push(wrap(job));
        inbox.submitted += 1;
        self.shared.wake_one(inbox);
        Ok(())
    }

    /// From now on nothing can be submitted; what was submitted still runs.
    pub fn close(&self) {
        lock(&self.shared.inbox).closed = true;
        // All of them have to learn it, and at once: nobody looks at a flag every second.
        self.shared.news.notify_all();
    }

    /// Closes the pool and gives back, oldest first, the jobs that have not begun.
    pub fn cancel(&self) -> Vec<Job> {
        self.close();
        let mut ready = lock(&self.shared.ready);
        let mut inbox = lock(&self.shared.inbox);
        let mut jobs = mem::take(&mut *ready).into_jobs();
        jobs.extend(mem::take(&mut inbox.jobs).into_jobs());
        inbox.cancelled += jobs.len();
        jobs
    }

    /// Closes the pool, waits until what was submitted is done and the threads have ended, and says
    /// what became of the jobs.
    pub fn shut_down(mut self) -> Totals {
        self.end()
    }

    fn end(&mut self) -> Totals {
        self.close();
        let mut totals = Totals::default();
        let this_thread = thread::current().id();
        for worker in self.workers.drain(..) {
            // The last owner of a shared pool may be one of its own jobs. Its thread cannot wait for
            // itself; it ends when it has done what is left.
            if worker.thread().id() != this_thread {
                // An error is a set-up that panicked: no job was done.
                let done = worker.join().unwrap_or_default();
                totals.finished += done.finished;
                totals.panicked += done.panicked;
            }
        }
        let inbox = lock(&self.shared.inbox);
        Totals {
            submitted: inbox.submitted,
            cancelled: inbox.cancelled,
            ..totals
        }
    }

    /// A number that no other pool of this program has; 0 is none.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end();
    }
}

thread_local! {
    static POOL_OF_THIS_THREAD: Cell<u64> = Cell::default();
}

/// The id of the pool whose worker this thread is.
pub fn id_of_this_thread() -> u64 {
    POOL_OF_THIS_THREAD.with(Cell::get)
}

impl Shared {
    fn new() -> Self {
        Self {
            ready: Mutex::default(),
            inbox: Mutex::default(),
            news: Condvar::new(),
        }
    }

    /// The life of a worker.
    fn work(&self) -> Totals {
        let mut done = Totals::default();
        while let Some(ready) = self.next() {
            let job = || Queue::run_first(ready);
            // It outlives every job. What a job owns is dropped in there, too.
            if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(job)) {
                done.panicked += 1;
                // Even a panic's payload may panic when it is dropped.
                mem::forget(panic::catch_unwind(AssertUnwindSafe(|| drop(payload))));
            }
            done.finished += 1;
        }
        done
    }

    /// Waits for a job and gives the lock under which it is the first. `None`: there is none, and
    /// there will be none.
    fn next(&self) -> Option<MutexGuard<'_, Queue>> {
        // Whether this worker is the one on the alert.
        let mut alert = false;
        loop {
            let mut ready = lock(&self.ready);
            if ready.len == 0 || alert {
                let mut inbox = lock(&self.inbox);
                if ready.len == 0 {
                    mem::swap(&mut *ready, &mut inbox.jobs);
                }
                if ready.len == 0 {
                    if inbox.closed {
                        return None;
                    }
                    drop(ready);
                    self.idle(inbox, alert);
                    alert = true;
                    continue;
                }
                if alert {
                    inbox.alert = false;
                    if ready.len + inbox.jobs.len > 1 {
                        self.wake_one(inbox);
                    }
                }
            }
            return Some(ready);
        }
    }

    /// Nothing to do: looks for a moment, if nobody else does, and then sleeps. Comes back on
    /// the alert.
    fn idle(&self, mut inbox: MutexGuard<Inbox>, was_alert: bool) {
        if !was_alert && !inbox.alert {
            inbox.alert = true;
            drop(inbox);
            look_for_a_moment(|| lock(&self.inbox).jobs.len > 0);
        } else {
            inbox.alert &= !was_alert;
            inbox.asleep += 1;
            // Gives the lock away and sleeps in one step: no job can slip in between.
            inbox = self
                .news
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner);
            inbox.asleep -= 1;
            inbox.alert = true;
        }
    }

    /// Wakes a worker up, unless none sleeps or one is on the alert already.
    fn wake_one(&self, mut inbox: MutexGuard<Inbox>) {
        if inbox.asleep > 0 && !inbox.alert {
            inbox.alert = true;
            drop(inbox);
            self.news.notify_one();
        }
    }
}

/// Jobs, oldest first. Those of one kind, as from one loop, lie side by side in one row. In boxes of
/// their own, made by one thread and freed by another, tiny jobs would take twice the time.
#[derive(Default)]
struct Queue {
    /// One that gets empty is kept until the next one begins: its memory may well serve again.
    rows: VecDeque<Box<dyn Row>>,
    /// How many jobs are in all rows together.
    len: usize,
}

/// A `VecDeque<F>`, whatever kind of job `F` is.
trait Row: Any + Send {
    fn is_empty(&self) -> bool;
    /// What runs the first job of a queue that begins with this row.
    fn run_first(&self) -> fn(MutexGuard<Queue>);
    fn into_jobs(self: Box<Self>) -> Vec<Job>;
}

impl Queue {
    fn push<F: FnOnce() + Send + 'static>(&mut self, job: F) {
        self.len += 1;
        if let Some(row) = self.rows.back_mut() {
            let row: &mut dyn Any = &mut **row;
            if let Some(row) = row.downcast_mut::<VecDeque<F>>() {
                return row.push_back(job);
            }
        }
        self.rows.push_back(Box::new(VecDeque::from([job])));
    }

    /// Takes the first job, lets go of the lock, and runs the job.
    fn run_first(mut queue: MutexGuard<Self>) {
        while queue.rows[0].is_empty() {
            queue.rows.pop_front();
        }
        let run = queue.rows[0].run_first();
        run(queue);
    }

    fn into_jobs(self) -> Vec<Job> {
        self.rows.into_iter().flat_map(Row::into_jobs).collect()
    }
}

impl<F: FnOnce() + Send + 'static> Row for VecDeque<F> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn run_first(&self) -> fn(MutexGuard<Queue>) {
        |mut queue| {
            let row: &mut dyn Any = &mut *queue.rows[0];
            let row: &mut Self = row.downcast_mut().unwrap();
            let job = row.pop_front().unwrap();
            queue.len -= 1;
            drop(queue);
            job();
        }
    }

    fn into_jobs(self: Box<Self>) -> Vec<Job> {
        self.into_iter().map(|job| Box::new(job) as Job).collect()
    }
}

/// A poisoned lock is used as it is: no code of a job runs under it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn look_for_a_moment(there: impl Fn() -> bool) {
    let begin = Instant::now();
    while !there() && begin.elapsed() < ATTENTION {
        // Whoever is to bring it may need this very core.
        thread::yield_now();
    }
}

/// The pool is closed; here is the job again.
pub struct Refused<F>(pub F);

impl<F> fmt::Display for Refused<F> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the pool is closed")
    }
}

impl<F> fmt::Debug for Refused<F> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Refused: {self}")
    }
}

impl<F> Error for Refused<F> {}
