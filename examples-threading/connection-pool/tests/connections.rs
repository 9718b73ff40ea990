//! What the pool promises, tested with real threads. Nothing here is ordered by sleeping: the pool
//! is built over a `Condvar` that can tell when a thread is about to wait.

use std::collections::BTreeSet;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use connections::{AcquireError, Id, Pool, Usage};
use sync::{Worker, bounded, start, start_restless};

#[path = "../src/connections.rs"]
mod connections;
#[path = "sync/watched.rs"]
mod sync;

const SHORT: Duration = Duration::from_millis(30);

// The limit.

#[test]
fn nothing_is_opened_before_it_is_needed_and_what_is_idle_is_used_again() {
    let (pool, open) = pool(5);
    assert_eq!(pool.usage(), usage(0, 0));
    let first = pool.acquire().unwrap();
    assert_eq!((pool.usage(), open.now()), (usage(1, 0), 1));
    drop(first);
    for _ in 0..10 {
        assert_eq!(pool.acquire().unwrap().id(), 1);
    }
    assert_eq!((pool.usage(), open.now()), (usage(1, 1), 1));
}

#[test]
fn ten_users_share_five_connections_and_never_more_are_open_or_in_use() {
    bounded(|| {
        let (pool, open) = pool(5);
        let in_use = Arc::new(Gauge::default());
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    for round in 0..200 {
                        let connection = pool.acquire().unwrap();
                        in_use.up();
                        thread::yield_now();
                        in_use.down();
                        if round % 7 == 0 {
                            connection.discard();
                        }
                    }
                });
            }
        });
        assert!(in_use.most() <= 5 && open.most() <= 5);
        let usage = pool.usage();
        assert_eq!((usage.open, usage.idle), (open.now(), open.now()));
        drop(pool);
        assert_eq!(open.now(), 0, "all are closed in the end");
    });
}

/// Each connection in Python's pool had the number 0: the length of a list that was empty.
#[test]
fn every_connection_had_the_id_zero() {
    bounded(|| {
        let (pool, _) = pool(5);
        let mut ids = BTreeSet::new();
        for _ in 0..3 {
            let all = [(); 5].map(|()| pool.acquire().unwrap());
            for connection in all {
                assert!(ids.insert(connection.id()), "used before");
                assert_eq!(
                    connection.id(),
                    connection.number,
                    "connect was told another"
                );
                connection.discard();
            }
        }
        assert_eq!(ids.len(), 15);
    });
}

/// With two places, and one connection given back twice, three were in use at once, two of them the
/// same. Here the guard is gone with its return: see `tests/refused/release_twice.rs`.
#[test]
fn a_double_release_gave_one_connection_to_two_users() {
    let (pool, _) = pool(2);
    let (first, second) = (pool.acquire().unwrap(), pool.acquire().unwrap());
    let id = first.id();
    drop(first);
    let third = pool.acquire().unwrap();
    assert_eq!(third.id(), id);
    assert_ne!(third.id(), second.id());
    let fourth = pool.acquire_timeout(Duration::ZERO);
    assert!(matches!(fourth, Err(AcquireError::TimedOut)));
}

#[test]
fn a_pool_without_room_is_refused() {
    let refusal = panic::catch_unwind(|| Pool::new(0, |_| Ok::<_, ()>(()))).err();
    let message = *refusal.unwrap().downcast_ref::<&str>().unwrap();
    assert!(message.contains("at least 1"));
}

// Waiting.

#[test]
fn who_waits_gets_the_connection_that_comes_back() {
    bounded(|| {
        let (pool, _) = pool(1);
        let first = pool.acquire().unwrap();
        let waiting = start(&pool, |pool| pool.acquire().unwrap().id());
        waiting.waits();
        drop(first);
        assert_eq!(waiting.result(), 1);
    });
}

#[test]
fn who_wakes_up_for_no_reason_looks_again_and_waits_on() {
    bounded(|| {
        let (pool, open) = pool(1);
        let first = pool.acquire().unwrap();
        let waiting = start_restless(5, &pool, |pool| pool.acquire().unwrap().id());
        waiting.waits();
        drop(first);
        assert_eq!((waiting.result(), open.most()), (1, 1));
    });
}

#[test]
fn who_waits_gets_a_new_connection_for_one_that_is_discarded() {
    bounded(|| {
        let (pool, open) = pool(1);
        let first = pool.acquire().unwrap();
        let waiting = start(&pool, |pool| pool.acquire().unwrap().id());
        waiting.waits();
        first.discard();
        assert_eq!((waiting.result(), open.most()), (2, 1));
        assert_eq!(pool.usage(), usage(1, 1));
    });
}

#[test]
fn each_return_wakes_one_who_waits() {
    bounded(|| {
        let (pool, _) = pool(2);
        let used = [(); 2].map(|()| pool.acquire().unwrap());
        let waiting = [(); 4].map(|()| start(&pool, |pool| drop(pool.acquire().unwrap())));
        waiting.iter().for_each(Worker::waits);
        drop(used);
        waiting.into_iter().for_each(Worker::result);
    });
}

#[test]
fn a_time_out_ends_the_waiting_and_the_pool_stays_usable() {
    bounded(|| {
        let (pool, _) = pool(1);
        let only = pool.acquire().unwrap();
        let start = Instant::now();
        let late = pool.acquire_timeout(SHORT);
        assert!(matches!(late, Err(AcquireError::TimedOut)) && start.elapsed() >= SHORT);
        drop(only);
        assert_eq!(pool.acquire_timeout(SHORT).unwrap().id(), 1);
        assert_eq!(pool.usage(), usage(1, 1));
    });
}

