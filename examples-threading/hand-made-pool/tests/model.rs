//! The pool under every schedule of two or three threads. Loom runs each model again and again,
//! once per way in which the threads can take turns, and reports a deadlock, a panic or a leak in
//! any of them. The models run the very files `src/thread_pool.rs` and `src/handle.rs`, over loom's
//! locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use handle::{Failure, submit};
use thread_pool::Pool;

#[path = "../src/handle.rs"]
mod handle;
#[path = "../src/thread_pool.rs"]
mod thread_pool;

mod sync {
    use std::time::Duration;

    pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
    pub use loom::{thread, thread_local};

    /// A clock on which everything takes an hour: who looks for a moment looks once.
    pub struct Instant;

    impl Instant {
        pub fn now() -> Self {
            Self
        }

        pub fn elapsed(&self) -> Duration {
            Duration::from_secs(3600)
        }
    }
}

/// Catches a wake-up that is lost: a worker that lets go of the lock between its look and its sleep,
/// a `push` that asks who sleeps before it has put the job in, or wakes nobody. Catches a
/// worker that looks for the end before it looks for jobs.
#[test]
fn what_was_submitted_runs_before_the_end() {
    for workers in [1, 2] {
        model(move || {
            let (pool, ran) = (Pool::new(workers).unwrap(), counter());
            count(&pool, &ran);
            count(&pool, &ran);
            let totals = pool.shut_down();
            assert_eq!((totals.submitted, totals.finished), (2, 2));
            assert_eq!(ran.load(Ordering::SeqCst), 2);
        });
    }
}

/// Catches a `close` that wakes one worker only, or none.
#[test]
fn the_end_wakes_every_worker() {
    model(|| {
        Pool::new(2).unwrap().shut_down();
    });
}

/// Catches a job that is lost or counted twice when `cancel` meets a worker, such as one of another
/// kind than the first. That `cancel` leaves out none is for `tests/thread_pool.rs` to see.
#[test]
fn cancel_gives_back_exactly_what_did_not_run() {
    model(|| {
        let (pool, ran) = (Pool::new(1).unwrap(), counter());
        count(&pool, &ran);
        let another_kind = Arc::clone(&ran);
        pool.execute(move || _ = another_kind.fetch_add(1, Ordering::SeqCst))
            .unwrap();
        let left = pool.cancel().len();
        let totals = pool.shut_down();
        assert_eq!((totals.finished, totals.cancelled), (2 - left, left));
        assert_eq!(ran.load(Ordering::SeqCst), 2 - left);
    });
}

/// Catches a `push` that looks whether the pool is closed before it takes the lock.
#[test]
fn a_job_that_meets_the_close_runs_or_comes_back() {
    model(|| {
        let (pool, ran) = (Arc::new(Pool::new(1).unwrap()), counter());
        let (other_pool, other_ran) = (Arc::clone(&pool), Arc::clone(&ran));
        let submitter = thread::spawn(move || {
            let job = move || {
                other_ran.fetch_add(1, Ordering::SeqCst);
            };
            other_pool.execute(job).is_ok()
        });
        pool.close();
        let taken = submitter.join().unwrap();
        drop(pool); // the last owner, so this waits for the worker
        assert_eq!(ran.load(Ordering::SeqCst), usize::from(taken));
    });
}

/// Catches a worker that sleeps beside jobs: two submitters, one worker, and no end that would wake
/// it up.
#[test]
fn a_result_comes_without_the_end_of_the_pool() {
    model(|| {
        let pool = Arc::new(Pool::new(1).unwrap());
        let other = Arc::clone(&pool);
        let submitter = thread::spawn(move || submit(&other, || 1).unwrap().wait());
        assert_eq!(submit(&pool, || 2).unwrap().wait(), Ok(2));
        assert_eq!(submitter.join().unwrap(), Ok(1));
    });
}

/// Catches a handle that looks, lets go of the lock and then sleeps, or that does not say that it
/// sleeps; a result that wakes nobody; a job that is dropped and tells nobody.
#[test]
fn who_waits_gets_the_result_or_hears_of_the_cancelling() {
    model(|| {
        let pool = Pool::new(1).unwrap();
        let handle = submit(&pool, || 1).unwrap();
        let waiter = thread::spawn(move || handle.wait());
        let expected = match pool.cancel().len() {
            0 => Ok(1),
            _ => Err(Failure::Cancelled),
        };
        assert_eq!(waiter.join().unwrap(), expected);
    });
}

fn counter() -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(0))
}

fn count(pool: &Pool, ran: &Arc<AtomicUsize>) {
    let ran = Arc::clone(ran);
    pool.execute(move || {
        ran.fetch_add(1, Ordering::SeqCst);
    })
    .unwrap();
}

/// Runs `threads` under every schedule with a bounded number of preemptions: bugs need one or two.
fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(threads);
}
