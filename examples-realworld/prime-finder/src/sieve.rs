//! A segmented sieve of Eratosthenes: the piece to take. It needs nothing but this file.
//!
//! ```text
//! let tables = Tables::new(limit);                 // once; shared by all threads
//! let mut sieve = Sieve::new(&tables);             // one per thread
//! sieve.run(from..limit, |segment| { primes += segment.count(); ControlFlow::Continue(()) });
//! ```
//!
//! Why it is fast, in the order of what it brings:
//!
//! 1. **A byte stands for 30 numbers.** Above 5 only the residues 1, 7, 11, 13, 17, 19, 23 and 29
//!    modulo 30 can be prime: eight, one per bit. Numbers with a factor 2, 3 or 5 do not exist here.
//! 2. **It works in the first-level cache.** A segment is a dozen blocks of 40 KiB or more; primes
//!    that meet every block strike block by block. Only larger ones stride over the whole segment.
//! 3. **The smallest primes cost almost nothing.** What 7 to 167 strike repeats, so it is kept as
//!    patterns, three or two primes each, and laid over the numbers sixteen bytes at a time.
//! 4. **One unrolled loop per residue class.** The multiples p·q, with q running through the eight
//!    residues, hit eight bytes within p bytes, and then everything repeats p bytes further on.
//!    Which bits they hit depends on p modulo 30 alone, so the compiler knows the masks, and the
//!    loop is eight `and` instructions and nothing else.
//! 5. **Whole cycles only.** A prime does not begin at its first multiple in the segment but at the
//!    start of its cycle, and does not end at a block's end but at the cycle's, in the next block.
//!    What it strikes too much falls into a margin on either side of the segment that nobody reads.
//!    That costs a few stores and saves the branches that a processor cannot predict.
//! 6. **Large primes pass over the multiples of 7, too,** for which the patterns have cared.

use std::array::from_fn;
use std::ops::{ControlFlow, Range};

/// The sieve accepts limits up to this one. Sums with a prime below 2³² added stay below 2⁶⁴.
pub const MAX: u64 = 10_000_000_000_000_000_000;

/// 2, 3 and 5 have no bit: whoever uses the sieve adds those that the range contains.
pub const WITHOUT_A_BIT: [u64; 3] = [2, 3, 5];

pub const RESIDUES: [u64; 8] = [1, 7, 11, 13, 17, 19, 23, 29];

/// `CARRY[c][i]` and the bit cleared in `MASK[c][i]`: the quotient and the remainder by 30 of
/// residue `c` times residue `i`.
const CARRY: [[u64; 8]; 8] = tables_of_products().0;
const MASK: [[u8; 8]; 8] = tables_of_products().1;

const fn tables_of_products() -> ([[u64; 8]; 8], [[u8; 8]; 8]) {
    let (mut carry, mut mask) = ([[0; 8]; 8], [[0; 8]; 8]);
    let mut cell = 0;
    while cell < 64 {
        let (c, i) = (cell / 8, cell % 8);
        let product = RESIDUES[c] * RESIDUES[i];
        carry[c][i] = product / 30;
        mask[c][i] = !(1 << bit_of(product));
        cell += 1;
    }
    (carry, mask)
}

/// Which bit stands for this number, which has no factor 2, 3 or 5.
pub const fn bit_of(number: u64) -> usize {
    let mut bit = 0;
    while RESIDUES[bit] != number % 30 {
        bit += 1;
    }
    bit
}

/// The primes laid over each segment as patterns, grouped so that the patterns have similar lengths.
const PATTERNS: [&[u64]; 15] = [
    &[7, 67, 71],
    &[11, 41, 73],
    &[13, 43, 59],
    &[17, 37, 53],
    &[19, 29, 61],
    &[23, 31, 47],
    &[79, 167],
    &[83, 163],
    &[89, 157],
    &[97, 151],
    &[101, 149],
    &[103, 139],
    &[107, 137],
    &[109, 131],
    &[113, 127],
];
const LARGEST_IN_PATTERNS: u64 = 167;

