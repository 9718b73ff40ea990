//! A lock between processes that its holder cannot take to the grave.
//!
//! The lock is one on a file: the system releases it when its holder ends, however that was, and
//! wakes the next in line. Only that the data may be half changed, the system cannot know. For that
//! a word of the shared memory says who is inside. Who enters and finds it set is told so, as a
//! std `Mutex` tells that it is poisoned, and repairs the data first.
//!
//! It costs two system calls, about a microsecond. A robust pthread mutex costs a tenth of that and
//! does the same, but needs `unsafe` and is missing on macOS. A holder that is stopped (SIGSTOP) is
//! not dead: the others wait for it, unless they use `try_lock`.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::process;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// A file that was opened for this lock alone: clones of a `File` share their locks. The `Mutex`
/// keeps the threads of this process apart, for the same reason.
pub struct ProcessLock(Mutex<File>);

/// How the one before has left the data.
#[must_use]
pub enum Entry<'a> {
    /// In order.
    Clean(Guard<'a>),
    /// Perhaps half changed: that process died inside, or panicked.
    Abandoned { by: u32, guard: Guard<'a> },
}

impl<'a> Entry<'a> {
    /// Calls `repair` with the words and the process that left them, if one did.
    pub fn or_repair(self, repair: impl FnOnce(&[AtomicU64], u32)) -> Guard<'a> {
        match self {
            Entry::Clean(guard) => guard,
            Entry::Abandoned { by, guard } => {
                // If this one dies in here, too, the next one finds the mark of this one.
                repair(&guard, by);
                guard
            }
        }
    }
}

/// The way to the guarded words. Dropping it lets the next one in.
pub struct Guard<'a> {
    file: MutexGuard<'a, File>,
    inside: &'a AtomicU64,
    words: &'a [AtomicU64],
}

impl ProcessLock {
    pub fn new(file: File) -> ProcessLock {
        ProcessLock(Mutex::new(file))
    }

    /// Waits until nobody is inside. `inside` is the word that says who is.
    pub fn lock<'a>(
        &'a self,
        inside: &'a AtomicU64,
        words: &'a [AtomicU64],
    ) -> io::Result<Entry<'a>> {
        // Poisoned or not: `inside` knows better, it also knows of the other processes.
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match file.lock() {
                Ok(()) => return Ok(Guard::enter(file, inside, words)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Does not wait: `None` if someone is inside.
    pub fn try_lock<'a>(
        &'a self,
        inside: &'a AtomicU64,
        words: &'a [AtomicU64],
    ) -> io::Result<Option<Entry<'a>>> {
        use std::sync::TryLockError as ThreadError;
        let file = match self.0.try_lock() {
            Ok(file) => file,
            Err(ThreadError::Poisoned(error)) => error.into_inner(),
            Err(ThreadError::WouldBlock) => return Ok(None),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Guard::enter(file, inside, words))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl<'a> Guard<'a> {
    fn enter(
        file: MutexGuard<'a, File>,
        inside: &'a AtomicU64,
        words: &'a [AtomicU64],
    ) -> Entry<'a> {
        let before = inside.swap(process::id().into(), Acquire);
        let guard = Guard {
            file,
            inside,
            words,
        };
        match before {
            0 => Entry::Clean(guard),
            by => Entry::Abandoned {
                by: by as u32,
                guard,
            },
        }
    }
}

impl Deref for Guard<'_> {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        self.words
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.inside.store(0, Release);
        }
        // There is no reason for this to fail, and if it does, the end of the process unlocks.
        let _ = self.file.unlock();
    }
}
