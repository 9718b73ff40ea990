//! All primes below a limit: by one thread, by threads and by processes, and when each pays.
//!
//! A Python developer who computes reaches for processes, because threads take turns there:
//!
//! ```python
//! ranges = [(n, n + step) for n in range(0, limit, step)]      # equal ranges: unequal work
//! with ProcessPoolExecutor() as pool:
//!     count = sum(pool.map(count_primes, *zip(*ranges)))
//! ```
//!
//! Here threads do the same at once, and a process is only worth its start where its memory has
//! to be its own. What pays most is neither: a better algorithm on one thread.
//!
//! Run it with `cargo run -rp prime-finder`, `… 1e10` or `… 1e8 --list | tail -1`. Look at the
//! first table, where processes make it slower, and at the two tables below 400,000: one thread
//! with the sieve needs a fraction of the time of all the workers that divide.
//!
//! To take: `sieve.rs` alone (a segmented sieve at the speed of the best, no dependency);
//! `crew.rs` (workers that take pieces dynamically, results in order, bounded memory);
//! `processes.rs` (this program as its own workers); `output.rs` (a file in full or not at all).

#![forbid(unsafe_code)]

mod compare;
mod crew;
mod job;
mod number;
mod output;
mod processes;
mod progress;
mod run;
mod sieve;
mod signals;
mod stop;
mod text;
mod trial;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use crew::Outcome;
use job::{Algorithm, Job};
use output::Output;
use run::Mode;
use serde_json::json;
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

/// Count or list the primes p with FROM ≤ p < LIMIT.
///
/// Without arguments: a comparison of one thread, threads and processes at a few small limits.
#[derive(Parser)]
#[command(version, after_help = HELP, allow_negative_numbers = true)]
struct Options {
    /// Where to end, such as 1e9, 1_000_000 or 10^9; at most 10^19 (trial division: 10^15)
    #[arg(value_parser = number::parse)]
    limit: Option<u64>,

    /// Where to begin
    #[arg(long, value_name = "N", default_value = "0", value_parser = number::parse)]
    from: u64,

    /// Who does the work; compare runs all three side by side
    #[arg(long, value_enum)]
    mode: Option<ModeOption>,

    /// How many threads or processes [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = workers)]
    workers: Option<usize>,

    /// How to find them [default: sieve; compare: both, where trial division is not hopeless]
    #[arg(long, value_enum)]
    algorithm: Option<Algorithm>,

    /// Print the primes, one per line, instead of their number
    #[arg(long)]
    list: bool,

