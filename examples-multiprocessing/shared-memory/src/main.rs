//! Memory that several processes share, and a lock that survives the death of its holder.
//!
//! What a Python developer knows as
//!
//! ```python
//! total, entries = Value("i", 0), Array("i", 4)
//! with total.get_lock():
//!     entries[worker] += 1     # killed here, the worker leaves the lock locked for ever:
//!     total.value += 1         # all the others hang, and so does who waits for them
//! ```
//!
//! Here the lock is a file's, which the system releases when its holder dies, and a mark in the
//! memory tells the next one that the data may be half changed. The memory itself is shown as
//! atomics only, so `value += 1` without a lock, which loses updates, is not there to be written.
//!
//! Run it with `cargo run --release -p shared-memory`; a number behind it says how far the workers
//! count. Look at part 2, where a worker is killed at each point of its critical section, and at
//! part 3: memory is worth its trouble for large messages only.
//! To take: `src/shared.rs` with `src/lock.rs` and `src/mapping.rs`, the only one with `unsafe`.
//! Before this: `shared-state`, and for pipes `process-pipe`; after it: `ipc-socket`.

#![deny(unsafe_code)]

/// `println!` whose error goes to the caller: to end here would leave the segment behind.
macro_rules! say {
    ($($text:tt)*) => { writeln!(std::io::stdout(), $($text)*)? };
}

mod counting;
mod lock;
mod mapping;
mod owned;
mod shared;
mod signals;
mod tally;
mod transfer;

use std::env;
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::ops::RangeFrom;
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use owned::Owned;
use shared::{Segment, SegmentError};
use transfer::Way;

/// Set in workers only, to what the worker is to do.
const ROLE: &str = "SHARED_MEMORY_ROLE";
/// Names of segments begin so. The process number and a random one make them unique.
const PREFIX: &str = "shared-memory-example-";
const WORKERS: usize = 4;
/// How far each worker counts, if nothing else is asked for.
const COUNT: u64 = 1_000_000;
/// Sizes of messages, in bytes.
const SIZES: [usize; 4] = [64, 4 << 10, 64 << 10, 1 << 20];
/// How many workers get messages of each size by each way.
const ROUNDS: usize = 5;
const TICK: Duration = Duration::from_millis(5);

