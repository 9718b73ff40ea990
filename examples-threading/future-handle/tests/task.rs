//! What a task promises, tested with real threads. Nothing here is ordered by sleeping.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use task::{
    AnyError, Failure, Job, Outcome, Task, TimedOut, Until, Waited, as_completed, task, wait_for,
};
use thread_pool::Pool;

#[path = "../src/sync.rs"]
mod sync;
#[path = "../src/task.rs"]
mod task;
#[path = "../src/thread_pool.rs"]
mod thread_pool;

/// Only against tests that hang; no test needs anything like it.
const LIMIT: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(30);

// How a task ends.

#[test]
fn each_task_ends_as_value_error_panic_or_cancelled() {
    bounded(|| {
        assert_eq!(ran(|| Ok(1)).wait().unwrap(), 1);
        let error = ran::<u32>(|| Err("no such number".into())).wait();
        assert!(
            matches!(error, Err(Failure::Error(error)) if error.to_string() == "no such number")
        );
        let panicked = ran::<u32>(|| panic::resume_unwind(Box::new("the text"))).wait();
        assert!(matches!(panicked, Err(Failure::Panicked(text)) if text == "the text"));
        let (_job, cancelled) = task(|| Ok(1));
        assert!(cancelled.cancel() && cancelled.is_done());
        assert!(matches!(cancelled.wait(), Err(Failure::Cancelled)));
    });
}

#[test]
fn a_job_that_is_dropped_leaves_no_waiter_behind() {
    bounded(|| {
        let (job, task) = task(|| Ok(1));
        let waiter = thread::spawn(|| task.wait());
        drop(job);
        assert!(matches!(waiter.join().unwrap(), Err(Failure::Cancelled)));
    });
}

#[test]
fn cancel_works_before_the_start_and_is_refused_after_it() {
    bounded(|| {
        let (started, start) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let (job, running) = task(move || {
            started.send(())?;
            let _ = wait.recv();
            Ok("value")
        });
        let runner = thread::spawn(|| job.run());
        start.recv().unwrap();
        assert!(!running.cancel() && !running.is_done());
        drop(go);
        runner.join().unwrap();
        assert!(!running.cancel(), "nor after the end");
        assert_eq!(running.wait().unwrap(), "value");

        let calls = Arc::new(AtomicUsize::new(0));
        let (job, waiting) = counting(&calls);
        assert!(waiting.cancel() && waiting.cancel(), "twice is fine");
        job.run();
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        assert_eq!(Arc::strong_count(&calls), 1, "the work is dropped");
    });
}

#[test]
fn a_pool_that_is_cancelled_leaves_every_task_ended() {
    bounded(|| {
        let pool = Pool::new(2).unwrap();
        let tasks: Vec<_> = (0..200).map(|n| submit(&pool, move || Ok(n))).collect();
        drop(pool.cancel());
        let totals = pool.shut_down();
        let is_cancelled = |it: &Outcome<u32>| matches!(it, Err(Failure::Cancelled));
        let outcomes: Vec<_> = tasks.into_iter().map(Task::wait).collect();
        assert_eq!(
            outcomes.iter().filter(|it| is_cancelled(it)).count(),
            totals.cancelled
        );
        assert_eq!(
            outcomes.iter().filter(|it| it.is_ok()).count(),
            totals.finished
        );
    });
}

/// In Python, an exception between the submits and the shutdown left the pool's threads running.
#[test]
fn an_error_on_the_way_does_not_leak_the_pool() {
    bounded(|| {
        let done = Arc::new(AtomicUsize::new(0));
        let give_up = || -> Result<(), AnyError> {
            let pool = Pool::new(2)?;
            for _ in 0..20 {
                let (job, _) = counting(&done);
                pool.execute(|| job.run()).map_err(|_| "refused")?;
            }
            Err("given up")?
        };
        assert!(give_up().is_err());
        // The pool was dropped on the way out: its threads have ended, and all work is done.
        assert_eq!(
            (done.load(Ordering::SeqCst), Arc::strong_count(&done)),
            (20, 1)
        );
    });
}

