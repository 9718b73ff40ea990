//! Latencies counted in buckets: one writer without a lock, readers at any time.
//!
//! Values below 64 have a bucket each. Above, every power of two is cut into 32 buckets, and a
//! percentile is the middle of its bucket: at most 1.6 % away from the true value, whatever its
//! size. A thread owns its histogram and adds with a plain load and store; whoever wants the
//! figures adds up all of them. 15 KiB each.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const FINE_BITS: u32 = 5;
const FINE: usize = 1 << FINE_BITS;
const BUCKETS: usize = (64 - FINE_BITS as usize + 1) * FINE;

/// Written by one thread at a time.
pub struct Histogram {
    counts: Box<[AtomicU64]>,
    max: AtomicU64,
}

impl Histogram {
    pub fn new() -> Self {
        Histogram {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            max: AtomicU64::new(0),
        }
    }

    pub fn record(&self, value: u64) {
        // A load and a store are no atomic addition. With one writer none is needed, and the
        // locked instruction that it takes would be the dearest of all here.
        let count = &self.counts[bucket(value)];
        count.store(count.load(Relaxed) + 1, Relaxed);
        if value > self.max.load(Relaxed) {
            self.max.store(value, Relaxed);
        }
    }
}

/// The sum of histograms at one moment.
#[derive(Clone)]
pub struct Latencies {
    counts: Vec<u64>,
    max: u64,
}

impl Latencies {
    pub fn of<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Self {
        let mut sum = Latencies {
            counts: vec![0; BUCKETS],
            max: 0,
        };
        for histogram in histograms {
            for (sum, count) in sum.counts.iter_mut().zip(&histogram.counts) {
                *sum += count.load(Relaxed);
            }
            sum.max = sum.max.max(histogram.max.load(Relaxed));
        }
        sum
    }

    /// What came since `earlier`. Its greatest value is known to its bucket only.
    pub fn since(&self, earlier: &Latencies) -> Self {
        let counts: Vec<u64> = (self.counts.iter().zip(&earlier.counts))
            .map(|(now, then)| now - then)
            .collect();
        let last = counts.iter().rposition(|&count| count > 0);
        let max = last.map_or(0, |bucket| middle(bucket).min(self.max));
        Latencies { counts, max }
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    /// The smallest value that `percent` of all values do not exceed; 0 when there are none.
    pub fn percentile(&self, percent: f64) -> u64 {
        let rank = (self.count() as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> usize {
    // The highest bits select the bucket: the exponent, then the five bits below the first.
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(FINE_BITS + 1);
    shift as usize * FINE + (value >> shift) as usize
}

fn middle(bucket: usize) -> u64 {
    if bucket < 2 * FINE {
        return bucket as u64;
    }
    let shift = bucket / FINE - 1;
    let lowest = ((bucket % FINE + FINE) as u64) << shift;
    lowest + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of every size: 0, 1, 2, … in steps of about 1 %.
    fn all_sizes() -> impl Iterator<Item = u64> {
        std::iter::successors(Some(0u64), |&value| value.checked_add(1 + value / 100))
            .chain([u64::MAX - 1, u64::MAX])
    }

    #[test]
    fn every_value_has_a_bucket_whose_middle_is_within_a_64th() {
        for value in all_sizes() {
            let middle = middle(bucket(value));
            assert!(middle.abs_diff(value) <= value / 64, "{value}: {middle}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_follow_the_order_of_the_values() {
        let buckets: Vec<_> = all_sizes().map(bucket).collect();
        assert!(buckets.is_sorted());
    }

    #[test]
    fn percentiles_agree_with_sorting_within_the_stated_precision() {
        let histograms = [Histogram::new(), Histogram::new()];
        let mut values: Vec<u64> = (1..=10_000u64).map(|n| n * n % 999_983 + n).collect();
        for (n, &value) in values.iter().enumerate() {
            histograms[n % 2].record(value);
        }
        values.sort_unstable();
        let latencies = Latencies::of(&histograms);
        assert_eq!(latencies.count(), 10_000);
        for percent in [0.01, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
            let exact = values[(10_000.0 * percent / 100.0) as usize - 1];
            let found = latencies.percentile(percent);
            assert!(
                found.abs_diff(exact) <= exact / 64,
                "{percent}: {found} for {exact}"
            );
        }
        assert_eq!(latencies.max(), *values.last().unwrap());
    }

    #[test]
    fn no_values_give_zeros() {
        let none = Latencies::of([]);
        assert_eq!((none.count(), none.percentile(50.0), none.max()), (0, 0, 0));
    }

    #[test]
    fn the_last_second_is_the_difference_of_two_sums() {
        let histogram = Histogram::new();
        histogram.record(1_000_000);
        let earlier = Latencies::of([&histogram]);
        histogram.record(10);
        histogram.record(20);
        let since = Latencies::of([&histogram]).since(&earlier);
        assert_eq!(
            (since.count(), since.percentile(50.0), since.max()),
            (2, 10, 20)
        );
    }
}
