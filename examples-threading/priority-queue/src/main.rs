//! Two queues that do not give the oldest item first: by priority, and last in, first out.
//!
//! In Python both are there, and the first one has a trap:
//!
//! ```python
//! jobs = queue.PriorityQueue()
//! jobs.put((2, {"print": "letter"}))
//! jobs.put((2, {"print": "photo"}))   # TypeError: '<' not supported between 'dict' and 'dict'
//! ```
//!
//! Tuples with equal priorities are compared by what comes next, the jobs: those that cannot be
//! compared raise, the others lose the order in which they came. Here the queue numbers its items
//! on arrival. Equals leave in the order in which they came, and a job needs no order at all. Nor
//! can anyone change the priority of a job that is inside and so spoil the heap: the queue owns it.
//!
//! Run it with `cargo run -p priority-queue`. Look at "alarm", which comes last of all and is begun
//! next.
//!
//! To take: `src/queue.rs`, with `src/sync.rs`; its tests are `tests/queue.rs` and
//! `tests/model.rs`.
//! Before this: `bounded-buffer`, which explains the waiting; after it: `timer-scheduler`.

#![forbid(unsafe_code)]

#[macro_use]
mod say;
mod queue;
mod sync;

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use Urgency::{Critical, High, Low, Normal};
use queue::{BlockingQueue, CloseOnDrop, GetError, LifoQueue, PriorityQueue, PutError, Store};

const JOBS: [(Urgency, &str); 6] = [
    (Low, "backup"),
    (Normal, "letter"),
    (High, "invoice"),
    (Normal, "photo"),
    (Low, "archive"),
    (High, "contract"),
];
const PRODUCERS: u64 = 3;
const CONSUMERS: u64 = 2;
const EACH: u64 = 20;
const PATIENCE: Duration = Duration::from_millis(20);

/// Any type with an order can be a priority. The first one named here is the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Critical,
    High,
    Normal,
    Low,
}

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. The most urgent first, and equals as they came");
    let order = most_urgent_first()?;
    expect(
        order
            == [
                "invoice", "alarm", "contract", "letter", "photo", "backup", "archive",
            ],
        "urgent jobs first, equals in the order of their arrival",
    )?;

    say!("\n2. The newest first");
    let order = newest_first()?;
    let mut expected = JOBS.map(|(_, name)| name);
    expected.reverse();
    expect(order == expected, "the last job is the first")?;

    say!("\n3. {PRODUCERS} producers and {CONSUMERS} consumers at once, on either queue");
    let by_priority = PriorityQueue::new();
    let priorities = share("priority", &by_priority, |number| (number % 3, number))?;
    let numbers: Vec<_> = priorities.into_iter().map(|(_, number)| number).collect();
    expect_each_once(&numbers)?;
    expect_each_once(&share("lifo", &LifoQueue::new(), |number| number)?)?;

    say!("\n4. Time-out and close");
    time_out_and_close()?;

    let total = PRODUCERS * EACH;
    say!("\nok: the order held, and each of {total} items came out of either queue once");
    Ok(())
}

/// One worker takes the jobs. While it is at its first one, the most urgent of all arrives.
fn most_urgent_first() -> Result<Vec<&'static str>, Box<dyn Error>> {
    let queue = &PriorityQueue::new();
    for job in JOBS {
        queue.put(job)?;
    }
    let (begun, first_has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let _close = CloseOnDrop(queue);
        let work = move |(urgency, name)| {
            say!("   {name} ({urgency:?}) begins");
            // After the first job nobody listens any more, and `recv` fails at once.
            let _ = begun.send(());
            let _ = may_go_on.recv();
            longest_chain(60_000);
            name
        };
        let worker = thread::Builder::new().name("worker".into());
        let worker = worker.spawn_scoped(scope, || queue.items().map(work).collect())?;
        first_has_begun.recv()?;
        drop(first_has_begun);
        queue.put((Critical, "alarm"))?;
        say!("   ... and alarm arrives");
        drop(go_on);
        queue.close();
        worker.join().map_err(|_| "the worker panicked".into())
    })
}

fn newest_first() -> Result<Vec<&'static str>, Box<dyn Error>> {
    let queue = LifoQueue::new();
    for (_, name) in JOBS {
        queue.put(name)?;
    }
    queue.close();
    let order: Vec<_> = queue.items().collect();
    say!("   {}", order.join(", "));
    Ok(order)
}

