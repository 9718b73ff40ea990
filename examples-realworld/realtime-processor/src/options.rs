//! What can be asked for on the command line.

use crate::handover::Stop;
use clap::{Parser, ValueEnum};

/// Process a stream of items by several workers, with a bounded queue between source and workers.
///
/// Each item is an object with an integer "value"; its result is value * 2. The stream comes from
/// a generator or, with --stdin, from lines of JSON. When the workers are slower than the source,
/// the queue fills up and the source waits: memory stays bounded. An item that cannot be processed
/// is reported and counted as failed; the worker goes on. On Ctrl-C or SIGTERM the source ends,
/// and what was taken from it is processed (drain) or named as not processed (abort); a line on
/// stderr tells how much that is and how long it may take, and a second signal ends at once. In
/// every case: in = out + failed + not processed.
///
/// Without any argument: a short demonstration that checks itself.
#[derive(Debug, Parser)]
#[command(version, after_long_help = MORE, allow_negative_numbers = true)]
pub struct Options {
    /// How many items to generate, as 20000, 20_000 or 2e4
    #[arg(long, value_name = "N", value_parser = items, default_value = "10000")]
    #[arg(conflicts_with = "stdin")]
    pub items: u64,

    /// Items per second at which the source hands out, counted from the start, so that no
    /// lateness adds up [default: as fast as it goes]
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,

    /// Threads that process [default: the cores available]
    #[arg(long, value_name = "N", value_parser = workers)]
    pub workers: Option<usize>,

    /// Items that may wait for a worker; as many results may wait for the output
    #[arg(long, value_name = "N", value_parser = queue, default_value = "1024")]
    pub queue: usize,

    /// Items handed over together at most; nothing ever waits for a batch to be full.
    /// 1 shares out slow items best, 64 carries several times as many quick ones
    /// [default: 64 without --work, otherwise 1]
    #[arg(long, value_name = "N", value_parser = queue)]
    pub batch: Option<usize>,

    /// Computing time per item, fractions allowed. This is no sleep: it occupies a core, by a
    /// number of steps that is measured at the start, so more workers than cores do not help
    #[arg(long, value_name = "MILLISECONDS", value_parser = work, default_value = "0")]
    pub work: f64,

    /// Read items from stdin, one JSON object per line
    #[arg(long)]
    pub stdin: bool,

    /// After a signal: process all items taken from the source, or name them as not processed
    #[arg(long, value_enum, value_name = "HOW", default_value_t = OnStop::Drain)]
    pub on_stop: OnStop,

    /// Write one JSON object per item and, last, one for the summary (keys: see --help)
    #[arg(long)]
    pub json: bool,

    /// No line per item, only the summary
    #[arg(short, long)]
    pub quiet: bool,

    /// Seed of the generated values
    #[arg(long, value_name = "N", value_parser = seed, default_value = "42")]
    #[arg(conflicts_with = "stdin")]
    pub seed: u64,

    /// Make every N-th generated item an odd one: without a value, no object, no JSON, too
    /// large to be doubled, and one over which its worker panics, in turn
    #[arg(long, value_name = "N", value_parser = odd, conflicts_with = "stdin")]
    pub odd: Option<u64>,
}

const MORE: &str = "\
Output:
  With --stdin each result is a line on stdout, in the order of completion:
    ITEM RESULT worker-ID TIME
  where ITEM is the item's place in the input, counted from 1 (blank lines do not count).
  Failures are lines on stderr, and so is the summary. The generator's results have no lines;
  its summary goes to stdout. In the summary, lines that differ from run to run begin with #.
  Every second one line of figures is written to stderr if that is a terminal: in, out, queued
  and failed since the start; items/s and latencies of the last second.

  Latency is the time from the moment when the source has an item (before it waits for room in
  the queue) until its result is there. p50 and p99 are within 1.6 % of the exact values.

With --json, everything on stdout, one object per line, told apart by \"type\":
  result         item, data (the input), result, worker, at
  failed         item, line (the input as text, or null), error, worker, at
  not_processed  item, data or line
  summary        in, out, failed, not_processed, sum (of the results), seconds,
                 items_per_second, latency_us (p50, p99, max), workers, workers_replaced,
                 stopped_by (\"SIGINT\", \"SIGTERM\" or null)

Exit codes:
  0 all items processed, or nobody reads the output any more     1 an item or the output failed
  2 wrong usage     130, 143 ended by SIGINT, SIGTERM

Examples:
  realtime-processor --items 1e6
  realtime-processor --rate 500 --items 5000 --work 2 --workers 2
  generate-lines | realtime-processor --stdin --json | jq -c 'select(.type == \"failed\")'";

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum OnStop {
    /// Process what was taken
    Drain,
    /// Finish what is being processed if that takes no more than 3 s, name the rest
    Abort,
}

impl OnStop {
    pub fn stop(self) -> Stop {
        match self {
            OnStop::Drain => Stop::Drain,
            OnStop::Abort => Stop::Abort,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            OnStop::Drain => "drain",
            OnStop::Abort => "abort",
        }
    }
}

impl Options {
    pub fn batch(&self) -> usize {
        let usual = if self.work == 0.0 {
            64.min(self.queue)
        } else {
            1
        };
        self.batch.unwrap_or(usual)
    }
}

fn items(text: &str) -> Result<u64, String> {
    whole(text, 0, 1_000_000_000_000)
}

fn odd(text: &str) -> Result<u64, String> {
    whole(text, 1, 1_000_000_000_000)
}

/// Any 64 bits will do, so this one is read without a detour through floating point.
fn seed(text: &str) -> Result<u64, String> {
    let exact = text.replace('_', "").parse().ok();
    exact.map_or_else(|| whole(text, 0, 1_000_000_000_000), Ok)
}

fn workers(text: &str) -> Result<usize, String> {
    whole(text, 1, 1024).map(|number| number as usize)
}

fn queue(text: &str) -> Result<usize, String> {
    whole(text, 1, 1_000_000).map(|number| number as usize)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.001, 1e9)
}

fn work(text: &str) -> Result<f64, String> {
    number(text, 0.0, 60_000.0)
}

fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = number(text, least as f64, most as f64)?;
    if number.fract() != 0.0 {
        return Err("not a whole number".into());
    }
    Ok(number as u64)
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = (text.replace('_', "").parse()).map_err(|_| "not a number".to_string())?;
    // NaN is in no range.
    if !(least..=most).contains(&number) {
        return Err(format!("not between {least} and {most}"));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        assert_eq!(items("1_000"), Ok(1000));
        assert_eq!(items("2e4"), Ok(20_000));
        assert_eq!(items("0"), Ok(0));
        assert_eq!(work("0.25"), Ok(0.25));
        for nonsense in ["-1", "1.5", "NaN", "inf", "1e13", "", "ten"] {
            assert!(items(nonsense).is_err(), "{nonsense}");
        }
        assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
        assert_eq!((seed("1e3"), seed("1_000")), (Ok(1000), Ok(1000)));
        assert!(seed("-1").is_err() && seed("18446744073709551616").is_err() && odd("0").is_err());
        assert!(rate("0").is_err() && rate("inf").is_err() && workers("0").is_err());
    }

    #[test]
    fn the_command_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}
