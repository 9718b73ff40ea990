//! Which transfers were carried out, one bit each, and what the balances must therefore be.

use crate::bank::{Cents, Transfer};
use std::sync::atomic::{AtomicU64, Ordering};

/// One bit per transfer: set when it was applied, clear when it was refused or never begun.
///
/// An order can be computed again from its index, so the bit is all that has to be kept. Whether
/// an order is covered depends on who came first; that is why the outcome is recorded and not
/// simulated. Sums do not depend on the order of their terms: the bits determine each balance.
pub struct Journal {
    words: Vec<AtomicU64>,
}

impl Journal {
    pub fn new(transfers: u64) -> Journal {
        let words = (0..transfers.div_ceil(64)).map(|_| AtomicU64::new(0));
        Journal {
            words: words.collect(),
        }
    }

    /// A pen for one thread that records the outcomes from transfer `first` on, without a gap.
    pub fn pen(&self, first: u64) -> Pen<'_> {
        Pen {
            journal: self,
            next: first,
            bits: 0,
        }
    }

    /// How many transfers were applied.
    pub fn applied(&self) -> u64 {
        let ones = |word: &AtomicU64| u64::from(word.load(Ordering::Relaxed).count_ones());
        self.words.iter().map(ones).sum()
    }

    /// Books the applied transfers once more, alone and without a lock.
    pub fn replay(&self, balances: &mut [Cents], order: impl Fn(u64) -> Transfer) {
        for (first, word) in (0..).step_by(64).zip(&self.words) {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                let Transfer { from, to, cents } = order(first + u64::from(bits.trailing_zeros()));
                // Another sequence than in the run: a sum may pass the limits on its way.
                balances[from] = balances[from].wrapping_sub(cents);
                balances[to] = balances[to].wrapping_add(cents);
                bits &= bits - 1;
            }
        }
    }
}

/// Gathers 64 outcomes before it touches the journal. What it has gathered is written also when
/// it is dropped early, by a panic for example.
pub struct Pen<'a> {
    journal: &'a Journal,
    next: u64,
    bits: u64,
}

impl Pen<'_> {
    #[inline]
    pub fn record(&mut self, applied: bool) {
        self.bits |= u64::from(applied) << (self.next % 64);
        self.next += 1;
        if self.next.is_multiple_of(64) {
            self.write();
        }
    }

    /// Pieces of work may meet within a word: the bits are added, not stored over another's.
    /// `Relaxed` will do, because the journal is read after the threads were joined.
    fn write(&mut self) {
        if self.bits != 0 {
            let word = (self.next - 1) / 64;
            self.journal.words[word as usize].fetch_or(self.bits, Ordering::Relaxed);
            self.bits = 0;
        }
    }
}

impl Drop for Pen<'_> {
    fn drop(&mut self) {
        self.write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn one_cent_around(index: u64) -> Transfer {
        let from = (index % 3) as usize;
        Transfer {
            from,
            to: (from + 1) % 3,
            cents: 1,
        }
    }

    #[test]
    fn the_replay_books_what_was_applied_and_nothing_else() {
        let journal = Journal::new(200);
        // Two pieces that meet within a word, the later one recorded first.
        for piece in [100..200, 0..100] {
            let mut pen = journal.pen(piece.start);
            piece.for_each(|index| pen.record(index % 3 == 0));
        }
        assert_eq!(journal.applied(), 67);
        let mut balances = [100; 3];
        journal.replay(&mut balances, one_cent_around);
        assert_eq!(balances, [33, 167, 100]);
    }

    #[test]
    fn a_panic_does_not_lose_the_outcomes_recorded_before_it() {
        let journal = Journal::new(64);
        let panicking = AssertUnwindSafe(|| {
            let mut pen = journal.pen(0);
            (0..10).for_each(|_| pen.record(true));
            panic!("as a test");
        });
        assert!(catch_unwind(panicking).is_err());
        assert_eq!(journal.applied(), 10);
    }

    #[test]
    fn sums_that_pass_the_limit_on_their_way_still_end_right() {
        let journal = Journal::new(3);
        let mut pen = journal.pen(0);
        (0..3).for_each(|_| pen.record(true));
        drop(pen);
        let mut balances = [Cents::MIN, Cents::MAX, 0];
        journal.replay(&mut balances, one_cent_around);
        assert_eq!(balances, [Cents::MIN, Cents::MAX, 0]);
    }
}
