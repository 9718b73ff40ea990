//! A queue whose producers and consumers are processes. This process is the broker between them.
//!
//! - A producer's `put` waits while the queue is full.
//! - The end of its input is a consumer's end; nobody counts sentinels.
//! - An item stays here until its result is here. If its consumer dies or talks nonsense, it goes
//!   to another process. So an item may be worked on twice, but it has one result.
//! - Items go one way and results another, as different types: no worker can get its own result.
//!
//! A consumer that is stuck keeps its item for ever; a time limit would have to come on top.
//!
//! It needs `frame.rs` and `owned.rs`, and the crates `crossbeam`, `serde` and `serde_json`.

use std::io::{self, ErrorKind};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use crossbeam::channel::{self, Receiver, Sender, TrySendError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::frame::{self, FrameError};
use super::owned::{self, Owned};

/// The largest message that either side takes.
const LIMIT: usize = 1024 * 1024;

pub struct Plan<'a> {
    /// Each is started once; what it does is to call `produce`.
    pub producers: Vec<Command>,
    pub consumers: usize,
    /// How to start a consumer; what it does is to call `consume`.
    pub consumer: &'a (dyn Fn() -> Command + Sync),
    /// How many items may wait, beside those in the consumers' hands.
    pub capacity: usize,
    /// How many consumers an item may cost before it is given up.
    pub attempts: u32,
}

#[derive(Debug)]
pub enum Event<I, R> {
    Put,
    /// The queue is full, and the producer waits.
    Full {
        producer: usize,
    },
    ProducerFailed {
        producer: usize,
        why: String,
    },
    Done {
        consumer: usize,
        item: I,
        result: R,
    },
    /// The item's consumer failed; the item is given to another process.
    GivenBack {
        consumer: usize,
        item: I,
        why: String,
    },
    GivenUp {
        item: I,
        why: String,
    },
}

/// Runs until all items of all producers are done or given up. Each item ends as exactly one
/// `Done` or `GivenUp`.
pub fn run<I, R>(plan: Plan, handle: impl FnMut(Event<I, R>)) -> io::Result<()>
where
    I: Serialize + DeserializeOwned + Clone + Send,
    R: DeserializeOwned + Send,
{
    if plan.consumers == 0 {
        let nobody = "without consumers nothing is consumed";
        return Err(io::Error::new(ErrorKind::InvalidInput, nobody));
    }
    let (put, get) = channel::bounded(plan.capacity);
    let (events, all_events) = channel::unbounded();
    thread::scope(|scope| {
        for number in 1..=plan.consumers {
            let (get, events) = (get.clone(), events.clone());
            let (start, attempts) = (plan.consumer, plan.attempts);
            let work = move || serve_consumer(number, start, attempts, &get, &events);
            let thread = thread::Builder::new().name(format!("consumer-{number}"));
            thread.spawn_scoped(scope, work)?;
        }
        for (number, command) in (1..).zip(plan.producers) {
            let producer = Worker::start(command)?;
            let (put, events) = (put.clone(), events.clone());
            let work = move || serve_producer(number, producer, &put, &events);
            let thread = thread::Builder::new().name(format!("producer-{number}"));
            thread.spawn_scoped(scope, work)?;
        }
        // Only the threads hold the channels now: the last producer's end is the end of the items,
        // and the last consumer's end is the end of the events.
        drop((put, get, events));
        all_events.iter().for_each(handle);
        Ok(())
    })
}

/// Takes items until the producer ends. That it gets an answer only when there was room for its
/// item is what makes it wait.
fn serve_producer<I: DeserializeOwned, R>(
    producer: usize,
    mut worker: Worker,
    put: &Sender<I>,
    events: &Sender<Event<I, R>>,
) {
    // Nobody listens, or consumes, only if `run` has failed: then this may end as well.
    let tell = |event| events.send(event).unwrap_or_default();
    let trouble = loop {
        let item = match frame::receive(&mut worker.from, LIMIT) {
            Ok(Some(item)) => item,
            Ok(None) => break Trouble::Ended,
            Err(error) => break error.into(),
        };
        if let Err(TrySendError::Full(item)) = put.try_send(item) {
            tell(Event::Full { producer });
            if put.send(item).is_err() {
                return;
            }
        }
        tell(Event::Put);
        if let Err(error) = frame::send(&mut worker.to, &(), LIMIT) {
            break error.into();
        }
    };
    let why = match trouble {
        Trouble::Ended => match worker.process.wait() {
            Ok(status) if status.success() => return,
            _ => worker.autopsy(Trouble::Ended),
        },
        nonsense => worker.autopsy(nonsense),
    };
    tell(Event::ProducerFailed { producer, why });
}

