//! An event: any number of threads wait until another one sets it.
//!
//! What a Python developer knows as
//!
//! ```python
//! def report():
//!     while not done.wait(timeout=0.03):  # False: the time was up
//!         print("still working")
//! ```
//!
//! is `while let Err(TimedOut) = done.wait_timeout(PAUSE)` here: the compiler warns who does not look
//! which happened. std has no such type, because it is a flag in a `Mutex` and a `Condvar`. If the
//! thread that should set an event fails, Python waits for ever; what cannot be forgotten here is a
//! drop, so a guard sets it (`SetOnDrop`), or the end of a channel takes its place.
//!
//! Run it with `cargo run -p event-flag`. Look at the workers, who all begin when the event is set,
//! and at the reporter, who is told of the end in the middle of its pause. To take: `src/event.rs`
//! with `src/sync.rs`; its tests are `tests/event.rs` and `tests/model.rs`. Before this: `deadlock`;
//! after it: `semaphore`.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use event::{Event, SetOnDrop, TimedOut};

#[macro_use]
mod say;
mod event;
mod sync;

const WORKERS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(30);
/// Long enough to be never reached; a wait without a bound could hide a mistake for ever.
const LIMIT: Duration = Duration::from_secs(20);

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. One event starts {WORKERS} workers, another ends the reporter");
    start_and_stop()?;
    say!("\n2. An event stays set until it is cleared");
    set_and_clear()?;
    say!("\n3. Where it happens only once, the end of a channel is an event, too");
    end_of_a_channel()?;
    say!("\nok: one set woke all {WORKERS}, none began before; each wait told what had happened");
    Ok(())
}

fn start_and_stop() -> Result<(), Box<dyn Error>> {
    let (start, done) = (Event::new(), Event::new());
    let finished = AtomicUsize::new(0);
    let begin = Instant::now();

    let work = |number| {
        start.wait();
        let began = Instant::now();
        tell(begin, "begins");
        let result = fibonacci(33 + number);
        finished.fetch_add(1, Ordering::Relaxed);
        tell(begin, format_args!("has computed {result}"));
        began
    };
    let report = || {
        // A `sleep` instead could not be ended: the reporter would notice only after it.
        while let Err(TimedOut) = done.wait_timeout(PAUSE) {
            let finished = finished.load(Ordering::Relaxed);
            tell(begin, format_args!("{finished} of {WORKERS} have finished"));
        }
        tell(begin, "is told of the end");
    };

    thread::scope(|scope| {
        // If something fails here, those that wait already are not left behind.
        let _guards = [SetOnDrop(&start), SetOnDrop(&done)];
        let mut workers = Vec::new();
        for number in 1..=WORKERS {
            let worker = thread::Builder::new().name(format!("worker-{number}"));
            workers.push(worker.spawn_scoped(scope, move || work(number))?);
        }
        let reporter = thread::Builder::new().name("reporter".to_string());
        let reporter = reporter.spawn_scoped(scope, report)?;

        // Something that all of them need. They wait meanwhile, without using the processor.
        let prepared = fibonacci(35);
        tell(begin, format_args!("prepared {prepared}, sets the event"));
        let set_at = Instant::now();
        start.set();

        for worker in workers {
            let began = worker.join().map_err(|_| "a worker panicked")?;
            expect(began >= set_at, "nobody begins before the event is set")?;
        }
        tell(begin, "all workers have ended, sets the other event");
        done.set();
        reporter.join().map_err(|_| "the reporter panicked")?;
        Ok(())
    })
}

/// Who did what, and when.
fn tell(begin: Instant, event: impl Display) {
    let (now, thread) = (begin.elapsed().as_millis(), thread::current());
    say!("{now:>5} ms  {:<8}  {event}", thread.name().unwrap_or("?"));
}

/// Slow on purpose: work for the processor, so that a trace shows who waits and who does not.
fn fibonacci(n: u32) -> u64 {
    match n {
        0 | 1 => n.into(),
        _ => fibonacci(n - 1) + fibonacci(n - 2),
    }
}

fn set_and_clear() -> Result<(), String> {
    let event = Event::new();
    let begin = Instant::now();
    let in_vain = event.wait_timeout(PAUSE);
    let waited = begin.elapsed();
    say!("   before:       {in_vain:?} after {waited:.0?}");
    let timed_out = in_vain == Err(TimedOut) && waited >= PAUSE;
    expect(timed_out, "a wait in vain ends when its time is up")?;

    event.set();
    let twice = [event.wait_timeout(LIMIT), event.wait_timeout(LIMIT)];
    say!("   set:          {twice:?}, and nobody waited");
    let stays_set = twice == [Ok(()); 2] && event.is_set();
    expect(stays_set, "an event that is set stays set")?;

    event.clear();
    let again = event.wait_timeout(PAUSE);
    say!("   cleared:      {again:?}");
    expect(again == Err(TimedOut), "after clear one has to wait again")
}

/// No event, no lock: the receiver is told when the last sender is gone. This works for any number
/// of receivers with the channels of crossbeam; those of std have one. For a value that everybody
/// may read when it is there, std has `OnceLock` with `set` and `wait`.
fn end_of_a_channel() -> Result<(), Box<dyn Error>> {
    let (open, is_over) = mpsc::channel::<()>();
    let before = is_over.recv_timeout(PAUSE);
    say!("   sender there: {before:?}");
    let timed_out = before == Err(RecvTimeoutError::Timeout);
    expect(timed_out, "it waits as long as there is a sender")?;

    let setter = thread::Builder::new().name("setter".to_string());
    setter.spawn(move || drop(open))?;
    let after = is_over.recv_timeout(LIMIT);
    say!("   dropped:      {after:?}");
    let ended = after == Err(RecvTimeoutError::Disconnected);
    expect(ended, "the end of the channel comes")?;
    Ok(())
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_parts_keep_their_promises() {
        start_and_stop().unwrap();
        set_and_clear().unwrap();
        end_of_a_channel().unwrap();
    }

    #[test]
    fn when_the_setter_panics_the_guard_and_the_end_of_the_channel_come_all_the_same() {
        let (bare, guarded) = (Event::new(), Event::new());
        let (open, is_over) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let setter = scope.spawn(|| {
                let _open = open;
                let _guard = SetOnDrop(&guarded);
                let _: u32 = "on purpose".parse().unwrap();
                bare.set();
            });
            let end = is_over.recv_timeout(LIMIT);
            assert_eq!(end, Err(RecvTimeoutError::Disconnected));
            assert_eq!(guarded.wait_timeout(LIMIT), Ok(()));
            assert!(setter.join().is_err());
        });
        assert!(!bare.is_set());
    }
}
