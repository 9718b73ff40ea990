//! Many threads count together, and no count is lost: a lock, an atomic, or a sum per thread.
//!
//! What a Python developer knows as
//!
//! ```python
//! class Counter:
//!     def __init__(self): self._lock, self._value = Lock(), 0
//!     def increment(self):
//!         with self._lock: self._value += 1
//!     def value(self): return self._value         # forgot the lock, and nobody complains
//! ```
//!
//! has a lock that stands beside the value. Rust's `Mutex` stands around it: whoever wants the
//! number has to lock first, also to read it, or the program does not compile. `with` is not needed
//! either: the guard that `lock` returns unlocks when it goes out of scope, by an error or panic too.
//!
//! Run it with `cargo run --release -p safe-counter`. Look at the price of each way to count, and
//! at a lock that is held while working: ten threads are then as slow as one. To take: `Counter`; what
//! the compiler refuses stands in `tests/refused`. Before this: `scoped-threads`; after it:
//! `race-condition`.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

const COUNTING_THREADS: usize = 5;
const COUNTS: u64 = 1_000_000;
const TOTAL: u64 = COUNTING_THREADS as u64 * COUNTS;

const WORKING_THREADS: usize = 10;
const PIECES: usize = 4;
const ANSWERS: usize = WORKING_THREADS * PIECES;
/// For the answer of a server, say. It stands for any work that needs no lock.
const WAIT: Duration = Duration::from_millis(5);

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. {COUNTING_THREADS} threads count to {COUNTS} each, in three ways");
    three_ways_to_count()?;

    say!("\n2. {WORKING_THREADS} threads ask {PIECES} times, {WAIT:?} each, and add the answers");
    two_ways_to_hold_a_lock()?;

    say!("\nok: every way counted exactly {TOTAL}, both ways to hold the lock all answers");
    Ok(())
}

fn three_ways_to_count() -> Result<(), Box<dyn Error>> {
    let ways = [
        ("one thread, no lock", one_thread as fn() -> io::Result<u64>),
        ("a lock for each count", with_lock),
        ("an atomic number", with_atomic),
        ("a sum per thread, added in the end", with_own_sums),
    ];
    let mut alone = None;
    for (name, way) in ways {
        let begin = Instant::now();
        let total = way()?;
        let took = begin.elapsed().as_secs_f64();
        let (ms, times) = (took * 1000.0, took / *alone.get_or_insert(took));
        say!("   {name:34}  {total}  {ms:6.1} ms, {times:5.1} times the first");
        check(total == TOTAL, "that is not what was counted")?;
    }
    Ok(())
}

/// As much as all the others together.
fn one_thread() -> io::Result<u64> {
    Ok(count_alone(TOTAL))
}

fn with_lock() -> io::Result<u64> {
    let counter = Counter::default();
    on_threads("lock", COUNTING_THREADS, || {
        for _ in 0..COUNTS {
            counter.add(1);
        }
    })?;
    Ok(counter.value())
}

/// The number and its lock in one. There is no way to the number past the lock, not even in here.
#[derive(Default)]
struct Counter {
    value: Mutex<u64>,
}

impl Counter {
    fn add(&self, more: u64) {
        *self.lock() += more;
    }

    fn value(&self) -> u64 {
        *self.lock()
    }

    /// A panic under the lock unlocks it, but leaves it marked ("poisoned"), since the data may be
    /// half changed. A number never is, so we go on with it.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `acquire(blocking=False)`: whether one had to wait for the lock now.
    fn is_locked(&self) -> bool {
        matches!(self.value.try_lock(), Err(TryLockError::WouldBlock))
    }
}

