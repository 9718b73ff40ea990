//! The program as its user meets it: every option, every way to end.

use serde_json::Value;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Result = std::result::Result<(), Box<dyn Error>>;

/// Only a hang takes so long.
const LIMIT: Duration = Duration::from_secs(60);

fn program(arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_realtime-processor"));
    program.args(arguments).stdin(Stdio::null());
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

/// A child that does not outlive its test, however that ends.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // Both fail if it has ended, as it should have.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Deref for Owned {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Owned {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

trait Start {
    fn start(&mut self) -> Owned;
}

impl Start for Command {
    fn start(&mut self) -> Owned {
        Owned(self.spawn().unwrap())
    }
}

fn run(arguments: &[&str]) -> Output {
    finish(program(arguments).start())
}

/// Runs with `--stdin` and the given input.
fn filter(arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
    let mut program = program(&["--stdin"]);
    let mut child = program.args(arguments).stdin(Stdio::piped()).start();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.as_ref().to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = finish(child);
    // A program that ended without reading everything is no failure of this side.
    let _ = writer.join().unwrap();
    output
}

/// The child's output when it has ended, which it must within the limit.
fn finish(mut child: Owned) -> Output {
    let stdout = child.stdout.take().map(read_in_background);
    let stderr = child.stderr.take().map(read_in_background);
    let status = wait(&mut child);
    let text = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
        reader
            .map(|reader| reader.join().unwrap())
            .unwrap_or_default()
    };
    Output {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

fn read_in_background(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut text = Vec::new();
        from.read_to_end(&mut text).unwrap();
        text
    })
}

fn wait(child: &mut Child) -> std::process::ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begin.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the program did not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// All lines of a run with `--json`; the last one is the summary, and it agrees with the others.
fn json_lines(output: &Output) -> Vec<Value> {
    let lines: Vec<Value> = (text(&output.stdout).lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let count = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count() as u64;
    let summary = lines.last().expect("a summary");
    assert_eq!(summary["type"], "summary", "{summary}");
    assert_eq!(summary["out"], count("result"));
    assert_eq!(summary["failed"], count("failed"));
    assert_eq!(summary["not_processed"], count("not_processed"));
    let mut numbers: Vec<u64> = (lines.iter())
        .filter_map(|line| line["item"].as_u64())
        .collect();
    numbers.sort_unstable();
    let expected = 1..=summary["in"].as_u64().unwrap();
    assert!(
        numbers.into_iter().eq(expected),
        "each item once: {summary}"
    );
    lines
}

fn numbered_lines(count: u64) -> String {
    (1..=count)
        .map(|n| format!("{{\"id\": {n}, \"value\": {n}}}\n"))
        .collect()
}

#[test]
fn what_it_says_is_english_and_short() {
    let text = String::from_utf8(run(&["--items", "1"]).stdout).unwrap();
    assert!(text.contains(" with 1 worker\n"), "{text}");
    let line = format!("{{\"value\": \"{}\"}}\n", "x".repeat(60_000));
    let output = filter(&["--json"], line);
    let lines = json_lines(&output);
    let error = lines[0]["error"].as_str().unwrap();
    assert!(error.len() < 300, "{} bytes: {error}", error.len());
}

#[test]
fn without_arguments_it_shows_three_endings_and_checks_them() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        "",
        "also no message of the two panics"
    );
    let text = text(&output.stdout);
    assert!(text.contains("seed 42"), "{text}");
    assert!(
        text.contains("in 400000, out 399990, failed 10, not processed 0, sum "),
        "{text}"
    );
    assert!(text.contains("workers replaced after a panic: 2"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("ok: "), "{text}");
}

