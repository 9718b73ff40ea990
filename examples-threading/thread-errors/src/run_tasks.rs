//! Runs tasks on a few threads, where each task may fail or panic without harm to the others.

use std::any::Any;
use std::error::Error;
use std::fmt::{self, Display};
use std::io;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Runs `work` for each task on a few threads, and pairs each task with what became of it.
///
/// A panic ends its task, not its thread, which goes on with the next task.
pub fn run_tasks<T: Send>(
    tasks: &[u32],
    threads: NonZero<usize>,
    work: impl Fn(u32) -> Result<T, String> + Sync,
) -> io::Result<Vec<Outcome<T>>> {
    let attempt = |task| {
        // Threads share `work`, so what it changes is behind a lock; and a lock that was held in a
        // panic says so to the next one. That is what is asserted here.
        let cause = match catch_unwind(AssertUnwindSafe(|| work(task))) {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(message)) => Cause::Failed(message),
            Err(payload) => Cause::Panicked(text_of(&*payload)),
        };
        Err(TaskError { task, cause })
    };
    let next = AtomicUsize::new(0);
    let claim = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        tasks.get(index).map(|&task| (index, task))
    };
    let work_through = || {
        let mut outcomes = Vec::new();
        while let Some((index, task)) = claim() {
            outcomes.push((index, task, attempt(task)));
        }
        outcomes
    };
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for n in 1..=threads.get().min(tasks.len()) {
            let thread = thread::Builder::new().name(format!("worker-{n}"));
            workers.push(thread.spawn_scoped(scope, work_through)?);
        }
        let mut outcomes = Vec::new();
        for worker in workers {
            let of_worker = worker.join();
            outcomes.extend(of_worker.expect("a worker catches the panics of its tasks"));
        }
        outcomes.sort_unstable_by_key(|(index, ..)| *index);
        let in_order = outcomes.into_iter();
        Ok(in_order.map(|(_, task, outcome)| (task, outcome)).collect())
    })
}

/// A task and what became of it.
pub type Outcome<T> = (u32, Result<T, TaskError>);

/// Which task has no result, and why.
#[derive(Debug, PartialEq)]
pub struct TaskError {
    pub task: u32,
    pub cause: Cause,
}

#[derive(Debug, PartialEq)]
pub enum Cause {
    Failed(String),
    Panicked(String),
}

impl Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.cause {
            Cause::Failed(message) => write!(f, "task {} failed: {message}", self.task),
            Cause::Panicked(message) => write!(f, "task {} panicked: {message}", self.task),
        }
    }
}

impl Error for TaskError {}

/// What `panic!` was given is text, unless someone panics with another value on purpose.
pub fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const ONE: NonZero<usize> = NonZero::new(1).unwrap();

    fn odd_ones_fail(task: u32) -> Result<u32, String> {
        match task % 4 {
            1 => Err(format!("{task} is odd")),
            3 => panic!("{task} is very odd"),
            _ => Ok(task * 10),
        }
    }

    #[test]
    fn each_input_is_paired_with_its_own_outcome_on_any_number_of_threads() {
        let tasks = [4, 1, 2, 3, 4, 4, 5];
        let error = |task, cause| (task, Err(TaskError { task, cause }));
        let expected = [
            (4, Ok(40)),
            error(1, Cause::Failed("1 is odd".to_string())),
            (2, Ok(20)),
            error(3, Cause::Panicked("3 is very odd".to_string())),
            (4, Ok(40)),
            (4, Ok(40)),
            error(5, Cause::Failed("5 is odd".to_string())),
        ];
        for threads in [1, 2, 4, 100] {
            let threads = NonZero::new(threads).unwrap();
            let outcomes = run_tasks(&tasks, threads, odd_ones_fail).unwrap();
            assert_eq!(outcomes, expected, "{threads} threads");
        }
        assert!(run_tasks(&[], ONE, odd_ones_fail).unwrap().is_empty());
    }

    #[test]
    fn a_thread_outlives_the_panics_of_its_tasks() {
        let here = || Ok(thread::current().name().unwrap_or_default().to_string());
        let work = |task| if task < 4 { panic!("no") } else { here() };
        let outcomes = run_tasks(&[1, 2, 3, 4], ONE, work).unwrap();
        let failed = outcomes.iter().filter(|(_, outcome)| outcome.is_err());
        assert_eq!(failed.count(), 3);
        assert_eq!(outcomes[3], (4, Ok("worker-1".to_string())));
    }

    #[test]
    fn a_lock_that_was_held_in_a_panic_is_an_error_of_the_next_task_not_its_panic() {
        let sum = Mutex::new(0);
        let work = |task| {
            let mut sum = sum.lock().map_err(|_| "the sum may be wrong".to_string())?;
            assert_ne!(task, 2);
            *sum += task;
            Ok(())
        };
        let outcomes = run_tasks(&[1, 2, 3], ONE, work).unwrap();
        let [(1, Ok(())), (2, Err(second)), (3, Err(third))] = &outcomes[..] else {
            panic!("{outcomes:?}");
        };
        assert!(matches!(second.cause, Cause::Panicked(_)));
        assert_eq!(third.to_string(), "task 3 failed: the sum may be wrong");
        // It can be used again by whoever has looked at what is inside.
        assert_eq!(
            sum.into_inner()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
            1
        );
    }

    #[test]
    fn whatever_a_panic_was_given_there_is_a_text() {
        assert_eq!(text_of(&"a text"), "a text");
        assert_eq!(text_of(&"its own".to_string()), "its own");
        assert_eq!(text_of(&7), "no message");
    }
}
