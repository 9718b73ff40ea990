//! What the cache promises, tested with real threads. Nothing here is ordered by sleeping: the
//! computations and the readers wait for each other.

use std::convert::Infallible;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use cache::Cache;

#[path = "../src/cache.rs"]
mod cache;

/// Only against tests that hang; no test needs anything like it.
const LIMIT: Duration = Duration::from_secs(20);

/// std's types, with one addition: a thread can say what happens when it is about to wait for its
/// turn to compute.
mod sync {
    use std::cell::RefCell;
    use std::sync::{LockResult, MutexGuard};

    pub use std::sync::{RwLock, RwLockWriteGuard};

    thread_local! {
        static HOOK: RefCell<Box<dyn FnMut()>> = RefCell::new(Box::new(|| ()));
    }

    pub fn before_each_turn(hook: impl FnMut() + 'static) {
        HOOK.set(Box::new(hook));
    }

    pub struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            HOOK.with_borrow_mut(|hook| hook());
            self.0.lock()
        }
    }
}

fn ok<V>(value: V) -> Result<V, Infallible> {
    Ok(value)
}

// One computes, the others wait.

#[test]
fn one_computation_per_key_however_many_ask_at_once() {
    bounded(|| {
        for _ in 0..200 {
            let cache = Cache::new();
            let (computed, together) = (AtomicUsize::new(0), Barrier::new(8));
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        together.wait();
                        let value = cache.get_or_compute(&"key", || {
                            thread::yield_now(); // time enough for the others to come
                            ok(computed.fetch_add(1, Ordering::Relaxed))
                        });
                        assert_eq!(value, Ok(0));
                    });
                }
            });
            assert_eq!(computed.into_inner(), 1);
        }
    });
}

/// `functools.cache` lets both compute when a second thread asks before the first one is done.
#[test]
fn functools_cache_let_a_second_thread_compute_the_same() {
    bounded(|| {
        let cache = Arc::new(Cache::new());
        let (begun, first_computes) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let first = start(&cache, move |cache| {
            cache.get_or_compute(&1, || {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                ok("first")
            })
        });
        first_computes.recv().unwrap();
        let second = start_waiting(&cache, |cache| cache.get_or_compute(&1, || ok("second")));
        assert!(cache.get(&1).is_none(), "get does not wait");
        go_on.send(()).unwrap();
        assert_eq!(first.join().unwrap(), Ok("first"));
        assert_eq!(second.join().unwrap(), Ok("first"));
    });
}

#[test]
fn different_keys_are_computed_at_the_same_time() {
    bounded(|| {
        let cache = Arc::new(Cache::new());
        let both_compute = Arc::new(Barrier::new(2));
        let threads = [1, 2].map(|key| {
            let both_compute = Arc::clone(&both_compute);
            start(&cache, move |cache| {
                cache.get_or_compute(&key, || {
                    both_compute.wait();
                    ok(key * 10)
                })
            })
        });
        assert_eq!(threads.map(|it| it.join().unwrap()), [Ok(10), Ok(20)]);
    });
}

#[test]
fn a_computation_may_ask_for_other_keys() {
    fn fibonacci(cache: &Cache<u64, u64>, n: u64) -> u64 {
        let compute = || match n {
            0 | 1 => ok(n),
            _ => ok(fibonacci(cache, n - 1) + fibonacci(cache, n - 2)),
        };
        let Ok(value) = cache.get_or_compute(&n, compute);
        value
    }
    bounded(|| assert_eq!(fibonacci(&Cache::new(), 90), 2_880_067_194_370_816_120));
}

// Many read.

/// Two wait for the value. Then all three meet while they read it, the one that computed included.
#[test]
fn readers_read_side_by_side_also_with_the_one_that_computed() {
    bounded(|| {
        let cache = Arc::new(Cache::new());
        let all_read = Arc::new(Barrier::new(3));
        let read = |all_read: &Arc<Barrier>| {
            let all_read = Arc::clone(all_read);
            move |value: &i32| {
                all_read.wait();
                *value
            }
        };
        let (begun, first_computes) = mpsc::channel();
        let (waits, others_wait) = mpsc::channel();
        let first_reads = read(&all_read);
        let first = start(&cache, move |cache| {
            let compute = || {
                begun.send(()).unwrap();
                others_wait.iter().take(2).for_each(drop);
                ok(7)
            };
            cache.read_or_compute(&1, compute, first_reads)
        });
        first_computes.recv().unwrap();
        let others = [(); 2].map(|()| {
            let (waits, read) = (waits.clone(), read(&all_read));
            start(&cache, move |cache| {
                sync::before_each_turn(move || waits.send(()).unwrap());
                cache.read_or_compute(&1, || Err("it is there"), read)
            })
        });
        assert_eq!(first.join().unwrap(), Ok(7));
        assert_eq!(others.map(|it| it.join().unwrap()), [Ok(7); 2]);
    });
}

#[test]
fn values_are_read_in_place_and_need_not_be_cloned() {
    struct Large([u8; 1_000]);
    let cache = Cache::new();
    let length = cache.read_or_compute(&1, || ok(Large([7; 1_000])), |large| large.0.len());
    assert_eq!(length, Ok(1_000));
}