    /// Write to FILE instead of stdout; it appears when it is complete. What a killed run (SIGKILL)
    /// leaves, `.FILE.PID.unfinished`, is removed by the next one that writes FILE
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print JSON: one object, or one per prime with --list
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  prime-finder 1e9                        compare the three modes
  prime-finder 1e10 --mode threads        only the number, by all processors
  prime-finder 2e6 --from 1e6 --list      the primes from a million to two million
  prime-finder 1e8 --list --output FILE   a file that is complete or not there at all

JSON keys:
  count        from, limit, algorithm, mode, workers, count, seconds
  compare      workers, comparisons: [{algorithm, from, limit, count,
               modes: [{mode, workers, seconds, speedup}]}]
  list         prime

Exit codes: 0 done, 1 failed, 2 usage, 130 and 143 ended by Ctrl-C and SIGTERM";

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ModeOption {
    /// All three, with equal answers first, then times and speed-ups [default]
    Compare,
    /// One thread
    Sequential,
    /// Threads that take pieces dynamically [default with --list]
    Threads,
    /// The same with processes: this program, started again. One that is killed is replaced, one
    /// that is halted (SIGSTOP) is waited for without a time limit
    Processes,
}

fn main() -> ExitCode {
    if let Ok(task) = std::env::var(processes::WORKER) {
        return processes::serve(&task);
    }
    match options().and_then(|options| work(&options)) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Help and version go through our own output, so that a full disk is an error there, too.
fn options() -> Result<Options, Box<dyn Error>> {
    Options::try_parse()
        .and_then(Options::checked)
        .or_else(|error| {
            if error.use_stderr() {
                error.exit();
            }
            let mut output = Output::open(None)?;
            write!(output, "{error}")?;
            output.finish()?;
            std::process::exit(0)
        })
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(workers @ 1..=1024) => Ok(workers),
        _ => Err("not a whole number from 1 to 1024".into()),
    }
}

impl Options {
    /// What clap cannot see: options that contradict each other.
    fn checked(self) -> Result<Options, clap::Error> {
        let problem = if self.list && self.mode == Some(ModeOption::Compare) {
            "--list goes with one of the modes sequential, threads and processes"
        } else if self.list && self.limit.is_none() {
            "--list needs a LIMIT"
        } else if self.limit.is_none()
            && (self.from > 0 || self.mode.is_some_and(|mode| mode != ModeOption::Compare))
        {
            "a LIMIT is missing"
        } else if self.limit.is_some_and(|limit| self.from > limit) {
            "--from is beyond the LIMIT: the primes p with FROM ≤ p < LIMIT are wanted"
        } else if self.algorithm == Some(Algorithm::Trial) && self.limit > Some(trial::MAX) {
            "trial division is supported up to 10^15; the sieve goes up to 10^19"
        } else if self.mode == Some(ModeOption::Sequential) && self.workers > Some(1) {
            "--mode sequential has exactly one worker"
        } else {
            return Ok(self);
        };
        Err(Options::command().error(ErrorKind::ArgumentConflict, problem))
    }
}

fn work(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    stop::listen(processes::kill_all, || {
        processes::kill_all();
        output::discard();
    })?;
    let workers = match options.workers {
        Some(workers) => workers,
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let mut output = Output::open(options.output.as_deref())?;
    let mode = match options.mode {
        Some(ModeOption::Sequential) => Mode::Sequential,
        Some(ModeOption::Threads) => Mode::Threads,
        Some(ModeOption::Processes) => Mode::Processes,
        None if options.list => Mode::Threads,
        None | Some(ModeOption::Compare) => {
            let cases = compare::cases(options.algorithm, options.from, options.limit);
            let code = compare::compare(&cases, workers, options.json, &mut output)?;
            return finish(output, code);
        }
    };
    let range = options.from..options.limit.unwrap_or_default();
    let algorithm = options.algorithm.unwrap_or(Algorithm::Sieve);
    let job = Job::new(algorithm, range, options.list);
    let code = one_mode(&job, mode, workers, options.json, &mut output)?;
    finish(output, code)
}

/// The file appears only if what it contains is complete.
fn finish(output: Output, code: ExitCode) -> Result<ExitCode, Box<dyn Error>> {
    if code == ExitCode::SUCCESS {
        output.finish()?;
    }
    Ok(code)
}

/// Lists the primes or prints their number.
fn one_mode(
    job: &Job,
    mode: Mode,
    workers: usize,
    as_json: bool,
    output: &mut Output,
) -> Result<ExitCode, Box<dyn Error>> {
    let begin = Instant::now();
    if job.list {
        for prime in job.first_primes() {
            writeln!(
                output,
                "{}",
                if as_json {
                    json!({"prime": prime})
                } else {
                    json!(prime)
                }
            )?;
        }
    }
    let outcome = run::run(job, mode, workers, |text| {
        if as_json {
            output.write_all(&as_objects(text))
        } else {
            output.write_all(text)
        }
    })?;
    if let Some(code) = report_undone(job, &outcome) {
        // What was listed is right; a number would not be.
        output.flush()?;
        return Ok(code);
    }
    if as_json && !job.list {
        let object = json!({
            "from": job.range.start,
            "limit": job.range.end,
            "algorithm": job.algorithm.to_string(),
            "mode": mode.to_string(),
            "workers": run::useful_workers(job, mode, workers),
            "count": outcome.count,
            "seconds": begin.elapsed().as_secs_f64(),
        });
        writeln!(output, "{object}")?;
    } else if !job.list {
        writeln!(output, "{}", outcome.count)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_objects(lines: &[u8]) -> Vec<u8> {
    let mut objects = Vec::with_capacity(lines.len() * 2);
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        objects.extend_from_slice(b"{\"prime\":");
        objects.extend_from_slice(line.trim_ascii_end());
        objects.extend_from_slice(b"}\n");
    }
    objects
}

/// Says on stderr what was not done, and gives the exit code that goes with it.
fn report_undone(job: &Job, outcome: &Outcome) -> Option<ExitCode> {
    for (piece, why) in &outcome.failed {
        let _ = writeln!(
            io::stderr(),
            "error: not done, {} to {}: {why}",
            piece.start,
            piece.end
        );
    }
    if outcome.stopped {
        let (done, reached) = (grouped(outcome.count), grouped(outcome.reached));
        let _ = writeln!(
            io::stderr(),
            "stopped: {done} primes from {} to {reached}; not done: {reached} to {}",
            grouped(job.range.start),
            grouped(job.range.end),
        );
        return Some(ExitCode::from(stop::exit_code()));
    }
    (!outcome.failed.is_empty()).then_some(ExitCode::FAILURE)
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref()
        .is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