#[test]
fn a_time_out_is_total_however_often_the_waiter_wakes_up() {
    bounded(|| {
        let (pool, _) = pool(1);
        let _only = pool.acquire().unwrap();
        sync::before_each_wait(|| sync::Wait::WakeUpForNoReason);
        let late = pool.acquire_timeout(SHORT);
        assert!(matches!(late, Err(AcquireError::TimedOut)));
    });
}

#[test]
fn a_time_out_of_zero_just_tries_and_the_longest_one_is_no_limit() {
    bounded(|| {
        let (pool, _) = pool(1);
        let only = pool.acquire_timeout(Duration::ZERO).unwrap();
        let waiting = start(&pool, |pool| {
            pool.acquire_timeout(Duration::MAX).unwrap().id()
        });
        waiting.waits();
        sync::before_each_wait(|| panic!("waits"));
        let late = pool.acquire_timeout(Duration::ZERO);
        assert!(matches!(late, Err(AcquireError::TimedOut)));
        drop(only);
        assert_eq!(waiting.result(), 1);
    });
}

// What breaks.

#[test]
fn a_panicking_user_gives_the_place_back_and_the_connection_is_closed() {
    bounded(|| {
        let (pool, open) = pool(1);
        let clumsy = start(&pool, |pool| {
            let _connection = pool.acquire().unwrap();
            panic!("on purpose, in the middle of a conversation");
        });
        let outcome: Result<(), _> = clumsy.thread.join();
        assert!(outcome.is_err());
        assert_eq!((pool.usage(), open.now()), (usage(0, 0), 0));
        assert_eq!(pool.acquire_timeout(Duration::ZERO).unwrap().id(), 2);
    });
}

#[test]
fn who_waits_is_not_left_behind_by_a_user_that_panics() {
    bounded(|| {
        let (pool, _) = pool(1);
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let clumsy = start(&pool, move |pool| {
            let _connection = pool.acquire().unwrap();
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
            panic!("on purpose");
        });
        has_begun.recv().unwrap();
        let waiting = start(&pool, |pool| pool.acquire().unwrap().id());
        waiting.waits();
        go_on.send(()).unwrap();
        assert_eq!(waiting.result(), 2);
        let outcome: Result<(), _> = clumsy.thread.join();
        assert!(outcome.is_err());
    });
}

#[test]
fn a_failed_connect_gives_its_place_back_and_its_error_to_the_caller() {
    let works = AtomicUsize::new(0);
    let pool = Pool::new(1, move |id| match works.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Err("refused"),
        _ => Ok(id),
    });
    for _ in 0..2 {
        let error = pool.acquire_timeout(Duration::ZERO).err();
        assert_eq!(error, Some(AcquireError::Connect("refused")));
        assert_eq!(pool.usage(), usage(0, 0));
    }
    assert_eq!(*pool.acquire_timeout(Duration::ZERO).unwrap(), 3);
}

#[test]
fn a_connect_that_panics_gives_its_place_back() {
    bounded(|| {
        let pool = Pool::new(1, |id| match id {
            1 => panic!("on purpose"),
            _ => Ok::<_, ()>(id),
        });
        let pool = Arc::new(pool);
        let victim = Arc::clone(&pool);
        assert!(
            thread::spawn(move || *victim.acquire().unwrap())
                .join()
                .is_err()
        );
        assert_eq!(pool.acquire_timeout(Duration::ZERO).map(|it| *it), Ok(2));
    });
}

/// While one connection is being opened, others come and go.
#[test]
fn a_slow_connect_keeps_nobody_from_using_another_connection() {
    bounded(|| {
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let may_go_on = std::sync::Mutex::new(may_go_on);
        let pool = Arc::new(Pool::new(2, move |id: Id| {
            if id == 2 {
                begun.send(()).unwrap();
                may_go_on.lock().unwrap().recv().unwrap();
            }
            Ok::<_, ()>(id)
        }));
        let first = pool.acquire().unwrap();
        let slow = Arc::clone(&pool);
        let slow = thread::spawn(move || *slow.acquire().unwrap());
        has_begun.recv().unwrap();
        drop(first);
        assert_eq!(pool.acquire().map(|it| *it), Ok(1));
        go_on.send(()).unwrap();
        assert_eq!(slow.join().unwrap(), 2);
    });
}

#[test]
fn errors_say_what_happened() {
    let texts = [AcquireError::TimedOut, AcquireError::Connect("refused")];
    let texts = texts.map(|error| Box::<dyn std::error::Error>::from(error).to_string());
    assert_eq!(
        texts,
        ["all connections are in use", "cannot connect: refused"]
    );
}

// The helpers.

/// How many there are, and how many there ever were at once.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn up(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn down(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// A connection to nowhere that counts itself.
struct Connection {
    number: Id,
    open: Arc<Gauge>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.down();
    }
}

type TestPool = Pool<Connection, &'static str>;

fn pool(limit: usize) -> (Arc<TestPool>, Arc<Gauge>) {
    let open = Arc::new(Gauge::default());
    let counted = Arc::clone(&open);
    let pool = Pool::new(limit, move |number| {
        counted.up();
        let open = Arc::clone(&counted);
        Ok(Connection { number, open })
    });
    (Arc::new(pool), open)
}

fn usage(open: usize, idle: usize) -> Usage {
    Usage { open, idle }
}
