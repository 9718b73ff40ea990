//! Producers and consumers over a bounded channel: one to two, one to three, two to three.
//!
//! In Python the queue has no end, so the consumers guess it:
//!
//! ```python
//! def consume(jobs):
//!     while True:
//!         try: job = jobs.get(timeout=1)      # a producer that pauses longer has lost us
//!         except queue.Empty: break           # ... and then jobs.join() waits for ever
//!         handle(job)                         # so it does when this raises
//!         jobs.task_done()
//! ```
//!
//! A channel ends when its last sender is dropped: each consumer's loop then runs dry and stops,
//! with no sentinel, no time-out and no count. Whoever returns, fails or panics drops what it
//! holds, so neither side can leave the other waiting. (std's channel has one consumer, crossbeam's
//! many.)
//!
//! Run it with `cargo run -p producer-consumer`. Look at the pause in 1, which outlasts the
//! patience of both consumers and ends neither; at the producer of 2, which waits for room, so that
//! memory stays small; and at the two errors of 3, which cost their own items only.
//!
//! To take: `run`, the pattern for "m producers, n consumers, all results".
//! Before this: `bounded-buffer`, such a queue made by hand; after it: `priority-queue`.

#![forbid(unsafe_code)]

#[macro_use]
mod say;

use std::error::Error;
use std::fmt::Display;
use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{
    Receiver, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError, TrySendError,
    bounded,
};
use crossbeam::sync::WaitGroup;

const PATIENCE: Duration = Duration::from_millis(40);
const PAUSE: Duration = Duration::from_millis(100);
/// How many numbers an item asks to search; some milliseconds of work.
const SEARCH: u32 = 50_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. One producer, two consumers, and a pause");
    let mut arrived = one_to_two()?;
    say!("\n2. One fast producer, three consumers, room for two items");
    arrived += one_to_three()?;
    say!("\n3. Two producers, three consumers, and items that cannot be handled");
    arrived += two_to_three()?;
    say!("\n4. To wait for the work and keep the workers");
    wait_for_each_batch()?;
    say!("\n5. Not to wait at all, or not for ever; and the last one first");
    without_waiting()?;
    say!("\nok: each of {arrived} items was handled once, and nobody waited for ever");
    Ok(())
}

/// What goes through the channel: a number as text, as it would come from a file.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    name: String,
    text: String,
}

/// What came of an item. An item that fails is an answer like any other, not an end.
#[derive(Debug, Clone, PartialEq)]
struct Done {
    name: String,
    answer: Result<u32, String>,
}

/// The producer's pause is longer than any consumer's patience. It ends nobody.
fn one_to_two() -> Result<usize, Box<dyn Error>> {
    let items = make_items(1, 5);
    let producer = |sender: Sender<Item>| {
        for (number, item) in items.iter().cloned().enumerate() {
            if number == 3 {
                tell(format_args!("pauses for {PAUSE:?}, as a slow source does"));
                thread::sleep(PAUSE);
            }
            send(&sender, item)?;
        }
        Ok(())
    };
    let done = run(vec![producer], 2, 10, handle)?;
    Ok(check(&items, &done)?)
}

/// The producer could make items for ever. The bound lets it run two ahead and no further.
fn one_to_three() -> Result<usize, Box<dyn Error>> {
    let items = make_items(1, 10);
    let producer = |sender: Sender<Item>| items.iter().try_for_each(|it| send(&sender, it.clone()));
    let done = run(vec![producer], 3, 2, handle)?;
    Ok(check(&items, &done)?)
}

fn two_to_three() -> Result<usize, Box<dyn Error>> {
    let mut lists = [make_items(1, 5), make_items(2, 5)];
    lists[0][2].text = "fifty thousand".into();
    lists[1][1].text = "-1".into();
    let producer = |items: Vec<Item>| {
        move |sender: Sender<Item>| items.iter().try_for_each(|it| send(&sender, it.clone()))
    };
    let done = run(lists.clone().map(producer).into(), 3, 10, handle)?;
    Ok(check(&lists.concat(), &done)?)
}