/// A block fits into the first-level cache together with what else is needed.
const BLOCK: usize = 40 << 10;
/// Primes up to here strike block by block, so this is also how far they reach out of a block.
const SMALL: usize = 32_000;
const _: () = assert!(SMALL <= BLOCK, "each of them begins a cycle in every block");
/// Primes up to here strike whole cycles in the segment, so this is also the margin around it.
const MEDIUM: usize = 96_000;
/// Larger primes are not kept but found again for each segment: memory stays small at any limit.
pub const LARGEST_KEPT: u64 = 3_300_000;

/// What all workers share: the patterns, and the primes up to the root of the limit.
pub struct Tables {
    patterns: Vec<Vec<u8>>,
    primes: Vec<u32>,
    blocks: usize,
}

impl Tables {
    /// For ranges that end at `limit` or before.
    pub fn new(limit: u64) -> Tables {
        assert!(limit <= MAX, "the sieve ends at {MAX}");
        let root = limit.isqrt();
        let mut primes = Vec::new();
        if root > LARGEST_IN_PATTERNS {
            // The primes up to the root come from a sieve, too: a much smaller one.
            let tables = Tables::new(root.min(LARGEST_KEPT) + 1);
            let range = LARGEST_IN_PATTERNS + 1..root.min(LARGEST_KEPT) + 1;
            let _ = Sieve::new(&tables).run(range, |segment| {
                primes.extend(segment.primes().map(|prime| prime as u32));
                ControlFlow::Continue(())
            });
        }
        Tables {
            patterns: PATTERNS.map(pattern).to_vec(),
            primes,
            blocks: blocks(limit),
        }
    }
}

/// Large primes want long segments, which then lie in the second-level cache.
fn blocks(limit: u64) -> usize {
    (limit.isqrt() as usize / 20_000).clamp(12, 48)
}

/// How many numbers a block stands for.
pub const BLOCK_NUMBERS: u64 = BLOCK as u64 * 30;

/// How many numbers a segment stands for: pieces of such a length follow each other without any
/// new set-up.
pub fn segment_numbers(limit: u64) -> u64 {
    blocks(limit) as u64 * BLOCK_NUMBERS
}

/// What the primes of a group strike, up to where it repeats.
fn pattern(group: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0xff; group.iter().product::<u64>() as usize];
    for &prime in group {
        for (i, mask) in MASK[bit_of(prime)].iter().enumerate() {
            let every_cycle = bytes.iter_mut().skip(offset(prime, i) as usize);
            every_cycle
                .step_by(prime as usize)
                .for_each(|byte| *byte &= mask);
        }
    }
    bytes
}

/// How far into a cycle the multiple with residue `i` lies.
fn offset(prime: u64, i: usize) -> u64 {
    prime / 30 * RESIDUES[i] + CARRY[bit_of(prime)][i]
}

/// A prime and where it goes on; the position's meaning depends on the list it stands in.
type Striker = (u32, u32);

/// The sieve of one thread. It goes through a range segment by segment.
pub struct Sieve<'a> {
    tables: &'a Tables,
    /// The length of a segment.
    blocks: usize,
    bytes: Vec<u8>,
    /// The byte number of the segment's first byte, counted from zero.
    base: u64,
    /// How many of the shared primes strike already, and they, by residue class.
    active: usize,
    small: [Vec<Striker>; 8],
    medium: [Vec<Striker>; 8],
    large: [Vec<Striker>; 8],
}

/// Some of the range: `bytes[i]` stands for the 30 numbers from `first + 30 * i` on.
pub struct Segment<'a> {
    pub first: u64,
    pub bytes: &'a [u8],
}

impl Segment<'_> {
    pub fn count(&self) -> u64 {
        let (words, rest) = self.bytes.as_chunks();
        let in_words = words
            .iter()
            .map(|&word| u64::from_ne_bytes(word).count_ones());
        let in_rest = rest.iter().map(|byte| byte.count_ones());
        in_words.chain(in_rest).map(u64::from).sum()
    }

    pub fn primes(&self) -> impl Iterator<Item = u64> {
        let numbers = (self.first..).step_by(30);
        numbers.zip(self.bytes).flat_map(|(first, byte)| {
            let is_set = move |bit: &usize| byte >> bit & 1 == 1;
            (0..8).filter(is_set).map(move |bit| first + RESIDUES[bit])
        })
    }
}