#[test]
fn a_reader_that_panics_harms_nobody() {
    bounded(|| {
        let cache = Arc::new(Cache::new());
        let victim = start(&cache, |cache| {
            cache.read_or_compute(&1, || ok(7), |_| panic!("on purpose"))
        });
        let outcome: Result<Result<(), _>, _> = victim.join();
        assert!(outcome.is_err());
        assert_eq!(cache.get_or_compute(&1, || ok(8)), Ok(7));
        assert_eq!(cache.refresh(&1, || ok(9), |value| *value), Ok(9));
    });
}

// What fails is not kept.

#[test]
fn an_error_goes_to_its_caller_and_the_one_that_waits_computes_for_itself() {
    bounded(|| {
        let cache = Arc::new(Cache::new());
        let (begun, first_computes) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let first = start(&cache, move |cache| {
            cache.get_or_compute(&1, || {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                Err("no connection")
            })
        });
        first_computes.recv().unwrap();
        let second = start_waiting(&cache, |cache| {
            cache.get_or_compute(&1, || Ok::<_, &str>(2))
        });
        go_on.send(()).unwrap();
        assert_eq!(first.join().unwrap(), Err("no connection"));
        assert_eq!(second.join().unwrap(), Ok(2));
        assert_eq!(cache.get(&1), Some(2));
    });
}

#[test]
fn a_computation_that_panics_is_not_kept_and_leaves_nobody_waiting() {
    bounded(|| {
        let cache = Arc::new(Cache::new());
        let (begun, first_computes) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let first = start(&cache, move |cache| {
            cache.get_or_compute(&1, || -> Result<_, Infallible> {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                panic!("on purpose")
            })
        });
        first_computes.recv().unwrap();
        let second = start_waiting(&cache, |cache| cache.get_or_compute(&1, || ok(2)));
        go_on.send(()).unwrap();
        assert!(first.join().is_err());
        assert_eq!(second.join().unwrap(), Ok(2));
    });
}

// Refresh and remove.

#[test]
fn while_a_value_is_refreshed_the_others_read_the_old_one() {
    bounded(|| {
        let cache = Cache::new();
        assert_eq!(cache.get_or_compute(&1, || ok("old")), Ok("old"));
        let compute = || {
            assert_eq!(cache.get(&1), Some("old"));
            let present = cache.get_or_compute(&1, || Err("it is there"));
            assert_eq!(present, Ok("old"));
            ok("new")
        };
        assert_eq!(cache.refresh(&1, compute, |value| *value), Ok("new"));
        assert_eq!(cache.get(&1), Some("new"));
    });
}

#[test]
fn a_refresh_that_fails_leaves_the_old_value() {
    let cache = Cache::new();
    assert_eq!(cache.get_or_compute(&1, || ok("old")), Ok("old"));
    let failed = cache.refresh(&1, || Err("no connection"), |value| *value);
    assert_eq!(failed, Err("no connection"));
    assert_eq!(cache.get(&1), Some("old"));
}

#[test]
fn a_removed_value_is_computed_again() {
    let cache = Cache::new();
    assert_eq!(cache.get_or_compute(&1, || ok(1)), Ok(1));
    cache.remove(&1);
    cache.remove(&1); // Twice is once.
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.get_or_compute(&1, || ok(2)), Ok(2));
}

#[test]
fn a_value_that_was_being_computed_when_it_was_removed_does_not_come_back() {
    bounded(|| {
        let cache = Cache::new();
        let outdated = cache.get_or_compute(&1, || {
            cache.remove(&1);
            assert_eq!(cache.get_or_compute(&1, || ok("new")), Ok("new"));
            ok("outdated")
        });
        assert_eq!(outdated, Ok("outdated"));
        assert_eq!(cache.get(&1), Some("new"));
    });
}

#[test]
fn each_value_is_dropped_once() {
    let value = Arc::new(());
    let cache = Cache::new();
    for key in 0..3 {
        drop(cache.get_or_compute(&key, || ok(Arc::clone(&value))));
    }
    assert_eq!(Arc::strong_count(&value), 4);
    cache.remove(&0);
    assert_eq!(Arc::strong_count(&value), 3);
    assert_eq!(cache.refresh(&1, || ok(Arc::new(())), |_| ()), Ok(()));
    assert_eq!(Arc::strong_count(&value), 2);
    drop(cache);
    assert_eq!(Arc::strong_count(&value), 1);
}

// The helpers.

fn start<V: Send + Sync + 'static, R: Send + 'static>(
    cache: &Arc<Cache<u32, V>>,
    work: impl FnOnce(&Cache<u32, V>) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let cache = Arc::clone(cache);
    thread::spawn(move || work(&cache))
}

/// Comes back when the thread is about to wait for its turn to compute.
fn start_waiting<V: Send + Sync + 'static, R: Send + 'static>(
    cache: &Arc<Cache<u32, V>>,
    work: impl FnOnce(&Cache<u32, V>) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let (waits, it_waits) = mpsc::channel();
    let thread = start(cache, move |cache| {
        sync::before_each_turn(move || waits.send(()).unwrap());
        work(cache)
    });
    it_waits.recv().expect("it waits for its turn");
    thread
}

/// Runs a test that would hang if the cache were wrong: a hang becomes a failure.
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
