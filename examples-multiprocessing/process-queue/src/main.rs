//! A queue between processes: two producers, three consumers, and the parent as broker.
//!
//! What a Python developer knows as
//!
//! ```python
//! queue = multiprocessing.Queue(maxsize=4)
//! producers = [Process(target=produce, args=(queue, n)) for n in (1, 2)]
//! consumers = [Process(target=consume, args=(queue,)) for _ in range(3)]
//! while (item := queue.get()) is not None: queue.put(item ** 2)   # and who gets this one?
//! ```
//!
//! is one pipe with a lock, shared by all: workers get their own results as items; one `None` ends
//! one of three consumers; and an item is lost with the consumer that is killed while it has it.
//! Here the parent owns the queue: items and results go separate ways, with different types; an item
//! leaves it when its result is there, not when it is taken; the end of the input is everyone's end.
//!
//! Run it with `cargo run -p process-queue`. Look for the consumer that dies with an item in its
//! hands: another process gets the item, and each item has its one result.
//! To take: `src/broker.rs`, with `src/frame.rs` and `src/owned.rs`.
//! Before this: `process-pipe`; after it: `process-errors`.

#![forbid(unsafe_code)]

mod broker;
mod frame;
mod owned;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt;
use std::process::{self, Command};
use std::time::{Duration, Instant};

use broker::{Delivery, Event, Plan};
use serde::{Deserialize, Serialize};

/// Set in workers only, to what the worker is to do.
const ROLE: &str = "PROCESS_QUEUE_ROLE";
const PRODUCERS: usize = 2;
const CONSUMERS: usize = 3;
const ITEMS: u32 = 10;
/// Of each item, as the tables have it.
const PRIMES: [u32; ITEMS as usize] = [3638, 4017, 4392, 4761, 5133, 5500, 5873, 6232, 6591, 6935];
const CAPACITY: usize = 4;

#[derive(Clone, Serialize, Deserialize)]
struct Item {
    producer: usize,
    number: u32,
    /// How many consumers die of it.
    deadly: u32,
}

#[derive(Serialize, Deserialize)]
struct Counted {
    primes: u32,
    by: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(role) = env::var_os(ROLE) {
        return work(&role.to_string_lossy());
    }
    say!(
        "{PRODUCERS} producers with {ITEMS} items each, {CONSUMERS} consumers, room for {CAPACITY}"
    );
    let program = env::current_exe()?;
    let worker = |role: &str| {
        let mut command = Command::new(&program);
        command.env(ROLE, role);
        command
    };
    let plan = Plan {
        // One item of the first producer kills the consumer that gets it first.
        producers: vec![worker("produce 1 10 1"), worker("produce 2 10 0")],
        consumers: CONSUMERS,
        consumer: &|| worker("consume"),
        capacity: CAPACITY,
        attempts: 3,
    };
    let (mut story, start) = (Story::default(), Instant::now());
    broker::run(plan, |event| story.tell(start.elapsed(), event))?;
    for (producer, waits) in (1..).zip(story.waits) {
        say!("          producer {producer} had to wait for room {waits} times");
    }
    story.check()?;
    say!(
        "\nok: {} items, each with one result; {} given to another process when its consumer died",
        story.results.len(),
        story.given_back
    );
    Ok(())
}

/// Prints what happens, and keeps account of it.
#[derive(Default)]
struct Story {
    /// By the name of the item.
    results: BTreeMap<String, Vec<u32>>,
    waits: [usize; PRODUCERS],
    given_back: usize,
    failures: Vec<String>,
}

