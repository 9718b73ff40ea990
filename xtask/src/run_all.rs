//! `cargo xtask run-all`: builds the examples once, runs them one after another, and tells what
//! each took.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use serde_json::json;

use crate::error::{Error, Result, failed, usage};
use crate::launch::Job;
use crate::outcome::Outcome;
use crate::output::{machine, writable, write_json};
use crate::process::{self, Run, Watch};
use crate::report;
use crate::sample::Sampler;
use crate::screen::{Progress, Screen};
use crate::suggest;
use crate::temp::TempFolder;
use crate::workspace::{CHAPTERS, Example, Workspace, cargo};

const HELP: &str = "\
Usage: cargo xtask run-all [NAME...] [OPTIONS]

Builds the examples in release, runs them one after another, each in an empty temporary folder and
without input, and prints a row as each one ends. An example is ok when it exits with code 0 and
leaves no process behind. What it prints is kept in target/run-all/NAME.log.

  --chapter CHAPTER   only those of threading, multiprocessing or realworld
  --repeat N          run each N times; wall and CPU are then medians
  --timeout SECONDS   end an example that takes longer [default: 60]
  --json FILE         write the results as JSON, to stdout if FILE is -
  --report DIR        write DIR/index.html: the table, and each example's log and trace

Columns: wall and CPU time; cores, which is CPU / wall; the peak memory of the largest process;
the most threads and processes alive at once. CPU and memory are the system's own accounting and
include child processes that were waited for. Threads and processes are counted every millisecond.

The JSON is one object: `os`, `arch`, `cores`, `cpu`, `date`, `repeat`, and `results`, an array of
objects with
  name, chapter      of the example
  result             \"ok\" or what went wrong
  wall_s, cpu_s      seconds; with --repeat the median, and also wall_min_s and wall_max_s
  peak_kb            peak memory in units of 1024 bytes
  threads, processes the most alive at once
A figure that this system does not tell is null.

Exit code: 0 when all are ok, 1 when one is not or the build fails, 2 for a wrong call, 130 or 143
when ended by Ctrl-C or SIGTERM.

  cargo xtask run-all bounded-buffer --repeat 20
  cargo xtask run-all --chapter threading --json - | jq '.results[] | [.name, .wall_s]'";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

struct Options {
    names: Vec<String>,
    chapter: Option<String>,
    repeat: usize,
    timeout: Duration,
    json: Option<PathBuf>,
    report: Option<PathBuf>,
}

pub fn main(args: lexopt::Parser) -> Result {
    let Some(options) = Options::parse(args)? else {
        return crate::help(HELP);
    };
    let workspace = Workspace::load()?;
    let examples = options.choose(&workspace)?;
    build(&workspace, &examples, &[])?;
    let aside = options.json.as_deref() == Some(Path::new("-"));
    let mut screen = Screen::new(aside, options.repeat > 1);
    let outcomes = run_all(&workspace, &examples, &options, &mut screen)?;
    screen.summary(&outcomes, examples.len(), &options.again())?;
    if let Some(dir) = &options.report {
        report::write(dir, &outcomes)?;
        screen.line(&format!("report: {}", dir.join("index.html").display()))?;
    }
    if let Some(file) = &options.json {
        let spread = options.repeat > 1;
        let mut object = machine();
        object["repeat"] = json!(options.repeat);
        object["results"] = outcomes
            .iter()
            .map(|outcome| outcome.to_json(spread))
            .collect();
        write_json(file, &object)?;
    }
    let all_ok = outcomes.iter().all(|outcome| outcome.ok);
    match (process::interrupted(), all_ok) {
        (Some(code), _) => Err(Error::Code(code)),
        (None, true) => Ok(()),
        (None, false) => Err(Error::Code(1)),
    }
}

