//! What the pool promises, tested with real threads. Nothing here is ordered by sleeping.

use std::collections::HashSet;
use std::io;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak, mpsc};
use std::thread;
use std::time::Duration;

use handle::{Failure, Handle, submit};
use thread_pool::{Job, Pool, Refused, Totals};

#[path = "../src/handle.rs"]
mod handle;
#[path = "../src/sync.rs"]
mod sync;
#[path = "../src/thread_pool.rs"]
mod thread_pool;

/// Only against tests that hang; no test needs anything like it.
const LIMIT: Duration = Duration::from_secs(30);

// Results.

#[test]
fn submit_gives_the_value() {
    bounded(|| {
        let pool = Pool::new(2).unwrap();
        assert_eq!(submit(&pool, || 6 * 7).unwrap().wait(), Ok(42));
    });
}

#[test]
fn results_keep_the_order_of_the_jobs_and_equal_the_sequential_ones() {
    bounded(|| {
        for (size, jobs) in [(1, 10), (4, 0), (4, 3), (4, 1000)] {
            let pool = Pool::new(size).unwrap();
            let handles: Vec<_> = (0..jobs)
                .map(|n| submit(&pool, move || n * n).unwrap())
                .collect();
            let squares: Vec<u64> = handles.into_iter().map(|it| it.wait().unwrap()).collect();
            assert!(squares.into_iter().eq((0..jobs).map(|n| n * n)));
        }
    });
}

#[test]
fn one_channel_brings_all_results() {
    bounded(|| {
        let pool = Pool::new(4).unwrap();
        let (sender, results) = mpsc::channel();
        for n in 1..=1000 {
            let sender = sender.clone();
            pool.execute(move || sender.send(n).unwrap()).unwrap();
        }
        drop(sender);
        assert_eq!(results.iter().sum::<usize>(), 500_500);
    });
}

#[test]
fn the_oldest_job_begins_first() {
    bounded(|| {
        let pool = Pool::new(1).unwrap();
        let gate = Gate::shut(&pool, 1);
        let (sender, order) = mpsc::channel();
        for n in 0..100 {
            send_by_the_pool(&pool, n, &sender);
        }
        drop(sender);
        gate.open();
        assert!(order.iter().eq(0..100));
    });
}

/// The pool keeps jobs of one kind together, and takes what an idle time has left empty for the next.
#[test]
fn jobs_of_any_kind_run_once_whatever_ran_before() {
    bounded(|| {
        let pool = Pool::new(2).unwrap();
        let (sender, results) = mpsc::channel();
        for n in 0..1000 {
            send_by_the_pool(&pool, n, &sender);
            if n % 7 == 0 {
                submit(&pool, || ()).unwrap().wait().unwrap();
            }
        }
        drop(sender);
        let mut numbers: Vec<usize> = results.iter().collect();
        numbers.sort();
        assert!(numbers.into_iter().eq(0..1000));
    });
}

#[test]
fn an_error_of_one_job_reaches_who_waits_for_it_and_nobody_else() {
    bounded(|| {
        let pool = Pool::new(2).unwrap();
        let halve = |n: u32| {
            submit(&pool, move || {
                if n.is_multiple_of(2) {
                    Ok(n / 2)
                } else {
                    Err(n)
                }
            })
        };
        let handles: Vec<_> = (0..4).map(|n| halve(n).unwrap()).collect();
        let results: Vec<_> = handles.into_iter().map(|it| it.wait().unwrap()).collect();
        assert_eq!(results, [Ok(0), Err(1), Ok(1), Err(3)]);
    });
}

#[test]
fn arguments_and_results_are_freed_soon() {
    bounded(|| {
        let pool = Pool::new(1).unwrap();
        let (argument, result) = (Arc::new(()), Arc::new(()));
        let (argument_left, result_left) = (Arc::downgrade(&argument), Arc::downgrade(&result));
        let handle = submit(&pool, move || {
            drop(argument);
            result
        });
        let kept = handle.unwrap().wait().unwrap();
        let gone = |it: &Weak<()>| it.strong_count() == 0;
        assert!(gone(&argument_left) && !gone(&result_left));
        drop(kept);
        assert!(gone(&result_left));

        // And when nobody waits. The next job begins when the one before is gone.
        let unwanted = Arc::new(());
        let unwanted_left = Arc::downgrade(&unwanted);
        drop(submit(&pool, move || unwanted).unwrap());
        submit(&pool, || ()).unwrap().wait().unwrap();
        assert!(gone(&unwanted_left));
    });
}

