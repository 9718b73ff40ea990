//! What the main thread does while a stream runs: it shows how it goes, stops it when a signal
//! comes, and waits for its end, but not without bound.

use crate::clock::Clock;
use crate::options::{OnStop, Options};
use crate::output::Totals;
use crate::pipeline::{Config, Pipeline, TIME_TO_FINISH};
use crate::signals::Signal;
use crate::summary::{Live, counted};
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

const LIVE_EVERY: Duration = Duration::from_secs(1);
/// After a stop, an output that does not move for so long is given up.
pub const GRACE: Duration = Duration::from_secs(5);

/// What the main thread waits for.
pub enum Event {
    Signal(Signal),
    SourceFailed(io::Error),
    Ended(Totals),
}

#[derive(Debug)]
pub struct Ended {
    pub totals: Totals,
    pub stopped_by: Option<Signal>,
    pub source_error: Option<io::Error>,
}

/// Stops the stream when a signal comes, and shows how it goes, until it has ended.
///
/// `Err` when it was stopped and does not end.
pub fn wait_for_end(
    options: &Options,
    config: Config,
    clock: Clock,
    pipeline: &Pipeline,
    events: &Receiver<Event>,
) -> std::result::Result<Ended, Signal> {
    let mut live = io::stderr()
        .is_terminal()
        .then(|| Live::new(clock, pipeline));
    let mut next_line = clock.instant(LIVE_EVERY);
    let mut source_error = None;
    let mut stopped_by = None;
    let mut moved = ((0, 0), Instant::now());
    loop {
        let pause = next_line.saturating_duration_since(Instant::now());
        match events.recv_timeout(pause) {
            Ok(Event::Signal(signal)) => {
                stopped_by = Some(signal);
                moved.1 = Instant::now();
                pipeline.stop(options.on_stop.stop());
                acknowledge(signal, options, config, pipeline);
            }
            Ok(Event::SourceFailed(error)) => source_error = Some(error),
            Ok(Event::Ended(totals)) => {
                return Ok(Ended {
                    totals,
                    stopped_by,
                    source_error,
                });
            }
            Err(RecvTimeoutError::Timeout) => {
                next_line += LIVE_EVERY;
                if let Some(live) = &mut live {
                    let _ = writeln!(io::stderr(), "{}", live.line(pipeline));
                }
                let finished = pipeline.progress.total();
                let processed = pipeline.latencies().count();
                if (processed, finished) != moved.0 {
                    moved = ((processed, finished), Instant::now());
                }
                // Not while it is the workers who take their time, as an announced drain may.
                let stuck = options.on_stop == OnStop::Abort || processed > finished;
                let too_long = stuck && moved.1.elapsed() > GRACE;
                if let Some(signal) = stopped_by.filter(|_| too_long) {
                    return Err(signal);
                }
            }
            Err(RecvTimeoutError::Disconnected) => unreachable!("the pipeline tells its end"),
        }
    }
}

/// Tells on stderr, terminal or not, what somebody who asked for the end has to wait for.
fn acknowledge(signal: Signal, options: &Options, config: Config, pipeline: &Pipeline) {
    // In this order: items that come in and out between the two must not count as out only.
    let finished = pipeline.progress.total();
    let inside = pipeline.input.counts().0 - finished;
    let seconds = inside as f64 * options.work / 1e3 / config.workers.min(cores()) as f64;
    let inside = counted(inside, "item");
    let how_long = match options.on_stop {
        OnStop::Drain => format!("{inside} to process, about {:.0} s", seconds.ceil()),
        OnStop::Abort => format!(
            "{inside} inside, {} s for those in work",
            TIME_TO_FINISH.as_secs()
        ),
    };
    let _ = writeln!(
        io::stderr(),
        "{}: {}, {how_long}; a second signal ends at once",
        signal.name,
        options.on_stop.name(),
    );
}

pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get())
}