#[test]
fn all_items_are_processed_whatever_the_numbers() {
    for arguments in [
        &["--workers", "1", "--queue", "1"][..],
        &["--workers", "3", "--queue", "1"],
        &["--workers", "2", "--queue", "2", "--batch", "2"],
        &["--workers", "8", "--queue", "100", "--batch", "1"],
        &["--workers", "3", "--queue", "64", "--batch", "64"],
        &["--workers", "2", "--work", "0.01"],
        &[],
    ] {
        let output = run(&[&["--items", "3_000", "--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let lines = json_lines(&output);
        let summary = lines.last().unwrap();
        assert_eq!(
            (&summary["in"], &summary["out"]),
            (&3000.into(), &3000.into())
        );
        for line in &lines[..3000] {
            let (value, result) = (&line["data"]["value"], &line["result"]);
            assert_eq!(
                result.as_i64().unwrap(),
                2 * value.as_i64().unwrap(),
                "{line}"
            );
        }
    }
}

#[test]
fn the_summary_in_json_has_the_documented_keys() {
    let output = run(&["--items", "500", "--json", "--quiet", "--workers", "2"]);
    assert_eq!(text(&output.stdout).lines().count(), 1);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<&str> = summary
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let documented = "failed in items_per_second latency_us not_processed out seconds stopped_by \
                      sum type workers workers_replaced";
    assert_eq!(keys.join(" "), documented);
    let latency = &summary["latency_us"];
    let at = |key: &str| latency[key].as_f64().unwrap();
    assert!(
        0.0 < at("p50") && at("p50") <= at("p99") && at("p99") <= at("max"),
        "{latency}"
    );
    assert_eq!(
        (&summary["stopped_by"], &summary["workers"]),
        (&Value::Null, &2.into())
    );
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let answer = |seed| {
        let output = run(&["--items", "1000", "--seed", seed]);
        text(&output.stdout).lines().next().unwrap().to_string()
    };
    assert_eq!(answer("7"), answer("7"));
    assert_ne!(answer("7"), answer("8"));
    assert!(answer("7").starts_with("in 1000, out 1000, failed 0, not processed 0, sum "));
}

#[test]
fn no_items_are_an_empty_result() {
    let output = run(&["--items", "0", "--workers", "4"]);
    let text = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text.starts_with("in 0, out 0, failed 0, not processed 0, sum 0\n"),
        "{text}"
    );
    let output = filter(&["--json"], "");
    assert_eq!(
        (output.status.code(), json_lines(&output).len()),
        (Some(0), 1)
    );
}

#[test]
fn no_more_workers_than_items() {
    let output = run(&["--items", "2", "--workers", "100", "--json"]);
    assert_eq!(json_lines(&output).last().unwrap()["workers"], 2);
}

#[test]
fn impossible_numbers_are_usage_errors() {
    for arguments in [
        &["--workers", "0"][..],
        &["--workers", "100000"],
        &["--workers", "two"],
        &["--queue", "0"],
        &["--queue", "1e9"],
        &["--batch", "0"],
        &["--batch", "65", "--queue", "64"],
        &["--rate", "0"],
        &["--rate", "-1"],
        &["--rate", "NaN"],
        &["--rate", "inf"],
        &["--work", "-0.1"],
        &["--work", "1e9"],
        &["--items", "-1"],
        &["--items", "1.5"],
        &["--items", "5", "--stdin"],
        &["--odd", "0"],
        &["--on-stop", "later"],
        &["--unknown"],
        &["extra"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{output:?}");
        assert!(output.stdout.is_empty());
    }
}

/// Not taken for an unknown option: what is wrong with it is its size.
#[test]
fn a_negative_number_is_told_what_numbers_there_are() {
    for (option, range) in [
        ("--workers", "between 1 and 1024"),
        ("--queue", "between 1 and 1000000"),
        ("--batch", "between 1 and 1000000"),
        ("--items", "between 0 and 1000000000000"),
        ("--rate", "between 0.001 and 1000000000"),
        ("--work", "between 0 and 60000"),
    ] {
        let output = run(&[option, "-1"]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(range), "{message}");
    }
}

#[test]
fn help_explains_every_option_and_the_exit_codes() {
    let output = run(&["--help"]);
    let text = text(&output.stdout);
    for word in [
        "--items",
        "--rate",
        "--workers",
        "--queue",
        "--batch",
        "--work",
        "--stdin",
        "--on-stop",
        "--json",
        "--quiet",
        "--seed",
        "--odd",
        "no sleep",
        "143",
        "not_processed",
        "latency_us",
    ] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn as_a_filter_it_writes_a_line_for_each_result() {
    let output = filter(
        &["--workers", "1"],
        "{\"value\": 21}\n\n{\"value\": -4, \"id\": 9}",
    );
    let text = text(&output.stdout);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines[0][..3], ["1", "42", "worker-1"]);
    assert_eq!(lines[1][..3], ["2", "-8", "worker-1"]);
    assert!(
        lines[0][3].ends_with('Z') && lines[0][3].len() == 27,
        "{text}"
    );
    assert_eq!(output.status.code(), Some(0));
    let summary = str::from_utf8(&output.stderr).unwrap();
    assert!(
        summary.starts_with("in 2, out 2, failed 0, not processed 0, sum 34\n"),
        "{summary}"
    );
}

#[test]
fn minus_zero_is_the_integer_zero() {
    let output = filter(&["--json"], "{\"value\":-0}\n{\"value\":-0.0}\n");
    let lines = json_lines(&output);
    let of_item = |item: u64| lines.iter().find(|line| line["item"] == item).unwrap();
    assert_eq!(of_item(1)["result"], 0);
    assert_eq!(of_item(2)["type"], "failed");
}

#[test]
fn a_long_input_comes_through_complete() {
    let output = filter(
        &["--json", "--workers", "3", "--queue", "10"],
        numbered_lines(20_000),
    );
    let lines = json_lines(&output);
    assert_eq!(lines.last().unwrap()["out"], 20_000);
    assert_eq!(lines.last().unwrap()["sum"], 20_000u64 * 20_001);
    for line in &lines[..20_000] {
        assert_eq!(
            line["data"]["id"], line["item"],
            "the item that it was made from: {line}"
        );
    }
}

/// Python: `data["value"]` of an item without one ended its worker, and no one was told.
#[test]
fn one_odd_item_does_not_kill_its_worker_silently() {
    let odd = "{}\n17\n\"text\"\n[21]\n{\"value\": \"5\"}\n{\"value\": 0.5}\nnot json\n\
               {\"value\": 9223372036854775807}\n{\"value\": null}\n";
    let input = format!("{odd}{}", numbered_lines(1000));
    let output = filter(&["--json", "--workers", "2"], input);
    let lines = json_lines(&output);
    let failed: Vec<&Value> = lines
        .iter()
        .filter(|line| line["type"] == "failed")
        .collect();
    assert_eq!(
        (failed.len(), &lines.last().unwrap()["out"]),
        (9, &1000.into())
    );
    for line in failed {
        assert!(line["item"].as_u64().unwrap() <= 9, "{line}");
        assert!(!line["error"].as_str().unwrap().is_empty());
        assert!(odd.lines().any(|odd| line["line"] == odd), "{line}");
    }
    assert_eq!(lines.last().unwrap()["workers_replaced"], 0);
    assert_eq!(output.status.code(), Some(1), "something failed");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn bytes_that_are_no_text_and_lines_without_end_are_failed_items() {
    let mut input = b"\xEF\xBB\xBF{\"value\": 1}\r\n{\"value\": 2, \"x\": \"\xff\"}\n".to_vec();
    input.extend(vec![b'x'; 1 << 20]);
    input.extend(b"\n{\"value\": 3}");
    let output = filter(&["--json"], input);
    let lines = json_lines(&output);
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["out"], &summary["failed"], &summary["sum"]),
        (&2.into(), &2.into(), &8.into())
    );
}

#[test]
fn a_worker_that_panics_is_replaced_and_its_item_is_a_failure() {
    // Every item of 2,000 is odd: 400 of them make their worker panic.
    for batch in ["1", "64"] {
        let arguments = ["--items", "2000", "--odd", "1", "--workers", "3", "--json"];
        let output = run(&[&arguments[..], &["--batch", batch]].concat());
        let lines = json_lines(&output);
        let summary = lines.last().unwrap();
        assert_eq!(
            (&summary["failed"], &summary["workers_replaced"]),
            (&2000.into(), &400.into())
        );
        let panicked = (lines.iter()).filter(|line| {
            line["error"]
                .as_str()
                .is_some_and(|text| text.contains("panicked"))
        });
        let mut workers: Vec<u64> = panicked
            .map(|line| line["worker"].as_u64().unwrap())
            .collect();
        workers.sort_unstable();
        workers.dedup();
        assert_eq!(workers.len(), 400, "no worker panics twice");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), ""));
    }
}

