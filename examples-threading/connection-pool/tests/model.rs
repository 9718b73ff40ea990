//! The pool under every schedule of two or three threads. Loom runs each model again and again,
//! once per way in which the threads can take turns, and reports a deadlock, a panic or a leak in
//! any of them. The models run the very file `src/connections.rs`, over loom's locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use std::time::Duration;

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

use connections::{Pool, Usage};

#[path = "../src/connections.rs"]
#[allow(
    dead_code,
    reason = "the models need only a part of the pool's methods"
)]
mod connections;

/// How often a thread may lose its turn where it need not.
const PREEMPTIONS: usize = 3;
/// Over as soon as a model says `time_passes`.
const A_WHILE: Duration = Duration::from_secs(1);

mod sync {
    use std::time::Duration;

    use loom::sync::atomic::{AtomicBool, Ordering};
    pub use loom::sync::{Condvar, Mutex, MutexGuard};

    loom::lazy_static! {
        static ref LATE: AtomicBool = AtomicBool::new(false);
    }

    /// A clock that knows two times: 0, and an hour later.
    #[derive(Debug, Clone, Copy)]
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
    }

    /// From now on every deadline is over. A thread that sleeps in loom's `wait_timeout` does not
    /// notice by itself: it learns it when it wakes up for another reason, which is the race that
    /// matters.
    pub fn time_passes() {
        LATE.store(true, Ordering::SeqCst);
    }
}

/// Catches: a look that lets go of the lock before the wait (the return comes in between and is
/// lost), a return that wakes nobody, a limit that is looked at without the lock.
#[test]
fn three_users_share_one_connection() {
    model(|| {
        let pool = pool(0);
        let users = [(); 2].map(|()| spawn(&pool, |pool| drop(pool.acquire().unwrap())));
        drop(pool.acquire().unwrap());
        for user in users {
            user.join().unwrap();
        }
        assert_eq!(pool.usage(), Usage { open: 1, idle: 1 });
    });
}

/// Catches a place that is free before its connection is closed, and a discard that wakes nobody.
#[test]
fn a_discarded_connection_is_closed_before_a_new_one_is_opened() {
    model(|| {
        let pool = pool(0);
        let users = [(); 2].map(|()| spawn(&pool, |pool| pool.acquire().unwrap().discard()));
        pool.acquire().unwrap().discard();
        for user in users {
            user.join().unwrap();
        }
        assert_eq!(pool.usage(), Usage { open: 0, idle: 0 });
    });
}

/// Catches a failed connect that keeps its place, or gives it back without a wake-up: the other one
/// waits for it.
#[test]
fn a_failed_connect_does_not_leave_the_others_waiting() {
    model(|| {
        let pool = pool(1);
        let users = [(); 2].map(|()| spawn(&pool, |pool| pool.acquire().is_ok()));
        let here = pool.acquire().is_ok();
        let there = users.map(|user| user.join().unwrap());
        let succeeded = [here, there[0], there[1]].iter().filter(|ok| **ok).count();
        assert_eq!(succeeded, 2);
    });
}

/// Catches a user that was woken for the connection and gives up because it is late: that wake-up
/// is spent, and the other one waits for ever beside an idle connection.
#[test]
fn who_is_woken_late_takes_the_connection_all_the_same() {
    model(|| {
        let pool = pool(0);
        let only = pool.acquire().unwrap();
        let hurried = spawn(&pool, |pool| drop(pool.acquire_timeout(A_WHILE)));
        let patient = spawn(&pool, |pool| drop(pool.acquire().unwrap()));
        drop(only);
        sync::time_passes();
        patient.join().unwrap();
        hurried.join().unwrap();
        assert_eq!(pool.usage(), Usage { open: 1, idle: 1 });
    });
}

/// A connection that is never open beside another one: the models allow one at a time.
struct Connection(Arc<AtomicUsize>);

impl Connection {
    fn open(counter: &Arc<AtomicUsize>) -> Self {
        let open = counter.fetch_add(1, Ordering::SeqCst) + 1;
        assert_eq!(open, 1, "more connections than allowed");
        Self(Arc::clone(counter))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A pool of one connection. Of all that are opened, the first `failing` fail.
fn pool(failing: u64) -> Arc<Pool<Connection, &'static str>> {
    let counter = Arc::new(AtomicUsize::new(0));
    Arc::new(Pool::new(1, move |id| match id <= failing {
        true => Err("refused"),
        false => Ok(Connection::open(&counter)),
    }))
}

/// Runs `threads` under every schedule with a bounded number of preemptions.
fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(threads);
}

fn spawn<R: Send + 'static>(
    pool: &Arc<Pool<Connection, &'static str>>,
    work: impl FnOnce(&Pool<Connection, &'static str>) -> R + Send + 'static,
) -> JoinHandle<R> {
    let pool = Arc::clone(pool);
    thread::spawn(move || work(&pool))
}
