//! `thread::scope`: threads that borrow local data, and that are joined on every way out.
//!
//! What a Python developer knows as
//!
//! ```python
//! with Pool(4) as pool:                     # on the way out: terminate
//!     pending = pool.map_async(factor, numbers)
//! pending.get()                             # never comes
//! ```
//!
//! waits here: a scope ends when its threads have ended, whether one leaves it by its end, by `?`
//! or by a panic. That is why its threads may borrow what belongs to the caller: no copy, no `Arc`.
//! Nor does a `finally` hide the real error with a `NameError`, since cleaning up what was never
//! made does not compile (`tests/refused`).
//!
//! Run it with `cargo run -p scoped-threads`. Look at the last part: one thread fails, one panics,
//! and the caller gets both failures and the two results. The message on stderr is the panic's.
//!
//! To take: `src/in_threads.rs`.
//! Before this: `sequential-vs-threads`; after it: `thread-errors`.

#![forbid(unsafe_code)]

mod in_threads;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};
use std::time::Instant;

use in_threads::Failure::{Failed, Panicked};
use in_threads::in_threads;

const WORKERS: usize = 4;

/// Each of them times `LARGER` is a number whose factors take a while to find.
const PRIMES: [u64; 12] = [
    1_000_003, 1_250_003, 1_500_007, 1_750_009, 2_000_003, 2_250_013, 2_500_009, 2_750_021,
    3_000_017, 3_250_021, 3_500_017, 3_750_001,
];
const LARGER: u64 = 10_000_019;

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. {WORKERS} threads read one local list and write to another");
    shared_out()?;
    say!("\n2. An error leaves the scope while its {WORKERS} threads are at work");
    left_early()?;
    say!("\n3. One thread fails, one panics, and neither hides the other nor the results");
    nothing_hidden()?;
    say!("\nok: all threads were joined on every way out, and each failure reached the caller");
    Ok(())
}

fn shared_out() -> Result<(), Box<dyn Error>> {
    let factors = factors_of(&PRIMES.map(|prime| prime * LARGER))?;
    say!("   the smallest factors: {factors:?}");
    if factors != PRIMES {
        return Err("the threads found other factors than there are".into());
    }
    Ok(())
}

/// Each thread borrows a part of `numbers` to read, and a part of `factors` to write. The compiler
/// sees that no two threads write to the same part, so there is no lock.
fn factors_of(numbers: &[u64]) -> io::Result<Vec<u64>> {
    let mut factors = vec![0; numbers.len()];
    let share = numbers.len().div_ceil(WORKERS).max(1);
    thread::scope(|scope| {
        let parts = numbers.chunks(share).zip(factors.chunks_mut(share));
        for (n, (numbers, factors)) in (1..).zip(parts) {
            Builder::new()
                .name(format!("part-{n}"))
                .spawn_scoped(scope, || {
                    for (number, factor) in numbers.iter().zip(factors) {
                        *factor = smallest_factor(*number);
                    }
                })?;
        }
        Ok::<(), io::Error>(())
    })?;
    // The threads have ended and their borrows with them: the list is ours alone again.
    Ok(factors)
}

fn left_early() -> Result<(), Box<dyn Error>> {
    let ended = AtomicUsize::new(0);
    let Err(error) = leave_early("twelve", &ended) else {
        return Err("the error was lost".into());
    };
    let ended = ended.into_inner();
    say!("   the caller gets \"{error}\", and {ended} of {WORKERS} threads have ended");
    if ended != WORKERS {
        return Err("a thread was left behind".into());
    }
    Ok(())
}

/// Starts threads and then meets an error. `?` does leave the scope, but the scope waits for them.
fn leave_early(input: &str, ended: &AtomicUsize) -> Result<u64, Box<dyn Error>> {
    let begin = Instant::now();
    let elapsed = || begin.elapsed().as_millis();
    thread::scope(|scope| {
        for n in 1..=WORKERS {
            Builder::new()
                .name(format!("busy-{n}"))
                .spawn_scoped(scope, || {
                    let factor = smallest_factor(LARGER * LARGER);
                    let now = elapsed();
                    say!("   {now:3} ms  a thread has found {factor} and ends");
                    ended.fetch_add(1, Ordering::Relaxed);
                })?;
        }
        say!("   {:3} ms  the scope is left", elapsed());
        Ok(input.parse()?)
    })
}

fn nothing_hidden() -> Result<(), Box<dyn Error>> {
    let inputs = ["20000068000057", "twelve", "1", "30000227000323"];
    let outcomes = in_threads(&inputs, |input| input.parse().map(smallest_factor));
    for (input, outcome) in inputs.iter().zip(&outcomes) {
        match outcome {
            Ok(factor) => say!("   {input:14} has the smallest factor {factor}"),
            Err(failure) => say!("   {input:14} {failure}"),
        }
    }
    let [Ok(_), Err(Failed(_)), Err(Panicked(_)), Ok(_)] = outcomes[..] else {
        return Err("a result or a failure was lost".into());
    };
    Ok(())
}

fn smallest_factor(number: u64) -> u64 {
    assert!(number > 1, "{number} has no prime factor");
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return divisor;
        }
        divisor += 1;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;

    /// Starts a scope whose threads can only end after its closure has been left. Returns how many
    /// threads had ended when the scope had.
    fn ended_after_leaving(leave: impl Fn() -> Result<(), String>) -> usize {
        let ended = AtomicUsize::new(0);
        let _ = catch_unwind(AssertUnwindSafe(|| {
            thread::scope(|scope| {
                let mut gates = Vec::new();
                for _ in 0..WORKERS {
                    let (gate, opens) = mpsc::channel::<()>();
                    gates.push(gate);
                    let ended = &ended;
                    scope.spawn(move || {
                        // It opens when the closure is left, since the other end is dropped then.
                        let _ = opens.recv();
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
                leave()
            })
        }));
        ended.into_inner()
    }

    #[test]
    fn all_threads_are_joined_by_whichever_way_the_scope_is_left() {
        assert_eq!(ended_after_leaving(|| Ok(())), WORKERS);
        let by_question_mark = || Err("left early".to_string())?;
        assert_eq!(ended_after_leaving(by_question_mark), WORKERS);
        assert_eq!(ended_after_leaving(|| panic!("left by a panic")), WORKERS);
    }

    #[test]
    fn the_error_that_left_the_scope_arrives_after_all_threads_have_ended() {
        let ended = AtomicUsize::new(0);
        let error = leave_early("twelve", &ended).unwrap_err();
        assert_eq!(error.to_string(), "invalid digit found in string");
        assert_eq!(ended.into_inner(), WORKERS);
        assert_eq!(leave_early("12", &AtomicUsize::new(0)).unwrap(), 12);
    }

    /// In Python, a `finally` that fails too is what one sees first.
    #[test]
    fn the_error_of_the_scope_itself_is_not_hidden_by_a_panicking_thread() {
        let payload = catch_unwind(|| {
            thread::scope(|scope| {
                scope.spawn(|| panic!("another one"));
                if true {
                    panic!("the real error");
                }
            })
        });
        let error = payload.unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&"the real error"));
    }

    #[test]
    fn any_number_of_items_is_shared_out() {
        assert_eq!(factors_of(&[]).unwrap(), []);
        assert_eq!(factors_of(&[35]).unwrap(), [5]);
        assert_eq!(factors_of(&[4, 9, 25, 49, 11]).unwrap(), [2, 3, 5, 7, 11]);
    }
}