#[test]
fn failures_are_lines_on_stderr_unless_quiet_is_asked_for() {
    let arguments = ["--items", "10", "--odd", "2", "--workers", "1"];
    let output = run(&arguments);
    let stderr = text(&output.stderr);
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 5, "{stderr}");
    assert_eq!(lines[0], "item 2 failed: unknown shape: no \"value\"");
    assert!(
        lines[4].starts_with("item 10 failed: its worker panicked: "),
        "{stderr}"
    );
    assert!(text(&output.stdout).starts_with("in 10, out 5, failed 5, not processed 0, sum "));
    let output = run(&[&arguments[..], &["--quiet"]].concat());
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), ""));
}

/// 501 items at 1,000 per second: the last one is due after half a second.
#[test]
fn a_rate_is_never_exceeded() {
    let begin = Instant::now();
    let output = run(&[
        "--items", "501", "--rate", "1000", "--batch", "64", "--json", "--quiet",
    ]);
    assert!(begin.elapsed() >= Duration::from_millis(500));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["seconds"].as_f64().unwrap() >= 0.5, "{summary}");
    let lines = numbered_lines(101);
    let output = filter(&["--rate", "500", "--json"], lines);
    let lines = json_lines(&output);
    assert!(lines.last().unwrap()["seconds"].as_f64().unwrap() >= 0.2);
}

