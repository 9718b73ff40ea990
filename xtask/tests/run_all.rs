//! `cargo xtask run-all` over a workspace of programs that behave well and badly.

#![cfg(unix)]

mod fixture;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fixture::{broken, fixture, is_alive, stderr, stdout};
use serde_json::Value as Json;

fn results(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).expect("stdout holds nothing but JSON")
}

fn result<'a>(json: &'a Json, name: &str) -> &'a Json {
    let results = json["results"].as_array().unwrap();
    results
        .iter()
        .find(|result| result["name"] == name)
        .unwrap()
}

/// The pids that a program has printed.
fn pids(name: &str) -> Vec<String> {
    let log = String::from_utf8_lossy(&fixture().log(name)).into_owned();
    let pids = log.lines().filter_map(|line| line.strip_prefix("pid "));
    pids.map(str::to_string).collect()
}

#[test]
fn each_result_is_told_for_what_it_is() {
    let report = fixture().root.join("report");
    let report = report.to_str().unwrap();
    let output = fixture().output(&[
        "run-all",
        "--chapter",
        "threading",
        "--timeout",
        "2",
        "--json",
        "-",
        "--report",
        report,
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let json = results(&output);
    for (name, wanted) in [
        ("succeeds", "ok"),
        ("exits-3", "exit code 3"),
        ("panics", "exit code 101"),
        ("aborts", "SIGABRT"),
        ("hangs", "timed out after 2 s"),
        ("stubborn", "timed out after 2 s"),
        ("prints-10-mb", "ok"),
        ("prints-bytes", "exit code 1"),
        ("reads-stdin", "ok"),
        ("needs-folder", "exit code 101"),
        ("busy-child", "ok"),
    ] {
        assert_eq!(result(&json, name)["result"], wanted, "{name}");
        assert_eq!(result(&json, name)["chapter"], "threading");
    }
    nothing_survives(&json);
    rows_and_failures(&stderr(&output));
    figures(&json);
    logs();
    page(&std::fs::read_to_string(format!("{report}/index.html")).unwrap());
}

fn nothing_survives(json: &Json) {
    let left = result(json, "leaves-children")["result"].as_str().unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(left, "left 2 processes behind");
    }
    for name in ["stubborn", "leaves-children"] {
        let pids = pids(name);
        assert_eq!(pids.len(), 2, "{name}");
        assert!(
            !pids.iter().any(|pid| is_alive(pid)),
            "{name} left something alive"
        );
    }
}

fn rows_and_failures(text: &str) {
    let row = |name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_string()
    };
    assert!(row("aborts").contains("SIGABRT"), "{text}");
    assert!(text.contains("12 examples: 4 ok, 8 failed"), "{text}");
    assert!(
        text.contains("  | lost my way"),
        "the last lines of a failure:\n{text}"
    );
    assert!(
        text.contains("repeat: cargo xtask run-all hangs --timeout 2"),
        "{text}"
    );
    assert!(
        !text.contains('\x1b'),
        "no colour and no progress line in a pipe:\n{text}"
    );
}

fn figures(json: &Json) {
    let busy = result(json, "busy-child");
    let cpu = busy["cpu_s"].as_f64().unwrap();
    assert!(cpu > 0.01, "the child's CPU time counts: {busy}");
    assert!(busy["wall_s"].as_f64().unwrap() >= 0.2, "{busy}");
    if cfg!(target_os = "linux") {
        assert_eq!(busy["processes"], 2);
        assert_eq!(result(json, "succeeds")["threads"], 4);
        assert_eq!(result(json, "succeeds")["processes"], 1);
    }
}

fn logs() {
    let log = fixture().log("prints-10-mb");
    assert_eq!(log.len(), 10_000_008);
    assert!(log.ends_with(b"the end\n"));
    assert!(fixture().log("reads-stdin").starts_with(b"nothing to read"));
    let log = String::from_utf8(fixture().log("succeeds")).unwrap();
    let folder = log.trim().strip_prefix("fine in ").unwrap();
    assert!(
        !std::path::Path::new(folder).exists(),
        "its folder is removed"
    );
}