/// Runs one statement for each residue class, with the class as a constant.
macro_rules! for_each_class {
    (|$class:ident| $body:expr) => {
        for_each_class!(|$class| $body, 0 1 2 3 4 5 6 7)
    };
    (|$class:ident| $body:expr, $($number:literal)*) => {
        $({ const $class: usize = $number; $body })*
    };
}

impl<'a> Sieve<'a> {
    pub fn new(tables: &'a Tables) -> Sieve<'a> {
        Sieve::with_blocks(tables, tables.blocks)
    }

    fn with_blocks(tables: &'a Tables, blocks: usize) -> Sieve<'a> {
        Sieve {
            tables,
            blocks,
            bytes: vec![0; MEDIUM + blocks * BLOCK + MEDIUM],
            base: 0,
            active: 0,
            small: from_fn(|_| Vec::new()),
            medium: from_fn(|_| Vec::new()),
            large: from_fn(|_| Vec::new()),
        }
    }

    /// Hands the primes of the range above 5, in order and segment by segment, to `visit`.
    pub fn run<F>(&mut self, range: Range<u64>, visit: F) -> ControlFlow<()>
    where
        F: FnMut(Segment) -> ControlFlow<()>,
    {
        self.run_until(|| false, range, visit)
    }

    /// The same, and breaks when `stop` says so. Far up a single segment takes seconds, so that
    /// is asked within segments, too.
    pub fn run_until<F>(
        &mut self,
        stop: fn() -> bool,
        range: Range<u64>,
        mut visit: F,
    ) -> ControlFlow<()>
    where
        F: FnMut(Segment) -> ControlFlow<()>,
    {
        if range.is_empty() {
            return ControlFlow::Continue(());
        }
        let end = range.end.div_ceil(30);
        if self.base != range.start / 30 {
            self.restart(range.start / 30);
        }
        while self.base < end {
            let left = (end - self.base).min((self.blocks * BLOCK) as u64) as usize;
            let blocks = left.div_ceil(BLOCK);
            if self.strike_segment(stop, blocks).is_break() {
                // Half a segment is struck: whoever goes on from here begins it again.
                self.restart(self.base);
                return ControlFlow::Break(());
            }
            let first = self.base * 30;
            let bytes = &mut self.bytes[MEDIUM..][..left];
            keep_range(first, bytes, &range);
            self.base += (blocks * BLOCK) as u64;
            visit(Segment { first, bytes })?;
        }
        ControlFlow::Continue(())
    }

    fn restart(&mut self, base: u64) {
        self.base = base;
        self.active = 0;
        for lists in [&mut self.small, &mut self.medium, &mut self.large] {
            lists.iter_mut().for_each(Vec::clear);
        }
    }

    fn strike_segment(&mut self, stop: fn() -> bool, blocks: usize) -> ControlFlow<()> {
        if stop() {
            return ControlFlow::Break(());
        }
        let size = blocks * BLOCK;
        let end = (self.base + size as u64) * 30;
        self.activate(end);
        let segment = &mut self.bytes[MEDIUM..][..size];
        lay_patterns(&self.tables.patterns, self.base, segment);
        for block in 0..blocks {
            let area = &mut self.bytes[MEDIUM + block * BLOCK - SMALL..];
            let area = &mut area[..SMALL + BLOCK + SMALL];
            let last = block + 1 == blocks;
            for_each_class!(|CLASS| strike_list::<CLASS>(
                &mut self.small[CLASS],
                area,
                SMALL,
                last
            ));
        }
        let area = &mut self.bytes[..MEDIUM + size + MEDIUM];
        for_each_class!(|CLASS| strike_list::<CLASS>(&mut self.medium[CLASS], area, MEDIUM, true));
        let segment = &mut self.bytes[MEDIUM..][..size];
        for_each_class!(|CLASS| strike_singly::<CLASS>(segment, &mut self.large[CLASS]));
        if end.isqrt() > LARGEST_KEPT {
            self.strike_unkept(stop, size, end)?;
        }
        ControlFlow::Continue(())
    }

    /// Takes up the primes whose square lies before the segment's end: smaller multiples than
    /// the square have a smaller factor.
    fn activate(&mut self, end: u64) {
        while let Some(&prime) = self.tables.primes.get(self.active) {
            let p = u64::from(prime);
            if p * p >= end {
                break;
            }
            self.active += 1;
            if p > MEDIUM as u64 {
                let (at, i) = first_multiple(p, self.base);
                self.large[bit_of(p)].push((prime / 30, (at << 6) as u32 | i as u32));
                continue;
            }
            let (lists, margin) = if p <= SMALL as u64 {
                (&mut self.small, SMALL)
            } else {
                (&mut self.medium, MEDIUM)
            };
            // The cycle that the segment begins in, but never the first, which strikes p itself.
            let cycle = p * (self.base / p).max(p / 30);
            let at = cycle + margin as u64 - self.base;
            lists[bit_of(p)].push((prime / 30, at as u32));
        }
    }

    /// Strikes with primes that are too many to be kept, found by another sieve.
    fn strike_unkept(&mut self, stop: fn() -> bool, size: usize, end: u64) -> ControlFlow<()> {
        let (base, segment) = (self.base, &mut self.bytes[MEDIUM..][..size]);
        let range = LARGEST_KEPT + 1..end.isqrt() + 1;
        let mut larger = Sieve::with_blocks(self.tables, blocks(range.end));
        larger.run_until(stop, range, |primes| {
            for prime in primes.primes() {
                let (mut at, mut i) = first_multiple(prime, base);
                while at < size as u64 {
                    let Step { times, plus, mask } = STEPS[bit_of(prime)][i];
                    segment[at as usize] &= mask;
                    at += prime / 30 * u64::from(times) + u64::from(plus);
                    i = if i < 47 { i + 1 } else { 0 };
                }
            }
            ControlFlow::Continue(())
        })
    }
}

/// The factors below 210 that have no factor 2, 3, 5 or 7: large primes pass over multiples of 7,
/// too, which the patterns have struck already.
const FACTORS: [u64; 48] = {
    let (mut factors, mut count, mut number) = ([0; 48], 0, 1);
    while count < 48 {
        if number % 2 * (number % 3) * (number % 5) * (number % 7) != 0 {
            factors[count] = number;
            count += 1;
        }
        number += 1;
    }
    factors
};

/// From the multiple with a factor to the one with the next.
#[derive(Clone, Copy)]
struct Step {
    /// Bytes to go: this times p/30, and this besides.
    times: u8,
    plus: u8,
    mask: u8,
}

/// By the prime's residue class and the factor's index.
const STEPS: [[Step; 48]; 8] = {
    let mut steps = [[Step {
        times: 0,
        plus: 0,
        mask: 0,
    }; 48]; 8];
    let mut cell = 0;
    while cell < 8 * 48 {
        let (class, i) = (cell / 48, cell % 48);
        let next = if i < 47 { FACTORS[i + 1] } else { 211 };
        let (from, to) = (RESIDUES[class] * FACTORS[i], RESIDUES[class] * next);
        steps[class][i] = Step {
            times: (next - FACTORS[i]) as u8,
            plus: (to / 30 - from / 30) as u8,
            mask: !(1 << bit_of(from)),
        };
        cell += 1;
    }
    steps
};

/// Where the first multiple from byte `base` on lies, relative to it, and its factor's index.
/// It is at least the prime's square.
fn first_multiple(prime: u64, base: u64) -> (u64, usize) {
    let least = prime.max((base * 30).div_ceil(prime));
    let i = FACTORS.partition_point(|&factor| factor < least % 210);
    // FACTORS ends with 209, so there is always one.
    let factor = least - least % 210 + FACTORS[i];
    (prime * factor / 30 - base, i)
}

/// Fills the segment with what the primes up to 167 leave over.
fn lay_patterns(patterns: &[Vec<u8>], number: u64, mut segment: &mut [u8]) {
    let phase = |pattern: &Vec<u8>| (number % pattern.len() as u64) as usize;
    let mut phases: [usize; 15] = from_fn(|i| phase(&patterns[i]));
    while !segment.is_empty() {
        // As far as no pattern comes to its end, all of them can be laid at once.
        let until_end = |i: usize| patterns[i].len() - phases[i];
        let length = (0..15).map(until_end).fold(segment.len(), usize::min);
        let (now, later) = segment.split_at_mut(length);
        now.fill(0xff);
        for five in 0..3 {
            let [a, b, c, d, e] = from_fn(|i| &patterns[five * 5 + i][phases[five * 5 + i]..]);
            let laid = a.iter().zip(b).zip(c).zip(d).zip(e);
            for (byte, ((((a, b), c), d), e)) in now.iter_mut().zip(laid) {
                *byte &= a & b & c & d & e;
            }
        }
        for (phase, pattern) in phases.iter_mut().zip(patterns) {
            *phase = (*phase + length) % pattern.len();
        }
        segment = later;
    }
}

/// Strikes whole cycles in `area`, which has a margin on either side. The list holds p/30, and
/// the position in the area of the cycle to begin with. What the last cycle strikes in the margin
/// is lost where that is the segment's: then this cycle comes again in the next segment.
fn strike_list<const CLASS: usize>(
    list: &mut [Striker],
    area: &mut [u8],
    margin: usize,
    ends_segment: bool,
) {
    let size = area.len() - 2 * margin;
    for (prime_by_30, at) in list {
        // A prime whose square lies far ahead may have nothing to do here yet.
        if (*at as usize) < size + margin {
            *at = strike_cycles::<CLASS>(area, *at as usize, *prime_by_30, margin) as u32;
            if ends_segment {
                *at -= *prime_by_30 * 30 + RESIDUES[CLASS] as u32;
            }
        }
        *at -= size as u32;
    }
}

/// Strikes cycle by cycle, as long as one begins before the margin. Returns where the last ended.
fn strike_cycles<const CLASS: usize>(
    area: &mut [u8],
    at: usize,
    prime_by_30: u32,
    margin: usize,
) -> usize {
    let prime = prime_by_30 as usize * 30 + RESIDUES[CLASS] as usize;
    let hits = |i| prime_by_30 as usize * RESIDUES[i] as usize + CARRY[CLASS][i] as usize;
    let hits: [usize; 8] = from_fn(hits);
    // With this, and because p/30 * 29 + 28 is less than p/30 * 30 + 1 at least, the compiler
    // knows that no index can be out of bounds, and the loop has no check.
    assert!(prime <= margin);
    let length = area.len();
    let mut bytes = &mut area[at..];
    while bytes.len() > margin {
        let (cycle, later) = bytes.split_at_mut(prime);
        for i in 0..8 {
            cycle[hits[i]] &= MASK[CLASS][i];
        }
        bytes = later;
    }
    length - bytes.len()
}

/// Strikes one multiple after the other: for primes with only a few in the segment. The list
/// holds p/30, and the position of the next multiple in the segment together with its factor.
fn strike_singly<const CLASS: usize>(segment: &mut [u8], list: &mut [Striker]) {
    for (prime_by_30, next) in list {
        let (mut at, mut i) = ((*next >> 6) as usize, (*next & 63) as usize);
        while let Some(byte) = segment.get_mut(at) {
            let Step { times, plus, mask } = STEPS[CLASS][i];
            *byte &= mask;
            at += *prime_by_30 as usize * usize::from(times) + usize::from(plus);
            i = if i < 47 { i + 1 } else { 0 };
        }
        *next = ((at - segment.len()) << 6 | i) as u32;
    }
}

/// Clears the bits outside the range, and mends what the patterns struck: their own primes.
fn keep_range(first: u64, bytes: &mut [u8], range: &Range<u64>) {
    if first <= LARGEST_IN_PATTERNS {
        for &prime in PATTERNS.iter().copied().flatten() {
            if prime >= first
                && let Some(byte) = bytes.get_mut(((prime - first) / 30) as usize)
            {
                *byte |= 1 << bit_of(prime);
            }
        }
        if first == 0 {
            bytes[0] &= !1; // 1 is no prime.
        }
    }
    let inside = |first: u64, byte: &mut u8| {
        for (bit, residue) in RESIDUES.iter().enumerate() {
            if !range.contains(&(first + residue)) {
                *byte &= !(1 << bit);
            }
        }
    };
    let last = bytes.len() - 1;
    inside(first, &mut bytes[0]);
    inside(first + 30 * last as u64, &mut bytes[last]);
}

/// How many primes the range contains, for those who need no more than that.
#[cfg(test)]
pub fn count(range: Range<u64>) -> u64 {
    let tables = Tables::new(range.end);
    let mut primes = WITHOUT_A_BIT
        .iter()
        .filter(|prime| range.contains(prime))
        .count() as u64;
    let _ = Sieve::new(&tables).run(range, |segment| {
        primes += segment.count();
        ControlFlow::Continue(())
    });
    primes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn count_with(tables: &Tables, range: Range<u64>) -> u64 {
        let mut primes = 0;
        let _ = Sieve::new(tables).run(range, |segment| {
            assert_eq!(segment.count(), segment.primes().count() as u64);
            primes += segment.count();
            ControlFlow::Continue(())
        });
        primes
    }

    /// The number of primes below 10ⁿ: https://oeis.org/A006880, by Legendre, Meissel, Lehmer and
    /// others.
    #[test]
    fn the_counts_below_powers_of_ten_are_the_known_ones() {
        let known = [
            0, 4, 25, 168, 1229, 9592, 78498, 664579, 5761455, 50847534, 455052511,
        ];
        // Without optimisation the last ones would take minutes.
        let exponents = if cfg!(debug_assertions) { 8 } else { 11 };
        for (exponent, primes) in (0..).zip(known).take(exponents) {
            assert_eq!(count(0..10_u64.pow(exponent)), primes, "10^{exponent}");
        }
    }

    /// Counted with primesieve 11.0: with primes of all four sizes, in one segment or in several.
    #[test]
    fn counts_far_up_are_those_of_another_program() {
        for (from, length, primes) in FAR_UP {
            let tables = Tables::new(from + length);
            for blocks in [2, tables.blocks] {
                let mut found = 0;
                let mut sieve = Sieve::with_blocks(&tables, blocks);
                let _ = sieve.run(from..from + length, |segment| {
                    found += segment.count();
                    ControlFlow::Continue(())
                });
                assert_eq!(found, primes, "{from} by {blocks} blocks");
            }
        }
    }

    const FAR_UP: [(u64, u64, u64); 4] = [
        (10_u64.pow(10), 10_000_000, 434_650),
        (10_u64.pow(11), 20_000_000, 789_505),
        (10_u64.pow(12), 10_000_000, 361_726),
        (10_u64.pow(13) - 5_000_000, 10_000_000, 334_463),
    ];

    #[test]
    fn every_border_of_blocks_and_segments_is_right() {
        let limit = 5_000_000;
        let (tables, below) = (Tables::new(limit), counts_below(limit));
        let block = (BLOCK * 30) as u64;
        for border in [
            0,
            30,
            7 * 30,
            167,
            169,
            167 * 167,
            173 * 173,
            block,
            2 * block,
            4 * block,
        ] {
            for (before, after) in [(0, 1), (1, 0), (1, 1), (31, 2), (7, 29), (100, 1000)] {
                let range = border.saturating_sub(before)..border + after;
                let expected = below[range.end as usize] - below[range.start as usize];
                let small = WITHOUT_A_BIT
                    .iter()
                    .filter(|prime| range.contains(prime))
                    .count();
                assert_eq!(
                    count_with(&tables, range.clone()) + small as u64,
                    expected,
                    "{range:?}"
                );
            }
        }
    }

    #[test]
    fn random_ranges_agree_with_a_sieve_that_is_plain() {
        let limit = 6_000_000;
        let (tables, below) = (Tables::new(limit), counts_below(limit));
        let mut state = 20_261_121_u64;
        println!("seed {state}");
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 20) % below
        };
        for _ in 0..40 {
            let (a, b) = (random(limit), random(limit));
            let range = 6 + a.min(b)..a.max(b).max(6);
            if !range.is_empty() {
                let expected = below[range.end as usize] - below[range.start as usize];
                assert_eq!(count_with(&tables, range.clone()), expected, "{range:?}");
            }
        }
    }