/// Several workers cannot be quicker than the cores: a sleep could.
#[test]
#[cfg(target_os = "linux")]
fn work_occupies_a_core() -> Result {
    let output = run(&[
        "--items",
        "40",
        "--work",
        "10",
        "--workers",
        "40",
        "--json",
        "--quiet",
    ]);
    let summary: Value = serde_json::from_slice(&output.stdout)?;
    let cores = thread::available_parallelism()?.get() as f64;
    let seconds = summary["seconds"].as_f64().unwrap();
    // A core may have been slowed down by others while it was measured.
    assert!(seconds >= 40.0 * 0.010 / cores / 4.0, "{summary}");
    Ok(())
}

/// As in `realtime-processor --stdin | head -1`, with an input that does not end.
#[test]
fn a_reader_that_leaves_ends_it_quietly() -> Result {
    for arguments in [
        &["--stdin"][..],
        &["--stdin", "--json"],
        &["--items", "1e12", "--json"],
    ] {
        let mut child = program(arguments).stdin(Stdio::piped()).start();
        let mut stdin = child.stdin.take().unwrap();
        let writer = thread::spawn(move || while stdin.write_all(b"{\"value\": 1}\n").is_ok() {});
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first)?;
        assert!(first.ends_with('\n'));
        let output = finish(child);
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), ""),
            "{arguments:?}"
        );
        writer.join().unwrap();
    }
    Ok(())
}

