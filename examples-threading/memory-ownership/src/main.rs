//! A large buffer moves into a thread and is freed there; it is shared only where it must be.
//!
//! What a Python developer knows as
//!
//! ```python
//! def task(data):
//!     result = checksum(data)
//!     del data                     # frees nothing: the caller still holds on to it
//!     return result
//!
//! results = [executor.submit(task, data) for data in pieces]
//! ```
//!
//! is a matter of the type here. A `Vec` has one owner; who passes it to a thread has it no more,
//! and the compiler refuses a second look at it. So its memory is free the moment the thread is
//! done with it, without a reference count, and nobody elsewhere can hold on to it unnoticed. `Arc`
//! is for what several threads really need at the same time, and says so in the signature.
//!
//! Run it with `cargo run -p memory-ownership`. Look at the memory in use, as the system counts it:
//! four buffers in turn never take more than one, three readers share one, and part 3 does it as
//! Python does.
//!
//! To take: `Memory`, where the system is Linux. Before this: `scoped-threads`; after it:
//! `safe-counter`.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::iter;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// The allocator gives a block of more than 32 MiB back to the system as soon as it is freed. What
/// is smaller it may keep for the next one who asks: free, and yet counted as in use.
const BUFFER_MIB: usize = 40;
const WORDS: usize = BUFFER_MIB * 1024 * 1024 / size_of::<u32>();
const READERS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let memory = Memory::now();
    say!("   {memory}");

    say!("\n1. Four buffers of {BUFFER_MIB} MiB in turn, each moved into a thread");
    for seed in 1..=4 {
        moved(seed, &memory)?;
    }

    say!("\n2. One buffer, shared by {READERS} readers that need it at the same time");
    shared(&memory)?;

    say!("\n3. As in Python: the task lets go of the buffer, the caller does not");
    held(&memory)?;

    let peak = in_mib("VmHWM:");
    if let (Some(peak), Some(begin)) = (peak, memory.begin) {
        say!("\n   most in use at any time: {peak:.0} MiB");
        let most = begin + 1.5 * BUFFER_MIB as f64;
        check(peak < most, "more than one buffer was there at a time")?;
    }
    memory.check_returned()?;
    say!("\nok: six buffers, never two at a time, each freed as soon as its last owner was done");
    Ok(())
}

/// The thread owns the buffer, and frees it while it and the program go on.
fn moved(seed: u32, memory: &Memory) -> Result<(), Box<dyn Error>> {
    let buffer: Vec<u32> = words(seed).collect();
    let begin = memory.clone();
    let worker = spawn(format!("worker-{seed}"), move || {
        let with = begin.to_string();
        let checksum = use_up(buffer);
        // The thread is still there. `buffer` cannot be looked at any more, not even by mistake.
        say!("   {with}; freed by worker-{seed}: {begin}");
        begin.check_returned().map(|()| checksum)
    })?;
    // Nor here: `buffer.len()` would be error E0382, "borrow of moved value".
    let checksum = join(worker)??;
    check(checksum == self::checksum(words(seed)), "a wrong checksum")?;
    Ok(())
}

/// To take something by value is to free it at the end, if it is not passed on.
fn use_up(buffer: Vec<u32>) -> u32 {
    checksum(buffer.iter().copied())
}

/// Three owners of one buffer; the last one of them frees it, whoever that is.
fn shared(memory: &Memory) -> Result<(), Box<dyn Error>> {
    let buffer: Arc<Vec<u32>> = Arc::new(words(1).collect());
    let mut readers = Vec::new();
    // The last reader gets the `Arc` itself, not a clone: `main` keeps nothing.
    for (number, buffer) in (1..).zip(iter::repeat_n(buffer, READERS)) {
        let begin = memory.clone();
        readers.push(spawn(format!("reader-{number}"), move || {
            let checksum = checksum(buffer.iter().copied());
            say!("   {begin}, read by reader-{number}");
            // Only the last owner gets what is inside, even if they all let go at once.
            (checksum, Arc::into_inner(buffer).map(|_| number))
        })?);
    }
    let results: Result<Vec<(u32, Option<u32>)>, _> = readers.into_iter().map(join).collect();
    let (checksums, last): (Vec<u32>, Vec<Option<u32>>) = results?.into_iter().unzip();
    let expected = [checksum(words(1)); READERS];
    check(checksums == expected, "a wrong checksum")?;
    let [last] = last.into_iter().flatten().collect::<Vec<u32>>()[..] else {
        return Err("not exactly one reader was the last owner".into());
    };
    say!("   {memory}; freed by reader-{last}, the last one to let go");
    memory.check_returned()?;
    Ok(())
}

