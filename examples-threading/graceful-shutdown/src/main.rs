//! Ctrl-C and SIGTERM end the program in order: what is begun is finished or reported.
//!
//! What a Python developer knows as
//!
//! ```python
//! stop = threading.Event()
//! signal.signal(signal.SIGINT, lambda *_: stop.set())       # and SIGTERM still kills
//! while not stop.is_set():
//!     handle(items.get())                                   # but who waits here is not woken
//! ```
//!
//! is the end of a channel here. Every worker holds the receiving side of `stop`; nothing is ever
//! sent. When `main` drops the other side, whoever waits on it wakes at once. A drop happens once,
//! so the shutdown cannot run twice; a second signal ends the program without any.
//!
//! Run it with `cargo run -p graceful-shutdown` and press Ctrl-C within a second: who was computing
//! finishes the item, who was waiting gives it back. With `-- 4000000000` behind it an item takes
//! hours: press Ctrl-C twice. To take: `src/signals.rs` (on Unix over `signal-hook`, for `ctrlc` does
//! not tell SIGINT from SIGTERM), and `run` as the pattern.
//! Before this: `event-flag`; after it: `hand-made-pool`.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.
mod signals;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

// A channel of std has one receiver; these have one for each worker, and `select!`.
use crossbeam::channel::{self, Receiver, RecvTimeoutError, TryRecvError};

use signals::Signal;

const WORKERS: usize = 3;
const USAGE: &str = "\
Usage: graceful-shutdown [LIMIT [ITEMS]]