/// The output is gone before there is any, and the summary is the first to notice.
#[test]
fn a_reader_that_was_never_there_ends_it_quietly() -> Result {
    for arguments in [
        &[][..],
        &["--items", "5"],
        &["--items", "5", "--json"],
        &["--help"],
    ] {
        let mut child = program(arguments).start();
        drop(child.stdout.take());
        let output = finish(child);
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_one_line_and_exit_code_1() -> Result {
    for arguments in [
        &[][..],
        &["--help"],
        &["--version"],
        &["--items", "5"],
        &["--items", "1e12", "--json"],
        &["--items", "1e12", "--json", "--work", "1", "--queue", "5"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
        let output = finish(program(arguments).stdout(full).start());
        let message = text(&output.stderr);
        assert_eq!(
            (output.status.code(), message.lines().count()),
            (Some(1), 1),
            "{message}"
        );
        assert!(
            message.starts_with("error: cannot write to stdout: No space left on device"),
            "{message}"
        );
    }
    Ok(())
}

#[test]
#[cfg(unix)]
fn an_input_that_cannot_be_read_is_one_line_and_exit_code_1() -> Result {
    for arguments in [&["--stdin"][..], &["--stdin", "--json"]] {
        let folder = std::fs::File::open("/")?;
        let output = finish(program(arguments).stdin(folder).start());
        let message = text(&output.stderr);
        assert!(
            message.starts_with("error: cannot read from stdin: "),
            "{message}"
        );
        assert_eq!(
            (output.status.code(), message.lines().count()),
            (Some(1), 1),
            "{message}"
        );
    }
    Ok(())
}

/// One processor is enough for the same answers, also with more workers than that.
#[test]
#[cfg(target_os = "linux")]
fn on_one_processor_the_results_are_the_same() {
    for batch in ["1", "64"] {
        let arguments = [
            "--items",
            "5000",
            "--odd",
            "100",
            "--workers",
            "3",
            "--json",
        ];
        let mut several = program(&[&arguments[..], &["--batch", batch]].concat());
        let Some(one) = on_one_processor(&several) else {
            return;
        };
        let results = |child| {
            let output = finish(child);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let mut lines = json_lines(&output);
            let summary = lines.pop().unwrap();
            lines.sort_by_key(|line| line["item"].as_u64());
            let lines = lines.iter().map(|line| {
                let told = ["type", "item", "data", "line", "result", "error"];
                told.map(|key| line[key].clone())
            });
            let counts = ["in", "out", "failed", "not_processed", "sum"];
            let replaced = summary["workers_replaced"].clone();
            let counts = counts.map(|key| summary[key].clone());
            (lines.collect::<Vec<_>>(), counts, replaced)
        };
        assert_eq!(results(one), results(several.start()));
    }
}

#[cfg(target_os = "linux")]
fn on_one_processor(program: &Command) -> Option<Owned> {
    let mut one = Command::new("taskset");
    one.args(["-c", "0"]).arg(program.get_program());
    one.args(program.get_args()).stdin(Stdio::null());
    let child = one.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    if child.is_err() {
        eprintln!("not tested: no taskset(1) here");
    }
    child.ok().map(Owned)
}

/// What a command writes to a terminal, which `script` lends it.
#[cfg(target_os = "linux")]
fn on_terminal(command: &str) -> Option<String> {
    let mut script = Command::new("script");
    script
        .args(["-qec", command, "/dev/null"])
        .stdin(Stdio::null());
    let child = script.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(child) = child else {
        eprintln!("not tested: no script(1) here");
        return None;
    };
    Some(text(&finish(Owned(child)).stdout).to_string())
}

#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_there_is_a_line_of_figures_every_second() {
    let program = env!("CARGO_BIN_EXE_realtime-processor");
    let Some(text) = on_terminal(&format!("{program} --items 230 --rate 100 --odd 50")) else {
        return;
    };
    let live: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" queued "))
        .collect();
    assert!(live.len() >= 2, "{text}");
    for word in [
        " s  in ",
        "  out ",
        "  failed ",
        " items/s  p50 ",
        ", p99 ",
        ", max ",
    ] {
        assert!(
            live.iter().all(|line| line.contains(word)),
            "{word} in {text}"
        );
    }
    assert!(text.contains("in 230, out 226, failed 4"), "{text}");
    assert!(
        !has_figures(&run(&["--items", "120", "--rate", "100"])),
        "none without a terminal"
    );
}

/// `timeout` sends its signal twice, to the program and to its group: that is one request.
#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_a_stop_is_acknowledged_and_a_doubled_signal_is_one() {
    let program = env!("CARGO_BIN_EXE_realtime-processor");
    let command = format!("timeout -s INT 0.5 {program} --items 1e9 --rate 1000");
    if let Some(text) = on_terminal(&command) {
        assert!(
            text.contains("SIGINT: drain, ") && text.contains("; a second signal ends at once"),
            "{text}"
        );
        assert!(text.contains("stopped by SIGINT (drain)"), "{text}");
        assert!(text.contains("failed 0, not processed 0"), "{text}");
    }
}

#[cfg(target_os = "linux")]
fn has_figures(output: &Output) -> bool {
    text(&output.stderr).contains("queued")
}

#[cfg(unix)]
mod signals {
    use super::*;
    use std::sync::mpsc;

