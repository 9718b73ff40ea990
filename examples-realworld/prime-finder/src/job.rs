//! What is to be done, cut into pieces, and how one worker does a piece.

use crate::sieve::{self, Segment, Sieve, Tables, WITHOUT_A_BIT};
use crate::trial;
use std::fmt;
use std::ops::{ControlFlow, Range};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Algorithm {
    /// A segmented sieve of Eratosthenes
    Sieve,
    /// Division by the odd numbers up to the root
    Trial,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Sieve => "sieve",
            Algorithm::Trial => "trial",
        })
    }
}

/// The primes p with from ≤ p < limit are wanted.
#[derive(Clone, Debug)]
pub struct Job {
    pub algorithm: Algorithm,
    pub range: Range<u64>,
    pub list: bool,
    piece: u64,
}

impl Job {
    /// Cuts the range into pieces. Equal ranges are unequal work: the later one takes longer, and
    /// no core is ever as free as the other. So there are many more pieces than workers, and
    /// whoever is free takes the next. A piece is never so small that handing it over counts.
    pub fn new(algorithm: Algorithm, range: Range<u64>, list: bool) -> Job {
        let range = range.start..range.end.max(range.start);
        let root = range.end.isqrt().max(1);
        let piece = match algorithm {
            // About a millisecond each.
            Algorithm::Trial => (20_000_000 / root).max(100),
            Algorithm::Sieve => {
                let whole_segments = sieve::segment_numbers(range.end);
                let set_up = root.min(sieve::LARGEST_KEPT);
                if list {
                    // Its text has to wait in memory for the pieces before it.
                    let piece = (5 * set_up).max(2 * sieve::BLOCK_NUMBERS);
                    piece.next_multiple_of(sieve::BLOCK_NUMBERS)
                } else {
                    let share = (range.end - range.start) / 64;
                    let piece = share.min(1 << 31).max(1000 * set_up).max(8_000_000);
                    piece.next_multiple_of(whole_segments)
                }
            }
        };
        Job {
            algorithm,
            range,
            list,
            piece,
        }
    }

    /// Borders between pieces are multiples of 30, so that no byte of a sieve is split.
    pub fn pieces(&self) -> u64 {
        let Range { start, end } = self.range;
        if start == end {
            0
        } else {
            (end - start / 30 * 30).div_ceil(self.piece_by_30())
        }
    }

    pub fn piece(&self, index: u64) -> Range<u64> {
        let Range { start, end } = self.range;
        let first = start / 30 * 30 + index * self.piece_by_30();
        first.max(start)..first.saturating_add(self.piece_by_30()).min(end)
    }

    fn piece_by_30(&self) -> u64 {
        self.piece.next_multiple_of(30)
    }

    /// 2, 3 and 5 stand in no piece.
    pub fn first_primes(&self) -> impl Iterator<Item = u64> {
        WITHOUT_A_BIT
            .into_iter()
            .filter(|prime| self.range.contains(prime))
    }

    /// What all workers of this process share.
    pub fn tables(&self) -> Option<Tables> {
        (self.algorithm == Algorithm::Sieve).then(|| Tables::new(self.range.end))
    }
}

/// One worker's means to find primes.
pub enum Finder<'a> {
    Sieve(Box<Sieve<'a>>),
    Trial,
}

impl<'a> Finder<'a> {
    pub fn new(tables: Option<&'a Tables>) -> Finder<'a> {
        tables.map_or(Finder::Trial, |tables| {
            Finder::Sieve(Box::new(Sieve::new(tables)))
        })
    }

    pub fn run_until<F>(
        &mut self,
        stop: fn() -> bool,
        range: Range<u64>,
        visit: F,
    ) -> ControlFlow<()>
    where
        F: FnMut(Segment) -> ControlFlow<()>,
    {
        match self {
            Finder::Sieve(sieve) => sieve.run_until(stop, range, visit),
            Finder::Trial => trial::run_until(stop, range, visit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_range_without_gap_or_overlap() {
        for algorithm in [Algorithm::Sieve, Algorithm::Trial] {
            for list in [false, true] {
                for range in [
                    0..1,
                    0..30,
                    7..7,
                    29..31,
                    1..100_000_000,
                    999..1_000_000_007,
                ] {
                    let job = Job::new(algorithm, range.clone(), list);
                    let mut next = range.start;
                    for piece in (0..job.pieces()).map(|index| job.piece(index)) {
                        assert!(piece.start == next && piece.end > next, "{job:?}");
                        assert!(piece.end == range.end || piece.end % 30 == 0, "{job:?}");
                        next = piece.end;
                    }
                    assert_eq!(next, range.end, "{job:?}");
                }
            }
        }
    }

    #[test]
    fn an_empty_range_has_no_pieces() {
        let range = Range { start: 10, end: 5 };
        assert_eq!(Job::new(Algorithm::Sieve, range, false).pieces(), 0);
    }

    /// In Python two processes were 0.09 times as fast as none here: there was nothing to share.
    #[test]
    fn the_numbers_below_10_000_are_one_piece() {
        for algorithm in [Algorithm::Sieve, Algorithm::Trial] {
            assert_eq!(Job::new(algorithm, 0..10_000, false).pieces(), 1);
        }
    }

    #[test]
    fn a_large_job_has_many_more_pieces_than_workers() {
        for limit in [1_000_000_000, 1_000_000_000_000] {
            assert!(Job::new(Algorithm::Sieve, 0..limit, false).pieces() >= 20);
        }
        assert!(Job::new(Algorithm::Trial, 0..400_000, false).pieces() >= 10);
    }
}
