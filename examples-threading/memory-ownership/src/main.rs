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
//! done with it. `Arc` is for what several threads need at once, and says so in the signature.
//!
//! Run it with `cargo run -p memory-ownership`. Look at the memory in use, as the system counts it:
//! four buffers in turn never take more than one, three readers share one, and part 3 does it as
//! Python does. To take: `src/memory.rs`. Before this: `scoped-threads`; after it: `safe-counter`.

#![forbid(unsafe_code)]

mod memory;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::io;
use std::iter;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use memory::Memory;

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
        moved(seed, memory)?;
    }

    say!("\n2. One buffer, shared by {READERS} readers that need it at the same time");
    shared(memory)?;

    say!("\n3. As in Python: the task lets go of the buffer, the caller does not");
    held(memory)?;

    if let Some(most) = memory.most_grown() {
        say!("\n   most in use at any time: {most:.0} MiB more than at the beginning");
        check(buffers(most) < 1.5, "there were two buffers at a time")?;
    }
    say!("\nok: six buffers, never two at a time, each freed as soon as its last owner was done");
    Ok(())
}

/// The thread owns the buffer, and frees it while it and the program go on.
fn moved(seed: u32, memory: Memory) -> Result<(), Box<dyn Error>> {
    let buffer: Vec<u32> = words(seed).collect();
    let worker = spawn(format!("worker-{seed}"), move || {
        let with = memory.to_string();
        let checksum = use_up(buffer);
        // The thread is still there. `buffer` cannot be looked at any more, not even by mistake.
        say!("   {with}; freed by worker-{seed}: {memory}");
        check_returned(memory).map(|()| checksum)
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
fn shared(memory: Memory) -> Result<(), Box<dyn Error>> {
    let buffer: Arc<Vec<u32>> = Arc::new(words(1).collect());
    let mut readers = Vec::new();
    // The last reader gets the `Arc` itself, not a clone: `main` keeps nothing.
    for (number, buffer) in (1..).zip(iter::repeat_n(buffer, READERS)) {
        readers.push(spawn(format!("reader-{number}"), move || {
            let checksum = checksum(buffer.iter().copied());
            say!("   {memory}, read by reader-{number}");
            checksum
        })?);
    }
    let checksums: Result<Vec<u32>, _> = readers.into_iter().map(join).collect();
    say!("   {memory}, after the last reader has let go");
    check_returned(memory)?;
    check(
        checksums? == [checksum(words(1)); READERS],
        "a wrong checksum",
    )?;
    Ok(())
}

/// A clone of the `Arc` where a move would do: the buffer stays until the other owner lets go.
fn held(memory: Memory) -> Result<(), Box<dyn Error>> {
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
    let held = memory.grown().is_none_or(|mib| buffers(mib) > 0.5);
    check(held, "the memory is gone though there is an owner left")?;

    drop(buffer);
    say!("   {memory}, after the caller has let go, too");
    check_returned(memory)?;
    Ok(())
}

fn check_returned(memory: Memory) -> Result<(), String> {
    let returned = memory.grown().is_none_or(|mib| buffers(mib) < 0.5);
    check(returned, "freed, and not given back to the system")
}

fn buffers(mib: f64) -> f64 {
    mib / BUFFER_MIB as f64
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_in_a_thread_gives_the_same_checksum_as_none_at_all() {
        let thread = spawn("test".to_string(), || use_up(words(7).collect())).unwrap();
        assert_eq!(join(thread), Ok(checksum(words(7))));
        assert_ne!(checksum(words(7)), checksum(words(8)));
    }
}
