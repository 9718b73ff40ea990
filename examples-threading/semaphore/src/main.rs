//! A semaphore: of many threads, only so many at once may do something.
//!
//! What a Python developer knows as
//!
//! ```python
//! gate = threading.BoundedSemaphore(2)
//!
//! with gate:          # waits for a permit, and returns it
//!     use_it()
//! gate.release()      # one too many: ValueError; a plain Semaphore lets three in from now on
//! ```
//!
//! is a number in a `Mutex`, and a `Condvar`: std has no such type. Here a permit is a value. To drop
//! it is to return it, also when a thread panics, and the compiler refuses to drop it twice (E0382)
//! or to make one up (E0451): no third can get in.
//!
//! Run it with `cargo run -p semaphore`. Look at who is inside: two at once, never more. To take:
//! `src/semaphore.rs` with `src/sync.rs`; its tests are `tests/semaphore.rs` and `tests/model.rs`.
//! Before this: `event-flag`; after it: `barrier-phases`, `connection-pool`.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use semaphore::{Permit, Semaphore};

#[macro_use]
mod say;
mod semaphore;
mod sync;

const WORKERS: usize = 5;
const PERMITS: usize = 2;
const PATIENCE: Duration = Duration::from_millis(20);
/// Against a semaphore that lets in too few.
const LIMIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. {WORKERS} workers, {PERMITS} permits");
    let gate = Semaphore::new(PERMITS);
    let peak = run(&gate)?;
    expect(peak == PERMITS, "at the peak, as many as there are permits")?;

    say!("\n2. A worker that panics returns its permit");
    panic_inside(&gate)?;
    say!("\n3. Several permits at one stroke, a try, and a time-out");
    several_and_time_outs(&gate)?;

    expect(gate.available() == PERMITS, "all permits are back")?;
    say!("\nok: {WORKERS} workers were inside, at the peak exactly {peak}; all permits are back");
    Ok(())
}

/// The most workers that were inside at once.
fn run(gate: &Semaphore) -> Result<usize, Box<dyn Error>> {
    let begin = Instant::now();
    let (inside, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));

    let work = || {
        let _permit = gate.acquire();
        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(now, Ordering::SeqCst);
        tell(begin, format_args!("enters, {now} inside"));
        // The first one inside waits for the second. So there are two at once in every run, also on
        // a machine that is so busy that one would be out again before the next gets in.
        while peak.load(Ordering::SeqCst) < PERMITS && begin.elapsed() < LIMIT {
            thread::yield_now();
        }
        let result = fibonacci(34);
        tell(begin, format_args!("has computed {result} and leaves"));
        inside.fetch_sub(1, Ordering::SeqCst);
        // Here the permit is returned. `let _ = gate.acquire()` would have done so at once.
    };
    thread::scope(|scope| {
        // Until all have been started, nobody gets in.
        let _all = gate.acquire_many(PERMITS);
        for number in 1..=WORKERS {
            let worker = thread::Builder::new().name(format!("worker-{number}"));
            worker.spawn_scoped(scope, work)?;
        }
        Ok::<(), io::Error>(())
    })?;
    Ok(peak.into_inner())
}

/// Who did what, and when.
fn tell(begin: Instant, event: impl Display) {
    let (now, thread) = (begin.elapsed().as_millis(), thread::current());
    say!("{now:>5} ms  {:<8}  {event}", thread.name().unwrap_or("?"));
}

/// Slow on purpose: work for the processor, so that a trace shows who is inside.
fn fibonacci(n: u32) -> u64 {
    match n {
        0 | 1 => n.into(),
        _ => fibonacci(n - 1) + fibonacci(n - 2),
    }
}

fn panic_inside(gate: &Semaphore) -> Result<(), Box<dyn Error>> {
    let clumsy = thread::Builder::new().name("clumsy".to_string());
    thread::scope(|scope| {
        let clumsy = clumsy.spawn_scoped(scope, || {
            let _permit = gate.acquire();
            say!("   clumsy is inside, {} permit left", gate.available());
            // As `panic!`, but without its message on stderr.
            panic::resume_unwind(Box::new("clumsy"));
        })?;
        let panicked = clumsy.join().is_err();
        let back = gate.available();
        say!("   panicked: {panicked}; permits there again: {back}");
        expect(panicked && back == PERMITS, "a panic returns the permit")?;
        Ok(())
    })
}

fn several_and_time_outs(gate: &Semaphore) -> Result<(), String> {
    let mut both = gate.acquire_many(PERMITS);
    say!("   one thread has {} permits", both.count());
    let tried = gate.try_acquire();
    say!("   another one tries: {}", told(&tried));
    expect(tried.is_none(), "a try does not wait and gets nothing")?;

    let begin = Instant::now();
    let timed = gate.acquire_timeout(PATIENCE);
    let waited = begin.elapsed();
    say!(
        "   waits at most {PATIENCE:?}: {} after {waited:.0?}",
        told(&timed)
    );
    let in_vain = timed.is_none() && waited >= PATIENCE;
    expect(in_vain, "a wait in vain ends when its time is up")?;

    drop(both.split(1));
    let timed = gate.acquire_timeout(PATIENCE);
    say!("   one of the two comes back early: {}", told(&timed));
    expect(timed.is_some(), "what was split off can be returned early")
}

fn told(permit: &Option<Permit>) -> &'static str {
    match permit {
        Some(_) => "gets a permit",
        None => "gets none",
    }
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}