/// Runs each producer and `consumers` times `handle`, each in a thread of its own, until nothing
/// more can come. At most `capacity` items wait in between.
fn run<T: Send, R: Send>(
    producers: Vec<impl FnOnce(Sender<T>) -> Result<(), SendError<T>> + Send>,
    consumers: usize,
    capacity: usize,
    handle: impl Fn(T) -> R + Sync,
) -> Result<Vec<R>, Box<dyn Error>> {
    let (sender, receiver) = bounded(capacity);
    let handle = &handle;
    // `move`: also when a thread cannot be started, our own two ends are gone before we wait.
    thread::scope(move |scope| {
        let mut working = Vec::new();
        for number in 1..=consumers {
            let receiver = receiver.clone();
            // `receiver.iter()` would do. `patiently` is only to tell when it waits.
            let consume = move || patiently(&receiver).map(handle).collect::<Vec<R>>();
            let thread = thread::Builder::new().name(format!("consumer-{number}"));
            working.push(thread.spawn_scoped(scope, consume)?);
        }
        // Without consumers a send shall fail and not wait, so this end must not be left over.
        drop(receiver);

        let mut producing = Vec::new();
        for (number, produce) in (1..).zip(producers) {
            let sender = sender.clone();
            let thread = thread::Builder::new().name(format!("producer-{number}"));
            producing.push(thread.spawn_scoped(scope, move || produce(sender))?);
        }
        // The end comes when the last producer drops its sender. Ours would keep it from coming.
        drop(sender);

        // First join all, then look: a scope panics for a thread that did and was not joined.
        let consumed: Vec<_> = working.into_iter().map(|it| it.join()).collect();
        let produced: Vec<_> = producing.into_iter().map(|it| it.join()).collect();
        let mut done = Vec::new();
        for result in consumed {
            done.extend(result.map_err(|_| "a consumer panicked")?);
        }
        for result in produced {
            let sent = result.map_err(|_| "a producer panicked")?;
            sent.map_err(|_| "a producer was left without consumers")?;
        }
        Ok(done)
    })
}

/// `sender.send(item)` would do. To try first is only to tell when it waits.
fn send(sender: &Sender<Item>, item: Item) -> Result<(), SendError<Item>> {
    match sender.try_send(item) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(item)) => {
            tell(format_args!("waits with item {}: no room", item.name));
            sender.send(item)
        }
        Err(TrySendError::Disconnected(item)) => Err(SendError(item)),
    }
}

/// The items up to the end of the channel. Nothing for a while and nothing any more are two
/// different errors, and only the second one is the end.
fn patiently<T>(receiver: &Receiver<T>) -> impl Iterator<Item = T> {
    iter::from_fn(|| {
        loop {
            match receiver.recv_timeout(PATIENCE) {
                Ok(item) => return Some(item),
                Err(RecvTimeoutError::Timeout) => {
                    tell(format_args!("got nothing for {PATIENCE:?} and waits on"));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    tell("ends, for nothing more can come");
                    return None;
                }
            }
        }
    })
}

fn handle(Item { name, text }: Item) -> Done {
    let answer = match text.parse() {
        Ok(limit) => Ok(longest_chain(limit)),
        Err(error) => Err(format!("{text:?}: {error}")),
    };
    match &answer {
        Ok(start) => tell(format_args!("handled item {name}: {start}")),
        Err(error) => tell(format_args!("could not handle item {name}: {error}")),
    }
    Done { name, answer }
}

/// `queue.join()`: the items of a batch carry a token each, and `wait` returns when the last token
/// is dropped. That happens at the end of the handling, however it ends: it can neither come too
/// early, nor be forgotten; and to do it twice does not compile (`tests/refused`).
fn wait_for_each_batch() -> Result<(), Box<dyn Error>> {
    let (sender, receiver) = bounded::<(u32, WaitGroup)>(64);
    let handled = AtomicUsize::new(0);
    let consume = |receiver: Receiver<(u32, WaitGroup)>| {
        for (limit, _token) in receiver {
            longest_chain(limit);
            handled.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let sender = sender; // Dropped at the end of this block: the consumers end.
        for number in 1..=2 {
            let receiver = receiver.clone();
            let thread = thread::Builder::new().name(format!("batch-{number}"));
            thread.spawn_scoped(scope, || consume(receiver))?;
        }
        for batch in 1..=2 {
            let all_done = WaitGroup::new();
            for _ in 0..4 {
                sender.send((SEARCH, all_done.clone()))?;
            }
            all_done.wait();
            let handled = handled.load(Ordering::Relaxed);
            say!("   batch {batch} is done: {handled} items so far, and the consumers stay");
            expect(handled == 4 * batch, "a batch is done when all of it is")?;
        }
        Ok(())
    })
}

