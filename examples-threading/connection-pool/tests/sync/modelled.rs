//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! loom's types for the model of a primitive, with a clock that stands still until the model says
//! that time passes. It takes the place of `src/sync.rs`, and brings what runs a model.

#![allow(
    dead_code,
    unused_imports,
    reason = "each primitive needs a part of it"
)]

use std::time::Duration;

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread::{self, JoinHandle};

pub use loom::sync::{Condvar, Mutex, MutexGuard};

/// Over as soon as a model says `time_passes`.
pub const A_WHILE: Duration = Duration::from_secs(1);

/// Runs `threads` under every schedule in which they lose their turns, where they need not, at most
/// `preemptions` times. Bugs need one or two such moments.
pub fn model(preemptions: usize, threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(threads);
}

/// Starts `work` on what is tested.
pub fn spawn<T, R>(tested: &Arc<T>, work: impl FnOnce(&T) -> R + Send + 'static) -> JoinHandle<R>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
{
    let tested = Arc::clone(tested);
    thread::spawn(move || work(&tested))
}

loom::lazy_static! {
    static ref HOURS: AtomicU64 = AtomicU64::new(0);
}

/// Once time has passed, it is an hour later each time one looks.
#[derive(Debug, Clone, Copy)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Self {
        let mut hours = HOURS.load(Ordering::SeqCst);
        if hours > 0 {
            hours = HOURS.fetch_add(1, Ordering::SeqCst);
        }
        Self(Duration::from_secs(3600 * hours))
    }

    pub fn checked_add(self, timeout: Duration) -> Option<Self> {
        self.0.checked_add(timeout).map(Self)
    }

    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// From now on every deadline is over. A thread that sleeps in loom's `wait_timeout` does not notice
/// by itself: it learns it when it wakes up for another reason, which is the race that matters.
pub fn time_passes() {
    HOURS.fetch_add(1, Ordering::SeqCst);
}
