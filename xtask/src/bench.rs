//! `cargo xtask bench`: an example and its peers, run in turn, with equal answers first.
//!
//! What is compared stands in the example's manifest as `[[package.metadata.bench]]`, and the
//! peers' programs in its folder `compare`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::*;
use serde_json::{Value as Json, json};

use crate::error::{Error, Result, failed, usage};
use crate::launch::Job;
use crate::process::{self, Ending, Run, Unwatched};
use crate::run_all;
use crate::temp::TempFolder;
use crate::workspace::{self, Example, Workspace, array};
use crate::{help, output, text};

const HELP: &str = "\
Usage: cargo xtask bench [NAME...] [OPTIONS]

Runs an example and its peers in turn, A B A B ..., and prints medians, and ratios against the
first of them. Before any time is printed all of them have given the same answer. A peer that is
not installed is named and skipped.

  --rounds N    counted runs of each, after one that is not counted [default: 5]
  --json FILE   write all figures as JSON, to stdout if FILE is -
  --save        keep the figures in the example's compare/measured.json, for the README

Columns: `work` is the time of the work alone, where the programs tell it; wall and CPU time and
the peak memory are those of the whole program, as the system accounts them.

A column is shown when all sides know it.

The JSON is one object: `machine`, `date`, `rounds`, and `results`, an array of objects with
  example, bench, size
  sides      an array of objects with `name` and either `skipped`, the reason, or the objects
             work_s, wall_s, cpu_s and peak_kb, each with median, min, max and ratio (null where
             a figure is not known); ratio is the median divided by that of the first side

