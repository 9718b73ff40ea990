//! A producer and two consumers over a bounded buffer: two `Condvar`s on one `Mutex`.
//!
//! In Python this is a deque, one lock, and two conditions on that lock:
//!
//! ```python
//! lock = threading.Lock()
//! not_full, not_empty = threading.Condition(lock), threading.Condition(lock)
//!
//! with not_full:                                          # put
//!     not_full.wait_for(lambda: len(items) < capacity)
//!     items.append(item)
//!     not_empty.notify()
//! ```
//!
//! Nothing there ties the lock to the items. With a lock of its own for each condition it starts
//! just as well, and every put raises after it has moved the item. Here the `Mutex` owns the items:
//! only who holds it can touch them, or wait.
//!
//! Run it with `cargo run -p bounded-buffer`. Look at who waits: the consumers while the first item
//! is being made, the producer once five are inside, the consumers again before the last item. And
//! nobody counts: the consumers end because the producer closes.
//!
//! To take: `src/buffer.rs`, with `src/sync.rs`; its tests are `tests/buffer.rs` and `tests/model.rs`.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::Display;
use std::iter;
use std::thread;
use std::time::{Duration, Instant};

use buffer::{BoundedBuffer, CloseOnDrop, GetError, PutError};

#[macro_use]
mod say;
mod buffer;
mod sync;

const CAPACITY: usize = 5;
const ITEMS: usize = 10;
const CONSUMERS: usize = 2;
const PATIENCE: Duration = Duration::from_millis(20);

fn main() -> Result<(), Box<dyn Error>> {
    say!("1 producer of {ITEMS} items, {CONSUMERS} consumers, room for {CAPACITY}");
    let outcome = run()?;
    check(&outcome)?;
    time_outs_and_close()?;
    let most = outcome.most_inside;
    say!("ok: each of {ITEMS} items arrived once and in order, at most {most} were inside");
    Ok(())
}

/// A number to be taken apart into its two prime factors.
#[derive(Debug)]
struct Riddle {
    id: usize,
    number: u64,
}

/// What a consumer found.
#[derive(Debug)]
struct Answer {
    id: usize,
    number: u64,
    factor: u64,
}

struct Outcome {
    /// The most items that the producer ever saw inside.
    most_inside: usize,
    /// One list for each consumer, in the order in which it got the items.
    answers: Vec<Vec<Answer>>,
}

fn run() -> Result<Outcome, Box<dyn Error>> {
    let buffer = BoundedBuffer::new(CAPACITY);
    let story = Story {
        start: Instant::now(),
    };
    thread::scope(|scope| {
        // If a thread cannot be started, those that run already are not left waiting.
        let _close = CloseOnDrop(&buffer);
        let mut consumers = Vec::new();
        for number in 1..=CONSUMERS {
            let consumer = thread::Builder::new().name(format!("consumer-{number}"));
            consumers.push(consumer.spawn_scoped(scope, || consume(&buffer, &story))?);
        }
        let producer = thread::Builder::new().name("producer".to_string());
        let producer = producer.spawn_scoped(scope, || produce(&buffer, &story))?;

        let answers: thread::Result<_> = consumers.into_iter().map(|it| it.join()).collect();
        let answers = answers.map_err(|_| "a consumer panicked")?;
        let most_inside = producer.join().map_err(|_| "the producer panicked")??;
        Ok(Outcome {
            most_inside,
            answers,
        })
    })
}

fn produce(buffer: &BoundedBuffer<Riddle>, story: &Story) -> Result<usize, PutError<Riddle>> {
    // Whoever puts knows when there is nothing more. This also holds if it panics: the consumers
    // get what is inside, and end.
    let _close = CloseOnDrop(buffer);
    let mut most_inside = 0;
    for id in 1..=ITEMS {
        let riddle = Riddle {
            id,
            number: make_number(id),
        };
        // `put` alone would do. To try first is only to tell when it waits: a buffer that is full
        // gives the riddle back.
        buffer.try_put(riddle).or_else(|error| match error {
            PutError::Full(riddle) => {
                story.tell(format_args!("waits with item {id}: no room"));
                buffer.put(riddle)
            }
            PutError::Closed(_) => Err(error),
        })?;
        let inside = buffer.len();
        most_inside = most_inside.max(inside);
        story.tell(format_args!("put item {id}, {inside} inside"));
    }
    story.tell("has nothing more and closes");
    Ok(most_inside)
}

fn consume(buffer: &BoundedBuffer<Riddle>, story: &Story) -> Vec<Answer> {
    // If a consumer panics, the producer's next put fails instead of waiting for room for ever.
    let _close = CloseOnDrop(buffer);
    // `for riddle in buffer.items()` would do. To try first is only to tell when it waits.
    let next = || {
        buffer.try_get().or_else(|error| match error {
            GetError::Empty => {
                story.tell("waits: nothing inside");
                buffer.get()
            }
            GetError::Closed => Err(error),
        })
    };
    let answers = iter::from_fn(|| next().ok()).map(|Riddle { id, number }| {
        story.tell(format_args!("got item {id}"));
        let factor = smallest_factor(number);
        Answer { id, number, factor }
    });
    let answers = answers.collect();
    story.tell("ends");
    answers
}

/// Tells who did what, and when.
struct Story {
    start: Instant,
}

