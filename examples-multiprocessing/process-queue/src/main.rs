//! A queue between processes: two producers, three consumers, and the parent as broker.
//!
//! What a Python developer knows as
//!
//! ```python
//! queue = multiprocessing.Queue(maxsize=4)
//! producers = [Process(target=produce, args=(queue, n)) for n in (1, 2)]
//! consumers = [Process(target=consume, args=(queue,)) for _ in range(3)]
//! ...
//! while (item := queue.get()) is not None: queue.put(item ** 2)   # and who gets this one?
//! ```
//!
//! Python's queue is one pipe with a lock, shared by all. Workers that put their results into it
//! get them as items; one `None` ends one of three consumers; and an item is lost with the consumer
//! that is killed while it has it. Here the parent owns the queue: items and results go separate
//! ways, with different types; an item leaves the queue when its result is there, not when it is
//! taken; and the end of the input is everyone's end.
//!
//! Run it with `cargo run -p process-queue`. Look for the consumer that dies with an item in its
//! hands: another process gets the item, and each item has its one result.
//!
//! To take: `src/broker.rs`, with `src/frame.rs` and `src/owned.rs`.
//!
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
use std::process::{self, Command, ExitCode};
use std::time::Instant;

use broker::{Delivery, Event, Plan};
use frame::FrameError;
use serde::{Deserialize, Serialize};

/// Set in workers only, to what the worker is to do.
const ROLE: &str = "PROCESS_QUEUE_ROLE";
const PRODUCERS: usize = 2;
const CONSUMERS: usize = 3;
const ITEMS: u32 = 10;
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