/// Puts `EACH` numbers by each of several threads while others get them. Returns what these got.
fn share<S>(
    name: &str,
    queue: &BlockingQueue<S>,
    item: impl Fn(u64) -> S::Item + Sync,
) -> Result<Vec<S::Item>, Box<dyn Error>>
where
    S: Store + Send,
    S::Item: Send,
{
    let item = &item;
    let got: Vec<Vec<_>> = thread::scope(|scope| -> Result<_, Box<dyn Error>> {
        // If a thread cannot be started, those that run already are not left waiting.
        let _close = CloseOnDrop(queue);
        let mut consumers = Vec::new();
        for number in 1..=CONSUMERS {
            let thread = thread::Builder::new().name(format!("{name}-get-{number}"));
            let slowly = |_: &S::Item| {
                longest_chain(6_000);
            };
            let consume = move || queue.items().inspect(slowly).collect();
            consumers.push(thread.spawn_scoped(scope, consume)?);
        }
        let mut producers = Vec::new();
        for number in 0..PRODUCERS {
            let thread = thread::Builder::new().name(format!("{name}-put-{number}"));
            let numbers = number * EACH..(number + 1) * EACH;
            let produce = move || numbers.map(item).try_for_each(|item| queue.put(item).ok());
            producers.push(thread.spawn_scoped(scope, produce)?);
        }
        let put: Vec<_> = producers.into_iter().map(|it| it.join()).collect();
        // Nothing more will come: only whoever waited for all producers knows that.
        queue.close();
        let got: Vec<_> = consumers.into_iter().map(|it| it.join()).collect();
        if put.iter().any(Result::is_err) {
            return Err("a producer panicked".into());
        }
        let got: Result<_, _> = got.into_iter().collect();
        Ok(got.map_err(|_| "a consumer panicked")?)
    })?;
    let counts: Vec<_> = got.iter().map(|list| list.len().to_string()).collect();
    say!(
        "   {name}: the consumers got {} items",
        counts.join(" and ")
    );
    Ok(got.into_iter().flatten().collect())
}

fn time_out_and_close() -> Result<(), Box<dyn Error>> {
    let queue = LifoQueue::new();
    let nothing = queue.get_timeout(PATIENCE);
    say!("   get within {PATIENCE:?}: {nothing:?}");
    expect(
        nothing == Err(GetError::Empty),
        "a get in vain ends when its time is up",
    )?;
    queue.put("inside")?;
    queue.close();
    let too_late = queue.put("outside");
    let rest = (queue.try_get(), queue.get());
    say!(
        "   after close: \"outside\" comes back, then {:?}, then {:?}",
        rest.0,
        rest.1
    );
    expect(
        too_late == Err(PutError("outside")),
        "a put after close gives the item back",
    )?;
    let drained = rest == (Ok("inside"), Err(GetError::Closed));
    expect(
        drained && queue.is_empty(),
        "what was inside comes out after close",
    )?;
    Ok(())
}

fn expect_each_once(numbers: &[u64]) -> Result<(), String> {
    let different: BTreeSet<_> = numbers.iter().copied().collect();
    let all = different.into_iter().eq(0..PRODUCERS * EACH);
    expect(
        all && numbers.len() as u64 == PRODUCERS * EACH,
        "each item comes out once",
    )
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

/// Work: how many steps the longest of all chains takes that halve even numbers, and triple odd
/// ones and add one, until 1 is reached.
fn longest_chain(limit: u64) -> u32 {
    let steps = |mut number: u64| {
        let mut steps = 0;
        while number > 1 {
            number = if number.is_multiple_of(2) {
                number / 2
            } else {
                3 * number + 1
            };
            steps += 1;
        }
        steps
    };
    std::hint::black_box((1..=limit).map(steps).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_is_lost_or_doubled_is_noticed() {
        let numbers: Vec<_> = (0..PRODUCERS * EACH).rev().collect();
        expect_each_once(&numbers).unwrap();
        assert!(expect_each_once(&numbers[1..]).is_err(), "one is lost");
        let doubled = [&numbers[..], &numbers[..1]].concat();
        assert!(expect_each_once(&doubled).is_err(), "one is doubled");
    }

    #[test]
    fn the_longest_chain_below_ten_takes_nineteen_steps() {
        assert_eq!(longest_chain(10), 19);
    }
}
