//! `cargo xtask ci`: everything that has to hold before a change goes in.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::iter;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use lexopt::prelude::*;

use crate::error::{Error, Result, failed, usage};
use crate::temp::TempFolder;
use crate::workspace::{Example, Workspace, cargo};
use crate::{copy, help, readme, rules, suggest};

/// A step's name, what it checks, and its check.
type Step = (&'static str, &'static str, fn(&Workspace) -> Result);

const STEPS: [Step; 9] = [
    (
        "manifests",
        "every manifest is complete and agrees with the others",
        rules::manifests,
    ),
    (
        "shared",
        "the files that several examples carry have the same text",
        rules::shared_files,
    ),
    ("fmt", "the code is formatted", fmt),
    ("clippy", "clippy finds nothing", clippy),
    (
        "alone",
        "every member builds without the features of the others",
        alone,
    ),
    ("test", "all tests pass", test),
    (
        "run-all",
        "every example runs and holds its own check",
        run_all,
    ),
    (
        "copies",
        "every example, copied out, passes its tests and runs",
        copies,
    ),
    (
        "readme",
        "the README's index and figures are up to date",
        |w| readme::refresh(w, true),
    ),
];

pub fn main(mut args: lexopt::Parser) -> Result {
    let (mut chosen, mut skipped) = (Vec::new(), Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("step") => chosen.push(find(&args.value()?.string()?)?),
            Long("skip") => skipped.push(find(&args.value()?.string()?)?.0),
            Short('h') | Long("help") => return help(&help_text()),
            other => return Err(other.unexpected().into()),
        }
    }
    if chosen.is_empty() {
        chosen.extend(STEPS);
    }
    chosen.retain(|(name, ..)| !skipped.contains(name));
    let workspace = Workspace::load()?;
    let mut out = io::stdout();
    let mut failures = Vec::new();
    for (name, what, check) in chosen {
        writeln!(out, "\n=== {name}: {what}")?;
        let begin = Instant::now();
        let result = check(&workspace);
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        if let Err(error) = result {
            error.report();
            failures.push(name);
        }
        writeln!(
            out,
            "=== {name}: {verdict} in {:.1} s",
            begin.elapsed().as_secs_f64()
        )?;
    }
    match failures.is_empty() {
        true => Ok(writeln!(out, "\nall checks passed")?),
        false => {
            writeln!(out, "\nfailed: {}", failures.join(", "))?;
            writeln!(
                out,
                "repeat one with `cargo xtask ci --step {}`",
                failures[0]
            )?;
            Err(Error::Code(1))
        }
    }
}

fn find(name: &str) -> Result<Step> {
    STEPS
        .into_iter()
        .find(|step| step.0 == name)
        .ok_or_else(|| {
            let near = suggest::nearest_names(name, STEPS.iter().map(|step| step.0));
            usage(format!(
                "there is no step `{name}`{near}; `cargo xtask ci --help` lists them"
            ))
        })
}

fn help_text() -> String {
    let mut text = "\
Usage: cargo xtask ci [--step NAME]... [--skip NAME]...

Checks everything that has to hold before a change goes in, goes on after a failure, and ends
with the list of what failed. --step runs one step only, --skip leaves one out; both can be given
more than once:

"
    .to_string();
    for (name, what, _) in STEPS {
        let _ = writeln!(text, "  {name:10}  {what}");
    }
    text.trim_end().to_string()
}

fn fmt(workspace: &Workspace) -> Result {
    run(cargo()
        .args(["fmt", "--all", "--check"])
        .current_dir(&workspace.root))
}

fn clippy(workspace: &Workspace) -> Result {
    let args = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    run(cargo().args(args).current_dir(&workspace.root))
}

/// Cargo builds the members of a workspace with the features of all of them together, which hides
/// a feature that one of them forgot to ask for.
fn alone(workspace: &Workspace) -> Result {
    for_each(&workspace.packages, |package| {
        let name = package["name"].as_str().unwrap_or_default();
        let args = ["check", "--quiet", "--all-targets", "-p", name];
        run(cargo().args(args).current_dir(&workspace.root))
    })
}

