//! The pool under every schedule of two or three threads. Loom runs each model again and again,
//! once per way in which the threads can take turns, and reports a deadlock, a panic or a leak in
//! any of them. The models run the very file `src/connections.rs`, over loom's locks.
//!
//! Each model names the mistakes that turn it red; each of them was put in once to see that.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

use connections::{Pool, Usage};
use sync::{A_WHILE, model, spawn, time_passes};

#[path = "../src/connections.rs"]
#[allow(
    dead_code,
    reason = "the models need only a part of the pool's methods"
)]
mod connections;
#[path = "sync/modelled.rs"]
mod sync;

/// Catches: a look that lets go of the lock before the wait (the return comes in between and is
/// lost), a return that wakes nobody, a limit that is looked at without the lock.
#[test]
fn three_users_share_one_connection() {
    model(3, || {
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
    model(3, || {
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
    model(3, || {
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
    model(3, || {
        let pool = pool(0);
        let only = pool.acquire().unwrap();
        let hurried = spawn(&pool, |pool| drop(pool.acquire_timeout(A_WHILE)));
        let patient = spawn(&pool, |pool| drop(pool.acquire().unwrap()));
        drop(only);
        time_passes();
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
