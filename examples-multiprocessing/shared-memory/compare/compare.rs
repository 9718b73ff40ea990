//! The jobs of `compare.py`, by our segment, our lock and a pipe.
//!
//! `shared-memory-compare pipe|memory BYTES`, `shared-memory-compare atomic|lock COUNT`

#![deny(unsafe_code)]

#[path = "../src/lock.rs"]
mod lock;
#[path = "../src/mapping.rs"]
mod mapping;
#[path = "../src/owned.rs"]
mod owned;
#[expect(dead_code, reason = "the program uses the rest")]
#[path = "../src/shared.rs"]
mod shared;
#[path = "../src/transfer.rs"]
mod transfer;

use std::env;
use std::error::Error;
use std::io;
use std::process::{self, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use owned::Owned;
use shared::Segment;
use transfer::Way;

const USAGE: &str = "usage: shared-memory-compare pipe|memory BYTES, or atomic|lock COUNT";
/// Set in workers only, to the name of the segment.
const SEGMENT: &str = "SHARED_MEMORY_COMPARE_SEGMENT";
const WORKERS: u64 = 4;
/// How many workers get messages, one after another. The fastest counts: to which processor the
/// system puts a worker matters ten times as much as how it is talked to.
const ROUNDS: u32 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [job, size] = &arguments[..] else {
        return Err(USAGE.into());
    };
    let size = size.parse::<f64>()? as usize;
    if let Ok(name) = env::var(SEGMENT) {
        return work(&name, job, size);
    }
    let name = format!("shared-memory-compare-{}", process::id());
    let (answer, time) = match &**job {
        "pipe" | "memory" => send(&name, job, size)?,
        "atomic" | "lock" => count(&name, job, size)?,
        _ => return Err(USAGE.into()),
    };
    println!("{answer}\n# seconds {:.9}", time.as_secs_f64());
    Ok(())
}

type Measured = Result<(u64, Duration), Box<dyn Error>>;

/// About 25 MB in messages of one size, each answered before the next is sent.
fn send(name: &str, job: &str, size: usize) -> Measured {
    let segment = Segment::create(name, 1 + size / transfer::WORD, 0)?;
    let way = match job {
        "pipe" => Way::Pipe,
        _ => Way::Memory(segment.words()),
    };
    let number = (25_000_000 / size as u32).clamp(1, 2000);
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut worker = start(name, job, size)?;
        best = transfer::send(way, &mut worker, size, number)?.min(best);
    }
    Ok((number.into(), best))
}

/// From the start of the workers to their end, as Python's have no easy way to start at once.
fn count(name: &str, job: &str, count: usize) -> Measured {
    let segment = Segment::create(name, 1, 1)?;
    let begin = Instant::now();
    let workers: io::Result<Vec<Owned>> = (0..WORKERS).map(|_| start(name, job, count)).collect();
    for mut worker in workers? {
        let status = worker.wait()?;
        if !status.success() {
            return Err("a worker failed".into());
        }
    }
    let time = begin.elapsed();
    let guarded = segment.lock()?.or_repair(|_, _| ())[0].load(Relaxed);
    Ok((segment.words()[0].load(Relaxed) + guarded, time))
}

fn start(name: &str, job: &str, size: usize) -> io::Result<Owned> {
    let mut command = Command::new(env::current_exe()?);
    command.args([job, &size.to_string()]).env(SEGMENT, name);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Owned::spawn(command)
}

fn work(name: &str, job: &str, size: usize) -> Result<(), Box<dyn Error>> {
    let segment = Segment::attach(name)?;
    match job {
        "pipe" => transfer::receive(Way::Pipe, size)?,
        "memory" => transfer::receive(Way::Memory(segment.words()), size)?,
        "atomic" => {
            for _ in 0..size {
                segment.words()[0].fetch_add(1, Relaxed);
            }
        }
        _ => {
            for _ in 0..size {
                let words = segment.lock()?.or_repair(|_, _| ());
                words[0].store(words[0].load(Relaxed) + 1, Relaxed);
            }
        }
    }
    Ok(())
}