    fn send(signal: &str, child: &Child) {
        let status = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    struct Started {
        child: Owned,
        begin: Vec<String>,
        rest: mpsc::Receiver<String>,
    }

    /// The lines of a stream, read in the background.
    fn lines_of(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        lines
    }

    /// A child that has written so many lines and goes on being read.
    fn started(arguments: &[&str], lines: usize) -> Started {
        let mut child = program(arguments).start();
        let rest = lines_of(child.stdout.take().unwrap());
        let begin = (0..lines)
            .map(|_| rest.recv_timeout(LIMIT).unwrap())
            .collect();
        Started { child, begin, rest }
    }

    /// Exit code and all lines of a child that has got a signal.
    fn ended(mut started: Started) -> (Option<i32>, Vec<Value>) {
        let status = wait(&mut started.child);
        let lines = started.begin.into_iter().chain(started.rest);
        let stdout = lines
            .map(|line| line + "\n")
            .collect::<String>()
            .into_bytes();
        let output = Output {
            status,
            stdout,
            stderr: Vec::new(),
        };
        (status.code(), json_lines(&output))
    }

    /// More items than can be done before the signal: the queue is full all the time.
    const FULL: [&str; 9] = [
        "--items",
        "1e9",
        "--json",
        "--work",
        "5",
        "--workers",
        "2",
        "--queue",
        "40",
    ];

    /// Python's stop dropped 14 of 20 items.
    #[test]
    fn a_stop_while_the_queue_is_full_drains_it_and_drops_nothing() {
        for (signal, name, code) in [("-INT", "SIGINT", 130), ("-TERM", "SIGTERM", 143)] {
            let stream = started(&[&FULL[..], &["--on-stop", "drain"]].concat(), 3);
            send(signal, &stream.child);
            let (status, lines) = ended(stream);
            let summary = lines.last().unwrap();
            assert_eq!(status, Some(code));
            assert_eq!(
                (&summary["not_processed"], &summary["in"]),
                (&0.into(), &summary["out"])
            );
            assert_eq!(summary["stopped_by"], name);
            assert!(summary["in"].as_u64().unwrap() >= 3);
        }
    }

    #[test]
    fn an_abort_while_the_queue_is_full_names_every_item_that_it_leaves() {
        for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
            for batch in ["1", "40"] {
                let arguments = ["--on-stop", "abort", "--batch", batch];
                let stream = started(&[&FULL[..], &arguments].concat(), 10);
                send(signal, &stream.child);
                let (status, lines) = ended(stream);
                assert_eq!(status, Some(code));
                let summary = lines.last().unwrap();
                // What waits in the queue, and what workers and source hold: no more than that has
                // been taken from a source of a thousand million, for the queue pushes back.
                let batch: u64 = batch.parse().unwrap();
                let not_processed = summary["not_processed"].as_u64().unwrap();
                assert!((1..=40 + 3 * batch).contains(&not_processed), "{summary}");
            }
        }
    }

    /// Each of these items would take a minute.
    #[test]
    fn an_abort_does_not_wait_for_long_work_and_names_it() {
        let arguments = ["--items", "1e6", "--work", "60000", "--workers", "2"];
        let arguments = [&arguments[..], &["--on-stop", "abort", "--json"]].concat();
        let stream = started(&arguments, 0);
        wait_until_it_works(&stream.child);
        let begin = Instant::now();
        send("-INT", &stream.child);
        let (status, lines) = ended(stream);
        assert!(begin.elapsed() < LIMIT / 2, "{:?}", begin.elapsed());
        let summary = lines.last().unwrap();
        assert_eq!(status, Some(130));
        assert_eq!(
            (&summary["out"], &summary["failed"]),
            (&0.into(), &0.into())
        );
        assert_eq!(summary["in"], summary["not_processed"]);
        assert!(summary["in"].as_u64() > Some(0), "{summary}");
    }

    #[test]
    fn an_abort_lets_short_work_be_finished() {
        let arguments = ["--items", "1e6", "--work", "100", "--workers", "1"];
        let arguments = [&arguments[..], &["--on-stop", "abort", "--json"]].concat();
        // The first one is out. The second one is in work, unless the worker was held up in between.
        let finished = (0..20).any(|_| {
            let stream = started(&arguments, 1);
            send("-TERM", &stream.child);
            let (status, lines) = ended(stream);
            assert_eq!(status, Some(143));
            lines.last().unwrap()["out"].as_u64() >= Some(2)
        });
        assert!(finished, "what was in work was given up, 20 times");
    }