An example declares what is compared in its Cargo.toml:

  [[package.metadata.bench]]
  name = \"count the primes\"
  sizes = [\"1e8\", \"1e9\"]
  setup = [\"python3\", \"{compare}/make.py\", \"{input}\", \"{size}\"]
  sides = [
    { name = \"rust\", run = [\"{bin}\", \"{size}\"] },
    { name = \"python\", run = [\"python3\", \"{compare}/primes.py\", \"{size}\"] },
    { name = \"go\", build = [\"go\", \"build\", \"-o\", \"{out}\", \"{compare}/primes.go\"],
      run = [\"{out}\", \"{size}\"] },
  ]

{bin} is the example's release binary, {bin:NAME} its cargo example NAME, {compare} its folder
compare, {size} the size, {input} an empty folder for what `setup` makes, {out} where `build` puts
a program. stdout is the answer, without lines that begin with #; `# seconds 0.123` there is the
time of the work alone. Exit code 77 says that a program cannot run here, and stderr why.";

/// The exit code with which a program says that it cannot run here.
const CANNOT_RUN: i32 = 77;
const LIMIT: Duration = Duration::from_secs(600);

struct Options {
    names: Vec<String>,
    rounds: usize,
    json: Option<PathBuf>,
    save: bool,
}

pub fn main(args: lexopt::Parser) -> Result {
    let Some(options) = Options::parse(args)? else {
        return help(HELP);
    };
    let workspace = Workspace::load()?;
    let examples = options.choose(&workspace)?;
    run_all::build(&workspace, &examples, &["--bins", "--examples"])?;

    // With the JSON on stdout the tables go to stderr.
    let mut out: Box<dyn Write> = match options.json.as_deref() == Some(Path::new("-")) {
        true => Box::new(io::stderr()),
        false => Box::new(io::stdout()),
    };
    let (mut results, mut failures) = (Vec::new(), 0);
    for example in &examples {
        let mut of_example = Vec::new();
        for bench in Bench::all_of(example)? {
            for size in &bench.sizes {
                match bench.measure(&workspace, size, options.rounds, &mut out) {
                    Ok(result) => of_example.push(result),
                    Err(error @ Error::Failed(_)) => {
                        failures += 1;
                        error.report();
                    }
                    Err(other) => return Err(other),
                }
            }
        }
        if options.save {
            let file = measured(example);
            fs::create_dir_all(file.parent().expect("it is in a folder"))?;
            output::write_json(&file, &figures(of_example.clone(), options.rounds))?;
            writeln!(out, "saved {}", file.display())?;
        }
        results.extend(of_example);
    }
    if let Some(file) = &options.json {
        output::write_json(file, &figures(results, options.rounds))?;
    }
    match failures {
        0 => Ok(()),
        _ => Err(Error::Code(1)),
    }
}

impl Options {
    /// None when help is asked for.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Options>> {
        let mut options = Options {
            names: Vec::new(),
            rounds: 5,
            json: None,
            save: false,
        };
        while let Some(arg) = args.next()? {
            match arg {
                Value(name) => options.names.push(name.string()?),
                Long("rounds") => options.rounds = rounds(&args.value()?.string()?)?,
                Long("json") => options.json = Some(args.value()?.into()),
                Long("save") => options.save = true,
                Short('h') | Long("help") => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
    }

    /// The examples that were asked for, or all that have something to compare.
    fn choose(&self, workspace: &Workspace) -> Result<Vec<Example>> {
        let mut examples = workspace.select(&self.names)?;
        let is_compared = |example: &Example| !array(benches(example)).is_empty();
        if let Some(bare) = examples
            .iter()
            .find(|e| !self.names.is_empty() && !is_compared(e))
        {
            return Err(usage(format!(
                "{} is compared with nothing; its manifest has no [[package.metadata.bench]]",
                bare.name
            )));
        }
        examples.retain(is_compared);
        match examples.is_empty() {
            true => Err(failed("no example has a [[package.metadata.bench]]")),
            false => Ok(examples),
        }
    }
}

fn rounds(number: &str) -> Result<usize> {
    let rounds = number.parse().ok().filter(|n| *n > 0);
    rounds.ok_or_else(|| {
        usage(format!(
            "--rounds needs a number of at least 1, not `{number}`"
        ))
    })
}

/// One entry of a manifest.
struct Bench<'a> {
    example: &'a Example,
    name: String,
    sizes: Vec<String>,
    setup: Vec<String>,
    sides: Vec<Side>,
}

struct Side {
    name: String,
    build: Vec<String>,
    run: Vec<String>,
}

fn benches(example: &Example) -> &Json {
    &example.package["metadata"]["bench"]
}

impl Bench<'_> {
    fn all_of(example: &Example) -> Result<Vec<Bench<'_>>> {
        array(benches(example))
            .iter()
            .map(|entry| Bench::parse(example, entry))
            .collect()
    }

    fn parse<'a>(example: &'a Example, entry: &Json) -> Result<Bench<'a>> {
        let side = |side: &Json| Side {
            name: workspace::text(&side["name"]),
            build: workspace::texts(&side["build"]),
            run: workspace::texts(&side["run"]),
        };
        let bench = Bench {
            example,
            name: workspace::text(&entry["name"]),
            sizes: workspace::texts(&entry["sizes"]),
            setup: workspace::texts(&entry["setup"]),
            sides: array(&entry["sides"]).iter().map(side).collect(),
        };
        let named = |side: &Side| !side.name.is_empty() && !side.run.is_empty();
        let complete = !bench.name.is_empty() && !bench.sizes.is_empty();
        if complete && !bench.sides.is_empty() && bench.sides.iter().all(named) {
            return Ok(bench);
        }
        Err(failed(format!(
            "{}: a [[package.metadata.bench]] needs `name`, `sizes` and `sides`, each side `name` \
             and `run`; `cargo xtask bench --help` shows one",
            example.name
        )))
    }

    /// Measures all sides at one size, and prints the table.
    fn measure(
        &self,
        workspace: &Workspace,
        size: &str,
        rounds: usize,
        out: &mut dyn Write,
    ) -> Result<Json> {
        writeln!(out, "\n{}: {}, {size}", self.example.name, self.name)?;
        let bench = Setting::new(self, workspace, size)?;
        let mut sides: Vec<(&Side, std::result::Result<Vec<Figures>, String>)> = Vec::new();
        let mut wanted: Option<(&str, String)> = None;
        for side in &self.sides {
            let figures = match bench.first_run(side)? {
                Ok(answer) => {
                    same_answer(&mut wanted, &side.name, answer)?;
                    Ok(Vec::new())
                }
                Err(reason) => {
                    writeln!(out, "  {} is skipped: {reason}", side.name)?;
                    Err(reason)
                }
            };
            sides.push((side, figures));
        }
        for _ in 0..rounds {
            for (side, figures) in &mut sides {
                if let Ok(figures) = figures {
                    let (answer, run) = bench.run(side)?;
                    same_answer(&mut wanted, &side.name, answer)?;
                    figures.push(run);
                }
            }
        }
        let result = json!({
            "example": self.example.name,
            "bench": self.name,
            "size": size,
            "sides": summarise(&sides),
        });
        print(&result, out)?;
        Ok(result)
    }
}

/// The first answer is what all others have to be.
fn same_answer<'a>(
    wanted: &mut Option<(&'a str, String)>,
    side: &'a str,
    answer: String,
) -> Result {
    match wanted {
        Some((first, wanted)) if *wanted != answer => Err(failed(format!(
            "the answers differ, so no time is worth printing: {first} says {}, {side} says {}",
            shortened(wanted),
            shortened(&answer)
        ))),
        Some(_) => Ok(()),
        None => {
            *wanted = Some((side, answer));
            Ok(())
        }
    }
}

fn shortened(answer: &str) -> String {
    let short: String = answer.chars().take(60).collect();
    format!(
        "{short:?}{}",
        if short.len() < answer.len() {
            "…"
        } else {
            ""
        }
    )
}

/// What a single run took.
struct Figures {
    work_s: Option<f64>,
    wall_s: f64,
    cpu_s: Option<f64>,
    peak_kb: Option<f64>,
}

/// What a command line came to.
struct Output {
    run: Run,
    answer: String,
    /// The time of the work alone, where the program tells it.
    work_s: Option<f64>,
    /// The last line of its stderr.
    complaint: String,
}

/// One bench at one size, with its folders.
struct Setting {
    scratch: TempFolder,
    /// What stands for each placeholder.
    places: Vec<(String, String)>,
    bin: PathBuf,
}

impl Setting {
    fn new(bench: &Bench, workspace: &Workspace, size: &str) -> Result<Setting> {
        let scratch = TempFolder::new("bench")?;
        let input = scratch.path().join("input");
        fs::create_dir(&input)?;
        let bin = run_all::binary(workspace, &bench.example.name);
        let places = [
            ("{bin}", bin.display().to_string()),
            (
                "{compare}",
                bench.example.dir.join("compare").display().to_string(),
            ),
            ("{size}", size.to_string()),
            ("{input}", input.display().to_string()),
        ];
        let places = places
            .map(|(place, value)| (place.to_string(), value))
            .to_vec();
        let setting = Setting {
            scratch,
            places,
            bin,
        };
        if !bench.setup.is_empty() {
            let Output { run, complaint, .. } = setting.execute(&bench.setup, "setup")?;
            if !run.is_ok() {
                return Err(failed(format!(
                    "{}: the setup: {run}: {complaint}",
                    bench.name
                )));
            }
        }
        Ok(setting)
    }

    /// Builds a side and runs it once, uncounted. The inner error says why it cannot run here.
    fn first_run(&self, side: &Side) -> Result<std::result::Result<String, String>> {
        for command in [&side.build, &side.run] {
            if command.is_empty() {
                continue;
            }
            let Output {
                run,
                answer,
                complaint,
                ..
            } = self.execute(command, &side.name)?;
            match run.ending {
                Ending::Code(0) if command == &side.run => return Ok(Ok(answer)),
                Ending::Code(0) => {}
                Ending::Code(CANNOT_RUN) => return Ok(Err(complaint)),
                Ending::NotStarted(error) if error.kind() == ErrorKind::NotFound => {
                    return Ok(Err(format!("`{}` is not installed", command[0])));
                }
                _ => return Err(failed(format!("{}: {run}: {complaint}", side.name))),
            }
        }
        unreachable!("a side has something to run")
    }

    /// Runs a side that has run once already.
    fn run(&self, side: &Side) -> Result<(String, Figures)> {
        let output = self.execute(&side.run, &side.name)?;
        let run = &output.run;
        if !run.is_ok() {
            let complaint = &output.complaint;
            return Err(failed(format!("{}: {run}: {complaint}", side.name)));
        }
        let figures = Figures {
            work_s: output.work_s,
            wall_s: run.wall.as_secs_f64(),
            cpu_s: run.usage.as_ref().map(|usage| usage.cpu.as_secs_f64()),
            peak_kb: run.usage.as_ref().map(|usage| usage.peak_kb as f64),
        };
        Ok((output.answer, figures))
    }

    /// Runs a command line.
    fn execute(&self, command: &[String], side: &str) -> Result<Output> {
        let dir = self.scratch.path();
        let (stdout, stderr) = (dir.join("stdout"), dir.join("stderr"));
        let words: Vec<String> = command.iter().map(|word| self.fill(word, side)).collect();
        let job = Job {
            program: words[0].clone().into(),
            args: words[1..].iter().map(Into::into).collect(),
            dir: Some(dir.to_path_buf()),
            stdout: Some(File::create(&stdout)?),
            stderr: Some(File::create(&stderr)?),
            limit: Some(LIMIT),
        };
        let run = process::run(job, &mut Unwatched);
        if let Some(code) = process::interrupted() {
            return Err(Error::Code(code));
        }
        let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = read(stdout)?;
        let answer: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let work = text
            .lines()
            .find_map(|line| line.strip_prefix("# seconds "));
        Ok(Output {
            run,
            answer: answer.join("\n").trim().to_string(),
            work_s: work.and_then(|seconds| seconds.trim().parse().ok()),
            complaint: read(stderr)?.lines().last().unwrap_or_default().to_string(),
        })
    }

    /// A word of a command line with everything put in that braces stand for.
    fn fill(&self, word: &str, side: &str) -> String {
        let out = self
            .scratch
            .path()
            .join(format!("built-{}", side.replace(['/', ' '], "-")));
        let mut word = word.replace("{out}", &out.display().to_string());
        for (place, value) in &self.places {
            word = word.replace(place, value);
        }
        if let Some((before, rest)) = word.split_once("{bin:")
            && let Some((name, after)) = rest.split_once('}')
        {
            let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
            let path = self.bin.with_file_name("examples").join(file);
            word = format!("{before}{}{after}", path.display());
        }
        word
    }
}

const COLUMNS: [(&str, &str); 4] = [
    ("work", "work_s"),
    ("wall", "wall_s"),
    ("CPU", "cpu_s"),
    ("memory", "peak_kb"),
];

/// One object per side, with median, spread and ratio of each figure.
fn summarise(sides: &[(&Side, std::result::Result<Vec<Figures>, String>)]) -> Json {
    let figure = |key: &str, figures: &Figures| match key {
        "work_s" => figures.work_s,
        "wall_s" => Some(figures.wall_s),
        "cpu_s" => figures.cpu_s,
        _ => figures.peak_kb,
    };
    let mut first: Option<Json> = None;
    let mut all = Vec::new();
    for (side, figures) in sides {
        let mut entry = json!({ "name": side.name });
        match figures {
            Err(reason) => entry["skipped"] = json!(reason),
            Ok(figures) => {
                for (_, key) in COLUMNS {
                    let mut values: Vec<f64> = figures
                        .iter()
                        .filter_map(|figures| figure(key, figures))
                        .collect();
                    values.sort_by(f64::total_cmp);
                    entry[key] = spread(&values, first.as_ref().map(|first| &first[key]));
                }
                first.get_or_insert_with(|| entry.clone());
            }
        }
        all.push(entry);
    }
    Json::from(all)
}

/// Of values in ascending order; null when there are none.
fn spread(values: &[f64], first: Option<&Json>) -> Json {
    let (Some(min), Some(max)) = (values.first(), values.last()) else {
        return Json::Null;
    };
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    };
    let ratio = match first {
        Some(first) => first["median"]
            .as_f64()
            .filter(|base| *base > 0.0)
            .map(|base| median / base),
        None => Some(1.0),
    };
    json!({ "median": median, "min": min, "max": max, "ratio": ratio })
}

fn print(result: &Json, out: &mut dyn Write) -> Result {
    let sides: Vec<&Json> = array(&result["sides"])
        .iter()
        .filter(|side| side["skipped"].is_null())
        .collect();
    let known = |(_, key): &(&str, &str)| sides.iter().all(|side| side[*key].is_object());
    let columns: Vec<(&str, &str)> = COLUMNS.into_iter().filter(known).collect();
    let name = |side: &Json| workspace::text(&side["name"]);
    let width = sides
        .iter()
        .map(|side| name(side).chars().count())
        .max()
        .unwrap_or(0);

    write!(out, "  {:width$}", "")?;
    for (n, (title, _)) in columns.iter().enumerate() {
        let spread = if n == 0 {
            format!("{:^19}", "min–max")
        } else {
            String::new()
        };
        write!(out, "  {title:>8}{spread} {:>6}", "ratio")?;
    }
    for side in sides {
        write!(out, "\n  {:width$}", name(side))?;
        for (n, (_, key)) in columns.iter().enumerate() {
            let shown = |which: &str| value(key, &side[*key][which]);
            let spread = match n {
                0 => format!(" {:>8} –{:>8}", shown("min"), shown("max")),
                _ => String::new(),
            };
            write!(
                out,
                "  {:>8}{spread} {:>6}",
                shown("median"),
                ratio(&side[*key])
            )?;
        }
    }
    Ok(writeln!(out)?)
}

fn value(key: &str, value: &Json) -> String {
    match (value.as_f64(), key) {
        (None, _) => "-".to_string(),
        (Some(kb), "peak_kb") => text::memory(kb as u64),
        (Some(seconds), _) => text::time(Duration::from_secs_f64(seconds)),
    }
}

fn ratio(figure: &Json) -> String {
    match figure["ratio"].as_f64() {
        None => "-".to_string(),
        Some(ratio) if ratio >= 99.5 => format!("{ratio:.0}"),
        Some(ratio) if ratio >= 9.95 => format!("{ratio:.1}"),
        Some(ratio) if ratio < 0.0995 && ratio > 0.0 => {
            let leading_zeros = -ratio.log10().ceil() as usize;
            format!("{ratio:.*}", leading_zeros + 2)
        }
        Some(ratio) => format!("{ratio:.2}"),
    }
}

/// The object that `--json` and `--save` write.
fn figures(results: Vec<Json>, rounds: usize) -> Json {
    json!({
        "machine": output::machine(),
        "date": text::date(),
        "rounds": rounds,
        "results": results,
    })
}

fn measured(example: &Example) -> PathBuf {
    example.dir.join("compare").join("measured.json")
}

/// The README's table: for each bench its largest size, as it was saved.
pub fn saved_figures(examples: &[Example]) -> Result<String> {
    let (mut rows, mut origins) = (Vec::new(), Vec::new());
    for example in examples {
        let Ok(saved) = fs::read_to_string(measured(example)) else {
            continue;
        };
        let saved: Json = serde_json::from_str(&saved)
            .map_err(|error| failed(format!("{}: {error}", measured(example).display())))?;
        let results = array(&saved["results"]);
        let is_largest = |n: usize| {
            results
                .get(n + 1)
                .is_none_or(|r| r["bench"] != results[n]["bench"])
        };
        let largest = results.iter().enumerate().filter(|(n, _)| is_largest(*n));
        rows.extend(largest.map(|(_, result)| row(example, result)));
        let day = workspace::text(&saved["date"]);
        let day = day.split(' ').next().unwrap_or_default();
        let machine = &saved["machine"];
        let cpu = machine["cpu"].as_str().unwrap_or("unknown processor");
        origins.push(format!(
            "{cpu}, {} cores, {}, {day}",
            machine["cores"],
            machine["os"].as_str().unwrap_or_default()
        ));
    }
    if rows.is_empty() {
        return Ok(String::new());
    }
    origins.sort();
    origins.dedup();
    let head = "| example | measured | ours | peers, and how many times our time |\n| --- | --- | --- | --- |";
    Ok(format!(
        "\n{head}\n{}\n\nMedians, measured on: {}.\n\n",
        rows.join("\n"),
        origins.join("; ")
    ))
}

fn row(example: &Example, result: &Json) -> String {
    let sides: Vec<&Json> = array(&result["sides"])
        .iter()
        .filter(|side| side["skipped"].is_null())
        .collect();
    let all_tell_work = sides.iter().all(|side| side["work_s"].is_object());
    let key = if all_tell_work { "work_s" } else { "wall_s" };
    let mut shown = sides.into_iter().map(|side| {
        let time = value(key, &side[key]["median"]);
        (
            format!("{} {time}", workspace::text(&side["name"])),
            ratio(&side[key]),
        )
    });
    let ours = shown.next().map(|(side, _)| side).unwrap_or_default();
    let peers: Vec<String> = shown
        .map(|(side, ratio)| format!("{side} ({ratio} ×)"))
        .collect();
    let (bench, size) = (
        workspace::text(&result["bench"]),
        workspace::text(&result["size"]),
    );
    format!(
        "| {} | {bench}, {size} | {ours} | {} |",
        example.name,
        peers.join("<br>")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_answers_are_an_error_that_shows_both() {
        let mut wanted = None;
        same_answer(&mut wanted, "ours", "42".to_string()).unwrap();
        same_answer(&mut wanted, "theirs", "42".to_string()).unwrap();
        let error = same_answer(&mut wanted, "others", "43".to_string())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("ours says \"42\", others says \"43\""),
            "{error}"
        );
    }

    #[test]
    fn a_ratio_has_about_three_digits_and_a_small_one_two() {
        let texts = [123.4, 12.34, 1.234, 0.1234, 0.01234, 0.000_56]
            .map(|value| ratio(&json!({ "ratio": value })));
        assert_eq!(texts, ["123", "12.3", "1.23", "0.12", "0.012", "0.00056"]);
    }

    #[test]
    fn a_ratio_compares_medians_with_those_of_the_first_side() {
        let first = spread(&[1.0, 2.0, 9.0], None);
        assert_eq!(
            first,
            json!({ "median": 2.0, "min": 1.0, "max": 9.0, "ratio": 1.0 })
        );
        assert_eq!(spread(&[5.0], Some(&first))["ratio"], 2.5);
        assert_eq!(spread(&[4.0, 6.0], Some(&first))["median"], 5.0);
        assert_eq!(spread(&[], Some(&first)), Json::Null);
    }
}