impl Story {
    fn tell(&mut self, time: Duration, event: Event<Item, Counted>) {
        let ms = time.as_millis();
        match event {
            Event::Put => {}
            Event::Full { producer } => self.waits[producer - 1] += 1,
            Event::Done {
                consumer,
                item,
                result: Counted { primes, by },
            } => {
                say!("{ms:5} ms  consumer {consumer}, process {by}: {item} has {primes} primes");
                let results = self.results.entry(item.to_string());
                results.or_default().push(primes);
            }
            Event::GivenBack {
                consumer,
                item,
                why,
            } => {
                say!("{ms:5} ms  consumer {consumer}, {why}, with {item}; another gets it");
                self.given_back += 1;
            }
            Event::GivenUp { item, why } => {
                self.failures.push(format!("{item} is given up: {why}"));
            }
            Event::ProducerFailed { producer, why } => {
                self.failures.push(format!("producer {producer}, {why}"));
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        if let Some(failure) = self.failures.first() {
            return Err(failure.clone());
        }
        for (number, primes) in (1..).zip(PRIMES) {
            for producer in 1..=PRODUCERS {
                let item = format!("item {producer}.{number}");
                let results = self.results.get(&item).map_or(&[][..], Vec::as_slice);
                if results != [primes] {
                    return Err(format!("{item} has the results {results:?}, not {primes}"));
                }
            }
        }
        if self.results.len() > PRODUCERS * ITEMS as usize {
            return Err("there are results without an item".to_string());
        }
        if self.given_back == 0 {
            return Err("no consumer died".to_string());
        }
        Ok(())
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "item {}.{}", self.producer, self.number)
    }
}

/// What a worker does instead of the parent's part: `consume`, or `produce 1 10 0`, which is its
/// number, the number of its items, and how many consumers die of the fifth of them.
fn work(role: &str) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = role.split(' ').collect();
    let done = match words[..] {
        ["consume"] => broker::consume(|Delivery { item, attempt, .. }: &Delivery<Item>| {
            if *attempt <= item.deadly {
                process::abort();
            }
            Counted {
                primes: count_primes(limit(item.number)),
                by: process::id(),
            }
        }),
        ["produce", producer, items, deadly] => {
            let (producer, items, deadly) = (producer.parse()?, items.parse()?, deadly.parse()?);
            broker::produce((1..=items).map(|number| Item {
                producer,
                number,
                deadly: if number == 5 { deadly } else { 0 },
            }))
        }
        // Someone else set the variable. Starting workers now could go on without end.
        _ => return Err(format!("{ROLE} is for this program's own workers; unset it").into()),
    };
    match done {
        // Nobody reads what this worker says: its parent is gone, and with it the work.
        Err(error) if error.is_broken_pipe() => Ok(()),
        done => Ok(done?),
    }
}

/// The primes of an item are those below.
fn limit(number: u32) -> u32 {
    30_000 + 4_000 * number
}

fn count_primes(limit: u32) -> u32 {
    let divides = |n: u32| {
        (2..)
            .take_while(move |d| d * d <= n)
            .any(move |d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divides(*n)).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_finds_what_is_wrong() {
        let mut story = Story {
            given_back: 1,
            ..Story::default()
        };
        for (number, primes) in (1..).zip(PRIMES) {
            for producer in 1..=PRODUCERS {
                let item = format!("item {producer}.{number}");
                story.results.insert(item, vec![primes]);
            }
        }
        assert_eq!(story.check(), Ok(()));
        for wrong in [vec![], vec![5873, 5873], vec![5874]] {
            let complaint = format!("item 2.7 has the results {wrong:?}, not 5873");
            story.results.insert("item 2.7".into(), wrong);
            assert_eq!(story.check(), Err(complaint));
        }
        story.results.insert("item 2.7".into(), vec![5873]);
        story.results.insert("item 3.1".into(), vec![1]);
        let invented = story.check().unwrap_err();
        assert_eq!(invented, "there are results without an item");
    }

    #[test]
    fn the_primes_are_counted_right() {
        assert_eq!([2, 3, 100].map(count_primes), [0, 1, 25]);
        assert_eq!([1, ITEMS].map(limit).map(count_primes), [3638, 6935]);
    }
}
