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
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