    /// A drain of slow items takes long: whoever asked for it must not take that for a hang.
    #[test]
    #[cfg(target_os = "linux")]
    fn also_without_a_terminal_a_drain_tells_how_much_is_left_and_how_long_it_takes() {
        let arguments = [
            "--items",
            "1e6",
            "--work",
            "300",
            "--workers",
            "1",
            "--json",
        ];
        let mut stream = started(&arguments, 1);
        let told = lines_of(stream.child.stderr.take().unwrap());
        send("-INT", &stream.child);
        let told = told.recv_timeout(LIMIT).unwrap();
        let words: Vec<&str> = told.split(' ').collect();
        let items: f64 = words[2].parse().unwrap();
        // The queue is never less than half full.
        assert!((512.0..=1026.0).contains(&items), "{told}");
        let seconds = (items * 0.3).ceil();
        let expected = format!(
            "SIGINT: drain, {items} items to process, about {seconds} s; \
             a second signal ends at once"
        );
        assert_eq!(told, expected);
        while stream.child.try_wait().unwrap().is_none() {
            send("-TERM", &stream.child);
            thread::sleep(Duration::from_millis(10));
        }
        for line in stream.begin.into_iter().chain(stream.rest) {
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["type"], "result", "stdout is for results");
        }
    }

    /// So many workers on one processor that for seconds none of them is done: no standstill.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_drain_is_not_given_up_while_its_workers_work() {
        let arguments = [
            "--items",
            "24",
            "--work",
            "300",
            "--workers",
            "24",
            "--json",
        ];
        let Some(mut one) = on_one_processor(&program(&arguments)) else {
            return;
        };
        wait_until_it_works(&one);
        send("-TERM", &one);
        let rest = lines_of(one.stdout.take().unwrap());
        let begin = Vec::new();
        let child = one;
        let (status, lines) = ended(Started { child, begin, rest });
        assert_eq!((status, &lines[24]["out"]), (Some(143), &24.into()));
    }

    /// The signal comes while it is held up at its first line, by an output that is full.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_demonstration_also_ends_orderly_with_a_summary() -> Result {
        use std::os::{fd::OwnedFd, unix::net::UnixStream};
        for (signal, name, code) in [("-INT", "SIGINT", 130), ("-TERM", "SIGTERM", 143)] {
            let (reader, mut writer) = UnixStream::pair()?;
            writer.set_nonblocking(true)?;
            while writer.write(b".").is_ok() {}
            writer.set_nonblocking(false)?;
            let mut child = program(&[]).stdout(OwnedFd::from(writer)).start();
            wait_until_it_listens(&child);
            send(signal, &child);
            let stdout = read_in_background(reader);
            assert_eq!(wait(&mut child).code(), Some(code));
            let stdout = stdout.join().unwrap();
            let text = text(&stdout);
            let stopped = format!("stopped by {name} (drain)");
            assert!(text.contains("   in ") && text.contains(&stopped), "{text}");
            let last = text.lines().last().unwrap();
            assert!(
                last.starts_with(&format!("stopped by {name} within part ")),
                "{text}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_drain_also_counts_failures_and_replaced_workers() {
        let arguments = ["--odd", "3", "--batch", "8"];
        let stream = started(&[&FULL[..], &arguments].concat(), 20);
        send("-TERM", &stream.child);
        let (status, lines) = ended(stream);
        let summary = lines.last().unwrap();
        assert_eq!(status, Some(143), "the signal outweighs the failures");
        let number = |key: &str| summary[key].as_u64().unwrap();
        assert_eq!(number("failed"), number("in") / 3);
        assert_eq!(number("workers_replaced"), number("in") / 15);
    }

    /// Python's program was never exited: its threads waited for ever.
    #[test]
    fn it_exits_though_its_input_never_ends() {
        for (how, last) in [("drain", "failed"), ("abort", "not_processed")] {
            let arguments = ["--stdin", "--json", "--on-stop", how];
            let mut child = program(&arguments).stdin(Stdio::piped()).start();
            let mut stdin = child.stdin.take().unwrap();
            let (ready, lines) = {
                stdin
                    .write_all(b"{\"value\": 1}\n{\"value\": 2}\n{\"val")
                    .unwrap();
                let mut stdout = BufReader::new(child.stdout.take().unwrap());
                let mut lines = String::new();
                stdout.read_line(&mut lines).unwrap();
                stdout.read_line(&mut lines).unwrap();
                (stdout, lines)
            };
            // Both lines are out, the half one is in, and the read is blocked.
            send("-TERM", &child);
            let rest = read_in_background(ready);
            let status = wait(&mut child);
            let stdout = [lines.into_bytes(), rest.join().unwrap()].concat();
            let output = Output {
                status,
                stdout,
                stderr: Vec::new(),
            };
            let lines = json_lines(&output);
            assert_eq!(status.code(), Some(143));
            let half = lines.iter().find(|line| line["item"] == 3).unwrap();
            assert_eq!(
                (&half["type"], &half["line"]),
                (&last.into(), &"{\"val".into())
            );
            drop(stdin);
        }
    }

    #[test]
    fn a_paced_source_wakes_up_for_a_stop() {
        // The second item is due in a quarter of an hour.
        let stream = started(&["--items", "2", "--rate", "0.001", "--json"], 1);
        send("-INT", &stream.child);
        let (status, lines) = ended(stream);
        assert_eq!(
            (status, &lines.last().unwrap()["in"]),
            (Some(130), &1.into())
        );
    }

    #[test]
    fn a_second_signal_ends_it_at_once() {
        for (first, second, code) in [("-INT", "-TERM", 143), ("-INT", "-INT", 130)] {
            // Hours of work, drained.
            let arguments = ["--items", "1e6", "--work", "60000", "--workers", "1"];
            let mut child = program(&arguments).start();
            wait_until_it_works(&child);
            send(first, &child);
            // Two of one kind that come together are one signal: then it takes a third.
            let begin = Instant::now();
            while child.try_wait().unwrap().is_none() && begin.elapsed() < LIMIT {
                send(second, &child);
                thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(wait(&mut child).code(), Some(code));
        }
    }

    /// Nothing is written yet: a worker's time on a core tells that it is at its first item.
    fn wait_until_it_works(child: &Child) {
        let tasks = format!("/proc/{}/task", child.id());
        wait_for(|| {
            std::fs::read_dir(&tasks).ok().map(|tasks| {
                tasks.flatten().any(|task| {
                    let stat = std::fs::read_to_string(task.path().join("stat"));
                    let stat = stat.unwrap_or_default();
                    // The 14th field, in hundredths of a second.
                    let ticks = stat.split(' ').nth(13).and_then(|ticks| ticks.parse().ok());
                    stat.contains("(worker-") && ticks > Some(1)
                })
            })
        });
    }

    /// Waits until SIGINT and SIGTERM are caught.
    #[cfg(target_os = "linux")]
    fn wait_until_it_listens(child: &Child) {
        let status = format!("/proc/{}/status", child.id());
        wait_for(|| {
            let status = std::fs::read_to_string(&status).ok()?;
            let caught = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
            Some([2, 15].iter().all(|signal| caught >> (signal - 1) & 1 == 1))
        });
    }

    /// Looks again until it holds; where there is nothing to look at, a second must do.
    fn wait_for(holds: impl Fn() -> Option<bool>) {
        let begin = Instant::now();
        while let Some(false) = holds() {
            assert!(begin.elapsed() < LIMIT, "nothing to be seen");
            thread::sleep(Duration::from_millis(5));
        }
        if holds().is_none() {
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// Nobody reads, nobody leaves: the pipe is full, and the drain can go nowhere.
    #[test]
    fn an_output_that_does_not_move_is_given_up_after_a_stop() {
        let mut child = program(&["--items", "1e12", "--json"]).start();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 100]).unwrap();
        send("-TERM", &child);
        let output = finish(child);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(143), "{message}");
        assert!(
            message.contains("error: nothing has moved for 5 s after SIGTERM: "),
            "{message}"
        );
        drop(stdout);
    }
}
