//! Producers and consumers over a bounded channel: one to two, one to three, two to three.
//!
//! In Python the queue has no end, so the consumers guess it:
//!
//! ```python
//! def consume(jobs):
//!     while True:
//!         try: job = jobs.get(timeout=1)      # a producer that pauses longer has lost us
//!         except queue.Empty: break           # ... and then jobs.join() waits for ever
//!         handle(job); jobs.task_done()       # so it does when the handling raises
//! ```
//!
//! A channel ends when its last sender is dropped, and then each consumer's loop ends: no sentinel,
//! no time-out. Whoever returns, fails or panics drops what it holds, so neither side can leave the
//! other waiting. (std's channel has one consumer, crossbeam's many.)
//!
//! Run it with `cargo run -p producer-consumer`. Look at the pause in 1, which ends no consumer; at
//! the producer of 2, which gets only a few lines ahead; and at the two errors of 3, which cost
//! their own lines only. To take: `run`, the pattern for "m producers, n consumers, all results".
//! Before this: `bounded-buffer`, such a queue made by hand; after it: `priority-queue`.

#![forbid(unsafe_code)]

#[macro_use]
mod say;

use std::error::Error;
use std::fmt::Display;
use std::num::ParseIntError;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError, bounded};
use crossbeam::sync::WaitGroup;

const PATIENCE: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(100);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. One producer, two consumers, and a pause");
    let mut handled = one_to_two()?;
    say!("\n2. One fast producer, three consumers, room for two lines");
    handled += one_to_three()?;
    say!("\n3. Two producers, three consumers, and two lines that are no numbers");
    handled += two_to_three()?;
    say!("\n4. To wait for the work and keep the workers");
    wait_for_each_batch()?;
    say!("\n5. Not to wait at all, or not for ever; and the last one first");
    without_waiting()?;
    say!("\nok: each of {handled} lines was handled once, and nobody waited for ever");
    Ok(())
}

/// The producer pauses for longer than anybody would wait. It ends nobody.
fn one_to_two() -> Result<usize, Box<dyn Error>> {
    let lines = lines(1..=5);
    let slow = source(&lines).inspect(|line| {
        if line == "40000" {
            tell(format_args!("pauses for {PAUSE:?}, as a slow source does"));
            thread::sleep(PAUSE);
        }
    });
    Ok(check(&lines, run(vec![slow], 2, 10, handle)?)?)
}

/// The producer could read lines for ever. The bound holds it back, so that memory stays small.
fn one_to_three() -> Result<usize, Box<dyn Error>> {
    let lines = lines(1..=10);
    Ok(check(&lines, run(vec![source(&lines)], 3, 2, handle)?)?)
}

/// What cannot be handled has an answer like any other: its error.
fn two_to_three() -> Result<usize, Box<dyn Error>> {
    let mut files = [lines(1..=5), lines(6..=10)];
    files[0][2] = "thirty thousand".into();
    files[1][1] = "-70000".into();
    let producers = files.each_ref().map(|lines| source(lines));
    let done = run(producers.into(), 3, 10, handle)?;
    let failed = done.iter().filter(|(_, answer)| answer.is_err()).count();
    expect(failed == 2, "an error costs its own line only")?;
    Ok(check(&files.concat(), done)?)
}

