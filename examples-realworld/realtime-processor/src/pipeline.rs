//! Workers between the input's hand-over and the output stage.
//!
//! ```text
//! source ──▶ input ──▶ workers ──▶ outcomes ──▶ output stage
//! ```
//!
//! Nothing but the source ever ends by itself. It closes `input`; each worker ends when that is
//! empty; the last one closes `outcomes`; the output stage ends when that is empty, too. Whatever
//! stops the stream does so at the source, and the rest follows in this order: so nothing is lost.

use crate::clock::Clock;
use crate::handover::{Handover, Stop};
use crate::histogram::{Histogram, Latencies};
use crate::item::{Failure, Item, transform};
use crate::output::{self, End, Lines, Outcome, Progress, Totals};
use crate::work::Work;
use std::any::Any;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// A batch of slow items is handed on in parts rather than later than this.
const LATEST_NANOS: u64 = 10_000_000;
/// After an abort, the time for items in work.
pub const TIME_TO_FINISH: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
pub struct Config {
    pub workers: usize,
    pub queue: usize,
    pub batch: usize,
    pub work: Work,
    pub lines: Lines,
}

/// A running stream, seen from outside.
pub struct Pipeline {
    pub input: Arc<Handover<Item>>,
    pub progress: Arc<Progress>,
    shared: Arc<Shared>,
}

impl Pipeline {
    /// Starts workers and output stage; `ended` gets the totals when the last item is out.
    pub fn start(
        config: Config,
        clock: Clock,
        output: impl Write + Send + 'static,
        ended: impl FnOnce(Totals) + Send + 'static,
    ) -> io::Result<Pipeline> {
        let input = Arc::new(Handover::new(config.queue, config.workers));
        let outcomes = Arc::new(Handover::new(config.queue, 1));
        let progress = Arc::new(Progress::default());
        let shared = Arc::new(Shared {
            input: input.clone(),
            outcomes: outcomes.clone(),
            latencies: (0..config.workers).map(|_| Histogram::new()).collect(),
            last_id: AtomicU32::new(config.workers as u32),
            give_up: OnceLock::new(),
            config,
            clock,
        });
        let pipeline = Pipeline {
            input,
            progress: progress.clone(),
            shared: shared.clone(),
        };

        let stopped = shared.clone();
        let output_stage = move || {
            let broken = || stopped.stop(Stop::Abort);
            ended(output::run(
                &outcomes,
                output,
                config.lines,
                clock,
                &progress,
                broken,
            ));
        };
        thread::Builder::new()
            .name("output".into())
            .spawn(output_stage)?;
        let last_one_closes = Arc::new(CloseOnDrop(shared.outcomes.clone()));
        for slot in 0..config.workers {
            let worker = Worker {
                id: slot as u32 + 1,
                slot,
                items: VecDeque::with_capacity(config.batch),
                shared: shared.clone(),
                _last_one_closes: last_one_closes.clone(),
            };
            worker.start().map_err(|(_, error)| error)?;
        }
        Ok(pipeline)
    }

    /// Asks the source to end. After an abort, items in work have [`TIME_TO_FINISH`].
    pub fn stop(&self, stop: Stop) {
        self.shared.stop(stop);
    }

    /// Of all items so far.
    pub fn latencies(&self) -> Latencies {
        Latencies::of(&self.shared.latencies)
    }

    pub fn workers_replaced(&self) -> u32 {
        self.shared.last_id.load(Relaxed) - self.shared.config.workers as u32
    }
}

/// What all workers use.
struct Shared {
    input: Arc<Handover<Item>>,
    outcomes: Arc<Handover<Outcome>>,
    /// One for each worker, so that no two write to the same place.
    latencies: Vec<Histogram>,
    last_id: AtomicU32,
    /// When items in work are given up, once an abort was asked for.
    give_up: OnceLock<Instant>,
    config: Config,
    clock: Clock,
}

impl Shared {
    fn stop(&self, stop: Stop) {
        if stop == Stop::Abort {
            self.give_up.get_or_init(|| Instant::now() + TIME_TO_FINISH);
        }
        self.input.stop(stop);
    }

    fn given_up(&self) -> bool {
        (self.give_up.get()).is_some_and(|at| Instant::now() >= *at)
    }
}