/// A clone of the `Arc` where a move would do: the buffer stays until the other owner lets go.
fn held(memory: &Memory) -> Result<(), Box<dyn Error>> {
    let buffer: Arc<Vec<u32>> = Arc::new(words(1).collect());
    let clone = Arc::clone(&buffer);
    let worker = spawn("worker".to_string(), move || {
        let checksum = checksum(clone.iter().copied());
        drop(clone); // like `del data`
        checksum
    })?;
    let checksum = join(worker)?;
    say!("   {memory}, after the thread has let go and ended");
    check(checksum == self::checksum(words(1)), "a wrong checksum")?;
    check(Arc::strong_count(&buffer) == 1, "the thread has not let go")?;
    memory.check_held()?;

    drop(buffer);
    say!("   {memory}, after the caller has let go, too");
    memory.check_returned()?;
    Ok(())
}

fn spawn<T, F>(name: String, work: F) -> io::Result<JoinHandle<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    thread::Builder::new().name(name).spawn(work)
}

fn join<T>(thread: JoinHandle<T>) -> Result<T, &'static str> {
    thread.join().map_err(|_| "a thread panicked")
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

/// What a buffer is filled with.
fn words(seed: u32) -> impl Iterator<Item = u32> {
    (0..WORDS as u32).map(move |n| n.wrapping_mul(0x9E37_79B9) ^ seed)
}

/// FNV-1a, by words. Each step needs the one before, so it takes its time.
fn checksum(words: impl Iterator<Item = u32>) -> u32 {
    words.fold(0x811C_9DC5, |hash, word| {
        (hash ^ word).wrapping_mul(0x0100_0193)
    })
}

/// The memory that this process has in use, where the system tells.
#[derive(Clone)]
struct Memory {
    begin: Option<f64>,
}

impl Memory {
    fn now() -> Memory {
        Memory { begin: in_use() }
    }

    /// How much more than at the beginning, in buffers.
    fn buffers(&self) -> Option<f64> {
        Some((in_use()? - self.begin?) / BUFFER_MIB as f64)
    }

    fn check_returned(&self) -> Result<(), String> {
        let returned = self.buffers().is_none_or(|buffers| buffers < 0.5);
        check(
            returned,
            "memory was freed and not given back to the system",
        )
    }

    fn check_held(&self) -> Result<(), String> {
        let held = self.buffers().is_none_or(|buffers| buffers > 0.5);
        check(held, "the memory is gone though there is an owner left")
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match in_use() {
            Some(mib) => write!(f, "{mib:3.0} MiB in use"),
            None => write!(f, "(this system does not tell what is in use)"),
        }
    }
}

/// In memory, or moved out to the disk for a while.
fn in_use() -> Option<f64> {
    Some(in_mib("VmRSS:")? + in_mib("VmSwap:").unwrap_or(0.0))
}

/// A figure about this process, on Linux.
fn in_mib(figure: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(figure))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether memory went back is a question to a process as a whole: see `tests/program.rs`.
    #[test]
    fn a_buffer_in_a_thread_gives_the_same_checksum_as_none_at_all() {
        let thread = spawn("test".to_string(), || use_up(words(7).collect())).unwrap();
        assert_eq!(join(thread), Ok(checksum(words(7))));
        assert_ne!(checksum(words(7)), checksum(words(8)));
    }

    #[test]
    fn the_buffer_is_gone_when_the_last_owner_is() {
        let buffer = Arc::new(vec![1, 2, 3]);
        let watch = Arc::downgrade(&buffer);
        let readers = [buffer.clone(), buffer]
            .map(|buffer| thread::spawn(move || Arc::into_inner(buffer).is_some()));
        let last = readers.map(|reader| reader.join().unwrap());
        assert_eq!(last.iter().filter(|last| **last).count(), 1);
        assert!(watch.upgrade().is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_tells_what_is_in_use() {
        assert!(in_use().unwrap() > 0.1);
        assert!(in_mib("VmHWM:").unwrap() > 0.1);
        assert_eq!(in_mib("Vm"), None);
    }
}
