//! The same messages to another process by two ways: through its stdin, and through shared memory.
//!
//! A pipe holds 64 KB: of a larger message both sides copy piece after piece, and wait for each
//! other at each. Shared memory holds a message of any size. But memory wakes nobody up: that there
//! is something to read has to be said through a pipe all the same.

use std::io::{self, ErrorKind, Read, Write};
use std::process::Child;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

/// The size of a message is a multiple of this.
pub const WORD: usize = 8;

#[derive(Clone, Copy)]
pub enum Way<'a> {
    Pipe,
    /// The first word says how many messages there were; the message is behind it.
    Memory(&'a [AtomicU64]),
}

/// Sends so many messages after a first one, which is for warming up, each when the one before is
/// answered. The worker answers with the last word.
pub fn send(way: Way, worker: &mut Child, size: usize, number: u32) -> io::Result<Duration> {
    let mut message = vec![7; size];
    let mut begin = Instant::now();
    for n in 0..=u64::from(number) {
        if n == 1 {
            begin = Instant::now();
        }
        message[size - WORD..].copy_from_slice(&n.to_ne_bytes());
        // A `BrokenPipe` as it is would look as if it were our own stdout that nobody reads.
        let gone = |error| io::Error::other(format!("no answer from a worker: {error}"));
        let answer = send_one(way, worker, &message).map_err(gone)?;
        if answer != n {
            return Err(io::Error::other(format!("sent {n}, and {answer} arrived")));
        }
    }
    Ok(begin.elapsed())
}

fn send_one(way: Way, worker: &mut Child, message: &[u8]) -> io::Result<u64> {
    let stdin = worker.stdin.as_mut().expect("stdin is a pipe");
    match way {
        Way::Pipe => stdin.write_all(message)?,
        Way::Memory(memory) => {
            let (sent, words) = memory.split_first().expect("there is room");
            for (word, bytes) in words.iter().zip(message.as_chunks().0) {
                word.store(u64::from_ne_bytes(*bytes), Relaxed);
            }
            // Publishes the words. The byte in the pipe only wakes the worker up.
            sent.fetch_add(1, Release);
            stdin.write_all(b"!")?;
        }
    }
    let stdout = worker.stdout.as_mut().expect("stdout is a pipe");
    let mut answer = [0; WORD];
    stdout.read_exact(&mut answer)?;
    Ok(u64::from_ne_bytes(answer))
}

/// The worker's part: takes messages until there are no more.
pub fn receive(way: Way, size: usize) -> io::Result<()> {
    let mut message = vec![0; size];
    let mut received = 0;
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let read = match way {
            Way::Pipe => stdin.read_exact(&mut message),
            Way::Memory(_) => stdin.read_exact(&mut [0]),
        };
        match read {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        if let Way::Memory(memory) = way {
            let (sent, words) = memory.split_first().expect("there is room");
            let before = std::mem::replace(&mut received, sent.load(Acquire));
            assert!(received > before, "woken up without a message");
            for (bytes, word) in message.as_chunks_mut().0.iter_mut().zip(words) {
                *bytes = word.load(Relaxed).to_ne_bytes();
            }
        }
        stdout.write_all(message.last_chunk::<WORD>().expect("there is a word"))?;
        stdout.flush()?;
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Not as `BrokenPipe`, at which this program ends quietly.
    #[test]
    fn a_worker_that_ends_early_is_an_error_that_says_so() -> io::Result<()> {
        for (script, size) in [("true", 8), ("true", 1 << 20), ("head -c 100 >&2", 1 << 20)] {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stderr(Stdio::null());
            let mut worker = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let error = send(Way::Pipe, &mut worker, size, 1).expect_err("nobody answers");
            worker.wait()?;
            assert_eq!(error.kind(), ErrorKind::Other);
            assert!(error.to_string().starts_with("no answer"), "{error}");
        }
        Ok(())
    }
}