impl Story {
    fn tell(&self, event: impl Display) {
        let now = self.start.elapsed().as_millis();
        let thread = thread::current();
        say!("{now:>5} ms  {:<10}  {event}", thread.name().unwrap_or("?"));
    }
}

/// The product of two primes. Two middling ones are found at once, but take their time to be told
/// apart again; a huge and a small one the other way round. So the first and the last item keep the
/// consumers waiting, and those in between pile up.
fn make_number(id: usize) -> u64 {
    let nth = id as u64 * 100_000;
    match id {
        1 => next_prime(1_000) * next_prime(100_000_000_000_000),
        ITEMS => next_prime(1_000) * next_prime(1_000_000_000_000_000),
        _ => next_prime(6_000_000 + nth) * next_prime(7_000_000 + nth),
    }
}

fn next_prime(from: u64) -> u64 {
    (from..)
        .find(|&number| number > 1 && smallest_factor(number) == number)
        .unwrap()
}

/// By trial division, which is slow, and here that is the point.
fn smallest_factor(number: u64) -> u64 {
    if number.is_multiple_of(2) {
        return 2;
    }
    let mut divisor = 3;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return divisor;
        }
        divisor += 2;
    }
    number
}

/// Each item once, in order for each consumer (there is one producer), and never too many inside.
fn check(outcome: &Outcome) -> Result<(), String> {
    let most = outcome.most_inside;
    if most > CAPACITY {
        return Err(format!("{most} items inside, with room for {CAPACITY}"));
    }
    for list in &outcome.answers {
        if !list.is_sorted_by_key(|answer| answer.id) {
            return Err(format!("items overtook each other: {list:?}"));
        }
    }
    let all = || outcome.answers.iter().flatten();
    for id in 1..=ITEMS {
        let times = all().filter(|answer| answer.id == id).count();
        if times != 1 {
            return Err(format!("item {id} arrived {times} times instead of once"));
        }
    }
    for Answer { id, number, factor } in all() {
        if !(2..*number).contains(factor) || !number.is_multiple_of(*factor) {
            return Err(format!("item {id}: {factor} is not a factor of {number}"));
        }
    }
    Ok(())
}

/// What the two sides get when they do not want to wait for ever.
fn time_outs_and_close() -> Result<(), Box<dyn Error>> {
    let buffer = BoundedBuffer::new(1);

    let start = Instant::now();
    let nothing = buffer.get_timeout(PATIENCE);
    let waited = start.elapsed();
    say!("get from an empty buffer within {PATIENCE:?}: {nothing:?} after {waited:.0?}");
    let in_vain = nothing == Err(GetError::Empty) && waited >= PATIENCE;
    expect(in_vain, "a get in vain ends when its time is up")?;

    buffer.put("first")?;
    let too_many = buffer.put_timeout("second", PATIENCE);
    say!("put into a full buffer within {PATIENCE:?}: {too_many:?}, it comes back");
    let full = too_many == Err(PutError::Full("second"));
    expect(full, "a put in vain gives the item back")?;

    buffer.close();
    let too_late = buffer.put("third").map_err(PutError::into_item);
    expect(too_late == Err("third"), "so does a put after close")?;
    let rest: Vec<_> = buffer.items().collect();
    say!("after close: put gives back \"third\", and what was inside can still be got: {rest:?}");
    let drained = rest == ["first"] && buffer.is_empty();
    expect(drained, "what was inside comes out after close")?;
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

    /// What `check` says about two consumers that got these items.
    fn verdict(most_inside: usize, first: &[usize], second: &[usize]) -> Result<(), String> {
        let answer = |&id| Answer {
            id,
            number: 15,
            factor: 3,
        };
        let answers = [first, second]
            .map(|ids| ids.iter().map(answer).collect())
            .into();
        check(&Outcome {
            most_inside,
            answers,
        })
    }

    #[test]
    fn any_share_of_the_items_is_fine() {
        assert_eq!(
            verdict(CAPACITY, &[1, 3, 5, 7, 9], &[2, 4, 6, 8, 10]),
            Ok(())
        );
        assert_eq!(verdict(1, &[], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), Ok(()));
    }

    #[test]
    fn the_check_finds_what_is_wrong() {
        let complaint = |most, first, second| verdict(most, first, second).unwrap_err();
        let odd = &[1, 3, 5, 7, 9];
        let too_many = complaint(CAPACITY + 1, odd, &[2, 4, 6, 8, 10]);
        assert_eq!(too_many, "6 items inside, with room for 5");
        let lost = complaint(CAPACITY, odd, &[2, 4, 6, 10]);
        assert_eq!(lost, "item 8 arrived 0 times instead of once");
        let twice = complaint(CAPACITY, odd, &[2, 4, 6, 8, 9, 10]);
        assert_eq!(twice, "item 9 arrived 2 times instead of once");
        let late = complaint(CAPACITY, odd, &[2, 6, 4, 8, 10]);
        assert!(late.starts_with("items overtook each other"), "{late}");
    }

    #[test]
    fn factors_and_primes_are_right() {
        let factors = [2, 3, 4, 9, 25, 35, 49, 97, 1_000_003 * 1_000_033].map(smallest_factor);
        assert_eq!(factors, [2, 3, 2, 3, 5, 5, 7, 97, 1_000_003]);
        assert_eq!([0, 3, 14, 1_000_000].map(next_prime), [2, 3, 17, 1_000_003]);
    }
}
