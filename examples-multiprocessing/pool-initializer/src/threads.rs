//! Threads that are set up once each before the first task is begun.
//!
//! To take: this file.

use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

/// Results in the order of the items, by threads that have a state each. Nothing is begun unless
/// all are set up. A set-up that panics is a bug, and the panic goes on in the caller.
pub fn by_threads<S, R: Send>(
    workers: usize,
    set_up: impl Fn() -> Result<S, String> + Sync,
    work: impl Fn(&mut S, u64) -> R + Sync,
    items: &[u64],
) -> Result<Vec<R>, String> {
    if workers == 0 {
        return Err("a thread is needed at least".to_string());
    }
    let (give, tasks) = mpsc::channel();
    let (report, reports) = mpsc::channel();
    let (deliver, results) = mpsc::channel();
    let (set_up, work, tasks) = (&set_up, &work, &Mutex::new(tasks));
    thread::scope(move |scope| {
        for number in 1..=workers {
            let (report, deliver) = (report.clone(), deliver.clone());
            let worker = move || {
                let mut state = match set_up() {
                    Ok(state) => state,
                    Err(error) => return report.send(Err(error)).unwrap_or_default(),
                };
                let _ = report.send(Ok(()));
                drop(report);
                loop {
                    // The lock is free again before the work begins.
                    let task = tasks.lock().unwrap().recv();
                    let Ok((index, item)) = task else { return };
                    let _ = deliver.send((index, work(&mut state, item)));
                }
            };
            let named = thread::Builder::new().name(format!("worker-{number}"));
            let spawned = named.spawn_scoped(scope, worker);
            spawned.map_err(|error| format!("cannot start a thread: {error}"))?;
        }
        drop((report, deliver));
        let ready: Result<Vec<()>, String> = reports.iter().collect();
        // On every way out of here `give` is dropped, which ends the threads that are set up.
        let ready = ready.map_err(|error| format!("a thread's set-up failed: {error}"))?;
        if ready.len() < workers {
            return Err("a thread's set-up panicked".to_string());
        }
        for task in items.iter().copied().enumerate() {
            let _ = give.send(task);
        }
        drop(give);
        let mut results: Vec<(usize, R)> = results.iter().collect();
        results.sort_by_key(|(index, _)| *index);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const WORKERS: usize = 4;
    const ITEMS: [u64; 5] = [1, 2, 3, 4, 5];

    #[test]
    fn each_thread_is_set_up_once_and_keeps_its_state() {
        let set_ups = AtomicUsize::new(0);
        let set_up = || Ok((set_ups.fetch_add(1, Ordering::Relaxed), 0));
        let work = |state: &mut (usize, usize), item| {
            state.1 += 1;
            (item, state.0, state.1)
        };
        let items: Vec<u64> = (0..1000).collect();
        let results = by_threads(WORKERS, set_up, work, &items).unwrap();
        assert_eq!(set_ups.into_inner(), WORKERS);
        let in_order: Vec<u64> = results.iter().map(|result| result.0).collect();
        assert_eq!(in_order, items);
        let done_by = |thread| results.iter().filter(move |result| result.1 == thread);
        for thread in 0..WORKERS {
            let last = done_by(thread).map(|result| result.2).max();
            assert_eq!(last.unwrap_or(0), done_by(thread).count());
        }
    }

    /// In Python the submits after that fail one by one, with `BrokenThreadPool`.
    #[test]
    fn a_threads_failing_set_up_is_one_error_and_no_task_begins() {
        for bad in 0..WORKERS {
            let set_ups = AtomicUsize::new(0);
            let set_up = || match set_ups.fetch_add(1, Ordering::Relaxed) {
                number if number == bad => Err("no licence".to_string()),
                _ => Ok(()),
            };
            let result = by_threads(WORKERS, set_up, |_, _| panic!("a task began"), &ITEMS);
            let error: Result<Vec<()>, String> = Err("a thread's set-up failed: no licence".into());
            assert_eq!(result, error);
            assert_eq!(set_ups.into_inner(), WORKERS);
        }
    }

    #[test]
    fn a_panic_in_a_threads_set_up_is_the_callers_and_no_task_begins() {
        let (set_ups, begun) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let set_up = || match set_ups.fetch_add(1, Ordering::Relaxed) {
            1 => panic!("on purpose"),
            _ => Ok(()),
        };
        let work = |_: &mut (), _| begun.fetch_add(1, Ordering::Relaxed);
        let run = panic::AssertUnwindSafe(|| by_threads(WORKERS, set_up, work, &ITEMS));
        assert!(panic::catch_unwind(run).is_err());
        assert_eq!(begun.into_inner(), 0);
    }

    #[test]
    fn no_items_are_no_results_and_no_threads_an_error() {
        let run = |threads, items| by_threads(threads, || Ok(()), |_, item| item, items);
        assert_eq!(run(WORKERS, &[]), Ok(Vec::new()));
        assert!(run(0, &ITEMS).is_err());
    }
}