/// Gives items to one process after another: each is replaced when it fails.
fn serve_consumer<I: Serialize + Clone, R: DeserializeOwned>(
    consumer: usize,
    start: &(dyn Fn() -> Command + Sync),
    attempts: u32,
    get: &Receiver<I>,
    events: &Sender<Event<I, R>>,
) {
    let tell = |event| events.send(event).unwrap_or_default();
    let mut idle: Option<Worker> = None;
    let mut id = 0;
    for item in get {
        let mut attempt = 1;
        loop {
            id += 1;
            let delivery = Delivery {
                id,
                attempt,
                item: item.clone(),
            };
            let result = match idle.take() {
                Some(worker) => Ok(worker),
                None => Worker::start(start()).map_err(|error| error.to_string()),
            };
            let result = result.and_then(|mut worker| match worker.deliver(&delivery) {
                Ok(result) => Ok((worker, result)),
                Err(trouble) => Err(worker.autopsy(trouble)),
            });
            let item = delivery.item;
            match result {
                Ok((worker, result)) => {
                    idle = Some(worker);
                    tell(Event::Done {
                        consumer,
                        item,
                        result,
                    });
                }
                Err(why) if attempt < attempts => {
                    tell(Event::GivenBack {
                        consumer,
                        item,
                        why,
                    });
                    attempt += 1;
                    continue;
                }
                Err(why) => tell(Event::GivenUp { item, why }),
            }
            break;
        }
    }
    if let Some(mut worker) = idle {
        // The end of its input is its end.
        drop(worker.to);
        let _ = worker.process.wait();
    }
}

/// A process that we talk with.
struct Worker {
    process: Owned,
    to: ChildStdin,
    from: ChildStdout,
}

enum Trouble {
    Ended,
    Nonsense(String),
}

impl From<FrameError> for Trouble {
    fn from(error: FrameError) -> Trouble {
        match error {
            FrameError::Truncated { .. } => Trouble::Ended,
            error if error.is_broken_pipe() => Trouble::Ended,
            error => Trouble::Nonsense(error.to_string()),
        }
    }
}

impl Worker {
    fn start(mut command: Command) -> io::Result<Worker> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Owned::spawn(command)?;
        Ok(Worker {
            to: process.stdin.take().expect("stdin is a pipe"),
            from: process.stdout.take().expect("stdout is a pipe"),
            process,
        })
    }

    fn deliver<I, R>(&mut self, delivery: &Delivery<I>) -> Result<R, Trouble>
    where
        I: Serialize,
        R: DeserializeOwned,
    {
        frame::send(&mut self.to, delivery, LIMIT)?;
        let receipt: Option<Receipt<R>> = frame::receive(&mut self.from, LIMIT)?;
        let receipt = receipt.ok_or(Trouble::Ended)?;
        if receipt.id == delivery.id {
            return Ok(receipt.result);
        }
        let confused = format!("it answers {} instead of {}", receipt.id, delivery.id);
        Err(Trouble::Nonsense(confused))
    }

    /// What became of a process that does not talk any more, or talks nonsense.
    fn autopsy(mut self, trouble: Trouble) -> String {
        let id = self.process.id();
        // One that has died by itself keeps the status that it died with.
        let _ = self.process.kill();
        match (trouble, self.process.wait()) {
            (Trouble::Nonsense(error), _) => format!("process {id} was ended: {error}"),
            (Trouble::Ended, Ok(status)) => {
                format!("process {id} ended: {}", owned::describe(status))
            }
            (Trouble::Ended, Err(error)) => format!("process {id} is lost: {error}"),
        }
    }
}

// ---- The workers' side ------------------------------------------------------------------------

#[derive(Serialize, Deserialize)]
pub struct Delivery<I> {
    id: u64,
    /// 1, unless other consumers have failed with this item before.
    pub attempt: u32,
    pub item: I,
}

#[derive(Serialize, Deserialize)]
struct Receipt<R> {
    id: u64,
    result: R,
}

/// Puts each item, and waits each time until there was room for it.
pub fn produce<I: Serialize>(items: impl IntoIterator<Item = I>) -> Result<(), FrameError> {
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    for item in items {
        frame::send(&mut to, &item, LIMIT)?;
        if frame::receive::<()>(&mut from, LIMIT)?.is_none() {
            // The broker is gone.
            break;
        }
    }
    Ok(())
}

/// Works on one item after another until there are no more.
pub fn consume<I, R>(mut work: impl FnMut(&Delivery<I>) -> R) -> Result<(), FrameError>
where
    I: DeserializeOwned,
    R: Serialize,
{
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    while let Some(delivery) = frame::receive::<Delivery<I>>(&mut from, LIMIT)? {
        let (id, result) = (delivery.id, work(&delivery));
        frame::send(&mut to, &Receipt { id, result }, LIMIT)?;
    }
    Ok(())
}