struct CloseOnDrop(Arc<Handover<Outcome>>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Worker {
    id: u32,
    /// Its place among the workers, which a successor inherits.
    slot: usize,
    items: VecDeque<Item>,
    shared: Arc<Shared>,
    _last_one_closes: Arc<CloseOnDrop>,
}

impl Worker {
    /// Runs the worker in a thread of its own. If the system refuses one, it comes back.
    fn start(self) -> Result<(), (Worker, io::Error)> {
        let thread = thread::Builder::new().name(format!("worker-{}", self.id));
        // A refused thread drops its closure, and with it would go the items.
        let seat = Arc::new(Mutex::new(Some(self)));
        let taken = seat.clone();
        let main = move || {
            let mut worker = taken.lock().unwrap().take();
            while let Some(it) = worker {
                worker = it.run();
            }
        };
        match thread.spawn(main) {
            Ok(_) => Ok(()),
            Err(error) => Err((seat.lock().unwrap().take().expect("nobody ran it"), error)),
        }
    }

    /// Works until the end of the stream or a panic. Returns whoever must go on in this thread.
    fn run(mut self) -> Option<Worker> {
        let shared = self.shared.clone();
        let mut outcomes = VecDeque::with_capacity(shared.config.batch);
        let mut handed_on = 0;
        loop {
            while let Some(item) = self.items.pop_front() {
                let (end, panicked) = self.process(&item);
                let at = shared.clock.now();
                if !matches!(end, End::NotProcessed) {
                    shared.latencies[self.slot].record(at.saturating_sub(item.taken));
                }
                outcomes.push_back(Outcome {
                    item,
                    at,
                    worker: self.id,
                    end,
                });
                if panicked {
                    shared.outcomes.put(&mut outcomes);
                    return self.make_way();
                }
                if at - handed_on > LATEST_NANOS {
                    handed_on = at;
                    shared.outcomes.put(&mut outcomes);
                }
            }
            shared.outcomes.put(&mut outcomes);
            if !shared.input.take(&mut self.items, shared.config.batch) {
                return None;
            }
        }
    }

    /// What becomes of the item, and whether it made the transformation panic.
    fn process(&self, item: &Item) -> (End, bool) {
        if self.shared.input.aborted() {
            return (End::NotProcessed, false);
        }
        let work = self.shared.config.work;
        let attempt = || {
            let done = work.perform(item.number, || self.shared.given_up());
            done.then(|| transform(item))
        };
        match panic::catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Some(Ok(result))) => (End::Done(result), false),
            Ok(Some(Err(failure))) => (End::Failed(Box::new(failure)), false),
            Ok(None) => (End::NotProcessed, false),
            Err(panic) => {
                let failure = Failure::Panicked(message(&*panic));
                (End::Failed(Box::new(failure)), true)
            }
        }
    }

    /// After a panic nobody knows in which state the transformation left its thread: a new one
    /// with a new id takes over, and with it the items that were not begun.
    fn make_way(mut self) -> Option<Worker> {
        self.id = self.shared.last_id.fetch_add(1, Relaxed) + 1;
        match self.start() {
            Ok(()) => None,
            // No thread to be had: better this one than none.
            Err((successor, _)) => Some(successor),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Payload;
    use std::sync::mpsc::{self, Receiver};

    const LIMIT: Duration = Duration::from_secs(60);

    fn start(workers: usize, batch: usize) -> (Pipeline, Receiver<Totals>) {
        let config = Config {
            workers,
            queue: 100,
            batch,
            work: Work::of(0.0),
            lines: Lines::None,
        };
        let (sender, ended) = mpsc::channel();
        let tell = move |totals| sender.send(totals).unwrap();
        (
            Pipeline::start(config, Clock::start(), io::sink(), tell).unwrap(),
            ended,
        )
    }

    fn items(
        numbers: impl Iterator<Item = u64>,
        payload: impl Fn(u64) -> Payload,
    ) -> VecDeque<Item> {
        let item = |number| Item {
            number,
            taken: 0,
            payload: payload(number),
        };
        numbers.map(item).collect()
    }

    /// Python left a `None` too many in the queue, and two of three workers of the next start took
    /// it for their end. Here a worker that ends early would be one whose items are missing.
    #[test]
    fn after_a_restart_no_worker_dies_of_an_old_pill() {
        for stop in [Stop::Drain, Stop::Abort, Stop::Drain] {
            let (pipeline, ended) = start(3, 1);
            let input = pipeline.input.clone();
            // Not joined: without workers it would wait for ever.
            thread::spawn(move || {
                // Each of these costs a worker: without successors none would be left.
                input.put(&mut items(1..=300, |_| Payload::Trap));
                input.put(&mut items(301..=600, |_| Payload::Value(1)));
                input.leave(None)
            });
            let begin = Instant::now();
            while pipeline.progress.total() < 600 {
                assert!(
                    begin.elapsed() < LIMIT,
                    "{} of 600",
                    pipeline.progress.total()
                );
                thread::sleep(Duration::from_millis(1));
            }
            pipeline.stop(stop);
            let totals = ended.recv_timeout(LIMIT).unwrap();
            assert_eq!((totals.failed, totals.out, totals.sum), (300, 300, 600));
            assert_eq!(pipeline.workers_replaced(), 300);
        }
    }

    #[test]
    fn the_rest_of_a_batch_outlives_the_worker_that_panics_within_it() {
        let (pipeline, ended) = start(1, 64);
        let trap = |number| {
            if number % 7 == 3 {
                Payload::Trap
            } else {
                Payload::Value(5)
            }
        };
        pipeline.input.put(&mut items(1..=64, trap));
        pipeline.input.close();
        let totals = ended.recv_timeout(LIMIT).unwrap();
        assert_eq!((totals.failed, totals.out, totals.sum), (9, 55, 550));
        assert_eq!(totals.numbers, 64 * 65 / 2);
    }

    #[test]
    fn a_stop_before_the_first_item_ends_it_all() {
        let (pipeline, ended) = start(3, 1);
        assert!(pipeline.input.leave(None));
        pipeline.stop(Stop::Drain);
        assert_eq!(ended.recv_timeout(LIMIT).unwrap().numbers, 0);
    }

    #[test]
    fn the_latencies_are_those_of_all_workers() {
        let (pipeline, ended) = start(3, 4);
        pipeline
            .input
            .put(&mut items(1..=90, |_| Payload::Value(1)));
        pipeline.input.close();
        ended.recv_timeout(LIMIT).unwrap();
        assert_eq!(pipeline.latencies().count(), 90);
    }
}