Three workers wait for ITEMS items (default 24) and count the primes below LIMIT for each (default
120000).
Ctrl-C or SIGTERM: items under way are finished or given back; exit code 130 or 143.
A second signal: the end, at once.";

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> ExitCode {
    LazyLock::force(&START);
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if arguments == ["--help"] || arguments == ["-h"] {
        say!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some(plan) = Plan::from(&arguments) else {
        eprintln!("error: expected one or two numbers, got {arguments:?}\n{USAGE}");
        return ExitCode::from(2);
    };
    match stoppable(&plan) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(signal)) => ExitCode::from(signal.exit_code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What there is to do.
struct Plan {
    items: u32,
    /// Before an item can be worked on, as for an answer from the network.
    wait: Duration,
    /// How long an item takes: the primes below are counted.
    limit: u32,
}

impl Plan {
    fn from(arguments: &[OsString]) -> Option<Self> {
        let number = |argument: &OsString| argument.to_str()?.parse().ok();
        let numbers: Option<Vec<u32>> = arguments.iter().map(number).collect();
        let (limit, items) = match numbers?[..] {
            [] => (120_000, 24),
            [limit] => (limit, 24),
            [limit, items] => (limit, items),
            _ => return None,
        };
        let wait = Duration::from_millis(100);
        Some(Self { items, wait, limit })
    }
}

/// Which signal has stopped it, if one did.
fn stoppable(plan: &Plan) -> Result<Option<Signal>, Box<dyn Error>> {
    // Before the workers: a signal that comes now waits in the channel until somebody asks.
    let (tell_main, signals) = channel::unbounded();
    let at_first = move |signal| {
        // `main` may be past its waiting, and then everything is done anyway.
        let _ = tell_main.send(signal);
    };
    signals::listen(at_first, || ())?;
    say!("{WORKERS} workers, {} items; Ctrl-C stops", plan.items);
    let outcome = run(plan, &signals)?;
    for (number, report) in (1..).zip(&outcome.reports) {
        let given_back = report.given_back.map(|item| format!(", gave back {item}"));
        let given_back = given_back.unwrap_or_default();
        say!("worker-{number} finished {:?}{given_back}", report.finished);
    }
    outcome.check(plan)?;

    let [finished, given_back, not_begun] = outcome.counts();
    match outcome.signal {
        None => say!("ok: all {finished} items finished"),
        Some(Signal { name, .. }) => say!(
            "ok: stopped by {name} within {:.1?}: {} begun = {finished} finished + {given_back} \
             given back, {not_begun} not begun",
            outcome.took,
            finished + given_back,
        ),
    }
    Ok(outcome.signal)
}

/// Runs until everything is done or a signal comes.
fn run(plan: &Plan, signals: &Receiver<Signal>) -> Result<Outcome, Box<dyn Error>> {
    let (put, items) = channel::unbounded();
    for item in 1..=plan.items {
        put.send(item)?;
    }
    // Nothing is ever sent on these two: it is their ends that tell something.
    let (stop, stopped) = channel::bounded(0);
    let (busy, all_done) = channel::bounded::<()>(0);

    let (signal, reports, took) = thread::scope(|scope| {
        let start = |number| {
            let (items, stopped, busy) = (items.clone(), stopped.clone(), busy.clone());
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            thread.spawn_scoped(scope, move || {
                let _busy = busy;
                work(plan, &items, &stopped)
            })
        };
        let workers = (1..=WORKERS).map(start).collect::<io::Result<Vec<_>>>()?;
        drop(busy);

        // Asleep until one of the two happens.
        let signal = channel::select! {
            recv(signals) -> signal => signal.ok(),
            recv(all_done) -> _ => None,
        };
        let asked = Instant::now();
        drop(stop);
        if let Some(Signal { name, .. }) = signal {
            tell(format_args!("{name}: no new items; again to end at once"));
        }
        let reports = workers.into_iter().map(ScopedJoinHandle::join);
        let reports = reports.collect::<thread::Result<Vec<Report>>>();
        let reports = reports.map_err(|_| "a worker panicked")?;
        Ok::<_, Box<dyn Error>>((signal, reports, asked.elapsed()))
    })?;
    Ok(Outcome {
        signal,
        reports,
        not_begun: items.try_iter().collect(),
        took,
    })
}

/// What a worker has done with the items that it took.
#[derive(Default)]
struct Report {
    finished: Vec<u32>,
    given_back: Option<u32>,
}

/// Takes items until there are none or it is stopped.
fn work(plan: &Plan, items: &Receiver<u32>, stopped: &Receiver<()>) -> Report {
    let mut report = Report::default();
    while stopped.try_recv() == Err(TryRecvError::Empty)
        && let Ok(item) = items.try_recv()
    {
        // The wait for the answer is a wait for the stop with a time-out: so it can be woken.
        if stopped.recv_timeout(plan.wait) == Err(RecvTimeoutError::Disconnected) {
            report.given_back = Some(item);
            break;
        }
        tell(format_args!("works on item {item}"));
        black_box(count_primes(plan.limit));
        report.finished.push(item);
    }
    report
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
    say!("{now:5} ms  {:<8}  {event}", thread.name().unwrap_or("?"));
}

struct Outcome {
    signal: Option<Signal>,
    reports: Vec<Report>,
    not_begun: Vec<u32>,
    /// From the signal to the end of the last worker.
    took: Duration,
}

impl Outcome {
    /// Every item is in one place: finished, given back or not begun.
    fn check(&self, plan: &Plan) -> Result<(), String> {
        let mut all = self.not_begun.clone();
        for Report {
            finished,
            given_back,
        } in &self.reports
        {
            all.extend(finished.iter().chain(given_back));
        }
        all.sort();
        if !all.iter().copied().eq(1..=plan.items) {
            return Err(format!("not every item is in one place: {all:?}"));
        }
        if self.signal.is_none() && self.counts() != [plan.items as usize, 0, 0] {
            return Err("it ended by itself before everything was done".into());
        }
        Ok(())
    }

    /// How many were finished, given back, not begun.
    fn counts(&self) -> [usize; 3] {
        let finished = self.reports.iter().map(|report| report.finished.len());
        let given_back = self.reports.iter().flat_map(|report| report.given_back);
        [finished.sum(), given_back.count(), self.not_begun.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LIMIT: Duration = Duration::from_secs(30);
    const AN_HOUR: Duration = Duration::from_secs(3600);
    const INT: Signal = Signal {
        name: "SIGINT",
        exit_code: 130,
    };

    fn plan(items: u32, wait: Duration) -> Plan {
        Plan {
            items,
            wait,
            limit: 100,
        }
    }

    /// What takes too long is a failure, not a hang.
    fn bounded<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        thread::spawn(move || done.send(test()));
        result.recv_timeout(LIMIT).expect("it ends in time")
    }

    /// A worker of Python's program slept on for up to a second.
    #[test]
    fn a_stop_wakes_workers_that_wait_and_they_give_their_items_back() {
        bounded(|| {
            let plan = &plan(5, AN_HOUR);
            let (put, items) = channel::unbounded();
            (1..=5).for_each(|item| put.send(item).unwrap());
            let (stop, stopped) = channel::bounded::<()>(0);
            let given_back = thread::scope(|scope| {
                let worker = || work(plan, &items, &stopped);
                let workers = [(); WORKERS].map(|()| scope.spawn(worker));
                while items.len() > 5 - WORKERS {
                    thread::yield_now();
                }
                // Each has an item now, and an hour to wait.
                drop(stop);
                workers.map(|worker| worker.join().unwrap().given_back)
            });
            assert_eq!(given_back.iter().flatten().count(), WORKERS);
            assert_eq!(items.len(), 5 - WORKERS);
        });
    }

    /// In Python's program nobody had started them.
    #[test]
    fn every_worker_is_started_and_reports() {
        let (_tell, signals) = channel::unbounded();
        let outcome = bounded(move || run(&plan(9, Duration::ZERO), &signals).unwrap());
        assert_eq!(outcome.reports.len(), WORKERS);
        assert_eq!((outcome.signal, outcome.counts()), (None, [9, 0, 0]));
    }

    #[test]
    fn a_signal_that_came_before_the_workers_is_not_lost() {
        let (tell, signals) = channel::unbounded();
        tell.send(INT).unwrap();
        let outcome = bounded(move || {
            let plan = plan(20, AN_HOUR);
            let outcome = run(&plan, &signals).unwrap();
            outcome.check(&plan).unwrap();
            outcome
        });
        let [finished, given_back, not_begun] = outcome.counts();
        assert_eq!((outcome.signal, finished), (Some(INT), 0));
        assert!(given_back <= WORKERS && given_back + not_begun == 20);
        drop(tell);
    }

    #[test]
    fn the_check_finds_an_item_that_is_lost_or_in_two_places() {
        let verdict = |signal, finished: &[u32], given_back, not_begun: &[u32]| {
            let report = Report {
                finished: finished.to_vec(),
                given_back,
            };
            let outcome = Outcome {
                signal,
                reports: vec![report],
                not_begun: not_begun.to_vec(),
                took: Duration::ZERO,
            };
            outcome.check(&plan(4, Duration::ZERO))
        };
        assert_eq!(verdict(None, &[2, 1, 4, 3], None, &[]), Ok(()));
        assert_eq!(verdict(Some(INT), &[1, 3], Some(2), &[4]), Ok(()));
        assert!(verdict(Some(INT), &[1, 3], None, &[4]).is_err());
        assert!(verdict(Some(INT), &[1, 2, 3], Some(2), &[4]).is_err());
        assert!(verdict(None, &[1, 2, 3], None, &[4]).is_err());
    }
}
