//! Ctrl-C and SIGTERM end the program in order: what is begun is finished or reported.
//!
//! What a Python developer knows as
//!
//! ```python
//! stop = threading.Event()
//! signal.signal(signal.SIGINT, lambda *_: stop.set())       # and SIGTERM still kills
//!
//! def work():
//!     while not stop.is_set():
//!         handle(items.get())                               # but who waits here is not woken
//! ```
//!
//! is the end of a channel here. Every worker holds the receiving side of `stop`; nothing is ever
//! sent. When `main` drops the other side, whoever waits on it wakes at once. A drop happens once,
//! so the shutdown cannot run twice; a second signal ends the program without any.
//!
//! Run it with `cargo run -p graceful-shutdown` and press Ctrl-C within a second. Look at the end:
//! who was computing finishes the item, who was waiting gives it back. With `-- 4000000000` behind
//! it an item takes hours: press Ctrl-C twice.
//!
//! To take: `src/signals.rs` (on Unix over `signal-hook`, for `ctrlc` does not tell SIGINT from
//! SIGTERM), and `run` as the pattern. Before this: `event-flag`; after it: `hand-made-pool`.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.
mod signals;

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::fmt;
use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::thread;
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

/// What there is to do.
struct Plan {
    items: u32,
    /// Before an item can be worked on, as for an answer from the network.
    wait: Duration,
    /// How long an item takes: the primes below are counted.
    limit: u32,
    begin: Instant,
}

impl Plan {
    fn tell(&self, event: fmt::Arguments) {
        say!("{:5} ms  {event}", self.begin.elapsed().as_millis());
    }
}

fn main() -> ExitCode {
    let mut plan = Plan {
        items: 24,
        wait: Duration::from_millis(100),
        limit: 120_000,
        begin: Instant::now(),
    };
    let arguments: Vec<String> = env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match &arguments[..] {
        [] => {}
        [help] if help == "--help" || help == "-h" => {
            say!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [limit] if let Ok(limit) = limit.parse() => plan.limit = limit,
        [limit, items] if let (Ok(limit), Ok(items)) = (limit.parse(), items.parse()) => {
            (plan.limit, plan.items) = (limit, items);
        }
        _ => {
            eprintln!("error: expected a number, got {arguments:?}\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    match stoppable(&plan) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(signal)) => ExitCode::from(signal.exit_code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Which signal has stopped it, if one did.
fn stoppable(plan: &Plan) -> Result<Option<Signal>, Box<dyn Error>> {
    // Before the workers: a signal that comes now waits in the channel until somebody asks.
    let (tell, signals) = channel::unbounded();
    let at_first = move |signal| {
        // `main` may be past its waiting, and then everything is done anyway.
        let _ = tell.send(signal);
    };
    signals::listen(at_first, || ())?;
    say!("{WORKERS} workers, {} items; Ctrl-C stops", plan.items);
    let outcome = run(plan, &signals)?;
    for report in &outcome.reports {
        say!("{report}");
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
    // Nothing can be sent on these two: it is their ends that tell something.
    let (stop, stopped) = channel::bounded::<Infallible>(0);
    let (busy, all_done) = channel::bounded::<Infallible>(0);

    let (signal, reports, took) = thread::scope(|scope| {
        let start = |number| {
            let (items, stopped, busy) = (items.clone(), stopped.clone(), busy.clone());
            let worker = format!("worker-{number}");
            let thread = thread::Builder::new().name(worker.clone());
            thread.spawn_scoped(scope, move || {
                let _busy = busy;
                work(worker, plan, &items, &stopped)
            })
        };
        let workers: io::Result<Vec<_>> = (1..=WORKERS).map(start).collect();
        let workers = workers?;
        drop((busy, put));

        // Asleep until one of the two happens.
        let signal = channel::select! {
            recv(signals) -> signal => signal.ok(),
            recv(all_done) -> _ => None,
        };
        let asked = Instant::now();
        drop(stop);
        if let Some(Signal { name, .. }) = signal {
            plan.tell(format_args!("{name}: no new items; again to end at once"));
        }
        let join = |worker: thread::ScopedJoinHandle<'_, Report>| worker.join();
        let reports: thread::Result<Vec<Report>> = workers.into_iter().map(join).collect();
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
struct Report {
    worker: String,
    finished: Vec<u32>,
    given_back: Option<u32>,
}

/// Takes items until there are none or it is stopped.
fn work(
    worker: String,
    plan: &Plan,
    items: &Receiver<u32>,
    stopped: &Receiver<Infallible>,
) -> Report {
    let mut report = Report {
        worker,
        finished: Vec::new(),
        given_back: None,
    };
    let may_go_on = || stopped.try_recv() == Err(TryRecvError::Empty);
    while may_go_on()
        && let Ok(item) = items.try_recv()
    {
        // The wait for the answer is a wait for the stop with a time-out: so it can be woken.
        match stopped.recv_timeout(plan.wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                report.given_back = Some(item);
                break;
            }
            Ok(never) => match never {},
        }
        plan.tell(format_args!("{} works on item {item}", report.worker));
        black_box(count_primes(plan.limit));
        report.finished.push(item);
    }
    report
}

fn count_primes(limit: u32) -> u32 {
    let divides = |n: u32| {
        (2..)
            .take_while(move |d| d * d <= n)
            .any(move |d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divides(*n)).count() as u32
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} finished {:?}", self.worker, self.finished)?;
        match self.given_back {
            Some(item) => write!(f, ", gave back {item}"),
            None => Ok(()),
        }
    }
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
        let of_worker =
            |report: &Report| [&report.finished[..], report.given_back.as_slice()].concat();
        let mut all: Vec<u32> = self.reports.iter().flat_map(of_worker).collect();
        all.extend(&self.not_begun);
        all.sort();
        if !all.iter().copied().eq(1..=plan.items) {
            return Err(format!("not every item is in one place: {all:?}"));
        }
        if self.signal.is_none() && self.counts() != [plan.items as usize, 0, 0] {
            return Err("it ended by itself before everything was done".to_string());
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
            begin: Instant::now(),
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
            let (stop, stopped) = channel::bounded(0);
            let given_back = thread::scope(|scope| {
                let worker = || work(String::new(), plan, &items, &stopped);
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
        let workers: Vec<&str> = outcome.reports.iter().map(|it| &it.worker[..]).collect();
        assert_eq!(workers, ["worker-1", "worker-2", "worker-3"]);
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
                worker: String::new(),
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
