//! What is told about a stream: a line every second, and the summary at its end.

use crate::clock::Clock;
use crate::histogram::Latencies;
use crate::output::Totals;
use crate::pipeline::Pipeline;
use crate::signals::Signal;
use std::fmt::{self, Display, Write};
use std::sync::atomic::Ordering::Relaxed;

/// The figures of one second after another.
pub struct Live {
    clock: Clock,
    then: u64,
    finished: u64,
    latencies: Latencies,
}

impl Live {
    pub fn new(clock: Clock, pipeline: &Pipeline) -> Self {
        Live {
            clock,
            then: 0,
            finished: 0,
            latencies: pipeline.latencies(),
        }
    }

    /// Counts since the start; items per second and latencies since the line before.
    pub fn line(&mut self, pipeline: &Pipeline) -> String {
        let now = self.clock.now();
        let (accepted, queued) = pipeline.input.counts();
        let out = pipeline.progress.out.load(Relaxed);
        let failed = pipeline.progress.failed.load(Relaxed);
        let latencies = pipeline.latencies();
        let since = latencies.since(&self.latencies);
        let seconds = (now - self.then) as f64 / 1e9;
        let rate = (out + failed - self.finished) as f64 / seconds;
        let line = format!(
            "{:6.1} s  in {accepted}  out {out}  queued {queued}  failed {failed}  {rate:.0} items/s  {}",
            now as f64 / 1e9,
            Percentiles(&since)
        );
        (self.then, self.finished, self.latencies) = (now, out + failed, latencies);
        line
    }
}

/// A stream that has ended.
pub struct Summary {
    pub accepted: u64,
    pub totals: Totals,
    pub latencies: Latencies,
    pub seconds: f64,
    pub workers: usize,
    pub workers_replaced: u32,
    pub stopped_by: Option<Signal>,
    /// How its source was made to end, if it was.
    pub on_stop: &'static str,
}

impl Summary {
    /// What must be true of every stream, whatever ended it.
    pub fn check(&self) -> Result<(), String> {
        let Totals {
            out,
            failed,
            ref not_processed,
            numbers,
            ..
        } = self.totals;
        let came_out = out + failed + not_processed.count;
        if came_out != self.accepted {
            return Err(format!(
                "{} items came in and {came_out} out",
                self.accepted
            ));
        }
        let accepted = u128::from(self.accepted);
        if numbers != accepted * (accepted + 1) / 2 {
            return Err("an item is lost and another one came out twice".into());
        }
        if self.latencies.count() != out + failed {
            return Err("the latencies are not those of the items".into());
        }
        Ok(())
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        let Totals {
            out,
            failed,
            ref not_processed,
            sum,
            ..
        } = self.totals;
        let micros = |nanos| nanos as f64 / 1e3;
        let mut json = format!(
            "{{\"type\":\"summary\",\"in\":{},\"out\":{out},\"failed\":{failed},\
             \"not_processed\":{},\"sum\":{sum},\"seconds\":{:.6},\"items_per_second\":{:.1},",
            self.accepted,
            not_processed.count,
            self.seconds,
            self.items_per_second(),
        );
        let _ = write!(
            json,
            "\"latency_us\":{{\"p50\":{:.3},\"p99\":{:.3},\"max\":{:.3}}},\
             \"workers\":{},\"workers_replaced\":{},\"stopped_by\":",
            micros(self.latencies.percentile(50.0)),
            micros(self.latencies.percentile(99.0)),
            micros(self.latencies.max()),
            self.workers,
            self.workers_replaced,
        );
        let _ = match self.stopped_by {
            Some(signal) => write!(json, "\"{}\"}}", signal.name),
            None => write!(json, "null}}"),
        };
        json
    }

    fn items_per_second(&self) -> f64 {
        (self.totals.out + self.totals.failed) as f64 / self.seconds.max(1e-9)
    }
}

/// For people. Lines that differ from run to run begin with `#`.
impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Totals {
            out,
            failed,
            ref not_processed,
            sum,
            ..
        } = self.totals;
        writeln!(
            f,
            "in {}, out {out}, failed {failed}, not processed {}, sum {sum}",
            self.accepted, not_processed.count
        )?;
        if not_processed.count > 0 {
            writeln!(f, "not processed: items {not_processed}")?;
        }
        if let Some(signal) = self.stopped_by {
            writeln!(f, "stopped by {} ({})", signal.name, self.on_stop)?;
        }
        if self.workers_replaced > 0 {
            writeln!(
                f,
                "workers replaced after a panic: {}",
                self.workers_replaced
            )?;
        }
        writeln!(f, "# seconds {:.6}", self.seconds)?;
        writeln!(
            f,
            "# {:.0} items/s with {}",
            self.items_per_second(),
            counted(self.workers as u64, "worker")
        )?;
        writeln!(f, "# latency {}", Percentiles(&self.latencies))
    }
}

/// "1 item", "2 items".
pub fn counted(count: u64, name: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {name}{s}")
}

struct Percentiles<'a>(&'a Latencies);

impl Display for Percentiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let percentile = |percent| Nanos(self.0.percentile(percent));
        let max = Nanos(self.0.max());
        write!(
            f,
            "p50 {}, p99 {}, max {max}",
            percentile(50.0),
            percentile(99.0)
        )
    }
}

/// A time with three digits, as in `12.3 µs`.
struct Nanos(u64);

impl Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..1_000 => return write!(f, "{} ns", self.0),
            1_000..1_000_000 => (1e3, "µs"),
            1_000_000..1_000_000_000 => (1e6, "ms"),
            _ => (1e9, "s"),
        };
        let value = self.0 as f64 / unit;
        let digits = if value < 9.995 {
            2
        } else if value < 99.95 {
            1
        } else {
            0
        };
        write!(f, "{value:.digits$} {name}")
    }
}
