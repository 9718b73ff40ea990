//! Work that really occupies a core, in milliseconds.
//!
//! A sleep stands for nothing that a core can be short of: a hundred workers would sleep at the
//! same time. A loop until the clock says so is no better: two workers on one core would each be
//! done in the time of one. So the speed of this core is measured once, and an item then takes a
//! fixed number of steps.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// A fraction of a millisecond.
const PROBE_STEPS: u64 = 100_000;

#[derive(Clone, Copy)]
pub struct Work {
    steps: u64,
}

impl Work {
    /// So many steps as take `milliseconds` on a core that does nothing else.
    pub fn of(milliseconds: f64) -> Self {
        if milliseconds == 0.0 {
            return Work { steps: 0 };
        }
        // The quickest of several tries is the one that nothing has disturbed.
        let probe = |_| {
            let start = Instant::now();
            Work { steps: PROBE_STEPS }.perform(0, || false);
            start.elapsed()
        };
        let quickest = (0..10)
            .map(probe)
            .min()
            .unwrap_or_default()
            .max(Duration::from_nanos(1));
        let steps_per_ms = PROBE_STEPS as f64 / (quickest.as_secs_f64() * 1e3);
        Work {
            steps: (steps_per_ms * milliseconds).ceil() as u64,
        }
    }

    /// False if it was given up: nobody can end a thread from outside, so its work has to ask.
    pub fn perform(self, seed: u64, given_up: impl Fn() -> bool) -> bool {
        let mut state = seed | 1;
        let mut left = self.steps;
        while left > 0 {
            if given_up() {
                return false;
            }
            let piece = left.min(PROBE_STEPS);
            for _ in 0..piece {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
            }
            left -= piece;
        }
        // Without a use of the result the optimiser would remove the loop.
        black_box(state);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_with_the_milliseconds() {
        assert_eq!(Work::of(0.0).steps, 0);
        assert!(Work::of(0.001).steps > 0);
        assert!(Work::of(1000.0).steps > 10 * Work::of(1.0).steps);
    }
}
