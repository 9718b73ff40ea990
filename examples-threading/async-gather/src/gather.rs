//! `gather` and `outcomes`: run futures as tasks at once, and have what they gave in their order.
//!
//! Both own their tasks: whoever drops them, as a time-out does, ends the tasks, too. What ends is
//! the waiting at an `.await`; work that was given to a thread by `spawn_blocking` goes on.

use std::any::Any;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};

/// Why a task has no value.
#[derive(Debug, PartialEq)]
pub enum Failure<E> {
    Error(E),
    Panicked(String),
    /// Its runtime was shut down.
    Cancelled,
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::Error(error) => write!(f, "failed: {error}"),
            Failure::Panicked(text) => write!(f, "panicked: {text}"),
            Failure::Cancelled => write!(f, "cancelled"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> Error for Failure<E> {}

/// Which task was the first to fail, counted from 0, and why.
#[derive(Debug, PartialEq)]
pub struct FirstFailure<E> {
    pub task: usize,
    pub failure: Failure<E>,
}

impl<E: fmt::Display> fmt::Display for FirstFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "task {} {}", self.task, self.failure)
    }
}

impl<E: fmt::Debug + fmt::Display> Error for FirstFailure<E> {}

/// All values, or the first failure; the other tasks are cancelled then, and have ended when this
/// returns. This is Python's `TaskGroup`; its `gather` would leave them running.
pub async fn gather<T, E, F>(
    futures: impl IntoIterator<Item = F>,
) -> Result<Vec<T>, FirstFailure<E>>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut tasks = Tasks::start(futures);
    let mut values = Vec::new();
    while let Some((task, outcome)) = tasks.next_to_end().await {
        match outcome {
            Ok(value) => values.push((task, value)),
            Err(failure) => {
                tasks.set.shutdown().await;
                return Err(FirstFailure { task, failure });
            }
        }
    }
    Ok(in_order(values))
}

/// What became of each task, all of them: Python's `gather(return_exceptions=True)`.
pub async fn outcomes<T, E, F>(futures: impl IntoIterator<Item = F>) -> Vec<Result<T, Failure<E>>>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut tasks = Tasks::start(futures);
    let mut outcomes = Vec::new();
    while let Some(outcome) = tasks.next_to_end().await {
        outcomes.push(outcome);
    }
    in_order(outcomes)
}

/// The future, begun only when there is a permit for it: Python's `async with semaphore`. The
/// permit comes back when it has ended or is dropped: after an error, a panic, a time-out, too.
pub fn with_permit<F: Future>(
    permits: &Arc<Semaphore>,
    future: F,
) -> impl Future<Output = F::Output> + use<F> {
    let permits = Arc::clone(permits);
    async move {
        let permit = permits.acquire().await;
        let _permit = permit.expect("nobody closes the semaphore");
        future.await
    }
}

/// Tasks come out of a `JoinSet` as they end. Ids tell which is which, also of a panicked one.
struct Tasks<R> {
    set: JoinSet<R>,
    numbers: HashMap<Id, usize>,
}

impl<T: Send + 'static, E: Send + 'static> Tasks<Result<T, E>> {
    fn start<F>(futures: impl IntoIterator<Item = F>) -> Tasks<Result<T, E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut set = JoinSet::new();
        let ids = futures.into_iter().map(|future| set.spawn(future).id());
        let numbers = ids.zip(0..).collect();
        Tasks { set, numbers }
    }

    async fn next_to_end(&mut self) -> Option<(usize, Result<T, Failure<E>>)> {
        let (id, outcome) = match self.set.join_next_with_id().await? {
            Ok((id, outcome)) => (id, outcome.map_err(Failure::Error)),
            Err(error) => (error.id(), Err(why(error))),
        };
        Some((self.numbers[&id], outcome))
    }
}

fn why<E>(error: JoinError) -> Failure<E> {
    match error.try_into_panic() {
        Ok(payload) => Failure::Panicked(text_of(payload)),
        Err(_) => Failure::Cancelled,
    }
}

