//! `cargo xtask run-all`: builds the examples once, runs them one after another, and tells what
//! each took.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use serde_json::{Value as Json, json};

use crate::error::{Error, Result, failed, usage};
use crate::process::{self, Ending, Job, Run, Watch};
use crate::sample::{Lane, Sampler};
use crate::suggest;
use crate::temp::TempFolder;
use crate::workspace::{CHAPTERS, Example, Workspace, cargo};
use crate::{procfs, report, text};

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

struct Options {
    names: Vec<String>,
    chapter: Option<String>,
    repeat: usize,
    timeout: Duration,
    json: Option<PathBuf>,
    report: Option<PathBuf>,
}

/// What is known of an example after its runs.
pub struct Outcome {
    pub example: Example,
    pub result: String,
    short: String,
    pub ok: bool,
    /// By Ctrl-C, which is not its fault.
    interrupted: bool,
    /// In ascending order, one per run; empty when it could not be started.
    pub walls: Vec<Duration>,
    pub cpu: Option<Duration>,
    pub peak_kb: Option<u64>,
    pub threads: Option<usize>,
    pub processes: Option<usize>,
    pub log: PathBuf,
    /// Of the last run, and so are its wall and CPU time.
    pub lanes: Vec<Lane>,
    pub lanes_wall: Duration,
    pub lanes_cpu: Option<Duration>,
}

