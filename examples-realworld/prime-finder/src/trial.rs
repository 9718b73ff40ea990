//! Trial division, as everybody writes it first: each number is divided by the odd numbers up to
//! its root. The larger the numbers, the longer each takes.

use crate::sieve::Segment;
use std::ops::{ControlFlow, Range};

/// One prime near this limit takes tens of milliseconds; far beyond it nobody would wait.
pub const MAX: u64 = 1_000_000_000_000_000;

pub fn is_prime(number: u64) -> bool {
    if number < 4 {
        return number >= 2;
    }
    let root = number.isqrt();
    number % 2 == 1
        && (3..=root)
            .step_by(2)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// Hands over what it finds above 5 in the same form as the sieve, 30 numbers at a time. Near the
/// maximum even a single one takes long: before each it asks whether to `stop`.
pub fn run_until<F>(stop: fn() -> bool, range: Range<u64>, mut visit: F) -> ControlFlow<()>
where
    F: FnMut(Segment) -> ControlFlow<()>,
{
    for first in (range.start / 30 * 30..range.end).step_by(30) {
        let last = (first + 30).min(range.end);
        let mut bytes = [0];
        for number in first.max(range.start).max(7)..last {
            if stop() {
                return ControlFlow::Break(());
            }
            if is_prime(number) {
                bytes[0] |= 1 << crate::sieve::bit_of(number);
            }
        }
        visit(Segment {
            first,
            bytes: &bytes,
        })?;
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_first_primes() {
        let primes: Vec<u64> = (0..60).filter(|&number| is_prime(number)).collect();
        assert_eq!(
            primes,
            [
                2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59
            ]
        );
    }

    #[test]
    fn it_asks_whether_to_stop_before_each_number() {
        thread_local!(static QUESTIONS: Cell<u32> = const { Cell::new(0) });
        let stop = || {
            QUESTIONS.set(QUESTIONS.get() + 1);
            QUESTIONS.get() > 100
        };
        let mut reached = 0;
        let done = run_until(stop, 0..10_000, |segment| {
            reached = segment.first + 30 * segment.bytes.len() as u64;
            ControlFlow::Continue(())
        });
        assert!(done.is_break() && reached == 90, "{reached}");
    }

    #[test]
    fn squares_of_primes_are_not_prime() {
        for prime in [7, 31, 101, 9973, 999_983] {
            assert!(is_prime(prime) && !is_prime(prime * prime), "{prime}");
        }
    }
}
