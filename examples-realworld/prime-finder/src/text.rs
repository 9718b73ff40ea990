//! Primes as lines of text, fast: of a number only the last four digits change from one prime to
//! the next, so the digits before them are kept, and the four come from a table.

use crate::sieve::{RESIDUES, Segment};

/// A buffer that is written over again and again without being cleared.
#[derive(Default)]
pub struct Text {
    bytes: Vec<u8>,
    length: usize,
}

static LAST_DIGITS: [[u8; 4]; 10_000] = {
    let mut table = [[0; 4]; 10_000];
    let mut n = 0;
    while n < 10_000 {
        table[n] = [
            b'0' + (n / 1000) as u8,
            b'0' + (n / 100 % 10) as u8,
            b'0' + (n / 10 % 10) as u8,
            b'0' + (n % 10) as u8,
        ];
        n += 1;
    }
    table
};

/// What each of a word's 64 bits adds to the word's first number.
const OFFSETS: [u8; 64] = {
    let mut table = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        table[bit] = (bit / 8 * 30) as u8 + RESIDUES[bit % 8] as u8;
        bit += 1;
    }
    table
};

/// Room for the longest number and what is copied too much.
const LINE: usize = 32;

impl Text {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// The primes of a segment, one per line.
    pub fn push_primes(&mut self, segment: &Segment) {
        let last = segment.first + 30 * segment.bytes.len() as u64;
        let longest_line = last.to_string().len() + 1;
        let room = self.length + segment.count() as usize * longest_line + LINE;
        if self.bytes.len() < room {
            self.bytes.resize(room, 0);
        }
        let mut head = Head::of(segment.first / 10_000);
        for (i, bytes) in segment.bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            let first = segment.first + 240 * i as u64;
            if first < 10_000 {
                self.push_small(first, u64::from_le_bytes(word));
                head = Head::of((first + 240) / 10_000);
            } else {
                self.push_word(&mut head, first, u64::from_le_bytes(word));
            }
        }
    }

    fn push_word(&mut self, head: &mut Head, first: u64, mut word: u64) {
        // Where the word's first number lies from the ten thousand that the head stands for:
        // beyond the next one, the head moves on.
        let mut low = (first - head.number * 10_000) as i64;
        while word != 0 {
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            let mut last = low + i64::from(OFFSETS[bit]);
            if last >= 10_000 {
                *head = Head::of(head.number + 1);
                low -= 10_000;
                last -= 10_000;
            }
            let line = &mut self.bytes[self.length..][..LINE];
            line[..16].copy_from_slice(&head.digits);
            line[head.length..][..4].copy_from_slice(&LAST_DIGITS[last as usize]);
            line[head.length + 4] = b'\n';
            self.length += head.length + 5;
        }
    }

    /// Below 10,000 there are no digits before the last four.
    fn push_small(&mut self, first: u64, mut word: u64) {
        while word != 0 {
            let line = format!(
                "{}\n",
                first + u64::from(OFFSETS[word.trailing_zeros() as usize])
            );
            self.bytes[self.length..][..line.len()].copy_from_slice(line.as_bytes());
            self.length += line.len();
            word &= word - 1;
        }
    }
}

/// The digits of a number before its last four.
struct Head {
    number: u64,
    digits: [u8; 16],
    length: usize,
}

impl Head {
    fn of(number: u64) -> Head {
        let text = number.to_string();
        let mut digits = [0; 16];
        digits[..text.len()].copy_from_slice(text.as_bytes());
        Head {
            number,
            digits,
            length: text.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sieve::{MAX, Sieve, Tables};
    use std::ops::ControlFlow;

    #[test]
    fn lines_are_what_plain_formatting_gives() {
        for range in [
            0..70_000,
            9_000..11_000,
            99_000..101_000,
            999_990_000..1_000_010_000,
            99_999_999_990_000..100_000_000_010_000,
            if cfg!(debug_assertions) {
                1_000_000_000_000_000 - 3000..1_000_000_000_000_000
            } else {
                MAX - 3000..MAX // takes a minute without optimisation
            },
        ] {
            let tables = Tables::new(range.end);
            let (mut text, mut expected) = (Text::default(), String::new());
            let _ = Sieve::new(&tables).run(range.clone(), |segment| {
                text.push_primes(&segment);
                expected.extend(segment.primes().map(|prime| format!("{prime}\n")));
                ControlFlow::Continue(())
            });
            assert!(text.as_bytes() == expected.as_bytes(), "{range:?}");
        }
    }
}