/// Where the words for the messages are, behind those of the counting.
const MESSAGE: RangeFrom<usize> = counting::WORDS..;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let error = match run() {
        Ok(code) => return code,
        Err(error) => error,
    };
    match error.downcast_ref() {
        // Nobody reads on, as in `| head`; of a worker, the parent is gone.
        Some(error) if io::Error::kind(error) == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        _ => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<ExitCode> {
    if let Some(role) = env::var_os(ROLE) {
        return work(&role.to_string_lossy()).map(|()| ExitCode::SUCCESS);
    }
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let count = match &arguments[..] {
        [] => Some(COUNT),
        [count] => count.to_str().and_then(|count| count.parse().ok()),
        _ => None,
    };
    let Some(count) = count else {
        eprintln!("usage: shared-memory [COUNT]");
        return Ok(ExitCode::from(2));
    };
    match (parent(count), signals::received()) {
        (Err(_), Some(signal)) => {
            let name = signal.name;
            say!("stopped by {name}: no worker and no segment is left");
            Ok(ExitCode::from(signal.exit_code))
        }
        (result, _) => result.map(|()| ExitCode::SUCCESS),
    }
}

fn parent(count: u64) -> Outcome<()> {
    if cfg!(not(unix)) {
        say!("nothing to see here: this example relies on how Unix locks and removes files");
        return Ok(());
    }
    let random = RandomState::new().hash_one(()) as u16;
    let name = format!("{PREFIX}{}-{random:04x}", process::id());
    // Before there is anything that could be left behind. The first signal is seen by
    // `stop_if_asked`; a second one ends the program at once, and the workers with it.
    let unlink = name.clone();
    signals::listen(|_| (), move || drop(shared::unlink(&unlink)))?;
    for stale in shared::remove_stale(PREFIX)? {
        say!("removed {stale}, whose owner did not live to do it");
    }

    say!("1. A segment has a name, an owner, a size, and words that all its users see");
    let message = 1 + SIZES[SIZES.len() - 1] / transfer::WORD;
    let segment = Segment::create(&name, MESSAGE.start + message, tally::WORDS)?;
    names(&name, &segment)?;
    counting::run(&name, segment.words(), count)?;

    say!("\n2. A worker is killed in its critical section; who comes next repairs");
    say!("   killed …                   the next one inside              total, and the sum");
    for (killed, stage) in tally::STAGES {
        let seen = tally::kill_one(&name, &segment, stage)?;
        say!("   {killed:26} {seen}");
    }

    say!("\n3. Messages to a worker, answered by 8 bytes each: microseconds for one, at best");
    compare(&name, &segment.words()[MESSAGE])?;

    drop(segment);
    let left = Segment::attach(&name).err();
    let removed = matches!(left, Some(SegmentError::NotFound(_)));
    check(removed, "the segment is still there")?;
    say!("\nok: counts exact, every abandoned lock recovered, nothing left in shared memory");
    Ok(())
}

fn names(name: &str, segment: &Segment) -> Outcome<()> {
    let again = Segment::create(name, 1, 0).err();
    let other = Segment::attach(&format!("{name}-other")).err();
    let [Some(again), Some(other)] = [again, other] else {
        return Err("two segments of one name, or one out of nothing".into());
    };
    say!("   {name}: {} words", segment.words().len());
    say!("   created once more: {again}");
    say!("   attached by another name: {other}");
    let attached = Segment::attach(name)?;
    let same = attached.words().len() == segment.words().len();
    check(same, "it has another size for who attaches")
}

fn compare(name: &str, memory: &[AtomicU64]) -> Outcome<()> {
    if cfg!(debug_assertions) {
        say!("   (the memory's figures mislead in a debug build, which this is: see `--release`)");
    }
    say!("       bytes        pipe   shared memory");
    for size in SIZES {
        let mut best = [Duration::MAX; 2];
        let number = ((1 << 20) / size).clamp(4, 100) as u32;
        // To which processor the system puts a worker matters ten times as much as how it is
        // talked to. So each round has new workers, in turns, and the best round counts.
        for _ in 0..ROUNDS {
            let ways = [(Way::Pipe, "pipe"), (Way::Memory(memory), "memory")];
            for ((way, role), best) in ways.into_iter().zip(&mut best) {
                stop_if_asked()?;
                let mut worker = start(&format!("{role} {name} {size}"))?;
                let time = transfer::send(way, &mut worker, size, number)?;
                *best = (time / number).min(*best);
            }
        }
        let [pipe, memory] = best.map(|time| time.as_secs_f64() * 1e6);
        say!("   {size:>9}   {pipe:>9.1}   {memory:>13.1}");
    }
    Ok(())
}

/// This program once more, as a worker.
fn start(role: &str) -> io::Result<Owned> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, role);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Owned::spawn(command)
}

/// Waits until all have ended well. If one has not, or a signal came, the others are killed by
/// their owner: all they have is in the memory, and that goes, too.
fn wait_for_all(mut workers: Vec<Owned>) -> Outcome<()> {
    loop {
        let mut running = false;
        for worker in &mut workers {
            let Some(status) = worker.try_wait()? else {
                running = true;
                continue;
            };
            let (id, how) = (worker.id(), owned::describe(status));
            check(status.success(), &format!("worker {id} ended with {how}"))?;
        }
        if !running {
            return Ok(());
        }
        stop_if_asked()?;
        thread::sleep(TICK);
    }
}

/// What a worker does instead of the parent's part.
fn work(role: &str) -> Outcome<()> {
    let words: Vec<&str> = role.split(' ').collect();
    match words[..] {
        ["count", name, worker, count] => {
            end_with_parent()?;
            let segment = Segment::attach(name)?;
            counting::work(segment.words(), worker.parse()?, count.parse()?);
        }
        ["tally", name, worker, stage] => {
            end_with_parent()?;
            tally::make_all(&Segment::attach(name)?, worker.parse()?, stage)?;
        }
        // These two listen to their stdin, and so to the end of their parent.
        ["pipe", _, size] => transfer::receive(Way::Pipe, size.parse()?)?,
        ["memory", name, size] => {
            let segment = Segment::attach(name)?;
            transfer::receive(Way::Memory(&segment.words()[MESSAGE]), size.parse()?)?;
        }
        // Someone else set the variable. Starting workers now could go on without end.
        _ => return Err(format!("unset {ROLE}: it is for this program's own workers").into()),
    }
    Ok(())
}

/// A killed parent cannot tell its workers, but the system closes its end of their stdin.
fn end_with_parent() -> io::Result<()> {
    let watch = || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(1);
    };
    let watcher = thread::Builder::new().name("watch-parent".into());
    watcher.spawn(watch).map(drop)
}

fn stop_if_asked() -> Outcome<()> {
    check(signals::received().is_none(), "stopped by a signal")
}

fn check(holds: bool, complaint: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(complaint.into()) }
}