fn without_waiting() -> Result<(), Box<dyn Error>> {
    let (sender, receiver) = bounded(1); // `unbounded()` is Python's SimpleQueue.
    let empty = receiver.try_recv();
    say!("   try_recv from an empty channel: {empty:?}");
    expect(empty == Err(TryRecvError::Empty), "nothing inside")?;

    sender.try_send("first")?;
    let full = sender.try_send("second") == Err(TrySendError::Full("second"));
    let late = sender.send_timeout("third", PATIENCE) == Err(SendTimeoutError::Timeout("third"));
    say!("   try_send and send_timeout into a full one: both items come back");
    expect(full && late, "an item that finds no room comes back")?;

    drop(sender);
    let (rest, end) = (receiver.try_recv(), receiver.try_recv());
    say!("   after the last sender is gone: {rest:?}, then {end:?}");
    expect(rest == Ok("first"), "what was sent before the end arrives")?;
    expect(end == Err(TryRecvError::Disconnected), "then the end")?;

    // LifoQueue is a stack and a lock. One that also waits is in `priority-queue`.
    let stack = Mutex::new(vec!["first", "second", "third"]);
    let newest = stack.lock().unwrap().pop();
    say!("   a stack: {newest:?} comes out first");
    expect(
        newest == Some("third"),
        "the last one in is the first one out",
    )?;
    Ok(())
}

