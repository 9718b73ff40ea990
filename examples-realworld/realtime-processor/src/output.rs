//! The output stage: the one thread that writes results, and counts what came out.

use crate::clock::{Clock, Stamps};
use crate::handover::Handover;
use crate::item::{Failure, Item, Payload};
use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// An item on its way out.
pub struct Outcome {
    pub item: Item,
    /// When, in nanoseconds since the start.
    pub at: u64,
    pub worker: u32,
    pub end: End,
}

pub enum End {
    Done(i64),
    Failed(Box<Failure>),
    NotProcessed,
}

/// Which items get a line. Plain lines of failures go to stderr; all others go to the output.
#[derive(Clone, Copy, PartialEq)]
pub enum Lines {
    None,
    Failures,
    All,
    Json,
}

/// What came out so far, for others to look at.
#[derive(Default)]
pub struct Progress {
    pub out: AtomicU64,
    pub failed: AtomicU64,
    pub not_processed: AtomicU64,
}

impl Progress {
    pub fn total(&self) -> u64 {
        self.out.load(Relaxed) + self.failed.load(Relaxed) + self.not_processed.load(Relaxed)
    }
}

/// What came out in all.
#[derive(Debug, Default)]
pub struct Totals {
    pub out: u64,
    pub failed: u64,
    pub not_processed: Ranges,
    /// Of all results.
    pub sum: i128,
    /// The sum of all items' numbers: one lost and one twice would not show in a count.
    pub numbers: u128,
    /// Why nothing could be written any more.
    pub error: Option<io::Error>,
}

/// Takes outcomes until the last worker has ended, whether they can be written or not.
///
/// `broken` is called once, when they cannot.
pub fn run(
    outcomes: &Handover<Outcome>,
    mut output: impl Write,
    lines: Lines,
    clock: Clock,
    progress: &Progress,
    broken: impl Fn(),
) -> Totals {
    const MOST: usize = 1024;
    let mut totals = Totals::default();
    let mut taken = VecDeque::with_capacity(MOST);
    let mut page = Page {
        stamps: Stamps::new(clock),
        output: Vec::new(),
        errors: Vec::new(),
    };
    while outcomes.take(&mut taken, MOST) {
        while let Some(outcome) = taken.pop_front() {
            totals.count(&outcome);
            if totals.error.is_some() {
                continue;
            }
            page.line(&outcome, lines);
            // Written when nothing more is waiting: at once in a slow stream, in large pieces in
            // a fast one.
            if page.length() >= 64 * 1024 || taken.is_empty() {
                totals.error = page.write(&mut output).err();
                if totals.error.is_some() {
                    broken();
                }
            }
        }
        progress.out.store(totals.out, Relaxed);
        progress.failed.store(totals.failed, Relaxed);
        progress
            .not_processed
            .store(totals.not_processed.count, Relaxed);
    }
    totals
}

impl Totals {
    fn count(&mut self, outcome: &Outcome) {
        self.numbers += u128::from(outcome.item.number);
        match outcome.end {
            End::Done(result) => {
                self.out += 1;
                self.sum += i128::from(result);
            }
            End::Failed(_) => self.failed += 1,
            End::NotProcessed => self.not_processed.add(outcome.item.number),
        }
    }
}

/// Lines that wait to be written together.
struct Page {
    stamps: Stamps,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Page {
    fn line(&mut self, outcome: &Outcome, lines: Lines) {
        match (lines, &outcome.end) {
            (Lines::Json, _) => self.json(outcome),
            (Lines::All, End::Done(result)) => {
                add(
                    &mut self.output,
                    format_args!("{} {result} ", outcome.item.number),
                );
                add(&mut self.output, format_args!("worker-{} ", outcome.worker));
                self.stamps.write(outcome.at, &mut self.output);
                self.output.push(b'\n');
            }
            (Lines::All | Lines::Failures, End::Failed(failure)) => {
                let number = outcome.item.number;
                add(
                    &mut self.errors,
                    format_args!("item {number} failed: {failure}\n"),
                );
            }
            _ => {}
        }
    }

    fn json(&mut self, outcome: &Outcome) {
        let Outcome {
            item, worker, end, ..
        } = outcome;
        let out = &mut self.output;
        let kind = match end {
            End::Done(_) => "result",
            End::Failed(_) => "failed",
            End::NotProcessed => "not_processed",
        };
        add(
            out,
            format_args!("{{\"type\":\"{kind}\",\"item\":{},", item.number),
        );
        match (&item.payload, end) {
            (Payload::Value(value), _) => add(out, format_args!("\"data\":{{\"value\":{value}}}")),
            (Payload::Line(line), End::Done(_)) => {
                // It has been parsed: it is JSON and can stand in a line as it came.
                out.extend_from_slice(b"\"data\":");
                out.extend_from_slice(line.trim_ascii());
            }
            (Payload::Line(line), _) => {
                out.extend_from_slice(b"\"line\":");
                add_string(out, &String::from_utf8_lossy(line));
            }
            (Payload::TooLong(_) | Payload::Trap, _) => out.extend_from_slice(b"\"line\":null"),
        }
        match end {
            End::Done(result) => add(out, format_args!(",\"result\":{result}")),
            End::Failed(failure) => {
                out.extend_from_slice(b",\"error\":");
                add_string(out, &failure.to_string());
            }
            End::NotProcessed => {
                out.extend_from_slice(b"}\n");
                return;
            }
        }
        add(out, format_args!(",\"worker\":{worker},\"at\":\""));
        self.stamps.write(outcome.at, out);
        out.extend_from_slice(b"\"}\n");
    }

    fn length(&self) -> usize {
        self.output.len() + self.errors.len()
    }

    fn write(&mut self, output: &mut impl Write) -> io::Result<()> {
        // Nobody can be told that stderr does not work.
        let _ = io::stderr().write_all(&self.errors);
        self.errors.clear();
        if !self.output.is_empty() {
            output.write_all(&self.output)?;
            output.flush()?;
            self.output.clear();
        }
        Ok(())
    }
}

fn add(text: &mut Vec<u8>, more: impl Display) {
    write!(text, "{more}").expect("memory can be written to");
}

fn add_string(text: &mut Vec<u8>, string: &str) {
    serde_json::to_writer(text, string).expect("memory can be written to");
}

/// A set of numbers, printed as "1-5, 8".
#[derive(Debug, Default)]
pub struct Ranges {
    ranges: Vec<(u64, u64)>,
    pub count: u64,
}

impl Ranges {
    fn add(&mut self, number: u64) {
        self.count += 1;
        match self.ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => self.ranges.push((number, number)),
        }
    }
}

