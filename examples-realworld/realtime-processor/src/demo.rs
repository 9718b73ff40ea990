//! Three short streams that end in three ways, each checked.

use crate::Result;
use crate::clock::Clock;
use crate::handover::Stop;
use crate::output::{Lines, Totals};
use crate::pipeline::{Config, Pipeline};
use crate::signals::{self, Signal};
use crate::source::{Generator, Pace};
use crate::summary::Summary;
use crate::work::Work;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

const SEED: u64 = 42;
const WORKERS: usize = 3;
const QUEUE: usize = 256;

pub fn run(out: &mut impl Write) -> Result<ExitCode> {
    signals::listen(|_| (), || ()).map_err(|error| format!("cannot listen to signals: {error}"))?;
    writeln!(
        out,
        "1. A stream to its end: 400,000 items, {WORKERS} workers, seed {SEED},"
    )?;
    writeln!(
        out,
        "   one item in 40,000 an odd one; two of the ten make their worker panic"
    )?;
    let quick = Stream {
        count: 400_000,
        odd: 40_000,
        batch: 64,
        work: 0.0,
        stop: None,
    };
    let ended = quick.run()?;
    show(out, &ended)?;
    if let Some(signal) = ended.stopped_by {
        return stopped(out, signal, "1; 2 and 3 are left");
    }
    expect(ended.totals.out == 399_990, "399,990 results")?;
    expect(ended.totals.failed == 10, "10 failures")?;
    expect(ended.workers_replaced == 2, "2 workers replaced")?;
    expect(
        ended.totals.sum == quick.expected_sum(),
        "the sum of all results",
    )?;

    writeln!(
        out,
        "\n2. Stopped while its queue is full, drained: what was taken is processed"
    )?;
    let slow = Stream {
        count: 1_000_000,
        odd: 0,
        batch: 1,
        work: 0.2,
        stop: Some(Stop::Drain),
    };
    let ended = slow.run()?;
    show(out, &ended)?;
    if let Some(signal) = ended.stopped_by {
        return stopped(out, signal, "2; 3 is left");
    }
    expect(ended.totals.not_processed.count == 0, "nothing left over")?;
    expect(ended.accepted < slow.count, "a stop before the end")?;

    writeln!(out, "\n3. The same, aborted: what was not begun is named")?;
    let ended = Stream {
        stop: Some(Stop::Abort),
        ..slow
    }
    .run()?;
    show(out, &ended)?;
    if let Some(signal) = ended.stopped_by {
        return stopped(out, signal, "3");
    }
    expect(ended.totals.not_processed.count > 0, "items left over")?;

    writeln!(
        out,
        "\nok: in = out + failed + not processed, each item once, in all three"
    )?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn stopped(out: &mut impl Write, signal: Signal, within: &str) -> Result<ExitCode> {
    writeln!(out, "\nstopped by {} within part {within}", signal.name)?;
    out.flush()?;
    Ok(ExitCode::from(signal.exit_code))
}

fn show(out: &mut impl Write, ended: &Summary) -> io::Result<()> {
    for line in ended.to_string().lines() {
        writeln!(out, "   {}", line.trim_start_matches("# "))?;
    }
    out.flush()
}

fn expect(holds: bool, what: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(format!("expected {what}").into())
    }
}

#[derive(Clone, Copy)]
struct Stream {
    count: u64,
    odd: u64,
    batch: usize,
    work: f64,
    /// When the queue is full and some items are out.
    stop: Option<Stop>,
}

impl Stream {
    fn run(self) -> Result<Summary> {
        let config = Config {
            workers: WORKERS,
            queue: QUEUE,
            batch: self.batch,
            work: Work::of(self.work),
            lines: Lines::None,
        };
        let clock = Clock::start();
        let (ended_sender, ended) = mpsc::channel::<Totals>();
        let pipeline = Pipeline::start(config, clock, io::sink(), move |totals| {
            let _ = ended_sender.send(totals);
        })
        .map_err(|error| format!("cannot start {WORKERS} workers: {error}"))?;
        let input = pipeline.input.clone();
        let generator = self.generator();
        let pace = Pace { clock, rate: None };
        let source = move || generator.run(&input, pace, self.batch);
        (thread::Builder::new().name("source".into()).spawn(source))
            .map_err(|error| format!("cannot start the source: {error}"))?;
        let begin = Instant::now();
        let passed = |seconds| begin.elapsed() > Duration::from_secs(seconds);
        let too_early = || pipeline.progress.total() < 50 || pipeline.input.counts().1 < QUEUE;
        let mut stop = self.stop;
        let mut stopped_by = None;
        let totals = loop {
            match ended.recv_timeout(Duration::from_millis(1)) {
                Ok(totals) => break totals,
                Err(RecvTimeoutError::Timeout) if !passed(30) => {}
                Err(error) => return Err(error.into()),
            }
            if stopped_by.is_none() && signals::received().is_some() {
                stopped_by = signals::received();
                pipeline.stop(Stop::Drain);
            }
            if (!too_early() || passed(10))
                && let Some(stop) = stop.take()
            {
                pipeline.stop(stop);
            }
        };
        let summary = Summary {
            accepted: pipeline.input.counts().0,
            totals,
            latencies: pipeline.latencies(),
            seconds: clock.now() as f64 / 1e9,
            workers: WORKERS,
            workers_replaced: pipeline.workers_replaced(),
            stopped_by,
            on_stop: "drain",
        };
        summary.check()?;
        Ok(summary)
    }

    fn generator(self) -> Generator {
        Generator {
            count: self.count,
            seed: SEED,
            odd: self.odd,
        }
    }

    /// By one thread, without a queue.
    fn expected_sum(self) -> i128 {
        self.generator()
            .values()
            .map(|value| i128::from(value * 2))
            .sum()
    }
}
