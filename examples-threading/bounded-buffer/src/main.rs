//! A producer and two consumers over a bounded buffer: two `Condvar`s on one `Mutex`.
//!
//! In Python that is a deque, one lock, and two conditions on that lock:
//!
//! ```python
//! lock = threading.Lock()
//! not_full, not_empty = threading.Condition(lock), threading.Condition(lock)
//! with not_full:                                          # put
//!     not_full.wait_for(lambda: len(items) < capacity)
//!     items.append(item)
//!     not_empty.notify()
//! ```
//!
//! Nothing there ties the lock to the items. With a lock of its own for each condition it starts
//! just as well, and every put raises after it has moved the item. Here the `Mutex` owns the items:
//! only who holds it can touch them, or wait. And nobody counts: the producer closes.
//!
//! Run it with `cargo run -p bounded-buffer`. Look at the times: once the first item is made, five
//! are put at once, then one whenever one is got; and both consumers wait for the last.
//! To take: `src/buffer.rs`, with `src/sync.rs`, `tests/buffer.rs` and `tests/model.rs`.

#![forbid(unsafe_code)]

#[macro_use]
mod say;
mod buffer;
mod sync;

use std::error::Error;
use std::fmt::Display;
use std::hint::black_box;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use buffer::{BoundedBuffer, CloseOnDrop, GetError, PutError};

const CAPACITY: usize = 5;
const ITEMS: usize = 10;
const CONSUMERS: usize = 2;
const PATIENCE: Duration = Duration::from_millis(20);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> Result<(), Box<dyn Error>> {
    LazyLock::force(&START);
    say!("1 producer of {ITEMS} items, {CONSUMERS} consumers, room for {CAPACITY}");
    let outcome = run()?;
    check(&outcome)?;
    time_outs_and_close()?;
    let most = outcome.most_inside;
    say!("ok: each of {ITEMS} items arrived once and in order, at most {most} were inside");
    Ok(())
}

struct Outcome {
    /// The most items that the producer ever saw inside.
    most_inside: usize,
    /// One list for each consumer, in the order in which it got the items.
    got: Vec<Vec<usize>>,
}

fn run() -> Result<Outcome, Box<dyn Error>> {
    let buffer = BoundedBuffer::new(CAPACITY);
    thread::scope(|scope| {
        // If a thread cannot be started, those that run already are not left waiting.
        let _close = CloseOnDrop(&buffer);
        let mut consumers = Vec::new();
        for number in 1..=CONSUMERS {
            let consumer = thread::Builder::new().name(format!("consumer-{number}"));
            consumers.push(consumer.spawn_scoped(scope, || consume(&buffer))?);
        }
        let producer = thread::Builder::new().name("producer".to_string());
        let producer = producer.spawn_scoped(scope, || produce(&buffer))?;

        let got: thread::Result<_> = consumers.into_iter().map(|it| it.join()).collect();
        let got = got.map_err(|_| "a consumer panicked")?;
        let most_inside = producer.join().map_err(|_| "the producer panicked")??;
        Ok(Outcome { most_inside, got })
    })
}

fn produce(buffer: &BoundedBuffer<usize>) -> Result<usize, PutError<usize>> {
    // Whoever puts knows when there is nothing more. This also holds if it panics: the consumers
    // get what is inside, and end.
    let _close = CloseOnDrop(buffer);
    let mut most_inside = 0;
    for item in 1..=ITEMS {
        if item == 1 || item == ITEMS {
            count_primes(600_000); // The others are there at once.
        }
        buffer.put(item)?;
        let inside = buffer.len();
        most_inside = most_inside.max(inside);
        tell(format_args!("put item {item}, {inside} inside"));
    }
    tell("has nothing more and closes");
    Ok(most_inside)
}

fn consume(buffer: &BoundedBuffer<usize>) -> Vec<usize> {
    // If a consumer panics, the producer's next put fails instead of waiting for room for ever.
    let _close = CloseOnDrop(buffer);
    let mut got = Vec::new();
    for item in buffer.items() {
        tell(format_args!("got item {item}"));
        count_primes(200_000);
        got.push(item);
    }
    tell("ends");
    got
}

/// Stands for the work. By trial division, which is slow, and here that is the point.
fn count_primes(limit: u32) -> u32 {
    let mut primes = 0;
    for number in 2..limit {
        let mut divisor = 2;
        while divisor * divisor <= number && !number.is_multiple_of(divisor) {
            divisor += 1;
        }
        primes += u32::from(divisor * divisor > number);
    }
    black_box(primes)
}

/// Says who did what, and when.
fn tell(event: impl Display) {
    let now = START.elapsed().as_millis();
    let thread = thread::current();
    say!("{now:>5} ms  {:<10}  {event}", thread.name().unwrap_or("?"));
}

/// Each item once, in order for each consumer (there is one producer), and never too many inside.
fn check(Outcome { most_inside, got }: &Outcome) -> Result<(), String> {
    expect(*most_inside <= CAPACITY, "there is never more than fits in")?;
    let in_order = got.iter().all(|items| items.is_sorted());
    expect(in_order, "no item overtakes another")?;
    let mut all = got.concat();
    all.sort();
    expect(all.into_iter().eq(1..=ITEMS), "each item arrives once")
}

/// What the two sides get when they do not want to wait, or not for ever.
fn time_outs_and_close() -> Result<(), Box<dyn Error>> {
    let buffer = BoundedBuffer::new(1);

    let start = Instant::now();
    let nothing = [buffer.try_get(), buffer.get_timeout(PATIENCE)];
    let waited = start.elapsed();
    say!("get from an empty buffer, at once and within {PATIENCE:?}: {nothing:?}");
    let in_vain = nothing == [Err(GetError::Empty); 2] && waited >= PATIENCE;
    expect(in_vain, "a get in vain ends when its time is up")?;

    buffer.put("first")?;
    let too_many = [
        buffer.try_put("second"),
        buffer.put_timeout("third", PATIENCE),
    ];
    say!("put into a full buffer, the same way: {too_many:?}");
    let full = too_many == ["second", "third"].map(|item| Err(PutError::Full(item)));
    expect(full, "a put in vain gives the item back")?;

    buffer.close();
    let too_late = buffer.put("fourth").map_err(PutError::into_item);
    expect(too_late == Err("fourth"), "so does a put after close")?;
    let rest: Vec<_> = buffer.items().collect();
    say!("after close: put gives back \"fourth\", and what was inside can still be got: {rest:?}");
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

    #[test]
    fn the_check_finds_what_is_too_much_lost_doubled_or_late() {
        let verdict = |most_inside, first: &[usize], second: &[usize]| {
            let got = vec![first.to_vec(), second.to_vec()];
            check(&Outcome { most_inside, got }).is_ok()
        };
        let odd = &[1, 3, 5, 7, 9];
        assert!(verdict(CAPACITY, odd, &[2, 4, 6, 8, 10]));
        assert!(verdict(1, &[], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        assert!(!verdict(CAPACITY + 1, odd, &[2, 4, 6, 8, 10]));
        assert!(!verdict(CAPACITY, odd, &[2, 4, 6, 10]));
        assert!(!verdict(CAPACITY, odd, &[2, 4, 6, 8, 9, 10]));
        assert!(!verdict(CAPACITY, odd, &[2, 6, 4, 8, 10]));
    }

    #[test]
    fn there_are_25_primes_below_100() {
        assert_eq!(count_primes(100), 25);
    }
}