impl Display for Ranges {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        // Workers hand in their parts in any order: neighbours may have to be found.
        let mut sorted = self.ranges.clone();
        sorted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (first, last) in sorted {
            match merged.last_mut() {
                Some((_, end)) if *end + 1 == first => *end = last,
                _ => merged.push((first, last)),
            }
        }
        for (nth, (first, last)) in merged.iter().enumerate() {
            let comma = if nth > 0 { ", " } else { "" };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_merged_whatever_order_they_come_in() {
        let mut ranges = Ranges::default();
        for number in [4, 5, 1, 3, 2, 9, 11, 10, 20] {
            ranges.add(number);
        }
        assert_eq!(
            (ranges.to_string().as_str(), ranges.count),
            ("1-5, 9-11, 20", 9)
        );
        assert_eq!(Ranges::default().to_string(), "");
    }

    fn outcomes() -> Handover<Outcome> {
        let outcomes = Handover::new(100, 1);
        let line = |text: &[u8]| Payload::Line(text.to_vec());
        let failed = |failure| End::Failed(Box::new(failure));
        let mut items: VecDeque<Outcome> = [
            (line(b" {\"value\": 4} \r"), End::Done(8)),
            (Payload::Value(5), End::Done(10)),
            (line(b"say \"\xff\""), failed(Failure::NotUtf8(5))),
            (Payload::TooLong(9), failed(Failure::TooLong(9))),
            (line(b"{\"value\": 6}"), End::NotProcessed),
        ]
        .into_iter()
        .zip(1..)
        .map(|((payload, end), number)| {
            let item = Item {
                number,
                taken: 0,
                payload,
            };
            Outcome {
                item,
                at: 0,
                worker: 3,
                end,
            }
        })
        .collect();
        outcomes.put(&mut items);
        outcomes.close();
        outcomes
    }

    #[test]
    fn every_json_line_is_json_also_for_input_that_was_not() {
        let mut output = Vec::new();
        let progress = Progress::default();
        let clock = Clock::start();
        let totals = run(
            &outcomes(),
            &mut output,
            Lines::Json,
            clock,
            &progress,
            || (),
        );
        let lines: Vec<serde_json::Value> = (output.split_inclusive(|&byte| byte == b'\n'))
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        let kinds: Vec<_> = lines
            .iter()
            .map(|line| line["type"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            ["result", "result", "failed", "failed", "not_processed"]
        );
        assert_eq!(lines[0]["data"]["value"], 4);
        assert_eq!(
            (&lines[1]["data"]["value"], &lines[1]["result"]),
            (&5.into(), &10.into())
        );
        assert_eq!(lines[2]["line"], "say \"\u{FFFD}\"");
        assert_eq!(lines[3]["error"], "a line of 9 bytes, more than 65536");
        assert_eq!(lines[4]["line"], "{\"value\": 6}");
        assert_eq!(
            (totals.out, totals.failed, totals.sum, totals.numbers),
            (2, 2, 18, 15)
        );
        assert_eq!(
            (totals.not_processed.to_string().as_str(), progress.total()),
            ("5", 5)
        );
    }

    #[test]
    fn an_output_that_breaks_is_told_once_and_everything_is_still_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let told = AtomicU64::new(0);
        let broken = || {
            told.fetch_add(1, Relaxed);
        };
        let clock = Clock::start();
        let totals = run(
            &outcomes(),
            Full,
            Lines::Json,
            clock,
            &Progress::default(),
            broken,
        );
        assert_eq!(totals.error.unwrap().kind(), io::ErrorKind::StorageFull);
        assert_eq!((told.into_inner(), totals.numbers), (1, 15));
    }
}
