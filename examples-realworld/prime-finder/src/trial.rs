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

/// Hands over what it finds above 5 in the same form as the sieve, 240 numbers at a time.
pub fn run<F>(range: Range<u64>, mut visit: F) -> ControlFlow<()>
where
    F: FnMut(Segment) -> ControlFlow<()>,
{
    for first in (range.start / 30 * 30..range.end).step_by(240) {
        let last = (first + 240).min(range.end);
        let mut bytes = [0; 8];
        for number in first.max(range.start).max(7)..last {
            if is_prime(number) {
                bytes[((number - first) / 30) as usize] |= 1 << crate::sieve::bit_of(number);
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
    fn squares_of_primes_are_not_prime() {
        for prime in [7, 31, 101, 9973, 999_983] {
            assert!(is_prime(prime) && !is_prime(prime * prime), "{prime}");
        }
    }
}