// Panics.

/// In Python, a raising task ended its worker: 0 of 3 were left, and the rest never ran.
#[test]
fn a_raising_task_does_not_kill_its_worker_and_the_pool_keeps_its_size() {
    bounded(|| {
        let pool = Pool::new(3).unwrap();
        for _ in 0..30 {
            pool.execute(|| quiet_panic("no")).unwrap();
        }
        // Three jobs that wait for each other can only end on three threads.
        let meeting = Arc::new(Barrier::new(3));
        for _ in 0..3 {
            let meeting = Arc::clone(&meeting);
            pool.execute(move || _ = meeting.wait()).unwrap();
        }
        let totals = Totals {
            submitted: 33,
            finished: 33,
            panicked: 30,
            cancelled: 0,
        };
        assert_eq!(pool.shut_down(), totals);
    });
}

#[test]
fn a_panic_is_told_to_who_waits_and_is_counted() {
    bounded(|| {
        let pool = Pool::new(1).unwrap();
        let failed: Handle<()> = submit(&pool, || quiet_panic("the text")).unwrap();
        assert_eq!(
            failed.wait(),
            Err(Failure::Panicked("the text".to_string()))
        );
        assert_eq!(submit(&pool, || 1).unwrap().wait(), Ok(1));
        let Totals {
            finished, panicked, ..
        } = pool.shut_down();
        assert_eq!((finished, panicked), (2, 1));
    });
}

/// A panic of what a job leaves behind is not the worker's end either.
#[test]
fn a_worker_survives_a_destructor_that_panics() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic::resume_unwind(Box::new("in drop"));
        }
    }
    bounded(|| {
        let pool = Pool::new(1).unwrap();
        let gate = Gate::shut(&pool, 1);
        // As a result that nobody wants any more when it comes: so the worker drops it.
        drop(submit(&pool, || Bomb).unwrap());
        gate.open();
        pool.execute(|| panic::resume_unwind(Box::new(Bomb)))
            .unwrap(); // as a payload
        assert_eq!(submit(&pool, || 1).unwrap().wait(), Ok(1));
    });
}

// The end.

/// In Python, `close` set a flag that the workers looked at before the queue: 2 of 5 were dropped.
#[test]
fn closing_drops_no_task() {
    bounded(|| {
        for size in [1, 3] {
            let pool = Pool::new(size).unwrap();
            let done = counted_jobs(&pool, 50);
            let totals = pool.shut_down();
            assert_eq!(done.load(Ordering::SeqCst), 50);
            assert_eq!(
                (totals.submitted, totals.finished, totals.cancelled),
                (50, 50, 0)
            );
        }
    });
}

#[test]
fn dropping_the_pool_finishes_what_was_submitted_and_ends_its_threads() {
    bounded(|| {
        let pool = Pool::new(3).unwrap();
        let done = counted_jobs(&pool, 50);
        drop(pool);
        // The jobs own it as well: no job is left, and nobody who could hold one.
        assert_eq!(
            (done.load(Ordering::SeqCst), Arc::strong_count(&done)),
            (50, 1)
        );
    });
}

/// In Python, one task that raised was never counted as done, and the shutdown waited for it.
#[test]
fn the_shutdown_does_not_hang_after_tasks_that_failed() {
    bounded(|| {
        let pool = Pool::new(2).unwrap();
        for _ in 0..5 {
            pool.execute(|| quiet_panic("no")).unwrap();
        }
        let done = counted_jobs(&pool, 5);
        assert_eq!(pool.shut_down().finished, 10);
        assert_eq!(done.load(Ordering::SeqCst), 5);
    });
}