/// Runs each producer, and `consumers` times `handle`, in a thread of its own until nothing more can
/// come. At most `capacity` items wait in between.
fn run<T: Send, R: Send>(
    producers: Vec<impl Iterator<Item = T> + Send>,
    consumers: usize,
    capacity: usize,
    handle: impl Fn(T) -> R + Sync,
) -> Result<Vec<R>, Box<dyn Error>> {
    let (sender, receiver) = bounded(capacity);
    let handle = &handle;
    // `move`: also when a thread cannot be started, our own two ends are gone before we wait.
    thread::scope(move |scope| {
        let mut consuming = Vec::new();
        for number in 1..=consumers {
            let receiver = receiver.clone();
            let consume = move || {
                let results: Vec<R> = receiver.iter().map(handle).collect();
                tell("ends, for nothing more can come");
                results
            };
            let thread = thread::Builder::new().name(format!("consumer-{number}"));
            consuming.push(thread.spawn_scoped(scope, consume)?);
        }
        let mut producing = Vec::new();
        for (number, mut items) in (1..).zip(producers) {
            let sender = sender.clone();
            let produce = move || items.try_for_each(|item| sender.send(item));
            let thread = thread::Builder::new().name(format!("producer-{number}"));
            producing.push(thread.spawn_scoped(scope, produce)?);
        }
        // The end comes when the last sender is gone; a send fails when the last receiver is gone.
        // Ours would keep both from coming.
        drop((sender, receiver));

        // First join all, then look: a scope panics for a thread that did and was not joined.
        let consumed: Vec<_> = consuming.into_iter().map(|it| it.join()).collect();
        let produced: Vec<_> = producing.into_iter().map(|it| it.join()).collect();
        let mut done = Vec::new();
        for results in consumed {
            done.extend(results.map_err(|_| "a consumer panicked")?);
        }
        for sent in produced {
            let sent = sent.map_err(|_| "a producer panicked")?;
            sent.map_err(|_| "a producer was left without consumers")?;
        }
        Ok(done)
    })
}

/// What a producer sends: numbers as text, as they would come from a file.
fn lines(tens_of_thousands: RangeInclusive<u32>) -> Vec<String> {
    let line = |number| format!("{number}0000");
    tens_of_thousands.map(line).collect()
}

fn source(lines: &[String]) -> impl Iterator<Item = String> {
    let sends = |line: &String| tell(format_args!("sends {line}"));
    lines.iter().cloned().inspect(sends)
}

/// A line, and what came of it.
type Done = (String, Result<u32, ParseIntError>);

fn handle(line: String) -> Done {
    let answer = line.parse().map(count_primes);
    match &answer {
        Ok(count) => tell(format_args!("handled {line}: {count} primes below")),
        Err(error) => tell(format_args!("could not handle {line:?}: {error}")),
    }
    (line, answer)
}

/// Each line was handled once. Returns how many there are.
fn check(lines: &[String], done: Vec<Done>) -> Result<usize, String> {
    let mut sent = lines.to_vec();
    let mut handled: Vec<_> = done.into_iter().map(|(line, _)| line).collect();
    sent.sort();
    handled.sort();
    match sent == handled {
        true => Ok(lines.len()),
        false => Err(format!("sent were {sent:?}, but handled {handled:?}")),
    }
}

/// `queue.join()`: the lines of a batch carry a token each, and `wait` returns when the last token
/// is dropped. That happens at the end of the handling, however it ends: it can neither come too
/// early, nor be forgotten; and to do it twice does not compile (`tests/refused`).
fn wait_for_each_batch() -> Result<(), Box<dyn Error>> {
    let (sender, receiver) = bounded::<(String, WaitGroup)>(64);
    let handled = AtomicUsize::new(0);
    let consume = || {
        for (line, _token) in &receiver {
            _ = handle(line);
            handled.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let sender = sender; // Dropped at the end of this block: the consumers end.
        for number in 1..=2 {
            let thread = thread::Builder::new().name(format!("batch-{number}"));
            thread.spawn_scoped(scope, consume)?;
        }
        for batch in 1..=2 {
            let all_done = WaitGroup::new();
            for line in lines(1..=4) {
                sender.send((line, all_done.clone()))?;
            }
            all_done.wait();
            say!("   batch {batch} is done, and the consumers stay");
            let all = handled.load(Ordering::Relaxed) == 4 * batch;
            expect(all, "a batch is done when all of it is")?;
        }
        Ok(())
    })
}

