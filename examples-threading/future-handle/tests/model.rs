//! The task under every schedule of two or three threads. Loom runs each model again and again,
//! once per way in which the threads can take turns, and reports a deadlock, a panic or a leak in
//! any of them. The models run the very file `src/task.rs`, over loom's locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use std::time::Duration;

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use task::{Failure, Until, as_completed, task, wait_for};

#[path = "../src/task.rs"]
#[allow(dead_code, reason = "the models need only a part of it")]
mod task;

mod sync {
    use std::time::Duration;

    use loom::sync::atomic::{AtomicBool, Ordering};
    pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub use loom::thread::ThreadId;
    pub use loom::{thread, thread_local};

    loom::lazy_static! {
        static ref LATE: AtomicBool = AtomicBool::new(false);
    }

    /// A clock that knows two times: 0, and an hour later. Looking for a moment takes an hour, too.
    #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
    pub struct Instant(Duration);

    impl Instant {
        pub fn now() -> Self {
            let late = LATE.load(Ordering::SeqCst);
            Self(Duration::from_secs(if late { 3600 } else { 0 }))
        }

        pub fn checked_add(self, timeout: Duration) -> Option<Self> {
            self.0.checked_add(timeout).map(Self)
        }

        pub fn saturating_duration_since(self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }

        pub fn elapsed(self) -> Duration {
            Duration::from_secs(3600)
        }
    }

    /// From now on every deadline is over. Who sleeps learns it when it wakes up for another reason.
    pub fn time_passes() {
        LATE.store(true, Ordering::SeqCst);
    }
}

/// Catches an end that tells nobody, or tells before the outcome is there; a wait that looks, lets
/// go of the lock and then sleeps.
#[test]
fn who_waits_gets_the_value() {
    model(|| {
        let (job, task) = task(|| Ok(1));
        let runner = thread::spawn(move || job.run());
        assert_eq!(task.wait().unwrap(), 1);
        runner.join().unwrap();
    });
}

/// Catches an end that tells the first of those who wait only.
#[test]
fn nobody_of_those_who_wait_is_left_behind() {
    model(|| {
        let (job, task) = task(|| Ok(1));
        let task = Arc::new([task]);
        let other = Arc::clone(&task);
        let waiter = thread::spawn(move || wait_for(&*other, Until::All, None).done.len());
        let runner = thread::spawn(move || job.run());
        assert_eq!(wait_for(&*task, Until::All, None).done.len(), 1);
        assert_eq!(waiter.join().unwrap(), 1);
        runner.join().unwrap();
    });
}

/// Catches a task that both runs and is cancelled, and one that does neither.
#[test]
fn a_cancelling_that_meets_the_start_wins_or_loses() {
    model(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        let its_calls = Arc::clone(&calls);
        let (job, task) = task(move || Ok(its_calls.fetch_add(1, Ordering::SeqCst)));
        let runner = thread::spawn(move || job.run());
        let cancelled = task.cancel();
        let outcome = task.wait();
        runner.join().unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), usize::from(!cancelled));
        assert_eq!(matches!(outcome, Err(Failure::Cancelled)), cancelled);
    });
}

/// Catches a job that is dropped and tells nobody.
#[test]
fn a_dropped_job_wakes_who_waits() {
    model(|| {
        let (job, task) = task(|| Ok(1));
        let dropper = thread::spawn(move || drop(job));
        assert!(matches!(task.wait(), Err(Failure::Cancelled)));
        dropper.join().unwrap();
    });
}

/// Catches a callback that is lost, or called twice, when it is added while the task ends; and one
/// that runs after who waits has gone on.
#[test]
fn a_callback_that_meets_the_end_is_called_once() {
    model(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        let (job, task) = task(|| Ok(1));
        let runner = thread::spawn(move || job.run());
        for _ in 0..2 {
            let its_calls = Arc::clone(&calls);
            task.on_done(move |_| {
                its_calls.fetch_add(1, Ordering::SeqCst);
            });
        }
        assert_eq!(task.wait().unwrap(), 1);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        runner.join().unwrap();
    });
}

/// Catches an end that comes between the look at a task and the watching, and is missed.
#[test]
fn the_first_of_two_tasks_is_enough_and_each_is_given_once() {
    model(|| {
        let ((job, first), (other_job, second)) = (task(|| Ok(1)), task(|| Ok(2)));
        let runner = thread::spawn(move || job.run());
        let other_runner = thread::spawn(move || other_job.run());
        let tasks = vec![first, second];
        assert!(
            !wait_for(&tasks, Until::FirstCompleted, None)
                .done
                .is_empty()
        );
        let mut values: Vec<_> = as_completed(tasks).map(|(_, it)| it.unwrap()).collect();
        values.sort();
        assert_eq!(values, [1, 2]);
        runner.join().unwrap();
        other_runner.join().unwrap();
    });
}

/// Catches an outcome that is lost when the time is up at that moment.
#[test]
fn a_time_out_that_meets_the_end_gives_the_outcome_or_the_task() {
    model(|| {
        let (job, task) = task(|| Ok(1));
        let runner = thread::spawn(move || {
            sync::time_passes();
            job.run();
        });
        let outcome = match task.wait_timeout(Duration::from_secs(1)) {
            Ok(outcome) => outcome,
            Err(task) => task.wait(),
        };
        assert_eq!(outcome.unwrap(), 1);
        runner.join().unwrap();
    });
}

/// Runs `threads` under every schedule with a bounded number of preemptions: bugs need one or two.
fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(threads);
}
