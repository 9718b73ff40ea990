//! Where items come from: a generator, or lines of an input that may block for ever.

use crate::clock::Clock;
use crate::handover::Handover;
use crate::item::{Item, LONGEST_LINE, Payload};
use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind, Read};
use std::time::Duration;

const CHUNK: usize = 64 * 1024;

/// When which item is due.
///
/// Counted from the start, not from the item before: a late one does not make all others late.
#[derive(Clone, Copy)]
pub struct Pace {
    pub clock: Clock,
    /// Items per second, or as fast as it goes.
    pub rate: Option<f64>,
}

impl Pace {
    fn due(&self, number: u64) -> Duration {
        let seconds = self.rate.map_or(0.0, |rate| (number - 1) as f64 / rate);
        // So late that no program lives to see it: anything will do that can be computed.
        Duration::from_secs_f64(seconds.min(1e9))
    }

    /// The number of the last item that is due by now, which may lie before `next`.
    fn last_due(&self) -> u64 {
        let elapsed = self.clock.now() as f64 / 1e9;
        self.rate
            .map_or(u64::MAX, |rate| (elapsed * rate) as u64 + 1)
    }
}

/// Items 1 to `count` with values from 1 to 100, the same ones for the same seed.
pub struct Generator {
    pub count: u64,
    pub seed: u64,
    /// Each so-many-th item is an odd one; 0 for none.
    pub odd: u64,
}

impl Generator {
    /// Fills `input` at the given pace, `batch` items at a time, until the end or a stop.
    pub fn run(&self, input: &Handover<Item>, pace: Pace, batch: usize) {
        let mut items = VecDeque::with_capacity(batch);
        let mut next = 1;
        while next <= self.count && !input.stopping() {
            let last = pace.last_due().min(self.count).min(next + batch as u64 - 1);
            if last < next {
                // The queue is not kept waiting for a full batch.
                input.pause_until(pace.clock.instant(pace.due(next)));
                continue;
            }
            // One look at the clock for all: they come within a microsecond.
            let taken = pace.clock.now();
            items.extend((next..=last).map(|number| self.item(number, taken)));
            next = last + 1;
            input.put(&mut items);
        }
        input.close();
    }

    fn item(&self, number: u64, taken: u64) -> Item {
        Item {
            number,
            taken,
            payload: match number.checked_rem(self.odd) {
                Some(0) => odd(number / self.odd),
                _ => Payload::Value(self.value(number)),
            },
        }
    }

    /// The values of all items but the odd ones.
    pub fn values(&self) -> impl Iterator<Item = i64> {
        let item = |number| self.item(number, 0).payload;
        (1..=self.count)
            .map(item)
            .filter_map(|payload| match payload {
                Payload::Value(value) => Some(value),
                _ => None,
            })
    }

    fn value(&self, number: u64) -> i64 {
        // Multiplied by the golden ratio, neighbouring numbers end far from each other.
        (number
            .wrapping_add(self.seed)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            % 100) as i64
            + 1
    }
}

/// One after another: no value, no object, no JSON, too large a value, one to panic over.
fn odd(nth: u64) -> Payload {
    let line = match nth % 5 {
        1 => r#"{"id": 1}"#,
        2 => r#""text""#,
        3 => r#"{"value": "#,
        4 => r#"{"value": 9223372036854775807}"#,
        _ => return Payload::Trap,
    };
    Payload::Line(line.as_bytes().to_vec())
}

/// Makes an item of each line that is not blank, until the end of the input, an error or a stop.
///
/// The read may block and nothing can end it. So the thread that runs this is never joined, and
/// whatever it holds lies in the hand-over while it is out reading.
pub fn read_lines(
    mut input: impl Read,
    items: &Handover<Item>,
    pace: Pace,
    batch: usize,
    report: impl FnOnce(io::Error),
) {
    let mut lines = Lines::default();
    let mut chunk = vec![0; CHUNK];
    while items.leave(lines.unfinished(pace.clock.now())) {
        let result = input.read(&mut chunk);
        let Ok(unfinished) = items.back() else {
            return; // A stop has closed the stream: what came now came after it.
        };
        lines.resume(unfinished);
        match result {
            Ok(0) => return finish(lines, items, pace),
            Ok(length) => {
                let mut found = lines.split(&chunk[..length], pace.clock.now());
                put_at_pace(&mut found, items, pace, batch);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                // Before the end, so that nobody takes this for an ordinary one.
                report(error);
                return finish(lines, items, pace);
            }
        }
    }
}