fn without_waiting() -> Result<(), Box<dyn Error>> {
    let (sender, receiver) = bounded(1); // `unbounded()` is Python's SimpleQueue.
    let nothing = (receiver.try_recv(), receiver.recv_timeout(PATIENCE));
    say!("   nothing yet: try_recv and recv_timeout return {nothing:?}");
    let yet = (Err(TryRecvError::Empty), Err(RecvTimeoutError::Timeout));
    expect(nothing == yet, "nothing yet is one error")?;

    sender.try_send("first")?;
    let full = sender.try_send("second") == Err(TrySendError::Full("second"));
    let late = sender.send_timeout("third", PATIENCE) == Err(SendTimeoutError::Timeout("third"));
    say!("   no room: try_send and send_timeout give the item back");
    expect(full && late, "an item that finds no room comes back")?;

    drop(sender);
    let (rest, end) = (receiver.try_recv(), receiver.try_recv());
    say!("   after the last sender is gone: {rest:?}, then {end:?}");
    expect(rest == Ok("first"), "what was sent before the end arrives")?;
    expect(
        end == Err(TryRecvError::Disconnected),
        "and the end is another error",
    )?;

    // LifoQueue is a stack and a lock. One that also waits is in `priority-queue`.
    let stack = Mutex::new(vec!["first", "second", "third"]);
    let newest = stack.lock().unwrap().pop();
    say!("   a stack: {newest:?} comes out first");
    Ok(expect(
        newest == Some("third"),
        "the last one in comes out first",
    )?)
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

fn count_primes(limit: u32) -> u32 {
    let divisible = |n: u32| {
        (2..)
            .take_while(|d| d * d <= n)
            .any(|d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divisible(*n)).count() as u32
}

/// Says who did what, and when.
fn tell(event: impl Display) {
    let now = START.elapsed().as_millis();
    let thread = thread::current();
    say!("{now:>5} ms  {:<10}  {event}", thread.name().unwrap_or("?"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter;
    use std::sync::mpsc;

    fn sorted(result: Result<Vec<u32>, Box<dyn Error>>) -> Vec<u32> {
        let mut numbers = result.unwrap();
        numbers.sort();
        numbers
    }

    /// Runs a test that would hang if `run` were wrong: a hang becomes a failure.
    fn in_time(test: impl FnOnce() + Send + 'static) {
        let (finished, end) = mpsc::channel::<()>();
        let runner = thread::spawn(move || {
            let _finished = finished; // Dropped on every way out: that is what the end hears.
            test();
        });
        let outcome = end.recv_timeout(Duration::from_secs(20));
        let ended = Err(mpsc::RecvTimeoutError::Disconnected);
        assert_eq!(outcome, ended, "it hangs");
        assert!(runner.join().is_ok());
    }

    #[test]
    fn each_item_is_handled_once_with_any_number_of_threads_and_any_room() {
        in_time(|| {
            for (producers, consumers, capacity) in [
                (1, 1, 0),
                (1, 2, 10),
                (1, 3, 2),
                (2, 3, 10),
                (4, 4, 1),
                (3, 1, 64),
                (2, 7, 0),
            ] {
                let producing = (0..producers).map(|number| number * 500..(number + 1) * 500);
                let done = run(producing.collect(), consumers, capacity, |number| number);
                assert_eq!(sorted(done), (0..producers * 500).collect::<Vec<_>>());
            }
        });
    }

    #[test]
    fn without_producers_the_consumers_end_at_once() {
        in_time(|| {
            let none: Vec<iter::Empty<u32>> = Vec::new();
            assert_eq!(sorted(run(none, 3, 1, |number| number)), []);
        });
    }

    #[test]
    fn without_consumers_a_producer_gets_an_error_instead_of_waiting_for_ever() {
        in_time(|| {
            let numbers = 0..10;
            let error = run(vec![numbers], 0, 1, |number| number).unwrap_err();
            assert_eq!(error.to_string(), "a producer was left without consumers");
        });
    }

    #[test]
    fn the_bound_holds_a_fast_producer_back() {
        in_time(|| {
            let (capacity, consumers) = (2, 3);
            let [made, begun, most_ahead] = [const { AtomicUsize::new(0) }; 3];
            let producer = (0..1_000).inspect(|_| {
                let made = made.fetch_add(1, Ordering::SeqCst) + 1;
                let ahead = made.saturating_sub(begun.load(Ordering::SeqCst));
                most_ahead.fetch_max(ahead, Ordering::SeqCst);
            });
            let handle = |_| begun.fetch_add(1, Ordering::SeqCst);
            run(vec![producer], consumers, capacity, handle).unwrap();
            // One in the producer's hands, two in the channel, and one with each consumer that has
            // not counted it yet.
            assert!(most_ahead.into_inner() <= 1 + capacity + consumers);
        });
    }

    // What went wrong in Python.

    /// `get(timeout=1)` and then `break`: a producer that paused for longer had nobody left, and
    /// `join()` waited for ever.
    #[test]
    fn a_pause_longer_than_the_consumers_patience_ended_them() {
        in_time(|| {
            let producer = (1..=2).inspect(|_| thread::sleep(PAUSE));
            assert_eq!(sorted(run(vec![producer], 2, 1, |number| number)), [1, 2]);
        });
    }

    /// A bare `except: break` around the handling ended the consumer, and the task_done after it
    /// never came.
    #[test]
    fn an_error_in_the_handling_hung_the_join() {
        in_time(|| {
            let lines = ["1", "x", "3", "", "5"].map(String::from);
            let done = run(vec![source(&lines)], 1, 10, handle).unwrap();
            for (line, answer) in &done {
                assert_eq!(answer.is_err(), matches!(line.as_str(), "x" | ""));
            }
            assert_eq!(check(&lines, done), Ok(5));
        });
    }

    #[test]
    fn a_panic_in_the_handling_is_an_error_and_the_other_consumer_does_the_rest() {
        in_time(|| {
            let handled = AtomicUsize::new(0);
            let numbers = 0..100;
            let error = run(vec![numbers], 2, 1, |number| {
                assert!(number != 10, "on purpose");
                handled.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(error.unwrap_err().to_string(), "a consumer panicked");
            assert_eq!(handled.into_inner(), 99);
        });
    }

    #[test]
    fn when_every_consumer_panics_the_producer_is_not_left_waiting() {
        in_time(|| {
            let handle = |_| -> () { panic!("on purpose") };
            let numbers = 0..100;
            let error = run(vec![numbers], 2, 1, handle).unwrap_err();
            assert_eq!(error.to_string(), "a consumer panicked");
        });
    }

    #[test]
    fn when_a_producer_panics_the_consumers_handle_what_was_sent_and_end() {
        in_time(|| {
            let handled = AtomicUsize::new(0);
            let producer = (1..=2).inspect(|&number| assert!(number < 2, "on purpose"));
            let error = run(vec![producer], 3, 1, |_| {
                handled.fetch_add(1, Ordering::Relaxed)
            });
            assert_eq!(error.unwrap_err().to_string(), "a producer panicked");
            assert_eq!(handled.into_inner(), 1);
        });
    }

    /// `task_done()` stood before the work, so that `join()` returned while it still went on.
    #[test]
    fn the_join_returned_before_the_work_was_done() {
        in_time(|| wait_for_each_batch().unwrap());
    }

    #[test]
    fn the_check_finds_what_is_lost_done_twice_or_never_sent() {
        let lines = lines(1..=2);
        let done = |numbers: &[usize]| {
            let lines = numbers.iter().map(|&number| lines[number].clone());
            lines.map(|line| (line, Ok(1))).collect()
        };
        assert_eq!(check(&lines, done(&[1, 0])), Ok(2));
        for wrong in [&[0][..], &[0, 1, 0], &[0, 0]] {
            assert!(check(&lines, done(wrong)).is_err(), "{wrong:?}");
        }
        assert!(check(&lines[..1], done(&[0, 1])).is_err());
    }

    #[test]
    fn there_are_four_primes_below_ten() {
        assert_eq!([0, 2, 3, 10].map(count_primes), [0, 0, 1, 4]);
    }
}
