//! Memory under a name, which goes away with the process that created it.
//!
//! A segment is a file in memory (`/dev/shm` on Linux, the folder for temporary files elsewhere),
//! and beside it a second one for its lock. As long as the owner lives, it holds a lock on the
//! first file, which the system releases at its death, however it dies. So a segment whose file is
//! not locked was left behind, and nobody has to guess from process numbers, which are used again.
//!
//! ```text
//! magic | length, once ready | number of open words | who is inside || open words | guarded words
//! ```
//!
//! It needs `src/mapping.rs`, `src/lock.rs` and on Unix the crate `rustix`.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant};

use crate::lock::{Entry, ProcessLock};
use crate::mapping::Mapping;

const MAGIC: u64 = u64::from_ne_bytes(*b"segment1");
const HEADER: usize = 4;
/// How long someone else may take to create or remove a file.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Segment {
    mapping: Mapping,
    lock: ProcessLock,
    /// The owner's sign of life, and what it removes in the end.
    owned: Option<(File, PathBuf)>,
}

#[derive(Debug)]
pub enum SegmentError {
    /// Names are made of letters, digits and hyphens.
    BadName(String),
    /// Its owner lives.
    NameTaken(String),
    NotFound(String),
    /// A file of that name is there, but it is no segment, or none that is ready.
    NoSegment(String),
    Io(io::Error),
}

impl Segment {
    /// Takes the name and the memory for so many words: some for all to use, some under the lock.
    /// All are zero. What a killed process has left under the name is removed first.
    pub fn create(name: &str, open: usize, guarded: usize) -> Result<Segment, SegmentError> {
        let path = path_of(name)?;
        let file = claim(name, &path)?;
        let filled = Segment::fill(&file, &path, open, guarded);
        let (mapping, lock) = filled.inspect_err(|_| {
            let _ = remove(&path);
        })?;
        Ok(Segment {
            mapping,
            lock,
            owned: Some((file, path)),
        })
    }

    fn fill(
        mut file: &File,
        path: &Path,
        open: usize,
        guarded: usize,
    ) -> io::Result<(Mapping, ProcessLock)> {
        let words = open.saturating_add(guarded).saturating_add(HEADER) as u64;
        // From its first bytes on the file can be recognised. The zeros are really written: where
        // memory is short, that is an error here. It would be a SIGBUS later if only the length
        // were set, as a program gets it in a container with a small `/dev/shm`.
        file.write_all(&MAGIC.to_ne_bytes())?;
        let zeros = words.saturating_mul(8).saturating_sub(8);
        io::copy(&mut io::repeat(0).take(zeros), &mut file)?;

        let lock = options().create(true).truncate(false).open(lock_of(path))?;
        let mapping = Mapping::of(file)?;
        mapping[2].store(open as u64, Relaxed);
        mapping[1].store(words, Release);
        Ok((mapping, ProcessLock::new(lock)))
    }

    /// The segment that another process, or this one, has created.
    pub fn attach(name: &str) -> Result<Segment, SegmentError> {
        let path = path_of(name)?;
        let not_found = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => SegmentError::NotFound(name.to_string()),
            _ => error.into(),
        };
        let file = options().open(&path).map_err(not_found)?;
        let mapping = Mapping::of(&file)?;
        let is_ready = |words: &[AtomicU64]| {
            words.len() >= HEADER
                && words[0].load(Relaxed) == MAGIC
                && words[1].load(Acquire) == words.len() as u64
                && words[2].load(Relaxed) <= (words.len() - HEADER) as u64
        };
        if !is_ready(&mapping) {
            return Err(SegmentError::NoSegment(name.to_string()));
        }
        let lock = options().open(lock_of(&path)).map_err(not_found)?;
        // Removed and created anew in between, it would be the lock of another segment.
        if !is_at(&file, &path)? {
            return Err(SegmentError::NotFound(name.to_string()));
        }
        Ok(Segment {
            mapping,
            lock: ProcessLock::new(lock),
            owned: None,
        })
    }

    /// The words that everyone may use at any time.
    pub fn words(&self) -> &[AtomicU64] {
        self.parts().0
    }

    /// Waits for the words that one at a time may use.
    pub fn lock(&self) -> io::Result<Entry<'_>> {
        let (_, guarded) = self.parts();
        self.lock.lock(&self.mapping[3], guarded)
    }

    pub fn try_lock(&self) -> io::Result<Option<Entry<'_>>> {
        let (_, guarded) = self.parts();
        self.lock.try_lock(&self.mapping[3], guarded)
    }

    fn parts(&self) -> (&[AtomicU64], &[AtomicU64]) {
        // Checked by `attach`, but other processes can write there.
        let rest = &self.mapping[HEADER..];
        rest.split_at(rest.len().min(self.mapping[2].load(Relaxed) as usize))
    }
}