/// In Python, the flag that ended the pool had the name of the method that ended it, and the workers
/// waited for a sentinel that never came; or they looked at the flag once a second. Here the end is
/// a state, and all workers hear of it: with a second for each, this would take minutes.
#[test]
fn the_shutdown_of_an_idle_pool_neither_hangs_nor_lags_behind_a_poll() {
    bounded(|| {
        for _ in 0..200 {
            assert_eq!(Pool::new(4).unwrap().shut_down(), Totals::default());
        }
    });
}

#[test]
fn cancel_gives_back_what_has_not_begun_in_its_order_and_finishes_the_rest() {
    bounded(|| {
        let pool = Pool::new(2).unwrap();
        let gate = Gate::shut(&pool, 2);
        let (sender, ran) = mpsc::channel();
        for n in 0..20 {
            send_by_the_pool(&pool, n, &sender);
        }
        drop(sender);
        let left = pool.cancel();
        gate.open();
        assert_eq!(left.len(), 20);
        assert_eq!(ran.try_recv(), Err(mpsc::TryRecvError::Empty));
        left.into_iter().for_each(|job| job());
        assert!(ran.iter().eq(0..20));
        let totals = Totals {
            submitted: 22,
            finished: 2,
            panicked: 0,
            cancelled: 20,
        };
        assert_eq!(pool.shut_down(), totals);
    });
}

/// A worker has taken what waited for it, and has not begun any of that but the first.
#[test]
fn cancel_gives_back_what_lies_ready_for_a_worker() {
    bounded(|| {
        let pool = Pool::new(1).unwrap();
        let gate = Gate::shut(&pool, 1);
        let (begun, beginning) = mpsc::channel();
        let (open, opened) = mpsc::channel::<()>();
        pool.execute(move || {
            begun.send(()).unwrap();
            let _ = opened.recv();
        })
        .unwrap();
        let done = counted_jobs(&pool, 20);
        gate.open();
        beginning.recv().unwrap();
        assert_eq!(pool.cancel().len(), 20);
        drop(open);
        assert_eq!(
            (pool.shut_down().finished, done.load(Ordering::SeqCst)),
            (2, 0)
        );
    });
}

#[test]
fn after_cancel_each_handle_has_an_end() {
    bounded(|| {
        let pool = Pool::new(1).unwrap();
        let gate = Gate::shut(&pool, 1);
        let handles: Vec<_> = (0..4).map(|n| submit(&pool, move || n).unwrap()).collect();
        let mut left = pool.cancel();
        let late: Job = left.pop().unwrap();
        drop(left);
        late(); // To run it elsewhere is to keep the promise.
        gate.open();
        let results: Vec<_> = handles.into_iter().map(Handle::wait).collect();
        let cancelled = Err(Failure::Cancelled);
        assert_eq!(
            results,
            [cancelled.clone(), cancelled.clone(), cancelled, Ok(3)]
        );
    });
}

#[test]
fn a_shutdown_right_after_cancel_does_not_hang() {
    bounded(|| {
        for _ in 0..200 {
            let pool = Pool::new(2).unwrap();
            let done = counted_jobs(&pool, 20);
            let left = pool.cancel().len();
            assert_eq!(pool.cancel().len(), 0, "cancelling twice is fine");
            let totals = pool.shut_down();
            assert_eq!(totals.cancelled, left);
            assert_eq!(totals.finished + totals.cancelled, 20);
            assert_eq!(done.load(Ordering::SeqCst), totals.finished);
        }
    });
}

#[test]
fn submitted_is_finished_plus_cancelled_while_others_still_submit() {
    bounded(|| {
        for round in 0..50 {
            let pool = Pool::new(2).unwrap();
            let (taken, ran) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
            let left = thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        let one_more = || {
                            let ran = Arc::clone(&ran);
                            pool.execute(move || {
                                ran.fetch_add(1, Ordering::SeqCst);
                            })
                        };
                        while one_more().is_ok() {
                            taken.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
                while ran.load(Ordering::SeqCst) < round {
                    thread::yield_now();
                }
                match round % 2 {
                    0 => pool.close(),
                    _ => return pool.cancel().len(),
                }
                0
            });
            let totals = pool.shut_down();
            assert_eq!(totals.submitted, taken.into_inner());
            assert_eq!(totals.cancelled, left);
            assert_eq!(totals.finished, ran.load(Ordering::SeqCst));
            assert_eq!(totals.submitted, totals.finished + totals.cancelled);
        }
    });
}