impl Options {
    /// None when help is asked for.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Options>> {
        let mut options = Options {
            names: Vec::new(),
            chapter: None,
            repeat: 1,
            timeout: DEFAULT_TIMEOUT,
            json: None,
            report: None,
        };
        while let Some(arg) = args.next()? {
            match arg {
                Value(name) => options.names.push(name.string()?),
                Long("chapter") => options.chapter = Some(chapter(args.value()?.string()?)?),
                Long("repeat") => options.repeat = repeat(&args.value()?.string()?)?,
                Long("timeout") => options.timeout = timeout(&args.value()?.string()?)?,
                Long("json") => options.json = Some(writable(args.value()?)?),
                Long("report") => options.report = Some(args.value()?.into()),
                Short('h') | Long("help") => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
    }

    /// What a repetition of a run needs besides the example's name.
    fn again(&self) -> String {
        match self.timeout {
            DEFAULT_TIMEOUT => String::new(),
            timeout => format!(" --timeout {}", timeout.as_secs_f64()),
        }
    }

    fn choose(&self, workspace: &Workspace) -> Result<Vec<Example>> {
        let mut examples = workspace.select(&self.names)?;
        if let Some(chapter) = &self.chapter {
            examples.retain(|example| example.chapter == *chapter);
        }
        match (examples.is_empty(), &self.chapter) {
            (true, Some(chapter)) => Err(usage(format!("none of them is in chapter {chapter}"))),
            (true, None) => Err(failed("this workspace has no examples")),
            (false, _) => Ok(examples),
        }
    }
}

fn chapter(name: String) -> Result<String> {
    match CHAPTERS.contains(&name.as_str()) {
        true => Ok(name),
        false => Err(usage(format!(
            "there is no chapter `{name}`{}; the chapters are {}",
            suggest::nearest_names(&name, CHAPTERS),
            CHAPTERS.join(", ")
        ))),
    }
}

fn repeat(number: &str) -> Result<usize> {
    number.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
        usage(format!(
            "--repeat needs a number of at least 1, not `{number}`"
        ))
    })
}

fn timeout(seconds: &str) -> Result<Duration> {
    let number = seconds.parse().ok().filter(|n| *n > 0.0);
    number
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| {
            usage(format!(
                "--timeout needs seconds, more than 0, not `{seconds}`"
            ))
        })
}

/// Builds in release, with cargo's own progress on stderr.
pub fn build(workspace: &Workspace, examples: &[Example], targets: &[&str]) -> Result {
    let mut command = cargo();
    command
        .current_dir(&workspace.root)
        .args(["build", "--release"])
        .args(targets);
    for example in examples {
        command.args(["-p", &example.name]);
    }
    let status = command
        .status()
        .map_err(|error| failed(format!("cannot run cargo: {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(
            "the build failed, nothing was run; cargo's messages are above",
        )),
    }
}

/// The release binary of an example.
pub fn binary(workspace: &Workspace, name: &str) -> PathBuf {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    workspace.target.join("release").join(file)
}

fn run_all(
    workspace: &Workspace,
    examples: &[Example],
    options: &Options,
    screen: &mut Screen,
) -> Result<Vec<Outcome>> {
    let logs = workspace.target.join("run-all");
    fs::create_dir_all(&logs)
        .map_err(|error| failed(format!("cannot make {}: {error}", logs.display())))?;
    screen.head(examples)?;
    let mut outcomes = Vec::new();
    for (n, example) in examples.iter().enumerate() {
        let title = format!("[{}/{}] {}", n + 1, examples.len(), example.name);
        let log = logs.join(format!("{}.log", example.name));
        let program = binary(workspace, &example.name);
        let outcome = run_example(example, &program, log, options, screen.progress(&title))?;
        screen.row(&outcome)?;
        outcomes.push(outcome);
        if process::interrupted().is_some() {
            break;
        }
    }
    Ok(outcomes)
}

/// Runs one example as often as wanted, or until it fails.
fn run_example(
    example: &Example,
    program: &Path,
    log: PathBuf,
    options: &Options,
    mut progress: Progress,
) -> Result<Outcome> {
    let mut runs: Vec<(Run, Sampler)> = Vec::new();
    while runs.len() < options.repeat && runs.iter().all(|(run, _)| run.is_ok()) {
        let folder = TempFolder::new("run")?;
        let output = File::create(&log)
            .map_err(|error| failed(format!("cannot write {}: {error}", log.display())))?;
        let job = Job {
            program: program.into(),
            dir: Some(folder.path().to_path_buf()),
            stderr: Some(output.try_clone()?),
            stdout: Some(output),
            limit: Some(options.timeout),
            ..Job::default()
        };
        let mut watch = RowWatch {
            sampler: Sampler::new(),
            progress: &mut progress,
        };
        let run = process::run(job, &mut watch);
        runs.push((run, watch.sampler));
    }
    Ok(Outcome::of(example, runs, log))
}

/// Samples for the picture, and keeps the progress line going.
struct RowWatch<'a> {
    sampler: Sampler,
    progress: &'a mut Progress,
}

impl Watch for RowWatch<'_> {
    fn start(&mut self, pid: u32, start: Instant) {
        self.sampler.start(pid, start);
    }

    fn look(&mut self) -> Duration {
        self.progress.show();
        self.sampler.look()
    }

    fn end(&mut self, at: Instant) {
        self.sampler.end(at);
    }
}