fn page(page: &str) {
    assert!(page.contains("<h1>12 examples, 8 failed</h1>"));
    assert!(
        page.contains("before \u{fffd}\u{fffd} after &lt;b&gt;&amp;"),
        "the log is escaped"
    );
    assert!(
        page.contains("9.49 MB left out"),
        "a long log is cut in the middle"
    );
    assert!(page.len() < 1_000_000, "{}", page.len());
    if cfg!(target_os = "linux") {
        assert!(page.matches("<svg").count() >= 10);
    }
    for outside in ["src=", "href=\"http", "@import", "url("] {
        assert!(
            !page.contains(outside),
            "the page needs nothing from elsewhere: {outside}"
        );
    }
}

#[test]
fn peak_memory_is_the_programs_and_not_ours() {
    let output = fixture().output(&["run-all", "first", "large", "--json", "-"]);
    let json = results(&output);
    let peak = |name: &str| result(&json, name)["peak_kb"].as_u64().unwrap();
    assert!((65_536..80_000).contains(&peak("large")), "{json}");
    assert!(peak("first") < 4_000, "{json}");
}

#[test]
fn repeated_runs_have_a_spread() {
    let output = fixture().output(&["run-all", "sleeps", "--repeat", "3", "--json", "-"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json = results(&output);
    let result = result(&json, "sleeps");
    let [min, median, max] =
        ["wall_min_s", "wall_s", "wall_max_s"].map(|key| result[key].as_f64().unwrap());
    assert!(0.03 <= min && min <= median && median <= max, "{result}");
    assert_eq!(json["repeat"], 3);
    assert!(json["cores"].as_u64().unwrap() >= 1);
}

#[test]
fn a_build_that_fails_is_the_end_of_it() {
    let output = broken().output(&["run-all"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let text = stderr(&output);
    assert!(text.contains("could not compile `broken`"), "{text}");
    assert!(
        text.trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("the build failed"),
        "{text}"
    );
}

#[test]
fn a_wrong_call_is_a_usage_error() {
    for (args, wanted) in [
        (
            &["frist"] as &[&str],
            "there is no example `frist`; the nearest: first",
        ),
        (
            &["--chapter", "thread"],
            "there is no chapter `thread`; the nearest: threading",
        ),
        (
            &["first", "--chapter", "threading"],
            "none of them is in chapter threading",
        ),
        (
            &["--timeout", "0"],
            "--timeout needs seconds, more than 0, not `0`",
        ),
        (&["--timeout", "soon"], "not `soon`"),
        (&["--timeout", "inf"], "not `inf`"),
        (&["--repeat", "0"], "--repeat needs a number of at least 1"),
        (&["--json"], "missing argument"),
        (&["--json", "/no/such/folder/file"], "no such folder"),
        (&["--quick"], "invalid option '--quick'"),
    ] {
        let output = fixture().output(&[&["run-all"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&output).contains(wanted),
            "{args:?}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn help_documents_the_json() {
    let output = fixture().output(&["run-all", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    for key in [
        "results", "name", "chapter", "result", "wall_s", "cpu_s", "peak_kb", "threads",
    ] {
        assert!(stdout(&output).contains(key), "{key}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut command = fixture().xtask(&["run-all", "second", "third"]);
    let mut xtask = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(xtask.stdout.take());
    let mut complaints = String::new();
    xtask
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaints)
        .unwrap();
    assert_eq!(xtask.wait().unwrap().code(), Some(0));
    assert!(!complaints.contains("panicked"), "{complaints}");
}

/// SIGTERM to xtask, while a program runs that ignores it and has a child.
#[test]
fn when_xtask_is_ended_nothing_survives() {
    let mut command = fixture().xtask(&["run-all", "waits"]);
    let mut xtask = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut rows = BufReader::new(xtask.stdout.take().unwrap());
    let mut head = String::new();
    rows.read_line(&mut head).unwrap();
    let began = Instant::now();
    let pids = loop {
        // The log may still be that of an earlier test run: only living processes count.
        let mut pids = pids("waits");
        pids.retain(|pid| is_alive(pid));
        if pids.len() == 2 {
            break pids;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it has not started"
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    let kill = Command::new("kill").arg(xtask.id().to_string()).status();
    assert!(kill.unwrap().success());
    let mut text = String::new();
    rows.read_to_string(&mut text).unwrap();
    assert_eq!(xtask.wait().unwrap().code(), Some(143));
    assert!(text.contains("interrupted"), "{text}");
    assert!(text.contains("1 example: 0 ok, 1 interrupted"), "{text}");
    assert!(!pids.iter().any(|pid| is_alive(pid)));
}