#[test]
fn a_job_submitted_after_the_end_comes_back() {
    bounded(|| {
        let pool = Pool::new(1).unwrap();
        pool.close();
        let Err(Refused(job)) = pool.execute(|| ()) else {
            panic!("a closed pool took a job")
        };
        job();
        let Err(Refused(job)) = submit(&pool, || 5) else {
            panic!("a closed pool took a job")
        };
        assert_eq!(job(), 5);
        let error = pool.execute(|| ()).unwrap_err();
        assert_eq!(error.to_string(), "the pool is closed");
        assert_eq!(pool.shut_down(), Totals::default());
    });
}

// Jobs and their own pool.

#[test]
fn a_job_may_submit_to_its_own_pool() {
    bounded(|| {
        let pool = Arc::new(Pool::new(1).unwrap());
        let (sender, result) = mpsc::channel();
        let inner_pool = Arc::clone(&pool);
        let outer = submit(&pool, move || {
            let inner = move || sender.send(7).unwrap();
            inner_pool.execute(inner).unwrap();
        });
        outer.unwrap().wait().unwrap();
        assert_eq!(result.recv(), Ok(7));
    });
}

#[test]
fn a_job_that_waits_for_its_own_pool_is_refused_instead_of_hanging() {
    bounded(|| {
        let pool = Arc::new(Pool::new(1).unwrap());
        let inner_pool = Arc::clone(&pool);
        let outer = submit(&pool, move || submit(&inner_pool, || 7).unwrap().wait());
        assert_eq!(outer.unwrap().wait(), Ok(Err(Failure::OwnPool)));
    });
}

#[test]
fn a_job_may_wait_for_another_pool() {
    bounded(|| {
        let (pool, other) = (Pool::new(1).unwrap(), Pool::new(1).unwrap());
        let outer = submit(&pool, move || submit(&other, || 7).unwrap().wait());
        assert_eq!(outer.unwrap().wait(), Ok(Ok(7)));
    });
}

/// The pool is dropped by one of its own workers, which cannot join itself.
#[test]
fn a_job_may_be_the_last_owner_of_its_pool() {
    bounded(|| {
        let pool = Arc::new(Pool::new(2).unwrap());
        let (go, wait) = mpsc::channel::<()>();
        let owner = Arc::clone(&pool);
        let job = submit(&pool, move || {
            let _ = wait.recv();
            drop(owner);
            "done"
        });
        let done = counted_jobs(&pool, 10);
        drop(pool);
        drop(go);
        assert_eq!(job.unwrap().wait(), Ok("done"));
        while Arc::strong_count(&done) > 1 {
            thread::yield_now();
        }
        assert_eq!(done.load(Ordering::SeqCst), 10);
    });
}

// The workers.

#[test]
fn a_pool_without_workers_is_an_error() {
    let error = Pool::new(0).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "a pool needs at least one worker");
}

#[test]
fn never_more_jobs_at_once_than_workers_and_no_other_threads() {
    bounded(|| {
        let size = 4;
        let pool = Pool::new(size).unwrap();
        let inside = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let threads = Arc::new(Mutex::new(HashSet::new()));
        for _ in 0..15 * size {
            let (inside, threads) = (Arc::clone(&inside), Arc::clone(&threads));
            pool.execute(move || {
                let (now, most) = &*inside;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                threads.lock().unwrap().insert(thread::current().id());
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            })
            .unwrap();
        }
        assert_eq!(pool.shut_down().finished, 15 * size);
        assert!(inside.1.load(Ordering::SeqCst) <= size);
        assert!(threads.lock().unwrap().len() <= size);
    });
}

