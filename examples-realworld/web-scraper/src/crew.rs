//! A crew of workers that take numbered tasks, each the next one as soon as it is free.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// The results that may wait for whoever prints them.
const RESULTS_WAITING: usize = 256;

/// Enough for a TLS handshake; only what is touched takes memory.
const STACK: usize = 256 * 1024;

pub struct Crew<T> {
    /// Each result with the number of its task, in the order of completion. Ends with the last.
    pub results: Receiver<(usize, T)>,
    pub workers: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    next: AtomicUsize,
    stopping: AtomicBool,
}

impl<T> Crew<T> {
    /// No worker takes another task. Those under way are not waited for.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Relaxed);
    }
}

/// Starts as many workers as asked for, but not more than there are tasks.
///
/// `make` gives each worker its own equipment, and a new one after a panic: `panicked` then makes
/// the result of the task, and the others do not notice.
pub fn start<T, F, M>(
    tasks: usize,
    workers: usize,
    make: M,
    panicked: fn(usize, String) -> T,
) -> io::Result<Crew<T>>
where
    T: Send + 'static,
    F: FnMut(usize) -> T,
    M: Fn() -> F + Send + Sync + 'static,
{
    let (sender, results) = sync_channel(RESULTS_WAITING);
    let shared = Arc::new(Shared::default());
    let make = Arc::new(make);
    let mut started = 0;
    for n in 1..=workers.min(tasks) {
        let (sender, shared, make) = (sender.clone(), Arc::clone(&shared), Arc::clone(&make));
        let work = move || {
            let mut task = make();
            while !shared.stopping.load(Relaxed) {
                let number = shared.next.fetch_add(1, Relaxed);
                if number >= tasks {
                    return;
                }
                let result = catch_unwind(AssertUnwindSafe(|| task(number)));
                let result = result.unwrap_or_else(|panic| {
                    task = make(); // the old one may be in any state
                    panicked(number, words_of(&*panic))
                });
                if sender.send((number, result)).is_err() {
                    return; // nobody listens any more
                }
            }
        };
        let builder = thread::Builder::new().name(format!("worker-{n}"));
        match builder.stack_size(STACK).spawn(work) {
            Ok(_) => started += 1,
            // The system gives no more threads: those that are there do the work.
            Err(_) if started > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Crew {
        results,
        workers: started,
        shared,
    })
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", words.unwrap_or("without a word"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(30);

    fn no_panic<T>(number: usize, words: String) -> T {
        panic!("task {number} {words}")
    }

    #[test]
    fn every_task_is_done_once() {
        let crew = start(1000, 8, || |n: usize| n * 2, no_panic).unwrap();
        let results: Vec<(usize, usize)> = crew.results.iter().collect();
        assert_eq!(results.len(), 1000);
        assert!(results.iter().all(|(n, twice)| n * 2 == *twice));
        assert_eq!(results.iter().collect::<HashSet<_>>().len(), 1000);
    }

    #[test]
    fn results_come_in_the_order_of_completion() {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let for_tasks = Arc::clone(&gate);
        let make = move || {
            let gate = Arc::clone(&for_tasks);
            move |n: usize| {
                if n == 0 {
                    let (open, changed) = &*gate;
                    let open = open.lock().unwrap();
                    drop(changed.wait_timeout_while(open, LIMIT, |open| !*open));
                }
            }
        };
        let crew = start(2, 2, make, no_panic).unwrap();
        assert_eq!(crew.results.recv_timeout(LIMIT).unwrap().0, 1);
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        assert_eq!(crew.results.recv_timeout(LIMIT).unwrap().0, 0);
    }

    #[test]
    fn a_task_that_panics_is_a_result_and_harms_no_other() {
        let make = || {
            |n: usize| {
                if n == 3 {
                    panic!("number {n}")
                } else {
                    String::new()
                }
            }
        };
        let crew = start(10, 2, make, |_, words| words).unwrap();
        let results: Vec<(usize, String)> = crew.results.iter().collect();
        assert_eq!(results.len(), 10);
        for (n, words) in results {
            assert_eq!(words, if n == 3 { "panicked: number 3" } else { "" });
        }
    }

    #[test]
    fn there_are_never_more_workers_than_tasks() {
        for (tasks, workers, expected) in [(0, 4, 0), (1, 4, 1), (2, 4, 2), (100, 4, 4)] {
            let crew = start(tasks, workers, || |_| (), no_panic).unwrap();
            assert_eq!(crew.workers, expected);
            assert_eq!(crew.results.iter().count(), tasks);
        }
    }

    #[test]
    fn after_a_stop_no_further_task_is_taken() {
        let crew = start(usize::MAX, 2, || |n: usize| n, no_panic).unwrap();
        crew.results.recv_timeout(LIMIT).unwrap();
        crew.stop();
        // The channel ends when the last worker has.
        while crew.results.recv_timeout(LIMIT).is_ok() {}
    }
}