#[test]
fn arguments_and_results_are_freed_soon() {
    bounded(|| {
        let (argument, result) = (Arc::new(()), Arc::new(()));
        let (its_argument, its_result) = (Arc::clone(&argument), Arc::clone(&result));
        let task = ran(move || {
            drop(its_argument);
            Ok(its_result)
        });
        assert_eq!(Arc::strong_count(&argument), 1);
        drop(task.wait().unwrap());
        assert_eq!(Arc::strong_count(&result), 1);
        let its_result = Arc::clone(&result);
        drop(ran(move || Ok(its_result)));
        assert_eq!(Arc::strong_count(&result), 1, "also when nobody waits");
    });
}

// Waiting for one.

#[test]
fn wait_with_a_time_out_gives_the_task_back() {
    bounded(|| {
        let (job, task) = task(|| Ok(5));
        let begin = Instant::now();
        let Err(task) = task.wait_timeout(SHORT) else {
            panic!("it has not begun")
        };
        assert!(begin.elapsed() >= SHORT);
        let Err(task) = task.wait_timeout(Duration::ZERO) else {
            panic!("it has not begun")
        };
        let waiter = thread::spawn(|| task.wait_timeout(LIMIT * 2));
        job.run();
        let Ok(outcome) = waiter.join().unwrap() else {
            panic!("it has ended")
        };
        assert_eq!(outcome.unwrap(), 5);
        let endless = ran(|| Ok(6)).wait_timeout(Duration::MAX);
        assert!(matches!(endless, Ok(Ok(6))));
    });
}

#[test]
fn several_threads_may_wait_for_one_task() {
    bounded(|| {
        for _ in 0..100 {
            let (job, task) = task(|| Ok(5));
            let tasks = [task];
            let together = Barrier::new(4);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        together.wait();
                        assert_eq!(wait_for(&tasks, Until::All, None).done, [0]);
                    });
                }
                together.wait();
                job.run();
            });
            let [task] = tasks;
            assert_eq!(task.wait().unwrap(), 5);
        }
    });
}

#[test]
fn a_task_may_wait_for_a_task_of_its_own_pool() {
    bounded(|| {
        let pool = Arc::new(Pool::new(1).unwrap());
        let inner_pool = Arc::clone(&pool);
        let outer = submit(&pool, move || {
            let first = submit(&inner_pool, || Ok(3));
            let rest = (0..4).map(|n| submit(&inner_pool, move || Ok(n))).collect();
            let rest: Vec<u32> = as_completed(rest).map(|(_, it)| it.unwrap()).collect();
            Ok(first.wait()? + rest.into_iter().sum::<u32>())
        });
        assert_eq!(outer.wait().unwrap(), 9);
    });
}

#[test]
fn a_task_that_waits_for_itself_fails_instead_of_hanging() {
    bounded(|| {
        let itself = Arc::new(Mutex::new(None::<Task<()>>));
        let inner = Arc::clone(&itself);
        let (job, task) = task(move || Ok(inner.lock().unwrap().take().unwrap().wait()?));
        let (sender, outcome) = mpsc::channel();
        task.on_done(move |outcome| sender.send(format!("{outcome:?}")).unwrap());
        *itself.lock().unwrap() = Some(task);
        job.run();
        assert!(outcome.recv().unwrap().contains("must not wait for itself"));
    });
}

// Callbacks.

#[test]
fn callbacks_run_once_in_their_order_and_one_that_panics_does_not_stop_the_rest() {
    bounded(|| {
        let (job, task) = task(|| Ok(5));
        let (sender, calls) = mpsc::channel();
        let note = |text: &'static str| {
            let sender = sender.clone();
            move |outcome: &Outcome<u32>| {
                sender.send((text, *outcome.as_ref().unwrap())).unwrap();
            }
        };
        task.on_done(note("first"));
        task.on_done(|_| panic::resume_unwind(Box::new("no")));
        task.on_done(note("third"));
        assert!(calls.try_recv().is_err());
        job.run();
        // When the task is done, its callbacks have run.
        assert_eq!(
            calls.try_iter().collect::<Vec<_>>(),
            [("first", 5), ("third", 5)]
        );
        task.on_done(note("late"));
        assert_eq!(calls.try_iter().collect::<Vec<_>>(), [("late", 5)]);
        assert_eq!(task.wait().unwrap(), 5);
    });
}