/// The processor adds in one step that nothing can come between: no lock, and nobody waits. What is
/// called atomic in Python is a class around a lock, and costs as much as the way above.
fn with_atomic() -> io::Result<u64> {
    let counter = AtomicU64::new(0);
    // `Relaxed` is enough for a count. That we see all of it afterwards is the doing of `join`.
    on_threads("atomic", COUNTING_THREADS, || {
        for _ in 0..COUNTS {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    })?;
    Ok(counter.into_inner())
}

/// The best way, where it is possible: nothing is shared, and what each thread has comes by `join`.
fn with_own_sums() -> io::Result<u64> {
    let sums = on_threads("sum", COUNTING_THREADS, || count_alone(COUNTS))?;
    Ok(sums.iter().sum())
}

fn count_alone(times: u64) -> u64 {
    // The black box keeps the optimiser from making one addition of them all.
    (0..times).fold(0, |sum, _| sum + black_box(1))
}

fn two_ways_to_hold_a_lock() -> Result<(), Box<dyn Error>> {
    let alone = WAIT * ANSWERS as u32;
    say!("   one thread would need    {:4} ms", alone.as_millis());
    let begin = Instant::now();
    let long = add_up("asking", add_while_locked, ask)?;
    // Ten threads, and it is as slow as with one.
    check(begin.elapsed() >= alone, "two threads were under one lock")?;
    let brief = add_up("adding", add_when_done, ask)?;
    check([long, brief] == [ANSWERS as u64; 2], "an answer was lost")?;
    Ok(())
}

fn ask() -> u64 {
    thread::sleep(WAIT);
    1
}

/// This version is problematic: to wait for the lock is to wait for another thread's work. It is
/// easily written by mistake: `match jobs.lock().unwrap().pop() { .. }` holds the lock to the
/// closing brace, since a guard without a name lives as long as its statement.
fn add_while_locked(counter: &Counter, work: &dyn Fn() -> u64) {
    let mut sum = counter.lock();
    let answer = work();
    *sum += answer;
}

fn add_when_done(counter: &Counter, work: &dyn Fn() -> u64) {
    let answer = work();
    let mut sum = counter.lock();
    *sum += answer;
}

/// Each thread does its pieces of work; `add` decides when the lock is held.
fn add_up(
    name: &str,
    add: fn(&Counter, &dyn Fn() -> u64),
    work: impl Fn() -> u64 + Sync,
) -> io::Result<u64> {
    let counter = Counter::default();
    let found_locked = AtomicUsize::new(0);
    let observed_work = || {
        found_locked.fetch_add(counter.is_locked().into(), Ordering::Relaxed);
        work()
    };
    let begin = Instant::now();
    on_threads(name, WORKING_THREADS, || {
        for _ in 0..PIECES {
            add(&counter, &observed_work);
        }
    })?;
    let (ms, locked) = (begin.elapsed().as_millis(), found_locked.into_inner());
    say!("   locked while {name}      {ms:4} ms, found locked {locked:2} of {ANSWERS} times");
    Ok(counter.value())
}

/// Runs the work on so many named threads, and returns what each of them returned.
fn on_threads<T: Send>(
    name: &str,
    threads: usize,
    work: impl Fn() -> T + Sync,
) -> io::Result<Vec<T>> {
    thread::scope(|scope| {
        let start = |n| {
            let builder = thread::Builder::new().name(format!("{name}-{n}"));
            builder.spawn_scoped(scope, &work)
        };
        let threads: io::Result<Vec<_>> = (1..=threads).map(start).collect();
        let join = |thread: thread::ScopedJoinHandle<T>| thread.join().expect("no thread panics");
        Ok(threads?.into_iter().map(join).collect())
    })
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic;
    use std::sync::{Barrier, mpsc};

    #[test]
    fn no_count_is_lost_in_any_way() {
        for way in [one_thread, with_lock, with_atomic, with_own_sums] {
            assert_eq!(way().unwrap(), TOTAL);
        }
    }

    #[test]
    fn a_locked_lock_is_found_locked_without_waiting_for_it() {
        let counter = Counter::default();
        assert!(!counter.is_locked());
        let guard = counter.lock();
        // In a thread of its own: one that waited here would wait for ever, and be seen to.
        let (answer, answered) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| answer.send(counter.is_locked()));
            let found = answered.recv_timeout(Duration::from_secs(20));
            drop(guard);
            assert_eq!(found, Ok(true));
        });
        assert!(!counter.is_locked());
    }

    /// Python's counter returned the value without its lock. Here a reader waits for the writer.
    #[test]
    fn a_read_waits_for_whoever_holds_the_lock() {
        let counter = Counter::default();
        let mut value = counter.lock();
        *value = 1;
        let (about_to_read, reads) = mpsc::channel();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let _ = about_to_read.send(());
                counter.value()
            });
            reads.recv_timeout(Duration::from_secs(20)).unwrap();
            *value = 2;
            drop(value);
            assert_eq!(reader.join().unwrap(), 2);
        });
    }

    #[test]
    fn a_panic_under_the_lock_unlocks_it_and_the_count_goes_on() {
        let counter = Counter::default();
        counter.add(1);
        let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            add_while_locked(&counter, &|| panic!("on purpose, under the lock"));
        }));
        assert!(outcome.is_err());
        assert!(counter.value.is_poisoned() && !counter.is_locked());
        counter.add(1);
        assert_eq!(counter.value(), 2);
    }

    /// Sleeping under the lock made ten Python threads as slow as one.
    #[test]
    fn a_lock_held_while_working_lets_one_thread_work_at_a_time() {
        let (at_work, most_at_work) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let sum = add_up("long", add_while_locked, || {
            let now = at_work.fetch_add(1, Ordering::SeqCst) + 1;
            most_at_work.fetch_max(now, Ordering::SeqCst);
            thread::yield_now();
            at_work.fetch_sub(1, Ordering::SeqCst);
            1
        });
        assert_eq!((sum.unwrap(), most_at_work.into_inner()), (40, 1));
    }

    /// Nobody's work ends before all ten are at work: with a lock around it, this would hang.
    #[test]
    fn a_lock_held_briefly_lets_all_work_at_the_same_time() {
        let (finished, end) = mpsc::channel();
        thread::spawn(move || {
            let all_at_work = Barrier::new(WORKING_THREADS);
            let sum = add_up("brief", add_when_done, || {
                all_at_work.wait();
                1
            });
            let _ = finished.send(sum.unwrap());
        });
        let sum = end.recv_timeout(Duration::from_secs(20));
        assert_eq!(sum, Ok(40), "the threads wait for each other's work");
    }
}