/// A last line without a line end is an item, too.
fn finish(mut lines: Lines, items: &Handover<Item>, pace: Pace) {
    let mut last: VecDeque<Item> = lines.unfinished(pace.clock.now()).into_iter().collect();
    items.put(&mut last);
    items.close();
}

fn put_at_pace(found: &mut VecDeque<Item>, items: &Handover<Item>, pace: Pace, batch: usize) {
    let mut together = VecDeque::with_capacity(batch);
    while let Some(first) = found.front() {
        let next = first.number;
        // After a stop, what has been read already is no longer held back.
        let last = if items.stopping() {
            u64::MAX
        } else {
            pace.last_due()
        };
        if last < next {
            items.pause_until(pace.clock.instant(pace.due(next)));
            continue;
        }
        let count = (last - next).saturating_add(1).min(batch as u64) as usize;
        let taken = pace.clock.now();
        together.extend(
            found
                .drain(..count.min(found.len()))
                .map(|item| Item { taken, ..item }),
        );
        items.put(&mut together);
    }
}

/// Cuts chunks into lines.
#[derive(Default)]
struct Lines {
    number: u64,
    /// The begin of a line whose end has not come yet.
    begun: Vec<u8>,
    /// Of a line that is too long only the length is kept.
    dropped: u64,
}