#[test]
fn an_idle_worker_is_used_again() {
    bounded(|| {
        let set_ups = Arc::new(AtomicUsize::new(0));
        let its_set_ups = Arc::clone(&set_ups);
        let pool = Pool::with_set_up(3, move |_| {
            its_set_ups.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        let thread = |_| submit(&pool, || thread::current().id()).unwrap().wait();
        let threads: HashSet<_> = (0..100).map(thread).map(Result::unwrap).collect();
        assert!(threads.len() <= 3, "{threads:?}");
        assert_eq!(set_ups.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn workers_have_names() {
    bounded(|| {
        let pool = Pool::new(3).unwrap();
        let meeting = Arc::new(Barrier::new(3));
        let name = || {
            let meeting = Arc::clone(&meeting);
            submit(&pool, move || {
                meeting.wait();
                thread::current().name().unwrap().to_string()
            })
        };
        let handles = [name(), name(), name()].map(Result::unwrap);
        let mut names = handles.map(|handle| handle.wait().unwrap());
        names.sort();
        assert_eq!(names, ["worker-1", "worker-2", "worker-3"]);
    });
}

#[test]
fn each_worker_is_set_up_once_before_its_first_job() {
    bounded(|| {
        let (sender, set_up) = mpsc::channel();
        let pool = Pool::with_set_up(3, move |number| {
            sender.send(number).map_err(io::Error::other)
        });
        let pool = pool.unwrap();
        // All of them have been, as soon as there is a pool.
        let mut numbers: Vec<usize> = set_up.try_iter().collect();
        numbers.sort();
        assert_eq!(numbers, [1, 2, 3]);
        counted_jobs(&pool, 50);
        pool.shut_down();
        assert_eq!(set_up.try_iter().count(), 0);
    });
}

#[test]
fn a_set_up_that_fails_is_the_error_of_the_pool() {
    bounded(|| {
        let failing = |number| match number {
            2 => Err(io::Error::other("no scratch folder")),
            _ => Ok(()),
        };
        let error = Pool::with_set_up(3, failing).err().unwrap();
        assert_eq!(error.to_string(), "no scratch folder");
        let panicking = |number| match number {
            2 => quiet_panic("no"),
            _ => Ok(()),
        };
        let error = Pool::with_set_up(3, panicking).err().unwrap();
        assert_eq!(error.to_string(), "the set-up of a worker panicked");
    });
}

#[test]
fn two_pools_do_not_disturb_each_other() {
    bounded(|| {
        let (first, second) = (Pool::new(2).unwrap(), Pool::new(2).unwrap());
        let done = [counted_jobs(&first, 100), counted_jobs(&second, 100)];
        assert_eq!(first.shut_down().finished, 100);
        assert_eq!(submit(&second, || 1).unwrap().wait(), Ok(1));
        assert_eq!(second.shut_down().finished, 101);
        assert!(done.iter().all(|done| done.load(Ordering::SeqCst) == 100));
    });
}

/// Submits jobs that count themselves.
fn counted_jobs(pool: &Pool, count: usize) -> Arc<AtomicUsize> {
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..count {
        let done = Arc::clone(&done);
        pool.execute(move || {
            done.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
    }
    done
}

/// Submits a job that sends `n`: the same closure again for some numbers, another one for others.
fn send_by_the_pool(pool: &Pool, n: usize, sender: &mpsc::Sender<usize>) {
    let sender = sender.clone();
    match n % 5 {
        0 | 1 => pool.execute(move || sender.send(n).unwrap()).unwrap(),
        _ => {
            let text = n.to_string();
            let job = move || sender.send(text.parse().unwrap()).unwrap();
            pool.execute(job).unwrap();
        }
    }
}

/// Jobs that keep workers busy until it is opened, or dropped.
struct Gate(mpsc::Sender<()>);

impl Gate {
    /// Comes back when `workers` workers are held up.
    fn shut(pool: &Pool, workers: usize) -> Self {
        let (open, opened) = mpsc::channel();
        let opened = Arc::new(Mutex::new(opened));
        let arrived = Arc::new(Barrier::new(workers + 1));
        for _ in 0..workers {
            let (opened, arrived) = (Arc::clone(&opened), Arc::clone(&arrived));
            pool.execute(move || {
                arrived.wait();
                let _ = opened.lock().unwrap().recv();
            })
            .unwrap();
        }
        arrived.wait();
        Self(open)
    }

    fn open(self) {
        drop(self.0);
    }
}

/// A panic without the message on stderr, which would only be noise here.
fn quiet_panic<T>(text: &'static str) -> T {
    panic::resume_unwind(Box::new(text))
}

/// Runs a test that would hang if the pool were wrong: a hang becomes a failure.
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