fn main() -> ExitCode {
    let role = env::var_os(ROLE);
    let done = match &role {
        Some(role) => work(&role.to_string_lossy()),
        None => parent(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads what this worker says: its parent is gone, and with it the work.
        Err(error) if role.is_some() && is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
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
    let mut story = Story::new();
    broker::run(plan, |event| story.tell(event))?;
    for (producer, waits) in (1..).zip(story.waited) {
        say!("          producer {producer} had to wait for room {waits} times");
    }
    story.check()?;
    say!(
        "\nok: {} items, each with one result; never more than {} on their way; \
         {} given to another process when its consumer died",
        story.results.len(),
        story.most_on_their_way,
        story.given_back
    );
    Ok(())
}

/// Prints what happens, and keeps account of it.
struct Story {
    start: Instant,
    /// By producer and number.
    results: BTreeMap<(usize, u32), Vec<u32>>,
    /// Put and not done. The news of a put may come after that of its end: less than none.
    on_their_way: isize,
    most_on_their_way: isize,
    given_back: usize,
    waited: [usize; PRODUCERS],
    failures: Vec<String>,
}

impl Story {
    fn new() -> Story {
        Story {
            start: Instant::now(),
            results: BTreeMap::new(),
            on_their_way: 0,
            most_on_their_way: 0,
            given_back: 0,
            waited: [0; PRODUCERS],
            failures: Vec::new(),
        }
    }

    fn tell(&mut self, event: Event<Item, Counted>) {
        let ms = self.start.elapsed().as_millis();
        match event {
            Event::Put => {
                self.on_their_way += 1;
                self.most_on_their_way = self.most_on_their_way.max(self.on_their_way);
            }
            Event::Full { producer } => self.waited[producer - 1] += 1,
            Event::Done {
                consumer,
                item,
                result: Counted { primes, by },
            } => {
                let name = name(&item);
                say!("{ms:5} ms  consumer {consumer}, process {by}: {name} has {primes} primes");
                self.on_their_way -= 1;
                let results = self.results.entry((item.producer, item.number));
                results.or_default().push(primes);
            }
            Event::GivenBack {
                consumer,
                item,
                why,
            } => {
                let name = name(&item);
                say!("{ms:5} ms  consumer {consumer}, {why}, with {name}; another gets it");
                self.given_back += 1;
            }
            Event::GivenUp { item, why } => {
                self.failures
                    .push(format!("{} is given up: {why}", name(&item)));
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
        for number in 1..=ITEMS {
            let primes = sieve(Item::new(0, number, 0).limit());
            for producer in 1..=PRODUCERS {
                let results = self.results.get(&(producer, number));
                let results = results.map_or(&[][..], Vec::as_slice);
                let name = name(&Item::new(producer, number, 0));
                let times = results.len();
                check(times == 1, &format!("{name} has {times} results"))?;
                let right = results == [primes];
                check(right, &format!("{name} is counted wrong"))?;
            }
        }
        check(
            self.results.len() == PRODUCERS * ITEMS as usize,
            "there are results without an item",
        )?;
        // Waiting in the queue, and one in each consumer's hands.
        let most = self.most_on_their_way;
        check(
            most <= (CAPACITY + CONSUMERS) as isize,
            &format!("{most} items on their way, with room for {CAPACITY}"),
        )?;
        check(self.given_back >= 1, "no consumer died")
    }
}

impl Item {
    fn new(producer: usize, number: u32, deadly: u32) -> Item {
        Item {
            producer,
            number,
            deadly,
        }
    }

    fn limit(&self) -> u32 {
        30_000 + 4_000 * self.number
    }
}

fn name(item: &Item) -> String {
    format!("item {}.{}", item.producer, item.number)
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(FrameError::is_broken_pipe)
}

/// What a worker does instead of the parent's part: `consume`, or `produce 1 10 0`, which is its
/// number, the number of its items, and how many consumers die of the fifth of them.
fn work(role: &str) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = role.split(' ').collect();
    match words[..] {
        ["consume"] => broker::consume(|delivery: &Delivery<Item>| {
            if delivery.attempt <= delivery.item.deadly {
                process::abort();
            }
            Counted {
                primes: count_primes(delivery.item.limit()),
                by: process::id(),
            }
        })?,
        ["produce", producer, items, deadly] => {
            let (producer, items) = (producer.parse()?, items.parse()?);
            let deadly: u32 = deadly.parse()?;
            let item = |number| Item::new(producer, number, if number == 5 { deadly } else { 0 });
            broker::produce((1..=items).map(item))?;
        }
        // Someone else set the variable. Starting workers now could go on without end.
        _ => Err(format!(
            "{ROLE} is for this program's own workers; unset it"
        ))?,
    }
    Ok(())
}

/// The slow way, which is the consumers' work.
fn count_primes(limit: u32) -> u32 {
    let divides = |n: u32| {
        (2..)
            .take_while(move |d| d * d <= n)
            .any(move |d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divides(*n)).count() as u32
}

/// Another way, to check them.
fn sieve(limit: u32) -> u32 {
    let limit = limit as usize;
    let mut composite = vec![false; limit];
    let mut count = 0;
    for n in 2..limit {
        if !composite[n] {
            count += 1;
            composite
                .iter_mut()
                .skip(n * n)
                .step_by(n)
                .for_each(|n| *n = true);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The account of a run in which all went well.
    fn story() -> Story {
        let mut story = Story::new();
        for number in 1..=ITEMS {
            let primes = sieve(Item::new(0, number, 0).limit());
            for producer in 1..=PRODUCERS {
                story.results.insert((producer, number), vec![primes]);
            }
        }
        story.given_back = 1;
        story
    }

    #[test]
    fn the_check_finds_what_is_wrong() {
        assert_eq!(story().check(), Ok(()));
        let complaint = |spoil: fn(&mut Story)| {
            let mut story = story();
            spoil(&mut story);
            story.check().unwrap_err()
        };
        let lost = complaint(|story| drop(story.results.remove(&(2, 7))));
        assert_eq!(lost, "item 2.7 has 0 results");
        let twice = complaint(|story| story.results.get_mut(&(1, 1)).unwrap().push(1));
        assert_eq!(twice, "item 1.1 has 2 results");
        let wrong = complaint(|story| story.results.get_mut(&(1, 1)).unwrap()[0] += 1);
        assert_eq!(wrong, "item 1.1 is counted wrong");
        let invented = complaint(|story| drop(story.results.insert((3, 1), vec![1])));
        assert_eq!(invented, "there are results without an item");
        let unbounded = complaint(|story| story.most_on_their_way = 8);
        assert_eq!(unbounded, "8 items on their way, with room for 4");
    }

    #[test]
    fn both_ways_of_counting_agree() {
        for limit in [0, 2, 3, 100, 5_000] {
            assert_eq!(count_primes(limit), sieve(limit), "{limit}");
        }
    }
}
