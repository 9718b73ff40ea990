//! The scheduler under every schedule of its own thread and one or two others. Loom runs each model
//! again and again, once per way in which the threads can take turns, and reports a deadlock or a
//! panic in any of them. The models run the very file `src/scheduler.rs`, over loom's locks.
//!
//! Loom's `wait_timeout` never times out. So a time passes by a jump of the clock, and a job that
//! is not run then is a wake-up that was lost.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use std::time::{Duration, Instant};

use loom::model::Builder;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, mpsc};
use loom::thread;

use scheduler::{Cancel, Scheduler};

#[path = "../src/scheduler.rs"]
#[allow(
    dead_code,
    reason = "the models need only a part of the scheduler's methods"
)]
mod scheduler;

mod sync {
    pub use loom::sync::{Condvar, Mutex, MutexGuard};
    pub use loom::thread;
}

/// How often a thread may lose its turn where it need not.
const PREEMPTIONS: usize = 3;
const HOUR: Duration = Duration::from_secs(3600);

/// Catches a job that is added without a wake-up, a wake-up before the job is there, and a look at
/// the jobs that lets go of the lock before the wait.
#[test]
fn a_new_job_runs_whatever_the_thread_is_doing() {
    model(|start| {
        let scheduler = Scheduler::with_clock(move || start).unwrap();
        let (ran, runs) = mpsc::channel();
        scheduler.after("", Duration::ZERO, move || ran.send(()).unwrap());
        runs.recv().unwrap();
        assert_eq!(scheduler.stop().not_run, [""; 0]);
    });
}

/// The same while the thread sleeps for a later job.
#[test]
fn an_earlier_job_shortens_the_wait() {
    model(|start| {
        let scheduler = Scheduler::with_clock(move || start).unwrap();
        scheduler.after("later", HOUR, || panic!("before its time"));
        let (ran, runs) = mpsc::channel();
        scheduler.after("now", Duration::ZERO, move || ran.send(()).unwrap());
        runs.recv().unwrap();
        assert_eq!(scheduler.stop().not_run, ["later"]);
    });
}

/// Catches a change of the clock that falls between a look at it and the wait.
#[test]
fn a_jump_of_the_clock_is_not_missed() {
    model(|start| {
        let late = Arc::new(AtomicBool::new(false));
        let clock = Arc::clone(&late);
        let now = move || match clock.load(Ordering::SeqCst) {
            true => start + HOUR,
            false => start,
        };
        let scheduler = Scheduler::with_clock(now).unwrap();
        let (ran, runs) = mpsc::channel();
        scheduler.after("", HOUR, move || ran.send(()).unwrap());
        late.store(true, Ordering::SeqCst);
        scheduler.clock_changed();
        runs.recv().unwrap();
    });
}

/// Catches a stop that is not heard, and a job that is both run and reported, or neither.
#[test]
fn at_the_end_each_job_has_run_or_is_reported() {
    model(|start| {
        let scheduler = Scheduler::with_clock(move || start).unwrap();
        let runs = Arc::new(AtomicUsize::new(0));
        for name in ["first", "second"] {
            let runs = Arc::clone(&runs);
            scheduler.after(name, Duration::ZERO, move || {
                runs.fetch_add(1, Ordering::SeqCst);
            });
        }
        let not_run = scheduler.stop().not_run;
        let expected = ["first", "second"];
        assert_eq!(not_run, expected[runs.load(Ordering::SeqCst)..]);
    });
}

/// Catches a cancel that says InTime of a job that has begun, and one that says Over before it ran.
#[test]
fn a_cancel_says_what_it_did() {
    model(|start| {
        let scheduler = Scheduler::with_clock(move || start).unwrap();
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let id = scheduler.after("", Duration::ZERO, move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let outcome = scheduler.cancel(id);
        let already = runs.load(Ordering::SeqCst);
        assert_eq!(scheduler.stop().not_run, [""; 0]);
        let ran = runs.load(Ordering::SeqCst);
        match outcome {
            Cancel::InTime => assert_eq!(ran, 0),
            Cancel::Running => assert_eq!(ran, 1),
            Cancel::Over => assert_eq!((already, ran), (1, 1)),
        }
    });
}

/// Catches a repeating job that is put back although it was cancelled while it ran.
#[test]
fn a_repeating_job_does_not_come_back_after_its_cancel() {
    model(|start| {
        let hours = Arc::new(AtomicUsize::new(0));
        let clock = Arc::clone(&hours);
        let now = move || start + HOUR * clock.load(Ordering::SeqCst) as u32;
        let scheduler = Scheduler::with_clock(now).unwrap();
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let id = scheduler.every("", HOUR, move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        hours.store(1, Ordering::SeqCst);
        scheduler.clock_changed();
        let outcome = scheduler.cancel(id);
        let at_most = runs.load(Ordering::SeqCst) + usize::from(outcome == Cancel::Running);
        assert_ne!(outcome, Cancel::Over);
        let again = scheduler.cancel(id);
        assert_ne!(again, Cancel::InTime, "it came back");
        hours.store(2, Ordering::SeqCst);
        scheduler.clock_changed();
        drop(scheduler);
        assert!(runs.load(Ordering::SeqCst) <= at_most);
    });
}

/// Two threads, each with a job for the same moment.
#[test]
fn the_jobs_of_two_threads_both_run() {
    model(|start| {
        let scheduler = Arc::new(Scheduler::with_clock(move || start).unwrap());
        let (ran, runs) = mpsc::channel();
        let (there, ran_there) = (Arc::clone(&scheduler), ran.clone());
        let other = thread::spawn(move || {
            there.after("", Duration::ZERO, move || ran_there.send(()).unwrap());
        });
        scheduler.after("", Duration::ZERO, move || ran.send(()).unwrap());
        runs.recv().unwrap();
        runs.recv().unwrap();
        other.join().unwrap();
    });
}

/// Runs `threads` under every schedule with a bounded number of preemptions.
fn model(threads: impl Fn(Instant) + Send + Sync + 'static) {
    let start = Instant::now();
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || threads(start));
}
