//! What all workers share: the wish to stop, and how far they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

#[derive(Default)]
pub struct Shared {
    pub stop: Arc<AtomicBool>,
    pub counters: Arc<Counters>,
    pub sync: bool,
    /// Workers for whom no file is left: they help with a giant.
    pub idle: AtomicUsize,
    /// The smallest number of idle workers that there was: all others had work.
    pub least_idle: AtomicUsize,
}

/// Files and bytes so far, for the progress line.
#[derive(Default)]
pub struct Counters {
    pub files: AtomicU64,
    pub bytes: AtomicU64,
}

impl Counters {
    pub fn read(&self) -> (u64, u64) {
        (
            self.files.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

impl Shared {
    /// Takes up to so many idle workers, which are to be given back: how many are there to help?
    pub fn take_idle(&self, wanted: usize) -> usize {
        let take = |idle: usize| Some(idle.saturating_sub(wanted));
        let before = self
            .idle
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .unwrap_or_default();
        let left = before.saturating_sub(wanted);
        self.least_idle.fetch_min(left, Ordering::Relaxed);
        before - left
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_giants_never_have_the_same_helper() {
        let shared = Shared {
            idle: 3.into(),
            least_idle: 3.into(),
            ..Shared::default()
        };
        assert_eq!(
            [2, 0, 2, 2].map(|wanted| shared.take_idle(wanted)),
            [2, 0, 1, 0]
        );
        shared.idle.fetch_add(3, Ordering::Relaxed);
        assert_eq!(shared.take_idle(1), 1);
        assert_eq!(shared.least_idle.into_inner(), 0);
    }
}
