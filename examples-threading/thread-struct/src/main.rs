//! A worker as a struct: what a subclass of `Thread` is for, without inheritance.
//!
//! What a Python developer knows as
//!
//! ```python
//! class PrimeCounter(Thread):
//!     def __init__(self, name, per_step):
//!         super().__init__(name=name)
//!         self.per_step, self.counts = per_step, []
//!     def run(self):
//!         for step in range(5): self.counts.append(self.count_next())
//! ```
//!
//! is a plain struct here. Its fields move into the thread, and what it found comes out of `join`.
//! So nobody reads `counts` half filled, and nobody starts a worker twice: the compiler refuses
//! both, where Python gives a wrong list and a `RuntimeError` at run time.
//!
//! Run it with `cargo run -p thread-struct`. Look at the steps of A and B, which mix, and at the
//! reports, which are whole. To take: `Counter::start` and `Counter::run`; what the compiler refuses
//! stands in `tests/refused`. Before this: `thread-basics`; after it: `sequential-vs-threads`.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const STEPS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let a = Counter::new("A", 100_000);
    let b = Counter::new("B", 60_000);

    say!("Two workers start, each with {STEPS} steps to do");
    let a = a.start()?;
    let b = b.start()?;
    let reports = [a, b].map(JoinHandle::join);

    say!("\nThe reports, which exist only now that the workers have ended");
    let mut totals = Vec::new();
    for report in reports {
        // `join` is an `Err` when the thread panicked: no report is no empty report.
        let report = report.map_err(|_| "a worker panicked")?;
        totals.push(report.total()?);
        let Report { name, counts, took } = report;
        say!("   {name}: {counts:?} in {took:.0?}");
    }

    // The numbers of primes below 500,000 and below 300,000, as the tables have them.
    if totals != [41_538, 25_997] {
        return Err(format!("the workers found {totals:?} primes").into());
    }
    say!("\nTo start a worker twice does not compile: error[E0382], use of moved value");
    say!("ok: 2 reports, each with its {STEPS} steps, and with as many primes as there are");
    Ok(())
}

/// Counts primes step by step: the settings that it was given, and what it knows so far.
struct Counter {
    name: String,
    per_step: u32,
    next: u32,
    counts: Vec<usize>,
}

impl Counter {
    fn new(name: &str, per_step: u32) -> Counter {
        Counter {
            name: name.to_string(),
            per_step,
            next: 0,
            counts: Vec::new(),
        }
    }

    /// Starts the worker on a thread that bears its name.
    ///
    /// `self`, not `&mut self`: the worker moves into its thread. Whoever started it has the handle
    /// instead, and through it the report. A second start has nothing to start:
    /// `tests/refused/start_twice.rs`.
    fn start(self) -> io::Result<JoinHandle<Report>> {
        let thread = thread::Builder::new().name(self.name.clone());
        thread.spawn(|| self.run())
    }

    /// The work. It needs no thread: who calls it waits for the report.
    fn run(mut self) -> Report {
        let begin = Instant::now();
        for step in 1..=STEPS {
            let count = self.count_next();
            let (elapsed, name) = (begin.elapsed().as_millis(), &self.name);
            say!("   {elapsed:3} ms  {name}: step {step}, {count} primes");
            self.counts.push(count);
        }
        Report {
            name: self.name,
            counts: self.counts,
            took: begin.elapsed(),
        }
    }

    /// What only the worker itself calls may change it freely: nobody else can see it.
    fn count_next(&mut self) -> usize {
        let first = self.next;
        self.next += self.per_step;
        (first..self.next).filter(|&n| is_prime(n)).count()
    }
}

/// What a worker leaves behind.
#[derive(Debug)]
struct Report {
    name: String,
    counts: Vec<usize>,
    took: Duration,
}

impl Report {
    /// All primes of a complete report.
    fn total(&self) -> Result<usize, String> {
        match self.counts.len() {
            STEPS => Ok(self.counts.iter().sum()),
            steps => Err(format!("{} did {steps} of {STEPS} steps", self.name)),
        }
    }
}

fn is_prime(number: u32) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    number > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    use std::{panic, sync::mpsc};

    #[test]
    fn a_report_is_complete_and_the_same_with_and_without_a_thread() {
        let threaded = Counter::new("threaded", 20).start().unwrap();
        let threaded = threaded.join().unwrap();
        let plain = Counter::new("plain", 20).run();
        // 2 3 5 7 11 13 17 19, 23 29 31 37, 41 43 47 53 59, 61 67 71 73 79, 83 89 97.
        assert_eq!(threaded.counts, [8, 4, 5, 5, 3]);
        assert_eq!(plain.counts, threaded.counts);
        assert_eq!(plain.total(), Ok(25));
    }

    #[test]
    fn a_report_that_lacks_a_step_says_so() {
        let mut report = Counter::new("A", 1).run();
        report.counts.pop();
        let complaint = "A did 4 of 5 steps".to_string();
        assert_eq!(report.total(), Err(complaint));
    }

    #[test]
    fn start_runs_on_a_thread_of_the_workers_own_name_and_run_on_the_callers() {
        let started = Counter::new("A", 1).start().unwrap();
        let caller = thread::current().id();
        assert_eq!(started.thread().name(), Some("A"));
        assert_ne!(started.thread().id(), caller);
        assert_eq!(started.join().unwrap().name, "A");
    }

    /// The plain way does not compile (`tests/refused/join_itself.rs`). This one does.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn a_thread_that_is_sent_its_own_handle_panics_at_the_join_and_does_not_hang() {
        let (send, handle) = mpsc::channel::<JoinHandle<()>>();
        let (message, panicked) = mpsc::channel();
        let itself = thread::spawn(move || {
            let join = || handle.recv().unwrap().join();
            let panic = panic::catch_unwind(panic::AssertUnwindSafe(join)).unwrap_err();
            message.send(*panic.downcast::<String>().unwrap()).unwrap();
        });
        send.send(itself).unwrap();
        let message = panicked.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(message.contains("failed to join thread"), "{message}");
    }

    #[test]
    fn workers_share_nothing() {
        let workers = [1, 2, 3].map(|n| Counter::new(&format!("worker-{n}"), 10 * n));
        let handles = workers.map(|worker| worker.start().unwrap());
        let totals = handles.map(|handle| handle.join().unwrap().total());
        // The primes below 50, 100 and 150.
        assert_eq!(totals, [Ok(15), Ok(25), Ok(35)]);
    }
}
