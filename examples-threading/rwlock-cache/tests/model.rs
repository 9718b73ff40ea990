//! The cache under every schedule of two or three threads. Loom runs each model again and again,
//! once per way in which the threads can take turns, and reports a deadlock or a panic in any of
//! them. The models run the very file `src/cache.rs`, over loom's locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

use cache::Cache;

#[path = "../src/cache.rs"]
mod cache;

/// How often a thread may lose its turn where it need not.
const PREEMPTIONS: usize = 2;

/// Loom's `RwLock` cannot downgrade. Here writers hold a `Mutex` as well, and one that becomes a
/// reader keeps it for the moment in between: other readers may come then, writers may not.
mod sync {
    use std::ops::{Deref, DerefMut};
    use std::sync::LockResult;

    pub use loom::sync::Mutex;
    use loom::sync::{MutexGuard, RwLockReadGuard};

    pub struct RwLock<T> {
        writers: Mutex<()>,
        data: loom::sync::RwLock<T>,
    }

    pub struct RwLockWriteGuard<'a, T> {
        // Dropped in this order.
        data: loom::sync::RwLockWriteGuard<'a, T>,
        writer: MutexGuard<'a, ()>,
        lock: &'a RwLock<T>,
    }

    impl<T> RwLock<T> {
        pub fn new(data: T) -> Self {
            Self {
                writers: Mutex::new(()),
                data: loom::sync::RwLock::new(data),
            }
        }

        pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
            self.data.read()
        }

        pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
            let writer = self.writers.lock().unwrap();
            let data = self.data.write().unwrap();
            let lock = self;
            Ok(RwLockWriteGuard { data, writer, lock })
        }
    }

    impl<'a, T> RwLockWriteGuard<'a, T> {
        pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
            let Self { data, writer, lock } = guard;
            drop(data);
            let data = lock.data.read().unwrap();
            drop(writer);
            data
        }
    }

    impl<T> Deref for RwLockWriteGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            &self.data
        }
    }

    impl<T> DerefMut for RwLockWriteGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.data
        }
    }
}

/// Catches: no second look after the wait for the turn, no turn at all, a turn that is given away
/// before the value is in, `insert` for `entry` (two slots for one key).
#[test]
fn one_computes_and_all_get_what_it_computed() {
    model(|| {
        let cache = Arc::new(Cache::new());
        let computed = Arc::new(AtomicUsize::new(0));
        let ask = |computed: Arc<AtomicUsize>| {
            move |cache: &Cache<u32, usize>| {
                let compute = || Ok::<_, ()>(computed.fetch_add(1, Ordering::SeqCst));
                assert_eq!(cache.get_or_compute(&1, compute), Ok(0));
            }
        };
        let threads = [(); 2].map(|()| spawn(&cache, ask(Arc::clone(&computed))));
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(computed.load(Ordering::SeqCst), 1);
    });
}

/// Catches a failure that stays in the cache, or keeps the turn: of two threads that meet one
/// failure, one gets the error and the other one a value.
#[test]
fn a_failure_goes_to_one_and_the_other_computes() {
    model(|| {
        let cache = Arc::new(Cache::new());
        let attempts = Arc::new(AtomicUsize::new(0));
        let threads = [(); 2].map(|()| {
            let attempts = Arc::clone(&attempts);
            spawn(&cache, move |cache| {
                let compute = || match attempts.fetch_add(1, Ordering::SeqCst) {
                    0 => Err("no connection"),
                    _ => Ok(7),
                };
                cache.get_or_compute(&1, compute)
            })
        });
        let mut answers = threads.map(|thread| thread.join().unwrap());
        answers.sort();
        assert_eq!(answers, [Ok(7), Err("no connection")]);
        assert_eq!(cache.get(&1), Some(7));
    });
}

/// Catches a write lock that is dropped and then taken again for reading, instead of downgraded:
/// the other one's refresh comes in between.
#[test]
fn who_refreshes_reads_what_it_has_computed() {
    model(|| {
        let cache = Arc::new(Cache::new());
        let threads = [1, 2].map(|value| {
            spawn(&cache, move |cache| {
                let read = cache.refresh(&1, || Ok::<_, ()>(value), |value| *value);
                assert_eq!(read, Ok(value));
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(matches!(cache.get(&1), Some(1 | 2)));
    });
}

/// Catches a slot that is emptied instead of given up: what was computed before the removal would
/// be put in after it.
#[test]
fn after_a_remove_nobody_gets_what_was_computed_before() {
    model(|| {
        let cache = Arc::new(Cache::new());
        let removed = Arc::new(AtomicUsize::new(0));
        let compute = |removed: &AtomicUsize| Ok::<_, ()>(removed.load(Ordering::SeqCst));
        let other = {
            let removed = Arc::clone(&removed);
            spawn(&cache, move |cache| {
                cache.get_or_compute(&1, || compute(&removed)).unwrap();
            })
        };
        removed.store(1, Ordering::SeqCst);
        cache.remove(&1);
        assert_eq!(cache.get_or_compute(&1, || compute(&removed)), Ok(1));
        other.join().unwrap();
        assert_eq!(cache.get(&1), Some(1));
    });
}

/// Catches two keys that share a lock in opposite order.
#[test]
fn two_keys_that_ask_for_a_third_do_not_wait_for_each_other() {
    model(|| {
        let cache = Arc::new(Cache::new());
        let threads = [1, 2].map(|key| {
            spawn(&cache, move |cache| {
                let compute = || cache.get_or_compute(&3, || Ok::<_, ()>(30));
                assert_eq!(cache.get_or_compute(&key, compute), Ok(30));
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Runs `threads` under every schedule with a bounded number of preemptions.
fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(threads);
}

fn spawn<V: Send + Sync + 'static, R: Send + 'static>(
    cache: &Arc<Cache<u32, V>>,
    work: impl FnOnce(&Cache<u32, V>) -> R + Send + 'static,
) -> JoinHandle<R> {
    let cache = Arc::clone(cache);
    thread::spawn(move || work(&cache))
}
