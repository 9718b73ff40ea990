//! Checks and counts a tree of JSON files with several workers, and writes a result for each.
//!
//! What a Python developer writes as
//!
//! ```python
//! def process(path):
//!     with open(path, encoding="utf-8") as file:
//!         data = json.load(file)                    # all of it in memory, as objects
//! with ProcessPoolExecutor() as pool:               # the interpreter's lock: processes
//!     for result in pool.map(process, Path(folder).rglob("*.json")): ...
//! ```
//!
//! takes threads here, which copy nothing, and a few hundred KiB for a file of any size. What is
//! handed to a worker is checked by the compiler: no lock "cannot be pickled" at run time.
//!
//! Run it with `cargo run -p json-pipeline` for a demonstration in a temp folder. Look at the line and
//! column of each broken file. Or build it with `--release`: `json-pipeline INPUT OUTPUT`.
//!
//! To take: `scan.rs`, the checking counter that needs the same memory for a file of any size, and
//! `giant.rs`, which lets several of them work on one array.

#![forbid(unsafe_code)]

mod demo;
mod files;
mod giant;
mod processes;
mod report;
mod scan;
mod shared;
mod shown;
mod signals;
mod work;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread::available_parallelism;
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{ArgGroup, CommandFactory, Parser, ValueEnum};

use files::Job;
use report::{Progress, Report};
use shared::Shared;
use shown::Shown;
use work::Outcome;

/// Checks every JSON file of a folder and counts its records, with several workers.
///
/// Walks INPUT for *.json in upper and lower case. Links are not followed. Records are the elements
/// of a top-level array; any other value is one record. For sub/NAME a small JSON file
/// OUTPUT/sub/processed_NAME is written with the keys made_by, input, records, bytes, seconds and
/// processed_at (seconds since 1970). It appears complete or not at all, and replaces the one of an
/// earlier run; if the file has become broken, that one is removed. Results are never taken as
/// input, wherever OUTPUT lies.
///
/// Without arguments: a demonstration in a temp folder.
///
/// A file that is not exactly JSON (RFC 8259, UTF-8, no byte order mark, at most 65536 levels) fails
/// with line and column, counted from 1, the column in bytes; the others go on. Memory does not
/// grow with the files: a few hundred KiB per worker.
///
/// Exit code: 0 all done, 1 a file failed, 2 wrong usage, 130 or 143 stopped by Ctrl-C or SIGTERM.
/// A stop leaves no half result behind and says what was not done; a second one ends at once. A run
/// that is killed may leave files .json-pipeline-*.tmp in OUTPUT: unfinished results, to be removed.
#[derive(Parser)]
#[command(version, group = ArgGroup::new("destination").multiple(true))]
struct Options {
    /// Folder to walk, or a single file
    #[arg(requires = "destination")]
    input: Option<PathBuf>,

    /// Folder for the results, made if missing
    #[arg(group = "destination")]
    output: Option<PathBuf>,

    /// How many workers, 1 to 512 [default: as many as there are processors for this program]
    #[arg(long, value_name = "N", value_parser = worker_count, allow_negative_numbers = true)]
    workers: Option<usize>,

    /// Who does the work
    #[arg(long, value_enum, default_value = "threads")]
    mode: Mode,

    /// Check and count, but write nothing; OUTPUT may then be left out
    #[arg(long, group = "destination", requires = "input")]
    dry_run: bool,

    /// Have each result on the disk before it appears: slow, but survives a power cut
    #[arg(long, requires = "output")]
    sync: bool,

    /// One JSON object per line on stdout, for each file as it ends
    ///
    /// The key "status" and others that depend on it, the last line with only the key "summary":
    ///   processed: input, output (null with --dry-run), records, bytes, seconds
    ///   failed:    input, error, line, column (null where no place is known)
    ///   not done:  input
    ///   summary:   files, processed, failed, not_done, own_results (seen and left alone),
    ///              records, bytes, seconds, mode, workers (that had work)
    #[arg(long, requires = "input", verbatim_doc_comment)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Threads of this process; those without a file of their own help with a giant array
    Threads,
    /// Processes: this program, started again; one that dies is replaced, one that hangs is not
    Processes,
    /// One file after another
    Sequential,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Threads => "threads",
            Mode::Processes => "processes",
            Mode::Sequential => "sequential",
        }
    }
}

fn main() -> ExitCode {
    if let Some(code) = processes::worker_main() {
        return code;
    }
    let ended = options().and_then(|options| match &options.input {
        Some(input) => pipeline(input.clone(), &options),
        None => demo::run().map(|()| ExitCode::SUCCESS),
    });
    ended.unwrap_or_else(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return ExitCode::SUCCESS;
        }
        let _ = writeln!(io::stderr(), "error: {}", Shown(&error.to_string()));
        ExitCode::FAILURE
    })
}

/// Help and version go through our own output, so that a full disk is an error there, too.
fn options() -> io::Result<Options> {
    Options::try_parse().or_else(|error| {
        if error.use_stderr() {
            error.exit();
        }
        let mut out = io::stdout().lock();
        write!(out, "{error}")?;
        out.flush()?;
        std::process::exit(0)
    })
}

fn worker_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=512).contains(count));
    count.ok_or_else(|| "must be a whole number from 1 to 512".into())
}

fn pipeline(input: PathBuf, options: &Options) -> io::Result<ExitCode> {
    let workers = workers(options);
    let shared = Shared {
        sync: options.sync,
        ..Shared::default()
    };
    let stop = shared.stop.clone();
    signals::listen(
        move |_| stop.store(true, Ordering::Relaxed),
        files::end_writing,
    )?;
    let begin = Instant::now();
    let plan = files::plan(&input, options.output.as_deref(), options.dry_run)?;

    let mut report = Report::new(io::stdout().lock(), options.json);
    let progress = Progress::start(&shared, plan.jobs.len());
    report.own_results(plan.own_results);
    for (path, reason) in plan.refused {
        let job = Job {
            input: path,
            output: None,
        };
        report.add(&job, Outcome::failed(reason), &progress);
    }
    do_all(
        &plan.jobs,
        options.mode,
        workers,
        &shared,
        |job, outcome| {
            report.add(job, outcome, &progress);
            // Nobody reads on, or there is no room: no reason to go on.
            if report.broken() {
                shared.stop.store(true, Ordering::Relaxed);
            }
        },
    );
    drop(progress);
    let used = workers - shared.least_idle.load(Ordering::Relaxed);
    let failed = report.finish(begin.elapsed(), options.mode.name(), used)?;
    Ok(match signals::received() {
        None => ExitCode::from(u8::from(failed)),
        Some(signal) => ExitCode::from(signal.exit_code),
    })
}

fn do_all(
    jobs: &[Job],
    mode: Mode,
    workers: usize,
    shared: &Shared,
    report: impl FnMut(&Job, Outcome),
) {
    match mode {
        Mode::Sequential => work::run(jobs, 1, shared, |_| work::local(shared), report),
        Mode::Threads => work::run(jobs, workers, shared, |_| work::local(shared), report),
        Mode::Processes => processes::run_processes(jobs, workers, shared, report),
    }
}

fn workers(options: &Options) -> usize {
    match (options.mode, options.workers) {
        (Mode::Sequential, None | Some(1)) => 1,
        (Mode::Sequential, Some(_)) => {
            let message = "--mode sequential has exactly one worker";
            Options::command()
                .error(ErrorKind::ArgumentConflict, message)
                .exit()
        }
        (_, Some(workers)) => workers,
        (_, None) => available_parallelism().map_or(1, usize::from),
    }
}