impl Lines {
    fn split(&mut self, mut chunk: &[u8], now: u64) -> VecDeque<Item> {
        let mut items = VecDeque::new();
        while !chunk.is_empty() {
            let mut rest = chunk;
            let length = rest.skip_until(b'\n').expect("a slice can always be read");
            match chunk[..length].strip_suffix(b"\n") {
                Some(line) => {
                    self.append(line);
                    items.extend(self.unfinished(now));
                }
                None => self.append(chunk),
            }
            chunk = rest;
        }
        items
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.dropped > 0 || self.begun.len() + bytes.len() > LONGEST_LINE {
            self.dropped += (self.begun.len() + bytes.len()) as u64;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    /// What there is of a line, as an item; nothing if it is blank.
    fn unfinished(&mut self, now: u64) -> Option<Item> {
        const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
        if self.number == 0 && self.begun.starts_with(BYTE_ORDER_MARK) {
            self.begun.drain(..BYTE_ORDER_MARK.len());
        }
        let payload = if self.dropped > 0 {
            Payload::TooLong(std::mem::take(&mut self.dropped))
        } else if self.begun.trim_ascii().is_empty() {
            self.begun.clear();
            return None;
        } else {
            Payload::Line(std::mem::take(&mut self.begun))
        };
        self.number += 1;
        Some(Item {
            number: self.number,
            taken: now,
            payload,
        })
    }

    /// Goes on with what [`Lines::unfinished`] had given away.
    fn resume(&mut self, unfinished: Option<Item>) {
        if let Some(item) = unfinished {
            self.number -= 1;
            match item.payload {
                Payload::Line(line) => self.begun = line,
                Payload::TooLong(length) => self.dropped = length,
                Payload::Value(_) | Payload::Trap => unreachable!("not made from lines"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::Stop;

    const ENDLESS: usize = 1 << 20;

    fn pace(rate: Option<f64>) -> Pace {
        let clock = Clock::start();
        Pace { clock, rate }
    }

    fn all(items: &Handover<Item>) -> Vec<Item> {
        let mut taken = VecDeque::new();
        while items.take(&mut taken, usize::MAX) {}
        taken.into()
    }

    fn lines_of(input: impl Read) -> Vec<Payload> {
        let items = Handover::new(ENDLESS, 1);
        read_lines(input, &items, pace(None), 64, |error| panic!("{error}"));
        let items = all(&items);
        let numbers: Vec<u64> = items.iter().map(|item| item.number).collect();
        assert!(
            numbers.iter().copied().eq(1..=items.len() as u64),
            "{numbers:?}"
        );
        items.into_iter().map(|item| item.payload).collect()
    }

    fn line(text: &str) -> Payload {
        Payload::Line(text.as_bytes().to_vec())
    }

    /// Gives its bytes out in pieces of the given length.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len());
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn lines_are_the_same_however_the_input_is_cut() {
        let input = "\u{FEFF}first\n\n  \nsecond\r\nthird, ünicode\nlast".as_bytes();
        let expected = ["first", "second\r", "third, ünicode", "last"].map(line);
        for length in [1, 2, 3, 5, 7, 1000] {
            assert_eq!(
                lines_of(Pieces(input, length)),
                expected,
                "pieces of {length}"
            );
        }
    }

    #[test]
    fn no_input_is_no_item() {
        assert_eq!(lines_of(&b""[..]), []);
        assert_eq!(lines_of(&b"\n\n \n"[..]), []);
    }

    #[test]
    fn a_line_too_long_is_one_failed_item_of_known_length() {
        let mut input = vec![b'x'; LONGEST_LINE];
        input.extend(b"\n");
        input.extend(vec![b'y'; 3 * LONGEST_LINE + 1]);
        input.extend(b"\nnext\n");
        input.extend(vec![b'z'; LONGEST_LINE + 1]);
        for length in [1000, CHUNK] {
            let lines = lines_of(Pieces(&input, length));
            assert!(matches!(&lines[0], Payload::Line(line) if line.len() == LONGEST_LINE));
            assert_eq!(lines[1], Payload::TooLong(3 * LONGEST_LINE as u64 + 1));
            assert_eq!(lines[2], line("next"));
            assert_eq!(lines[3], Payload::TooLong(LONGEST_LINE as u64 + 1));
        }
    }

    #[test]
    fn a_read_error_is_reported_after_the_lines_before_it() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("unplugged"))
            }
        }
        let items = Handover::new(ENDLESS, 1);
        let mut reported = None;
        let input = b"one\ntwo".chain(Broken);
        read_lines(input, &items, pace(None), 64, |error| {
            reported = Some(error)
        });
        assert_eq!(all(&items).len(), 2);
        assert_eq!(reported.unwrap().to_string(), "unplugged");
    }

    #[test]
    fn the_half_line_of_a_stopped_read_is_not_lost() {
        /// One and a half lines, then a stop comes, then more input does.
        struct Stopped<'a>(&'a Handover<Item>, u32);
        impl Read for Stopped<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 += 1;
                let text: &[u8] = if self.1 == 1 {
                    b"one\ntw"
                } else {
                    b"o\nthree\n"
                };
                if self.1 == 2 {
                    self.0.stop(Stop::Drain);
                }
                buffer[..text.len()].copy_from_slice(text);
                Ok(text.len())
            }
        }
        let items = Handover::new(ENDLESS, 1);
        read_lines(Stopped(&items, 0), &items, pace(None), 64, |error| {
            panic!("{error}")
        });
        let payloads: Vec<_> = all(&items).into_iter().map(|item| item.payload).collect();
        assert_eq!(payloads, ["one", "tw"].map(line));
    }

    #[test]
    fn the_same_seed_generates_the_same_items() {
        let values = |seed| {
            let generator = Generator {
                count: 1000,
                seed,
                odd: 10,
            };
            let items = Handover::new(ENDLESS, 1);
            generator.run(&items, pace(None), 7);
            all(&items)
                .into_iter()
                .map(|item| item.payload)
                .collect::<Vec<_>>()
        };
        assert_eq!(values(5), values(5));
        assert_ne!(values(5), values(6));
        assert_eq!(
            values(5)
                .iter()
                .filter(|payload| **payload == Payload::Trap)
                .count(),
            20
        );
    }

    #[test]
    fn due_times_are_counted_from_the_start_so_that_nothing_adds_up() {
        let pace = pace(Some(3.0));
        assert_eq!(pace.due(1), Duration::ZERO);
        assert_eq!(pace.due(4), Duration::from_secs(1));
        assert_eq!(pace.due(3_000_000_001), Duration::from_secs(1_000_000_000));
    }

    #[test]
    fn a_paced_generator_is_never_early() {
        let pace = pace(Some(2000.0));
        let items = Handover::new(ENDLESS, 1);
        Generator {
            count: 100,
            seed: 1,
            odd: 0,
        }
        .run(&items, pace, 64);
        for item in all(&items) {
            let due = pace.due(item.number).as_nanos() as u64;
            assert!(item.taken + 1000 >= due, "{} before {due}", item.taken);
        }
    }
}