#[test]
fn callbacks_hear_of_a_cancelling() {
    let (_job, task) = task::<u32, _>(|| Ok(5));
    let heard = Arc::new(AtomicUsize::new(0));
    let its = Arc::clone(&heard);
    task.on_done(move |outcome| {
        its.fetch_add(
            usize::from(matches!(outcome, Err(Failure::Cancelled))),
            Ordering::SeqCst,
        );
    });
    task.cancel();
    task.cancel();
    assert_eq!(heard.load(Ordering::SeqCst), 1);
}

/// A callback is a part of its task, too.
#[test]
fn a_callback_that_waits_for_its_own_task_fails_instead_of_hanging() {
    bounded(|| {
        let (job, task) = task(|| Ok(5));
        let tasks = Arc::new([task]);
        let its_tasks = Arc::clone(&tasks);
        tasks[0].on_done(move |_| drop(wait_for(&*its_tasks, Until::All, None)));
        job.run();
        assert!(tasks[0].is_done());
    });
}

// Waiting for several.

#[test]
fn wait_for_the_first_the_first_error_or_all() {
    bounded(|| {
        let (jobs, tasks) = four();
        let mut jobs = jobs.into_iter();
        let waited = |done: &[usize], pending: &[usize]| Waited {
            done: done.to_vec(),
            pending: pending.to_vec(),
        };
        let begin = Instant::now();
        let nothing = wait_for(&tasks, Until::FirstCompleted, Some(SHORT));
        assert!(begin.elapsed() >= SHORT);
        assert_eq!(nothing, waited(&[], &[0, 1, 2, 3]));

        jobs.next().unwrap().run();
        assert_eq!(
            wait_for(&tasks, Until::FirstCompleted, None),
            waited(&[0], &[1, 2, 3])
        );
        let no_error = wait_for(&tasks, Until::FirstError, Some(Duration::ZERO));
        assert_eq!(no_error, waited(&[0], &[1, 2, 3]));

        jobs.next().unwrap().run(); // an error
        assert_eq!(
            wait_for(&tasks, Until::FirstError, None),
            waited(&[0, 1], &[2, 3])
        );
        let not_all = wait_for(&tasks, Until::All, Some(Duration::ZERO));
        assert_eq!(not_all, waited(&[0, 1], &[2, 3]));

        jobs.for_each(Job::run);
        assert_eq!(wait_for(&tasks, Until::All, None).done, [0, 1, 2, 3]);
        let without_error = wait_for(&tasks[2..], Until::FirstError, None);
        assert_eq!(
            without_error,
            waited(&[0, 1], &[]),
            "all, if there is no error"
        );
        assert_eq!(
            wait_for::<u32>(&[], Until::FirstCompleted, None),
            waited(&[], &[])
        );
    });
}

/// As for `FIRST_EXCEPTION`.
#[test]
fn a_cancelling_is_no_error_to_wait_for() {
    bounded(|| {
        let (mut jobs, tasks) = four();
        tasks[0].cancel();
        let begin = Instant::now();
        let no_error = wait_for(&tasks, Until::FirstError, Some(SHORT));
        assert!(begin.elapsed() >= SHORT, "it has to wait on");
        assert_eq!(no_error.done, [0]);
        jobs.remove(1).run(); // an error
        assert_eq!(wait_for(&tasks, Until::FirstError, None).done, [0, 1]);
    });
}

#[test]
fn who_waits_is_woken_by_what_it_waits_for() {
    bounded(|| {
        for (until, last) in [
            (Until::FirstCompleted, 1),
            (Until::FirstError, 2),
            (Until::All, 4),
        ] {
            let (jobs, tasks) = four();
            let waiter = thread::spawn(move || wait_for(&tasks, until, None).done.len());
            let mut jobs = jobs.into_iter();
            jobs.by_ref().take(last).for_each(Job::run);
            assert!(waiter.join().unwrap() >= last);
        }
    });
}