fn text_of(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref().unwrap_or(&"no text").to_string(),
    }
}

fn in_order<R>(mut numbered: Vec<(usize, R)>) -> Vec<R> {
    numbered.sort_by_key(|(task, _)| *task);
    numbered.into_iter().map(|(_, result)| result).collect()
}

/// Their clock is paused: it jumps to the next timer when all tasks wait, so that no test depends
/// on how fast the machine is, and times are exact.
#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::runtime::Builder;
    use tokio::time::{Instant, sleep, timeout};

    fn with_paused_clock<T>(test: impl Future<Output = T>) -> T {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build();
        runtime.unwrap().block_on(test)
    }

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Counts the tasks that are alive: one more from its making, one less from its drop.
    struct Alive(Arc<AtomicUsize>);

    impl Alive {
        fn new(count: &Arc<AtomicUsize>) -> Alive {
            count.fetch_add(1, Ordering::Relaxed);
            Alive(Arc::clone(count))
        }
    }

    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Three tasks, of which the one at index 1 fails after a second; the others take an hour.
    fn one_fails(
        alive: &Arc<AtomicUsize>,
        done: &Arc<AtomicUsize>,
    ) -> Vec<impl Future<Output = Result<(), &'static str>> + use<>> {
        let task = |n| {
            let (alive, done) = (Alive::new(alive), Arc::clone(done));
            async move {
                let _alive = alive;
                if n == 1 {
                    sleep(seconds(1)).await;
                    return Err("no");
                }
                sleep(seconds(3600)).await;
                done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        };
        (0..3).map(task).collect()
    }

    #[test]
    fn values_come_in_the_order_of_the_tasks_whatever_order_they_end_in() {
        with_paused_clock(async {
            let task = |n: u64| async move {
                sleep(seconds(10 - n)).await;
                Ok::<_, Infallible>(n)
            };
            assert_eq!(gather((1..=5).map(task)).await, Ok(vec![1, 2, 3, 4, 5]));
            let all = outcomes((1..=5).map(task)).await;
            assert_eq!(all, [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5)]);
        });
    }

    #[test]
    fn five_waits_take_as_long_as_one() {
        with_paused_clock(async {
            let begin = Instant::now();
            let wait = |_| async {
                sleep(seconds(1)).await;
                Ok::<_, Infallible>(())
            };
            gather((0..5).map(wait)).await.unwrap();
            let took = begin.elapsed();
            assert!(seconds(1) <= took && took < seconds(2), "{took:?}");
        });
    }

    #[test]
    fn the_first_error_left_the_others_running() {
        with_paused_clock(async {
            let (alive, done) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
            let begin = Instant::now();
            let first = gather(one_fails(&alive, &done)).await.unwrap_err();
            assert_eq!((first.task, first.failure), (1, Failure::Error("no")));
            assert_eq!(alive.load(Ordering::Relaxed), 0, "still running");
            assert!(begin.elapsed() < seconds(2), "not waited for");
            sleep(seconds(7200)).await;
            assert_eq!(done.load(Ordering::Relaxed), 0);
        });
    }

    #[test]
    fn outcomes_wait_for_all_and_count_a_failed_one_as_failed() {
        with_paused_clock(async {
            let (alive, done) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
            let all = outcomes(one_fails(&alive, &done)).await;
            assert_eq!(all, [Ok(()), Err(Failure::Error("no")), Ok(())]);
            assert_eq!(done.load(Ordering::Relaxed), 2);
        });
    }

    #[test]
    fn a_time_out_around_them_stops_their_tasks() {
        with_paused_clock(async {
            let (alive, done) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
            let late = timeout(seconds(60), outcomes(one_fails(&alive, &done)));
            assert!(late.await.is_err());
            sleep(seconds(7200)).await;
            assert_eq!(alive.load(Ordering::Relaxed), 0, "still running");
            assert_eq!(done.load(Ordering::Relaxed), 0);
        });
    }

    #[test]
    fn a_panic_is_the_failure_of_its_task_only() {
        with_paused_clock(async {
            let task = |n| async move {
                sleep(seconds(n)).await;
                match n {
                    2 => panic!("on purpose"),
                    3 => panic!("task {n}, on purpose"),
                    _ => Ok::<_, Infallible>(n),
                }
            };
            let panicked = |text: &str| Err(Failure::Panicked(text.to_string()));
            let expected = [
                Ok(1),
                panicked("on purpose"),
                panicked("task 3, on purpose"),
                Ok(4),
            ];
            assert_eq!(outcomes((1..=4).map(task)).await, expected);
            let first = gather((1..=4).map(task)).await.unwrap_err();
            assert_eq!(first.to_string(), "task 1 panicked: on purpose");
        });
    }

    #[test]
    fn no_tasks_is_an_empty_list() {
        with_paused_clock(async {
            type Nothing = std::future::Ready<Result<(), Infallible>>;
            assert_eq!(gather(Vec::<Nothing>::new()).await, Ok(vec![]));
            assert_eq!(outcomes(Vec::<Nothing>::new()).await, []);
        });
    }

    /// Six tasks of a second for two permits; of the first two, one fails and one panics.
    fn six_for(
        permits: &Arc<Semaphore>,
    ) -> Vec<impl Future<Output = Result<u64, &'static str>> + use<>> {
        let task = |n| async move {
            sleep(seconds(1)).await;
            match n {
                0 => Err("no"),
                1 => panic!("on purpose"),
                _ => Ok(n),
            }
        };
        (0..6).map(|n| with_permit(permits, task(n))).collect()
    }

    #[test]
    fn no_more_run_at_once_than_there_are_permits() {
        with_paused_clock(async {
            let begin = Instant::now();
            let permits = Arc::new(Semaphore::new(2));
            let running = Arc::new(AtomicUsize::new(0));
            let task = |_| {
                let running = Arc::clone(&running);
                with_permit(&permits, async move {
                    let alive = Alive::new(&running);
                    sleep(seconds(1)).await;
                    Ok::<_, Infallible>(alive.0.load(Ordering::Relaxed))
                })
            };
            let most = gather((0..6).map(task)).await.unwrap().into_iter().max();
            assert_eq!(most, Some(2));
            let took = begin.elapsed();
            assert!(seconds(3) <= took && took < seconds(4), "{took:?}");
        });
    }

    #[test]
    fn a_permit_comes_back_after_an_error_and_after_a_panic() {
        with_paused_clock(async {
            let permits = Arc::new(Semaphore::new(2));
            let all = timeout(seconds(60), outcomes(six_for(&permits)));
            let all = all.await.expect("a permit was lost");
            assert_eq!(all.iter().filter(|outcome| outcome.is_ok()).count(), 4);
            assert_eq!(permits.available_permits(), 2);
        });
    }

    #[test]
    fn a_permit_comes_back_after_a_time_out_and_after_the_first_error() {
        with_paused_clock(async {
            let permits = Arc::new(Semaphore::new(2));
            let half = Duration::from_millis(500);
            let late = timeout(half, outcomes(six_for(&permits))).await;
            assert!(late.is_err());
            // The tasks are told to end; they do so at their next turn.
            sleep(half).await;
            assert_eq!(permits.available_permits(), 2);
            assert_eq!(gather(six_for(&permits)).await.unwrap_err().task, 0);
            assert_eq!(permits.available_permits(), 2);
        });
    }

    #[test]
    fn tasks_of_a_runtime_that_is_shut_down_are_cancelled_not_waited_for() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let never = std::future::pending::<Result<(), Infallible>>();
        assert_eq!(
            handle.block_on(outcomes([never])),
            [Err(Failure::Cancelled)]
        );
    }
}