    #[test]
    fn ranges_one_after_the_other_add_up_to_the_whole() {
        let limit = 10_000_000;
        let tables = Tables::new(limit);
        let mut sieve = Sieve::new(&tables);
        let mut primes = WITHOUT_A_BIT.len() as u64;
        let borders = [
            0, 29, 30, 1000, 1_228_800, 2_457_600, 3_686_400, 3_686_400, 3_686_407, limit,
        ];
        for pair in borders.windows(2) {
            let _ = sieve.run(pair[0]..pair[1], |segment| {
                primes += segment.count();
                ControlFlow::Continue(())
            });
        }
        assert_eq!(primes, 664_579);
    }

    /// The test by Miller and Rabin is exact below 2⁶⁴ with these bases, and knows no sieve.
    #[test]
    fn near_high_powers_of_ten_each_number_is_what_another_test_says() {
        let exponents = if cfg!(debug_assertions) {
            9..=15
        } else {
            9..=19
        };
        for exponent in exponents {
            let middle = 10_u64.pow(exponent);
            let range = middle - 2000..(middle + 2000).min(MAX);
            let tables = Tables::new(range.end);
            let mut found = Vec::new();
            let _ = Sieve::new(&tables).run(range.clone(), |segment| {
                found.extend(segment.primes());
                ControlFlow::Continue(())
            });
            assert!(
                found
                    == range
                        .filter(|&n| passes_miller_rabin(n))
                        .collect::<Vec<_>>(),
                "10^{exponent}"
            );
        }
    }