pub fn main(args: lexopt::Parser) -> Result {
    let Some(options) = Options::parse(args)? else {
        return crate::help(HELP);
    };
    let workspace = Workspace::load()?;
    let examples = options.choose(&workspace)?;
    build(&workspace, &examples, &[])?;
    let mut screen = Screen::new(&options);
    let outcomes = run_all(&workspace, &examples, &options, &mut screen)?;
    if let Some(dir) = &options.report {
        report::write(dir, &outcomes)?;
        screen.line(&format!("report: {}", dir.join("index.html").display()))?;
    }
    if let Some(file) = &options.json {
        write_json(file, &to_json(&outcomes, &options))?;
    }
    screen.summary(&outcomes, examples.len(), &options)?;
    match (
        process::interrupted(),
        outcomes.iter().all(|outcome| outcome.ok),
    ) {
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
            timeout: Duration::from_secs(60),
            json: None,
            report: None,
        };
        while let Some(arg) = args.next()? {
            match arg {
                Value(name) => options.names.push(name.string()?),
                Long("chapter") => options.chapter = Some(chapter(args.value()?.string()?)?),
                Long("repeat") => options.repeat = repeat(&args.value()?.string()?)?,
                Long("timeout") => options.timeout = timeout(&args.value()?.string()?)?,
                Long("json") => options.json = Some(args.value()?.into()),
                Long("report") => options.report = Some(args.value()?.into()),
                Short('h') | Long("help") => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
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

impl Outcome {
    fn of(example: &Example, mut runs: Vec<(Run, Sampler)>, log: PathBuf) -> Outcome {
        let started = |run: &&(Run, Sampler)| !matches!(run.0.ending, Ending::NotStarted(_));
        let mut walls: Vec<Duration> = runs.iter().filter(started).map(|r| r.0.wall).collect();
        walls.sort();
        let usage = |(run, _): &(Run, Sampler)| run.usage.as_ref().map(|u| (u.cpu, u.peak_kb));
        let mut usages: Vec<(Duration, u64)> = runs.iter().filter_map(usage).collect();
        usages.sort();
        let sampled = procfs::is_there() && !walls.is_empty();
        let most = |count: fn(&Sampler) -> usize| {
            let most = runs.iter().map(|(_, sampler)| count(sampler)).max();
            most.filter(|_| sampled)
        };
        let (threads, processes) = (most(|s| s.peak_threads), most(|s| s.peak_processes));
        let (last, sampler) = runs.pop().expect("it was run at least once");
        Outcome {
            example: example.clone(),
            result: last.to_string(),
            short: last.short(),
            ok: last.is_ok(),
            interrupted: matches!(last.ending, Ending::Interrupted(_)),
            cpu: median(&usages).map(|(cpu, _)| *cpu),
            peak_kb: usages.iter().map(|(_, peak)| *peak).max(),
            threads,
            processes,
            walls,
            log,
            lanes: sampler.into_lanes(),
            lanes_wall: last.wall,
            lanes_cpu: last.usage.map(|usage| usage.cpu),
        }
    }

    pub fn wall(&self) -> Option<Duration> {
        median(&self.walls).copied()
    }

    /// CPU / wall.
    pub fn cores(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() / self.wall()?.as_secs_f64())
    }

    /// The last lines of its log.
    fn last_lines(&self) -> Vec<String> {
        let (_, tail) = report::ends_of(&self.log, 0, 4096);
        let text = text::harmless(&tail);
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(8);
        lines[first..]
            .iter()
            .map(|line| line.chars().take(200).collect())
            .collect()
    }
}

fn median<T>(sorted: &[T]) -> Option<&T> {
    sorted.get(sorted.len() / 2)
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

/// Where rows go: stdout, or stderr when stdout is for JSON.
struct Screen {
    out: Box<dyn Write>,
    aside: bool,
    terminal: bool,
    colour: bool,
    repeat: bool,
    name_width: usize,
}

impl Screen {
    fn new(options: &Options) -> Screen {
        let aside = options.json.as_deref() == Some(Path::new("-"));
        let (out, terminal): (Box<dyn Write>, bool) = match aside {
            true => (Box::new(io::stderr()), io::stderr().is_terminal()),
            false => (Box::new(io::stdout()), io::stdout().is_terminal()),
        };
        Screen {
            out,
            aside,
            terminal,
            colour: text::colour(terminal),
            repeat: options.repeat > 1,
            name_width: 7,
        }
    }

    fn line(&mut self, text: &str) -> Result {
        Ok(writeln!(self.out, "{text}")?)
    }

    fn progress(&self, title: &str) -> Progress {
        Progress {
            title: self.terminal.then(|| title.to_string()),
            began: Instant::now(),
            shown: None,
            aside: self.aside,
        }
    }

    fn head(&mut self, examples: &[Example]) -> Result {
        let longest = examples.iter().map(|example| example.name.len()).max();
        self.name_width = longest.unwrap_or(0).max("example".len());
        let spread = if self.repeat {
            "  wall min–max     "
        } else {
            ""
        };
        let title = format!(
            "{:<width$} {:<13} {:>7}{spread} {:>7} {:>5} {:>7} {:>7} {:>5}",
            "example",
            "result",
            "wall",
            "CPU",
            "cores",
            "memory",
            "threads",
            "procs",
            width = self.name_width
        );
        self.line(&title)
    }

    fn row(&mut self, outcome: &Outcome) -> Result {
        let result = format!("{:<13}", outcome.short);
        let result = match outcome.ok {
            true => text::green(&result, self.colour),
            false => text::red(&result, self.colour),
        };
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_string());
        let spread = match (self.repeat, outcome.walls.first(), outcome.walls.last()) {
            (true, Some(min), Some(max)) => {
                format!(" {:>8} –{:>8}", text::time(*min), text::time(*max))
            }
            (true, ..) => format!("{:19}", ""),
            (false, ..) => String::new(),
        };
        let row = format!(
            "{:<width$} {result} {:>7}{spread} {:>7} {:>5} {:>7} {:>7} {:>5}",
            outcome.example.name,
            shown(outcome.wall().map(text::time)),
            shown(outcome.cpu.map(text::time)),
            shown(outcome.cores().map(|cores| format!("{cores:.2}"))),
            shown(outcome.peak_kb.map(text::memory)),
            shown(outcome.threads.map(|count| count.to_string())),
            shown(outcome.processes.map(|count| count.to_string())),
            width = self.name_width
        );
        self.line(&row)
    }

    fn summary(&mut self, outcomes: &[Outcome], chosen: usize, options: &Options) -> Result {
        let failed = outcomes
            .iter()
            .filter(|outcome| !outcome.ok && !outcome.interrupted);
        for outcome in failed.clone() {
            self.failure(outcome, options)?;
        }
        let wall: Duration = outcomes.iter().filter_map(Outcome::wall).sum();
        let cpu: Duration = outcomes.iter().filter_map(|outcome| outcome.cpu).sum();
        let counts = [
            (outcomes.iter().filter(|outcome| outcome.ok).count(), "ok"),
            (failed.count(), "failed"),
            (
                outcomes
                    .iter()
                    .filter(|outcome| outcome.interrupted)
                    .count(),
                "interrupted",
            ),
            (chosen - outcomes.len(), "not run"),
        ];
        let counts = counts
            .iter()
            .filter(|(count, what)| *count > 0 || *what == "ok");
        let counts: Vec<String> = counts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let examples = text::count(chosen, "example", "examples");
        let (wall, cpu) = (text::time(wall), text::time(cpu));
        self.line(&format!(
            "\n{examples}: {}; wall {wall}, CPU {cpu}",
            counts.join(", ")
        ))
    }

    fn failure(&mut self, outcome: &Outcome, options: &Options) -> Result {
        let name = &outcome.example.name;
        let title = format!("\n{name}: {}", outcome.result);
        self.line(&text::red(&title, self.colour))?;
        for line in outcome.last_lines() {
            self.line(&format!("  | {line}"))?;
        }
        self.line(&format!("  log:    {}", outcome.log.display()))?;
        let timeout = match options.timeout.as_secs_f64() {
            60.0 => String::new(),
            seconds => format!(" --timeout {seconds}"),
        };
        self.line(&format!("  repeat: cargo xtask run-all {name}{timeout}"))
    }
}

/// A line that says what runs and for how long, on a terminal only. Gone when it is dropped.
struct Progress {
    title: Option<String>,
    began: Instant,
    shown: Option<Instant>,
    aside: bool,
}

impl Progress {
    fn show(&mut self) {
        let Some(title) = &self.title else { return };
        let pause = Duration::from_millis(100);
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = self.began.elapsed().as_secs_f64();
        self.write(&format!("\r\x1b[K{title} {seconds:.1} s"));
    }

    /// A terminal that has gone is noticed with the next row.
    fn write(&self, text: &str) {
        let _ = match self.aside {
            true => io::stderr().write_all(text.as_bytes()),
            false => write!(io::stdout(), "{text}").and_then(|()| io::stdout().flush()),
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            self.write("\r\x1b[K");
        }
    }
}

fn to_json(outcomes: &[Outcome], options: &Options) -> Json {
    let seconds = |time: &Duration| time.as_secs_f64();
    let results: Vec<Json> = outcomes
        .iter()
        .map(|outcome| {
            let mut result = json!({
                "name": outcome.example.name,
                "chapter": outcome.example.chapter,
                "result": outcome.result,
                "wall_s": outcome.wall().as_ref().map(seconds),
                "cpu_s": outcome.cpu.as_ref().map(seconds),
                "peak_kb": outcome.peak_kb,
                "threads": outcome.threads,
                "processes": outcome.processes,
            });
            if options.repeat > 1 {
                result["wall_min_s"] = json!(outcome.walls.first().map(seconds));
                result["wall_max_s"] = json!(outcome.walls.last().map(seconds));
            }
            result
        })
        .collect();
    let mut object = machine();
    object["repeat"] = json!(options.repeat);
    object["results"] = json!(results);
    object
}

/// What the figures were measured on, and when.
pub fn machine() -> Json {
    json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "cores": thread::available_parallelism().map_or(1, |cores| cores.get()),
        "cpu": procfs::cpu_model(),
        "date": text::date(),
    })
}

/// Writes to a file, or to stdout if its name is `-`.
pub fn write_json(file: &Path, json: &Json) -> Result {
    write_file(file, &format!("{json:#}\n"))
}

pub fn write_file(file: &Path, text: &str) -> Result {
    if file == Path::new("-") {
        return Ok(io::stdout().write_all(text.as_bytes())?);
    }
    fs::write(file, text)
        .map_err(|error| failed(format!("cannot write {}: {error}", file.display())))
}