/// Runs all tests and adds up their totals, which cargo prints per program only.
fn test(workspace: &Workspace) -> Result {
    make_way();
    let args = ["test", "--workspace", "--no-fail-fast"];
    let mut child = cargo()
        .args(args)
        .current_dir(&workspace.root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut totals = Totals::default();
    for line in BufReader::new(child.stdout.take().expect("stdout is piped")).lines() {
        let line = line?;
        totals.add(&line);
        writeln!(io::stdout(), "{line}")?;
    }
    let status = child.wait()?;
    writeln!(
        io::stdout(),
        "\n{} passed, {} failed",
        totals.passed,
        totals.failed
    )?;
    match status.success() && totals.failed == 0 && totals.passed > 0 {
        true => Ok(()),
        false => Err(failed("not all tests passed")),
    }
}

#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
}

impl Totals {
    /// Adds a line such as `test result: ok. 6 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        let count = |word: &str| {
            let before = counts.split(word).next().unwrap_or_default();
            before
                .split_whitespace()
                .last()
                .and_then(|number| number.parse().ok())
                .unwrap_or(0)
        };
        self.passed += count(" passed");
        self.failed += count(" failed");
    }
}

/// Cargo may be about to build xtask with other features than it has now. Windows lets nobody
/// replace a program that runs, but anybody rename it.
fn make_way() {
    if cfg!(windows)
        && let Ok(running) = env::current_exe()
    {
        // It fails if this is another file by now, and then that one can be replaced.
        let _ = fs::rename(&running, running.with_extension("old.exe"));
    }
}

/// Through cargo, because the tests may have replaced the very file that runs now.
fn run_all(workspace: &Workspace) -> Result {
    make_way();
    run(cargo()
        .args(["xtask", "run-all"])
        .current_dir(&workspace.root))
}

/// Does what a reader does who takes an example home. The copies use the workspace's own target
/// folder, so that no dependency is built again; cargo lets one build at a time into it, so while
/// one copy is built, another one is tested.
fn copies(workspace: &Workspace) -> Result {
    let scratch = TempFolder::new("copies")?;
    let stands_alone = |example: &Example| {
        let dir = scratch.path().join(&example.name);
        copy::copy(workspace, example, &dir)?;
        for command in [["test", "--quiet"], ["run", "--quiet"]] {
            let mut cargo = cargo();
            cargo
                .args(command)
                .current_dir(&dir)
                .env("CARGO_TARGET_DIR", &workspace.target)
                // As in the workspace's profile, or every dependency would be built once more.
                .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
            run_quietly(&mut cargo)?;
        }
        Ok(writeln!(io::stdout(), "{} stands alone", example.name)?)
    };
    let left = Mutex::new(workspace.examples.iter());
    let take = || left.lock().unwrap().next();
    let failures = || {
        let errors = iter::from_fn(take).filter_map(|example| stands_alone(example).err());
        errors.map(Error::report).count()
    };
    let failures = thread::scope(|scope| {
        let other = scope.spawn(failures);
        failures() + other.join().expect("errors are returned")
    });
    none_of(workspace.examples.len(), failures)
}

/// Goes through all of them, also after a failure, and fails if any did.
fn for_each<T>(items: &[T], check: impl Fn(&T) -> Result) -> Result {
    let errors = items.iter().filter_map(|item| check(item).err());
    none_of(items.len(), errors.map(Error::report).count())
}

fn none_of(all: usize, failures: usize) -> Result {
    match failures {
        0 => Ok(()),
        failures => Err(failed(format!("{failures} of {all} failed"))),
    }
}

/// Runs a command with its output visible; its failure names the command.
fn run(command: &mut Command) -> Result {
    let status = command.stdin(Stdio::null()).status()?;
    succeeded(command, status)
}

/// The same, but what it says is shown only if it fails: then it says why.
fn run_quietly(command: &mut Command) -> Result {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        io::stdout().write_all(&output.stdout)?;
        io::stderr().write_all(&output.stderr)?;
    }
    succeeded(command, output.status)
}

fn succeeded(command: &Command, status: ExitStatus) -> Result {
    if status.success() {
        return Ok(());
    }
    let words: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    let dir = command.get_current_dir().unwrap_or(".".as_ref()).display();
    Err(failed(format!(
        "`cargo {}` in {dir} ended with {status}",
        words.join(" ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_of_all_test_programs_are_added_up() {
        let mut totals = Totals::default();
        totals.add("running 3 tests");
        totals.add("test result: ok. 6 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        totals.add("test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured");
        assert_eq!((totals.passed, totals.failed), (16, 2));
    }
}