/// Each item was answered once, with an error where it is no number and only there.
fn check(items: &[Item], done: &[Done]) -> Result<usize, String> {
    for Item { name, text } in items {
        let answers: Vec<_> = done.iter().filter(|done| done.name == *name).collect();
        let [Done { answer, .. }] = answers[..] else {
            let times = answers.len();
            return Err(format!(
                "item {name} was handled {times} times instead of once"
            ));
        };
        if answer.is_ok() != text.parse::<u32>().is_ok() {
            return Err(format!("item {name} is {text:?} and led to {answer:?}"));
        }
    }
    match done.len() == items.len() {
        true => Ok(items.len()),
        false => Err("there are results for items that were never sent".into()),
    }
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

fn make_items(producer: usize, count: usize) -> Vec<Item> {
    let item = |number| Item {
        name: format!("{producer}-{number}"),
        text: SEARCH.to_string(),
    };
    (1..=count).map(item).collect()
}

/// Which number up to `limit` takes the most steps to reach 1 by halving even and
/// tripling-plus-one odd ones.
fn longest_chain(limit: u32) -> u32 {
    let (mut longest, mut most_steps) = (0, 0);
    for start in 1..=limit {
        let (mut number, mut steps) = (u64::from(start), 1);
        while number != 1 {
            number = match number % 2 {
                0 => number / 2,
                _ => 3 * number + 1,
            };
            steps += 1;
        }
        if steps > most_steps {
            (longest, most_steps) = (start, steps);
        }
    }
    longest
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
    use crossbeam::channel::bounded as bounded_channel;

    fn numbers(from: u32, to: u32) -> impl FnOnce(Sender<u32>) -> Result<(), SendError<u32>> {
        move |sender| (from..to).try_for_each(|number| sender.send(number))
    }

    fn sorted(result: Result<Vec<u32>, Box<dyn Error>>) -> Vec<u32> {
        let mut numbers = result.unwrap();
        numbers.sort();
        numbers
    }

    /// Runs a test that would hang if `run` were wrong: a hang becomes a failure.
    fn bounded(test: impl FnOnce() + Send + 'static) {
        let (finished, end) = bounded_channel::<()>(0);
        let runner = thread::spawn(move || {
            let _finished = finished; // Dropped on every way out: that is what the end hears.
            test();
        });
        let outcome = end.recv_timeout(Duration::from_secs(20));
        assert_eq!(outcome, Err(RecvTimeoutError::Disconnected), "it hangs");
        assert!(runner.join().is_ok());
    }

    #[test]
    fn each_item_is_handled_once_with_any_number_of_threads_and_any_room() {
        bounded(|| {
            for (producers, consumers, capacity) in [
                (1, 1, 0),
                (1, 2, 10),
                (1, 3, 2),
                (2, 3, 10),
                (4, 4, 1),
                (3, 1, 64),
                (2, 7, 0),
            ] {
                let producing =
                    (0..producers).map(|number| numbers(number * 500, (number + 1) * 500));
                let done = run(producing.collect(), consumers, capacity, |number| number);
                assert_eq!(sorted(done), (0..producers * 500).collect::<Vec<_>>());
            }
        });
    }

    #[test]
    fn without_producers_the_consumers_end_at_once() {
        bounded(|| {
            let mut producers = vec![numbers(0, 1)];
            producers.clear();
            assert_eq!(sorted(run(producers, 3, 1, |number| number)), []);
        });
    }

    #[test]
    fn without_consumers_a_producer_gets_an_error_instead_of_waiting_for_ever() {
        bounded(|| {
            let error = run(vec![numbers(0, 10)], 0, 1, |number| number).unwrap_err();
            assert_eq!(error.to_string(), "a producer was left without consumers");
        });
    }

    #[test]
    fn the_bound_holds_a_fast_producer_back() {
        bounded(|| {
            let (capacity, consumers) = (2, 3);
            let (sent, begun, most_ahead) = (
                AtomicUsize::new(0),
                AtomicUsize::new(0),
                AtomicUsize::new(0),
            );
            let producer = |sender: Sender<()>| {
                for _ in 0..1_000 {
                    sender.send(())?;
                    let sent = sent.fetch_add(1, Ordering::SeqCst) + 1;
                    most_ahead.fetch_max(
                        sent.saturating_sub(begun.load(Ordering::SeqCst)),
                        Ordering::SeqCst,
                    );
                }
                Ok(())
            };
            let handle = |()| begun.fetch_add(1, Ordering::SeqCst);
            run(vec![producer], consumers, capacity, handle).unwrap();
            // Two in the channel, and one with each consumer that has not counted it yet.
            assert!(most_ahead.into_inner() <= capacity + consumers);
        });
    }

    // What went wrong in Python.

    /// `get(timeout=1)` and then `break`: a producer that paused for longer had nobody left, and
    /// `join()` waited for ever.
    #[test]
    fn a_pause_longer_than_the_consumers_patience_ended_them() {
        bounded(|| {
            let producer = |sender: Sender<u32>| {
                sender.send(1)?;
                thread::sleep(2 * PATIENCE);
                sender.send(2)
            };
            assert_eq!(sorted(run(vec![producer], 2, 1, |number| number)), [1, 2]);
        });
    }

    /// A bare `except: break` around the handling ended the consumer, and the task_done after it
    /// never came.
    #[test]
    fn an_error_in_the_handling_hung_the_join() {
        bounded(|| {
            let number = |text: &str| Item {
                name: text.into(),
                text: text.into(),
            };
            let items = ["1", "x", "3", "", "5"].map(number);
            let producer =
                |sender: Sender<Item>| items.iter().try_for_each(|it| sender.send(it.clone()));
            let done = run(vec![producer], 1, 10, handle).unwrap();
            assert_eq!(check(&items, &done), Ok(5));
        });
    }

    #[test]
    fn a_panic_in_the_handling_is_an_error_and_the_other_consumer_does_the_rest() {
        bounded(|| {
            let handled = AtomicUsize::new(0);
            let error = run(vec![numbers(0, 100)], 2, 1, |number| {
                assert!(number != 10, "on purpose");
                handled.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(error.unwrap_err().to_string(), "a consumer panicked");
            assert_eq!(handled.into_inner(), 99);
        });
    }

    #[test]
    fn when_every_consumer_panics_the_producer_is_not_left_waiting() {
        bounded(|| {
            let error = run(vec![numbers(0, 100)], 2, 1, |_| panic!("on purpose"));
            assert_eq!(
                error.map(|_: Vec<()>| ()).unwrap_err().to_string(),
                "a consumer panicked"
            );
        });
    }

    #[test]
    fn when_a_producer_panics_the_consumers_handle_what_was_sent_and_end() {
        bounded(|| {
            let handled = AtomicUsize::new(0);
            let producer = |sender: Sender<u32>| {
                sender.send(1)?;
                panic!("on purpose");
            };
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
        bounded(|| wait_for_each_batch().unwrap());
    }

    #[test]
    fn the_check_finds_what_is_wrong() {
        let items = make_items(1, 2);
        let done: Vec<_> = items.iter().cloned().map(handle).collect();
        assert_eq!(check(&items, &done), Ok(2));
        let lost = "item 1-2 was handled 0 times instead of once";
        assert_eq!(check(&items, &done[..1]), Err(lost.into()));
        let twice = "item 1-1 was handled 2 times instead of once";
        let doubled = [&done[..], &done[..1]].concat();
        assert_eq!(check(&items, &doubled), Err(twice.into()));
        let mut failed = done.clone();
        failed[0].answer = Err("no".into());
        assert!(check(&items, &failed).unwrap_err().contains("led to Err"));
        assert!(
            check(&items[..1], &done)
                .unwrap_err()
                .contains("never sent")
        );
    }

    #[test]
    fn the_longest_chain_below_ten_starts_at_nine() {
        assert_eq!([0, 1, 10].map(longest_chain), [0, 1, 9]);
    }
}
