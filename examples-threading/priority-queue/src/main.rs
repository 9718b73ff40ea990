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
//! next. To take: `src/queue.rs`, with `src/sync.rs`, `tests/queue.rs` and `tests/model.rs`.
//! Before this: `bounded-buffer`, which explains the waiting; after it: `timer-scheduler`.

#![forbid(unsafe_code)]

#[macro_use]
mod say;
mod queue;
mod sync;

use std::error::Error;
use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use Urgency::{Critical, High, Low, Normal};
use queue::{CloseOnDrop, GetError, LifoQueue, PriorityQueue, PutError};

const JOBS: [(Urgency, &str); 6] = [
    (Low, "backup"),
    (High, "invoice"),
    (Normal, "photo"),
    (Low, "archive"),
    (High, "contract"),
    (Critical, "alarm"),
];
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
    let by_urgency = ["alarm", "invoice", "contract", "photo", "backup", "archive"];
    expect(
        order[0] == "letter",
        "who waits gets the first job that comes",
    )?;
    expect(
        order[1..] == by_urgency,
        "urgent jobs first, equals as they came",
    )?;

    say!("\n2. The newest first");
    let order = newest_first()?;
    let mut newest_first = JOBS.map(|(_, name)| name);
    newest_first.reverse();
    expect(order == newest_first, "the last job is the first")?;

    say!("\n3. Time-out and close");
    time_out_and_close()?;

    say!("\nok: the order held, for equals and for a job that came while another one was done");
    Ok(())
}

/// One worker waits for a job. While it is at its first one, all others arrive.
fn most_urgent_first() -> Result<Vec<&'static str>, Box<dyn Error>> {
    let queue = &PriorityQueue::new();
    let (begun, first_has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    thread::scope(|scope| {
        // On every way out: the worker is not left waiting.
        let _close = CloseOnDrop(queue);
        let work = move |(urgency, name)| {
            say!("   {name} ({urgency:?}) begins");
            // After the first job nobody listens any more, and `recv` fails at once.
            let _ = begun.send(());
            let _ = may_go_on.recv();
            count_primes(150_000);
            name
        };
        let worker = thread::Builder::new().name("worker".into());
        let worker = worker.spawn_scoped(scope, || queue.items().map(work).collect())?;
        queue.put((Normal, "letter"))?;
        first_has_begun.recv()?;
        drop(first_has_begun);
        for job in JOBS {
            queue.put(job)?;
            say!("   ... and {} arrives", job.1);
        }
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

fn time_out_and_close() -> Result<(), Box<dyn Error>> {
    let queue = LifoQueue::new();
    let nothing = queue.get_timeout(PATIENCE);
    say!("   get within {PATIENCE:?}: {nothing:?}");
    let in_vain = nothing == Err(GetError::Empty);
    expect(in_vain, "a get in vain ends when its time is up")?;

    queue.put("inside")?;
    queue.close();
    let too_late = queue.put("outside");
    let (rest, end) = (queue.try_get(), queue.get());
    say!("   after close: \"outside\" comes back, then {rest:?}, then {end:?}");
    let given_back = too_late == Err(PutError("outside"));
    expect(given_back, "a put after close gives the item back")?;
    let drained = (rest, end) == (Ok("inside"), Err(GetError::Closed));
    expect(
        drained && queue.is_empty(),
        "what was inside comes out after close",
    )?;
    Ok(())
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

/// Stands for the work.
fn count_primes(limit: u32) -> usize {
    let divisible = |n: u32| {
        (2..)
            .take_while(|d| d * d <= n)
            .any(|d| n.is_multiple_of(d))
    };
    black_box((2..limit).filter(|n| !divisible(*n)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_25_primes_below_100() {
        assert_eq!(count_primes(100), 25);
    }
}