    #[test]
    fn the_visitor_can_stop_it() {
        let tables = Tables::new(100_000_000);
        let mut segments = 0;
        let stopped = Sieve::new(&tables).run(0..100_000_000, |_| {
            segments += 1;
            if segments == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(stopped.is_break() && segments == 3);
    }

    #[test]
    fn it_can_be_stopped_inside_a_segment_and_goes_on_as_if_it_had_not() {
        thread_local!(static QUESTIONS_LEFT: Cell<u32> = const { Cell::new(0) });
        let stop = || {
            let left = QUESTIONS_LEFT.get();
            QUESTIONS_LEFT.set(left.saturating_sub(1));
            left == 0
        };
        // One block of one segment, and primes that are not kept.
        let range = 100_000_000_000_000 - 3000..100_000_000_000_000;
        let tables = Tables::new(range.end);
        let expected = count_with(&tables, range.clone());
        let mut sieve = Sieve::new(&tables);
        for questions in 0.. {
            QUESTIONS_LEFT.set(questions);
            let mut primes = 0;
            let done = sieve.run_until(stop, range.clone(), |segment| {
                primes += segment.count();
                ControlFlow::Continue(())
            });
            if done.is_continue() {
                assert_eq!(primes, expected);
                assert!(questions > 1, "not asked inside the segment");
                break;
            }
            assert_eq!(primes, 0, "half a segment is no result");
        }
    }

    #[test]
    #[should_panic(expected = "the sieve ends at")]
    fn beyond_the_maximum_it_refuses() {
        Tables::new(MAX + 1);
    }

    /// `below[n]` primes are below n, found without any cleverness.
    fn counts_below(limit: u64) -> Vec<u64> {
        let mut is_prime = vec![true; limit as usize + 2];
        is_prime[..2].fill(false);
        for n in 2..=limit.isqrt() as usize {
            if is_prime[n] {
                is_prime[n * n..]
                    .iter_mut()
                    .step_by(n)
                    .for_each(|multiple| *multiple = false);
            }
        }
        let mut below = vec![0];
        below.extend(is_prime.iter().scan(0, |count, &is_prime| {
            *count += u64::from(is_prime);
            Some(*count)
        }));
        below
    }

    fn passes_miller_rabin(n: u64) -> bool {
        let multiply = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(n)) as u64;
        let (odd, twos) = (
            (n - 1) >> (n - 1).trailing_zeros(),
            (n - 1).trailing_zeros(),
        );
        [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37]
            .iter()
            .all(|&base| {
                let (mut power, mut square, mut exponent) = (1, base, odd);
                while exponent > 0 {
                    if exponent & 1 == 1 {
                        power = multiply(power, square);
                    }
                    square = multiply(square, square);
                    exponent >>= 1;
                }
                power == 1
                    || (0..twos).any(|_| {
                        let is_witness_against = power == n - 1;
                        power = multiply(power, power);
                        is_witness_against
                    })
            })
    }
}