#[test]
fn as_completed_gives_each_outcome_once_in_the_order_of_the_ends() {
    bounded(|| {
        let (mut jobs, tasks) = four();
        let mut results = as_completed(tasks);
        jobs.remove(2).run();
        jobs.remove(0).run();
        assert!(matches!(results.next(), Some((2, Ok(2)))));
        assert!(matches!(results.next_timeout(LIMIT), Ok(Some((0, Ok(0))))));
        jobs.into_iter().for_each(Job::run);
        assert!(matches!(results.next(), Some((1, Err(Failure::Error(_))))));
        assert!(matches!(results.next(), Some((3, Ok(3)))));
        assert!(results.next().is_none() && results.next().is_none());
        assert_eq!(as_completed::<u32>(Vec::new()).count(), 0);
    });
}

#[test]
fn as_completed_with_a_time_out_can_be_asked_again() {
    bounded(|| {
        let (job, task) = task(|| Ok(5));
        let mut results = as_completed(vec![task]);
        let begin = Instant::now();
        assert_eq!(results.next_timeout(SHORT).unwrap_err(), TimedOut);
        assert!(begin.elapsed() >= SHORT);
        assert_eq!(results.next_timeout(Duration::ZERO).unwrap_err(), TimedOut);
        job.run();
        assert!(matches!(results.next_timeout(LIMIT), Ok(Some((0, Ok(5))))));
        assert!(matches!(results.next_timeout(Duration::ZERO), Ok(None)));
    });
}

#[test]
fn a_thousand_tasks_race_with_their_cancelling_and_each_ends_once() {
    bounded(|| {
        let pool = Pool::new(3).unwrap();
        let ended = Arc::new(AtomicUsize::new(0));
        let calls = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        let mut cancelled = 0;
        for _ in 0..1000 {
            let (job, task) = counting(&calls);
            let ended = Arc::clone(&ended);
            task.on_done(move |_| {
                ended.fetch_add(1, Ordering::SeqCst);
            });
            pool.execute(|| job.run()).unwrap();
            tasks.push(task);
            cancelled += usize::from(tasks[tasks.len() / 2].cancel());
        }
        let cancelled_at_last = as_completed(tasks).filter(|(_, it)| it.is_err()).count();
        assert!(cancelled_at_last <= cancelled);
        assert_eq!(calls.load(Ordering::SeqCst), 1000 - cancelled_at_last);
        assert_eq!(ended.load(Ordering::SeqCst), 1000);
    });
}

#[test]
fn two_tasks_run_at_once_on_two_workers() {
    bounded(|| {
        let pool = Pool::new(2).unwrap();
        let meeting = Arc::new(Barrier::new(2));
        let meet = || {
            let meeting = Arc::clone(&meeting);
            submit(&pool, move || Ok(meeting.wait().is_leader()))
        };
        let [a, b] = [meet(), meet()].map(|it| it.wait().unwrap());
        assert!(a != b);
    });
}

/// Four tasks with the results 0, an error, 2 and 3.
fn four() -> (Vec<Job<u32>>, Vec<Task<u32>>) {
    let work = |n: u32| move || if n == 1 { Err("no".into()) } else { Ok(n) };
    (0..4).map(|n| task(work(n))).unzip()
}

/// A task that has ended.
fn ran<T>(work: impl FnOnce() -> Result<T, AnyError> + Send + 'static) -> Task<T> {
    let (job, task) = task(work);
    job.run();
    task
}

fn counting(calls: &Arc<AtomicUsize>) -> (Job<()>, Task<()>) {
    let calls = Arc::clone(calls);
    task(move || {
        calls.fetch_add(1, Ordering::SeqCst);
        Ok(())
    })
}

fn submit<T: Send + 'static>(
    pool: &Pool,
    work: impl FnOnce() -> Result<T, AnyError> + Send + 'static,
) -> Task<T> {
    let (job, task) = task(work);
    pool.execute(|| job.run()).unwrap();
    task
}

/// Runs a test that would hang if the task were wrong: a hang becomes a failure.
fn bounded(test: impl FnOnce() + Send + 'static) {
    let (finished, end) = mpsc::channel::<()>();
    let runner = thread::spawn(move || {
        // Dropped on every way out, a panic included: that is what the receiver hears.
        let _finished = finished;
        test();
    });
    if end.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("still waiting after {LIMIT:?}");
    }
    if let Err(failure) = runner.join() {
        panic::resume_unwind(failure);
    }
}
