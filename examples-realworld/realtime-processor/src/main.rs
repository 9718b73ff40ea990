//! A stream through a bounded queue and several workers, with live statistics, that can be stopped
//! at any moment without losing an item.
//!
//! In Python it begins as `queue.Queue`, a few threads with `while self.running:` and a `None` for
//! each of them at the end:
//!
//! ```python
//! def worker():
//!     while self.running:                  # stop() sets it to False: what is queued is lost
//!         data = self.inbox.get()          # and who is asleep here needs a None to wake up
//!         if data is None: break           # a None too many is still there at the next start
//!         self.outbox.put(data["value"] * 2)   # a KeyError ends this thread, and nobody notices
//! ```
//!
//! Here the end is a state of the queue, not a message in it; an item's failure is a value; a
//! worker that panics is replaced; and `in = out + failed + not processed` is checked in each run.
//!
//! Run it with `cargo run -p realtime-processor` for a demonstration; `-- --help` tells the rest.
//! Look at the three ways to end: nothing left, drained, aborted. To take: `handover.rs`, the bounded
//! buffer that knows how to stop; `histogram.rs`; `pipeline.rs`, workers that survive their items.

#![forbid(unsafe_code)]

mod clock;
mod demo;
mod handover;
mod histogram;
mod item;
mod options;
mod output;
mod pipeline;
mod signals;
mod source;
mod summary;
mod sync;
mod watch;
mod work;

use clap::{CommandFactory, Parser, error::ErrorKind::ArgumentConflict};
use clock::Clock;
use options::Options;
use output::Lines;
use pipeline::{Config, Pipeline};
use source::{Generator, Pace};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;
use summary::{Summary, counted};
use watch::{Ended, Event, GRACE, cores, wait_for_end};
use work::Work;

fn main() -> ExitCode {
    silence_panics_of_workers();
    let result = if std::env::args_os().len() == 1 {
        demo::run(&mut io::stdout().lock())
    } else {
        usable_options().and_then(|options| process_stream(&options))
    };
    result.unwrap_or_else(|error| match error.downcast_ref::<io::Error>() {
        // As in `| head`: nobody wants to know more.
        Some(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Some(error) => fail(&format!("cannot write to stdout: {error}")),
        None => fail(&error.to_string()),
    })
}

/// An error of stdout as it is, any other one as text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {message}");
    ExitCode::FAILURE
}

/// A worker's panic becomes its item's failure, which is reported like any other.
fn silence_panics_of_workers() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = thread::current();
        if !thread
            .name()
            .is_some_and(|name| name.starts_with("worker-"))
        {
            usual(panic);
        }
    }));
}

/// Help and version go through our own output, so that a full disk is an error there, too.
fn usable_options() -> Result<Options> {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if error.use_stderr() => error.exit(),
        Err(help) => {
            let mut out = io::stdout().lock();
            write!(out, "{help}")?;
            out.flush()?;
            std::process::exit(0)
        }
    };
    if options.batch() > options.queue {
        let message = format!(
            "a batch of {} does not fit into a queue of {}",
            options.batch(),
            options.queue
        );
        Options::command().error(ArgumentConflict, message).exit();
    }
    Ok(options)
}

fn process_stream(options: &Options) -> Result<ExitCode> {
    let (events_sender, events) = mpsc::channel();
    let tell = events_sender.clone();
    let at_first = move |signal| {
        let _ = tell.send(Event::Signal(signal));
    };
    signals::listen(at_first, || ())
        .map_err(|error| format!("cannot listen to signals: {error}"))?;
    let config = config(options);
    let clock = Clock::start();
    let tell = events_sender.clone();
    let pipeline = Pipeline::start(config, clock, io::stdout(), move |totals| {
        let _ = tell.send(Event::Ended(totals));
    })
    .map_err(|error| {
        format!(
            "cannot start {}: {error}",
            counted(config.workers as u64, "worker")
        )
    })?;
    start_source(options, clock, config.batch, &pipeline, events_sender)
        .map_err(|error| format!("cannot start the source: {error}"))?;
    match wait_for_end(options, config, clock, &pipeline, &events) {
        Ok(ended) => report(options, config, clock, &pipeline, ended),
        Err(signal) => {
            // Drained or aborted, the rest has to go through an output that does not move.
            let (accepted, _) = pipeline.input.counts();
            fail(&format!(
                "nothing has moved for {} s after {}: {} of {accepted} items are still inside",
                GRACE.as_secs(),
                signal.name,
                accepted - pipeline.progress.total(),
            ));
            Ok(ExitCode::from(signal.exit_code))
        }
    }
}

fn config(options: &Options) -> Config {
    let workers = options.workers.unwrap_or_else(cores);
    // A worker for whom there is no item would only be waited for.
    let useful = if options.stdin {
        u64::MAX
    } else {
        options.items.max(1)
    };
    Config {
        workers: workers.min(useful.try_into().unwrap_or(usize::MAX)),
        queue: options.queue,
        batch: options.batch(),
        work: Work::of(options.work),
        lines: match options {
            Options { quiet: true, .. } => Lines::None,
            Options { json: true, .. } => Lines::Json,
            Options { stdin: true, .. } => Lines::All,
            _ => Lines::Failures,
        },
    }
}

/// The source's thread is not joined: it may be blocked in a read that nobody can end.
fn start_source(
    options: &Options,
    clock: Clock,
    batch: usize,
    pipeline: &Pipeline,
    events: Sender<Event>,
) -> io::Result<()> {
    let input = pipeline.input.clone();
    let pace = Pace {
        clock,
        rate: options.rate,
    };
    let thread = thread::Builder::new().name("source".into());
    if options.stdin {
        let report = move |error| {
            let _ = events.send(Event::SourceFailed(error));
        };
        // Unlocked: the lock would be held while the read is blocked, for nobody's use.
        thread.spawn(move || source::read_lines(io::stdin(), &input, pace, batch, report))?;
    } else {
        let generator = Generator {
            count: options.items,
            seed: options.seed,
            odd: options.odd.unwrap_or(0),
        };
        thread.spawn(move || generator.run(&input, pace, batch))?;
    }
    Ok(())
}

fn report(
    options: &Options,
    config: Config,
    clock: Clock,
    pipeline: &Pipeline,
    mut ended: Ended,
) -> Result<ExitCode> {
    let output_error = ended.totals.error.take();
    let summary = Summary {
        accepted: pipeline.input.counts().0,
        totals: ended.totals,
        latencies: pipeline.latencies(),
        seconds: clock.now() as f64 / 1e9,
        workers: config.workers,
        workers_replaced: pipeline.workers_replaced(),
        stopped_by: ended.stopped_by,
        on_stop: options.on_stop.name(),
    };
    summary.check()?;
    let written = match output_error {
        Some(error) => Err(error),
        // Of an input that cannot be read at all there is nothing to sum up.
        None if ended.source_error.is_some() && summary.accepted == 0 && !options.json => Ok(()),
        None => write_summary(options, &summary),
    };
    written?;
    if let Some(error) = ended.source_error {
        return Err(format!("cannot read from stdin: {error}").into());
    }
    Ok(match summary.stopped_by {
        Some(signal) => ExitCode::from(signal.exit_code),
        None if summary.totals.failed > 0 => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

fn write_summary(options: &Options, summary: &Summary) -> io::Result<()> {
    if options.json {
        writeln!(io::stdout(), "{}", summary.json())
    } else if options.stdin {
        // Stdout belongs to the results; who cannot read stderr does not want to.
        let _ = write!(io::stderr(), "{summary}");
        Ok(())
    } else {
        write!(io::stdout(), "{summary}")
    }
}