/// The owner removes the name. Who is attached keeps the memory until it ends.
impl Drop for Segment {
    fn drop(&mut self) {
        if let Some((file, path)) = &self.owned
            && let Ok(true) = is_at(file, path)
        {
            let _ = remove(path);
        }
    }
}

/// Removes a segment, whoever owns it.
pub fn unlink(name: &str) -> Result<(), SegmentError> {
    Ok(remove(&path_of(name)?)?)
}

/// Removes the segments whose names begin so and whose owners are dead, and tells which.
pub fn remove_stale(prefix: &str) -> Result<Vec<String>, SegmentError> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        // The file stays open, and with that locked, until it is removed.
        if name.starts_with(prefix)
            && is_name(name)
            && let Some(_locked) = claim_stale(&path)?
        {
            remove(&path)?;
            removed.push(name.to_string());
        }
    }
    removed.sort();
    Ok(removed)
}

/// The locked file of a segment that was left behind, if that is what is there.
fn claim_stale(path: &Path) -> io::Result<Option<File>> {
    // It may be gone by now, or another user's.
    let Ok(file) = options().open(path) else {
        return Ok(None);
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let stale = is_at(&file, path)? && (file.metadata()?.len() == 0 || is_segment(&file));
    Ok(stale.then_some(file))
}

/// A new file at that place, locked. It is empty.
fn claim(name: &str, path: &Path) -> Result<File, SegmentError> {
    let begin = Instant::now();
    loop {
        let file = options().create(true).truncate(false).open(path)?;
        match file.try_lock() {
            // Someone has removed it before we had the lock: it is not what others find there.
            Ok(()) if !is_at(&file, path)? => {}
            Ok(()) if file.metadata()?.len() == 0 => return Ok(file),
            // Without the lock of its owner, which is dead.
            Ok(()) if is_segment(&file) => remove(path)?,
            Ok(()) => return Err(SegmentError::NoSegment(name.to_string())),
            // Still empty: someone is about to create it, or to remove it as stale.
            Err(TryLockError::WouldBlock)
                if file.metadata()?.len() == 0 && begin.elapsed() < PATIENCE =>
            {
                thread::yield_now();
            }
            Err(TryLockError::WouldBlock) => return Err(SegmentError::NameTaken(name.to_string())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// The lock's file first: what is left behind half-way must be recognised as a segment.
fn remove(path: &Path) -> io::Result<()> {
    for path in [&lock_of(path), path] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_segment(mut file: &File) -> bool {
    let mut start = [0; 8];
    file.read_exact(&mut start).is_ok() && start == MAGIC.to_ne_bytes()
}

/// Whether the file still has that name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let own = file.metadata()?;
        Ok((own.dev(), own.ino()) == (there.dev(), there.ino()))
    }
    #[cfg(not(unix))]
    Ok(there.len() == file.metadata()?.len())
}

/// For this user only, and never through a link that somebody has placed there.
fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        options.mode(0o600).custom_flags(flags);
    }
    options
}

fn folder() -> PathBuf {
    match Path::new("/dev/shm") {
        memory if memory.is_dir() => memory.to_path_buf(),
        _ => std::env::temp_dir(),
    }
}

fn path_of(name: &str) -> Result<PathBuf, SegmentError> {
    match is_name(name) {
        true => Ok(folder().join(name)),
        false => Err(SegmentError::BadName(name.to_string())),
    }
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_added_extension("lock")
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=200).contains(&name.len()) && name.chars().all(allowed)
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            SegmentError::BadName(name) => {
                write!(f, "{name:?} is no name: letters, digits and hyphens only")
            }
            SegmentError::NameTaken(name) => write!(f, "the name {name} is taken"),
            SegmentError::NotFound(name) => write!(f, "there is no segment {name}"),
            SegmentError::NoSegment(name) => write!(f, "{name} is no segment, or not ready"),
            SegmentError::Io(error) => write!(f, "shared memory: {error}"),
        }
    }
}

impl Error for SegmentError {}

impl From<io::Error> for SegmentError {
    fn from(error: io::Error) -> SegmentError {
        SegmentError::Io(error)
    }
}
