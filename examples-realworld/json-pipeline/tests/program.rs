//! The program as its user meets it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const MODES: [&str; 3] = ["sequential", "threads", "processes"];

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_json-pipeline"));
    program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    program
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temp folder");
    for (name, text) in files {
        write(&folder.path().join(name), text);
    }
    folder
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("a file");
}

fn run(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    program()
        .args(arguments.iter().map(|argument| argument.as_ref()))
        .output()
        .expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All files below a folder, by their name relative to it.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .expect("below")
                    .to_string_lossy()
                    .replace('\\', "/");
                found.insert(name, fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    found
}

#[test]
fn the_demonstration_ends_with_its_verdict() {
    let output = run(&[]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        stdout(&output)
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("ok: three modes agree"))
    );
}

#[test]
fn results_lie_where_their_inputs_lie_and_all_modes_agree() {
    let folder = tree(&[
        ("in/a.json", "[1, 2, 3]"),
        ("in/deep/er/b.json", "{\"x\": [1, 2]}"),
        ("in/c.txt", "no"),
    ]);
    for mode in MODES {
        let (input, out) = (folder.path().join("in"), folder.path().join(mode));
        let output = run(&[&input, &out, &"--mode", &mode]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(
            stdout(&output),
            "2 files: 2 processed, 0 failed; 4 records, 22 bytes\n"
        );
        let results = files(&out);
        let names: Vec<_> = results.keys().collect();
        assert_eq!(names, ["deep/er/processed_b.json", "processed_a.json"]);
        let result: Value = serde_json::from_str(&results["processed_a.json"]).expect("JSON");
        let keys: Vec<_> = result
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = [
            "made_by",
            "input",
            "records",
            "bytes",
            "seconds",
            "processed_at",
        ];
        expected.sort_unstable();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(
            (&result["records"], &result["bytes"]),
            (&3.into(), &9.into())
        );
        assert_eq!(
            result["input"],
            input.join("a.json").to_string_lossy().as_ref()
        );
    }
}

/// Python: the worker method carried a lock, which cannot be pickled, and nothing was processed.
#[test]
fn a_lock_that_cannot_be_pickled_cannot_stop_the_processes() {
    let folder = tree(&[
        ("in/a.json", "[1]"),
        ("in/b.json", "[2]"),
        ("in/c.json", "[3]"),
    ]);
    let out = folder.path().join("out");
    let output = run(&[
        &folder.path().join("in"),
        &out,
        &"--mode",
        &"processes",
        &"--workers",
        &"2",
    ]);
    assert_eq!(
        stdout(&output),
        "3 files: 3 processed, 0 failed; 3 records, 9 bytes\n",
        "{output:?}"
    );
    assert_eq!(files(&out).len(), 3);
}

/// Python: both were written to one file, and both were reported as a success.
#[test]
fn equal_names_in_two_folders_do_not_overwrite_each_other() {
    let folder = tree(&[("in/x/data.json", "[1]"), ("in/y/data.json", "[1, 2]")]);
    let out = folder.path().join("out");
    assert!(run(&[&folder.path().join("in"), &out]).status.success());
    let results = files(&out);
    assert!(
        results["x/processed_data.json"].contains("\"records\": 1,"),
        "{results:?}"
    );
    assert!(
        results["y/processed_data.json"].contains("\"records\": 2,"),
        "{results:?}"
    );
}

/// Python: `endswith(".json")` skipped it without a word.
#[test]
fn upper_case_json_is_not_skipped() {
    let folder = tree(&[("in/A.JSON", "[1]"), ("in/b.Json", "[1]")]);
    let output = run(&[&folder.path().join("in"), &"--dry-run"]);
    assert_eq!(
        stdout(&output),
        "2 files: 2 processed, 0 failed; 2 records, 6 bytes\n"
    );
}

/// To `Path::extension` and to Python's `suffix` the name `.json` has no end.
#[test]
fn hidden_files_are_taken_even_if_the_end_is_the_whole_name() {
    let folder = tree(&[("in/.json", "[1]"), ("in/.h.json", "[1]"), ("in/json", "[")]);
    let out = folder.path().join("out");
    for _ in 0..2 {
        let output = run(&[&folder.path().join("in"), &out]);
        assert_eq!(
            stdout(&output),
            "2 files: 2 processed, 0 failed; 2 records, 6 bytes\n"
        );
    }
    let results = files(&out);
    let names: Vec<_> = results.keys().collect();
    assert_eq!(names, ["processed_.h.json", "processed_.json"]);
}

/// Python: the second run processed the results of the first.
#[test]
fn its_own_output_is_never_processed_again() {
    // Input and output: apart, one within the other, the same.
    for (input, output) in [
        ("in", "out"),
        ("in", "in/out"),
        ("all/in", "all"),
        ("in", "in"),
        ("in", "in/../in/./out"),
    ] {
        let folder = tree(&[]);
        let (input, out) = (folder.path().join(input), folder.path().join(output));
        write(&input.join("a.json"), "[1]");
        write(&input.join("sub/b.json"), "[1, 2]");
        for _ in 0..3 {
            let output = run(&[&input, &out]);
            assert_eq!(
                stdout(&output),
                "2 files: 2 processed, 0 failed; 3 records, 9 bytes\n",
                "{out:?} {output:?}"
            );
        }
    }
}

#[test]
fn results_of_an_earlier_run_into_another_folder_are_no_input_either() {
    let folder = tree(&[("in/a.json", "[1]")]);
    let input = folder.path().join("in");
    assert!(run(&[&input, &input.join("first")]).status.success());
    let output = run(&[&input, &input.join("second")]);
    assert_eq!(
        stdout(&output),
        "1 files: 1 processed, 0 failed; 1 records, 3 bytes\n"
    );
    assert!(stderr(&output).contains("left alone: 1 results of this program"));
    assert_eq!(files(&input.join("second")).len(), 1);
}

#[test]
fn a_file_of_someone_else_may_be_called_processed_and_is_not_replaced() {
    let folder = tree(&[("in/a.json", "[1]"), ("in/processed_a.json", "[1, 2]")]);
    let input = folder.path().join("in");
    let output = run(&[&input, &"--dry-run"]);
    assert_eq!(
        stdout(&output),
        "2 files: 2 processed, 0 failed; 3 records, 9 bytes\n"
    );

    let output = run(&[&input, &input]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("would replace the input file"),
        "{output:?}"
    );
    assert_eq!(files(&input)["processed_a.json"], "[1, 2]");
}

#[test]
fn a_rerun_replaces() {
    let folder = tree(&[("in/a.json", "[1]")]);
    let (input, out) = (folder.path().join("in"), folder.path().join("out"));
    assert!(run(&[&input, &out]).status.success());
    write(&input.join("a.json"), "[1, 2]");
    assert!(run(&[&input, &out, &"--sync"]).status.success());
    let results = files(&out);
    assert_eq!(results.len(), 1);
    assert!(results["processed_a.json"].contains("\"records\": 2,"));
}

#[test]
fn a_file_that_became_broken_loses_its_result() {
    for mode in MODES {
        let folder = tree(&[("in/a.json", "[1]"), ("in/b.json", "[1]")]);
        let (input, out) = (folder.path().join("in"), folder.path().join("out"));
        assert!(run(&[&input, &out]).status.success());
        write(&input.join("a.json"), "[1");
        write(&input.join("b.json"), "[1");
        // Someone else's file, though it has the name of a result, stays.
        write(&out.join("processed_b.json"), "mine");
        let output = run(&[&input, &out, &"--mode", &mode]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let results = files(&out);
        assert_eq!(results.keys().collect::<Vec<_>>(), ["processed_b.json"]);
        assert_eq!(results["processed_b.json"], "mine");
    }
}

#[test]
fn failures_have_line_and_column_and_the_others_are_done() {
    let deep = "[".repeat(100_000);
    let folder = tree(&[
        ("in/good.json", "[1]"),
        ("in/comma.json", "[1,\n 2,\n]"),
        ("in/empty.json", ""),
        ("in/mark.json", "\u{feff}[]"),
        ("in/deep.json", &deep),
    ]);
    fs::write(folder.path().join("in/latin1.json"), b"[\"\xfc\"]").expect("a file");
    for mode in MODES {
        let out = folder.path().join(mode);
        let output = run(&[&folder.path().join("in"), &out, &"--mode", &mode]);
        assert_eq!(output.status.code(), Some(1));
        let failures = stderr(&output);
        for end in [
            "comma.json:3:1: a value was expected",
            "empty.json:1:1: the file is empty",
            "mark.json:1:1: a byte order mark before the JSON text (save without BOM)",
            "deep.json:1:65537: nested deeper than 65536 levels",
            "latin1.json:1:3: not valid UTF-8",
        ] {
            assert!(
                failures
                    .lines()
                    .any(|line| line.starts_with("failed: ") && line.ends_with(end)),
                "{end}: {failures}"
            );
        }
        assert_eq!(
            stdout(&output),
            "6 files: 1 processed, 5 failed; 1 records, 3 bytes\n"
        );
        assert_eq!(
            files(&out).into_keys().collect::<Vec<_>>(),
            ["processed_good.json"]
        );
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = tree(&[("in/a.json", "[1]")]);
    let output = run(&[
        &folder.path().join("in"),
        &folder.path().join("out"),
        &"--dry-run",
    ]);
    assert!(output.status.success());
    assert_eq!(files(folder.path()).len(), 1);
    assert!(!folder.path().join("out").exists());
}

#[test]
fn json_is_one_object_per_line() {
    let folder = tree(&[("in/a.json", "[1]"), ("in/b.json", "[1,]")]);
    let output = run(&[
        &folder.path().join("in"),
        &folder.path().join("out"),
        &"--json",
        &"--mode",
        &"sequential",
    ]);
    let lines: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[0]["status"], &lines[0]["records"]),
        (&"processed".into(), &1.into())
    );
    assert_eq!(
        (&lines[1]["status"], &lines[1]["line"], &lines[1]["column"]),
        (&"failed".into(), &1.into(), &4.into())
    );
    let summary = &lines[2]["summary"];
    assert_eq!(
        (&summary["files"], &summary["processed"], &summary["failed"]),
        (&2.into(), &1.into(), &1.into())
    );
    assert_eq!(
        (&summary["mode"], &summary["workers"]),
        (&"sequential".into(), &1.into())
    );
    assert_eq!(output.status.code(), Some(1));
}

/// Those who found no work are not counted, and without a file there is none.
#[test]
fn the_workers_told_are_those_that_had_work() {
    let folder = tree(&[("in/a.json", "[1]"), ("in/sub/b.json", "[1]")]);
    fs::create_dir(folder.path().join("in/none")).expect("a folder");
    for mode in ["threads", "processes"] {
        for (input, asked, used) in [
            ("in/a.json", "512", 1),
            ("in", "512", 2),
            ("in", "1", 1),
            ("in/none", "4", 0),
        ] {
            let input = folder.path().join(input);
            let run = |more: &[&str]| {
                let mut program = program();
                program.arg(&input).args(["--dry-run", "--mode", mode]);
                program.args(["--workers", asked]).args(more);
                program.output().expect("it starts")
            };
            let output = stdout(&run(&["--json"]));
            let summary: Value =
                serde_json::from_str(output.lines().last().expect("a line")).expect("JSON");
            assert_eq!(summary["summary"]["workers"], used, "{summary}");
            let line = format!(" MB/s, {mode}, workers: {used}\n");
            assert!(stderr(&run(&[])).ends_with(&line), "{line}");
        }
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let wrong: [&[&str]; 8] = [
        &["only-input"],
        &["in", "out", "--workers", "0"],
        &["in", "out", "--workers", "513"],
        &["in", "out", "--workers", "-1"],
        &["in", "out", "--mode", "fork"],
        &["in", "out", "--mode", "sequential", "--workers", "2"],
        &["--dry-run"],
        &["in", "out", "third"],
    ];
    for arguments in wrong {
        let output = program().args(arguments).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {output:?}");
        assert!(
            stderr(&output).contains("--help"),
            "{arguments:?} {output:?}"
        );
    }
}

#[test]
fn a_wrong_number_of_workers_is_told_what_is_allowed() {
    for number in ["0", "513", "-1", "1e2", "2.5", "", "99999999999999999999"] {
        let output = run(&[&"in", &"--dry-run", &"--workers", &number]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let message = format!(
            "invalid value '{number}' for '--workers <N>': must be a whole number from 1 to 512"
        );
        assert!(stderr(&output).contains(&message), "{output:?}");
    }
}

#[test]
fn an_input_that_is_not_there_is_one_line_and_an_empty_one_is_fine() {
    let folder = tree(&[]);
    let output = run(&[&folder.path().join("missing"), &folder.path().join("out")]);
    assert_eq!(
        (output.status.code(), stderr(&output).lines().count()),
        (Some(1), 1),
        "{output:?}"
    );
    assert!(stderr(&output).contains("missing"));
    assert!(!folder.path().join("out").exists());
    for mode in MODES {
        let output = run(&[&folder.path(), &"--dry-run", &"--mode", &mode]);
        assert_eq!(
            stdout(&output),
            "0 files: 0 processed, 0 failed; 0 records, 0 bytes\n"
        );
        assert!(output.status.success());
    }
}

#[test]
fn a_single_file_may_be_the_input() {
    let folder = tree(&[("data.txt", "[1, 2]")]);
    let out = folder.path().join("out");
    assert!(
        run(&[&folder.path().join("data.txt"), &out])
            .status
            .success()
    );
    assert!(files(&out)["processed_data.txt"].contains("\"records\": 2,"));
}

/// As in `json-pipeline | head -0`.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let folder = tree(&[("in/a.json", "[1]"), ("in/b.json", "[1]")]);
    for arguments in [
        &["in", "--dry-run"][..],
        &["in", "--dry-run", "--json"],
        &["--help"],
        &["--version"],
        &[],
    ] {
        let mut child = program()
            .current_dir(folder.path())
            .args(arguments)
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(
            (output.status.code(), stderr(&output).as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn only_the_exact_private_value_makes_a_worker() {
    let worker = |value: &str, input: &[u8]| {
        let folder = tree(&[]);
        let path = folder.path().join("input");
        fs::write(&path, input).expect("a file");
        let stdin = fs::File::open(path).expect("a file");
        program()
            .env("JSON_PIPELINE_WORKER", value)
            .stdin(stdin)
            .output()
            .expect("it starts")
    };
    assert_eq!(worker("1", b"").status.code(), Some(2));
    assert_eq!(worker("", b"").status.code(), Some(2));
    assert_eq!(worker("frames-1", b"").status.code(), Some(0));
    // Cut off, too large, and no message at all.
    for garbage in [&b"\x10\0"[..], b"\xff\xff\xff\xff", b"\x04\0\0\0nope"] {
        let output = worker("frames-1", garbage);
        assert_eq!(
            (output.status.code(), stderr(&output).lines().count()),
            (Some(1), 1),
            "{output:?}"
        );
    }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::Child;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    fn signal(pid: u32, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .status();
        assert!(sent.expect("kill starts").success());
    }

    /// Ends, with all who hold its output, within a bound that only a hang exceeds.
    fn ended(child: Child) -> Output {
        let pid = child.id();
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let output = output.recv_timeout(Duration::from_secs(30));
        let output = output.unwrap_or_else(|_| {
            signal(pid, "KILL");
            panic!("it hangs, or a worker of it")
        });
        output.expect("its output")
    }

    /// Waits for something that will be so soon.
    fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "no {what} within 30 s"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A named pipe: whoever opens it to read waits until someone writes.
    fn pipe(folder: &Path) -> PathBuf {
        let path = folder.join("pipe.json");
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .expect("mkfifo starts")
                .success()
        );
        path
    }

    /// The keys that `--help` names, for each status and for the summary.
    fn documented() -> BTreeMap<String, Vec<String>> {
        let help = stdout(&run(&[&"--help"]));
        let lines = help
            .lines()
            .skip_while(|line| !line.contains("The key \"status\""));
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut kind = String::new();
        for line in lines.skip(1).take_while(|line| !line.trim().is_empty()) {
            let names = line.split_once(':').map_or(line, |(begin, names)| {
                kind = begin.trim().to_string();
                names
            });
            let names = names
                .split(',')
                .map(|name| name.split('(').next().unwrap_or(name));
            let names = names.map(|name| name.trim().to_string());
            let names = names.filter(|name| !name.is_empty());
            keys.entry(kind.clone()).or_default().extend(names);
        }
        keys.values_mut().for_each(|names| names.sort_unstable());
        keys
    }

    #[test]
    fn the_keys_of_json_are_those_that_the_help_names() {
        let folder = tree(&[("in/a.json", "[1]"), ("in/b.json", "[1,]")]);
        let done = run(&[&folder.path().join("in"), &"--dry-run", &"--json"]);
        // A worker process that waits for ever, and is given up.
        let child = program()
            .arg(pipe(folder.path()))
            .args(["--dry-run", "--json", "--mode", "processes"])
            .spawn()
            .expect("it starts");
        let pid = child.id();
        wait_for("handler", || (caught(pid) & 1 << 1 != 0).then_some(()));
        signal(pid, "INT");
        let stopped = ended(child);

        let mut seen = BTreeMap::new();
        for line in [stdout(&done), stdout(&stopped)].concat().lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let (kind, object) = match &line["status"] {
                Value::String(status) => (status.as_str(), &line),
                _ => ("summary", &line["summary"]),
            };
            let keys = object.as_object().expect("an object").keys();
            let keys = keys.filter(|key| *key != "status").cloned();
            let mut keys: Vec<_> = keys.collect();
            keys.sort_unstable();
            seen.insert(kind.to_string(), keys);
        }
        assert_eq!(seen, documented());
    }

    /// `script` gives the program a terminal.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_long_run_shows_its_progress_on_a_terminal_and_clears_it() {
        let folder = tree(&[]);
        let path = pipe(folder.path());
        let command = format!(
            "timeout --foreground -s KILL 30 '{}' '{}' --dry-run",
            env!("CARGO_BIN_EXE_json-pipeline"),
            path.display()
        );
        let script = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut script) = script else {
            eprintln!("not tested: there is no script here");
            return;
        };
        // It lasts until its file is written, and that waits until progress is shown.
        let mut output = BufReader::new(script.stdout.take().expect("a pipe"));
        let mut shown = Vec::new();
        while !String::from_utf8_lossy(&shown).contains(" MB/s") {
            let mut byte = [0];
            output.read_exact(&mut byte).expect("it is not over");
            shown.extend(byte);
        }
        let shown = String::from_utf8(shown).expect("text");
        assert_eq!(shown, "\r\x1b[K0 of 1 files, 0 MB, 0 MB/s");
        fs::write(&path, "[1,]").expect("the program reads");
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("text");
        assert_eq!(script.wait().expect("it ends").code(), Some(1));
        // Other lines begin where the progress line was.
        let failure = format!("\r\x1b[Kfailed: {}:1:4: ", path.display());
        assert!(rest.contains(&failure), "{rest:?}");
        let summary = "1 files: 0 processed, 1 failed; 0 records, 0 bytes\r\n";
        assert!(rest.contains(summary), "{rest:?}");
        assert!(rest.ends_with(" MB/s, threads, workers: 1\r\n"), "{rest:?}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn on_one_processor_the_results_are_the_same() {
        let folder = tree(&[
            ("in/a.json", "[1, 2]"),
            ("in/b.json", "[1,]"),
            ("in/sub/c.json", "3"),
        ]);
        let without_times = |text: &str| {
            let mut value: Value = serde_json::from_str(text).expect("JSON");
            let object = value.as_object_mut().expect("an object");
            object.remove("seconds");
            object.remove("processed_at");
            value.to_string()
        };
        let found = |command: &mut Command, out: &Path| {
            command
                .current_dir(folder.path())
                .args(["in", "out", "--json"]);
            let output = command.output().expect("it starts");
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let output = stdout(&output);
            let lines = output.lines().filter(|line| !line.contains("summary"));
            let mut lines: Vec<_> = lines.map(without_times).collect();
            lines.sort_unstable();
            let results = files(out).into_iter();
            let results = results.map(|(name, text)| (name, without_times(&text)));
            let results: BTreeMap<_, _> = results.collect();
            assert_eq!((lines.len(), results.len()), (3, 2));
            fs::remove_dir_all(out).expect("results");
            (lines, results)
        };
        if Command::new("taskset").arg("-V").output().is_err() {
            eprintln!("not tested: there is no taskset here");
            return;
        }
        let out = folder.path().join("out");
        let expected = found(program().args(["--workers", "4"]), &out);
        for mode in MODES {
            let mut command = Command::new("taskset");
            command.args(["-c", "0", env!("CARGO_BIN_EXE_json-pipeline")]);
            // Without --workers it is one for the one processor.
            assert_eq!(found(command.args(["--mode", mode]), &out), expected);
            if mode != "sequential" {
                let mut command = Command::new("taskset");
                command.args(["-c", "0", env!("CARGO_BIN_EXE_json-pipeline")]);
                command.args(["--mode", mode, "--workers", "4"]);
                assert_eq!(found(&mut command, &out), expected);
            }
        }
    }

    /// The peak of its memory in kB, and whether several threads worked on one file. A debug build
    /// is stopped when it has read twice what it may keep, which is enough to tell.
    #[cfg(target_os = "linux")]
    fn peak_memory(file: &Path, workers: &str) -> (u64, bool, Output) {
        let child = program()
            .arg(file)
            .args(["--dry-run", "--workers", workers])
            .spawn()
            .expect("it starts");
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(proc.join(file)).ok()?;
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        let (mut peak, mut parts) = (0, false);
        let pid = child.id();
        while let Some(now) = field("status", "VmHWM:") {
            peak = peak.max(now);
            for task in fs::read_dir(proc.join("task"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                parts |= name.starts_with("from-");
            }
            let read = field("io", "rchar:").unwrap_or_default();
            if cfg!(debug_assertions) && read > 16 << 20 {
                signal(pid, "TERM");
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        (peak, parts, ended(child))
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_giant_of_any_kind_needs_at_most_8_mib() {
        use std::io::Write;
        const SIZE: usize = 72 << 20;
        const RECORD: &str = "{\"id\": 1, \"list\": [[1, 2], [3]], \"text\": \"no, end\"},\n";
        let key = format!("\"key\": {RECORD}");
        let broken = format!("[{}{{]", RECORD.repeat(70_000));
        let kinds = [
            ("array.json", "[", RECORD, "0]"),
            ("object.json", "{", &key, "\"z\": 0}"),
            ("line.json", "\"", "all of it one string ", "\""),
            ("broken.json", &broken, RECORD, "0]"),
        ];
        let folder = tree(&[]);
        for (name, begin, middle, end) in kinds {
            let path = folder.path().join(name);
            let mut file = fs::File::create(&path).expect("a file");
            let many = middle.repeat((1 << 20) / middle.len());
            file.write_all(begin.as_bytes()).expect("room");
            for _ in 0..SIZE / many.len() + 1 {
                file.write_all(many.as_bytes()).expect("room");
            }
            file.write_all(end.as_bytes()).expect("room");
            // An array is one that two can work on, and a broken one is then checked once more.
            let workers: &[&str] = match name {
                "array.json" => &["1", "2"],
                "broken.json" => &["2"],
                _ => &["1"],
            };
            for &workers in workers {
                let (peak, parts, output) = peak_memory(&path, workers);
                assert!((1..=8 << 10).contains(&peak), "{peak} kB for {name}");
                assert_eq!(parts, workers == "2", "{name}");
                match output.status.code() {
                    Some(1) if name == "broken.json" => {
                        assert!(stderr(&output).contains(":70001:2: "), "{output:?}");
                    }
                    Some(0) if name != "broken.json" => {}
                    Some(143) if cfg!(debug_assertions) => {}
                    _ => panic!("{name} {output:?}"),
                }
            }
            fs::remove_file(path).expect("it is there");
        }
    }

    #[test]
    fn links_are_not_followed_but_the_folders_themselves_may_be_links() {
        let folder = tree(&[("real/a.json", "[1]"), ("elsewhere.json", "[1]")]);
        let real = folder.path().join("real");
        symlink(&real, real.join("loop")).expect("a link");
        symlink("..", real.join("up")).expect("a link");
        symlink("../elsewhere.json", real.join("linked.json")).expect("a link");
        symlink("nowhere", real.join("dangling.json")).expect("a link");
        symlink(&real, folder.path().join("in")).expect("a link");
        symlink(real.join("out"), folder.path().join("out")).expect("a link");
        fs::create_dir(real.join("out")).expect("a folder");
        for _ in 0..2 {
            let output = run(&[&folder.path().join("in"), &folder.path().join("out")]);
            assert_eq!(
                stdout(&output),
                "1 files: 1 processed, 0 failed; 1 records, 3 bytes\n",
                "{output:?}"
            );
        }
    }

    /// A name may hold a line break, escape sequences, and marks that turn the direction of writing.
    #[test]
    #[cfg(target_os = "linux")]
    fn no_file_name_steers_the_terminal_or_begins_a_line() {
        use std::ffi::OsString;
        use std::os::unix::ffi::OsStringExt;
        let folder = tree(&[]);
        let names = [
            b"a\xfe\n.json".to_vec(),
            b"b\x1b[31m\xc2\x9bc.json".to_vec(),
            "c\u{202e}\u{2066}\u{2028}.json".into(),
        ];
        for name in &names {
            let path = folder.path().join(OsString::from_vec(name.clone()));
            fs::write(path, "[1").expect("a file");
        }
        let shown = ["a\u{fffd}\u{fffd}.json", "b\u{fffd}[31m\u{fffd}c.json"];
        let shown = [shown[0], shown[1], "c\u{fffd}\u{fffd}\u{fffd}.json"];
        for mode in MODES {
            let output = program()
                .current_dir(folder.path())
                .args([".", "--dry-run", "--mode", mode])
                .output()
                .expect("it starts");
            let messages = stderr(&output);
            for name in shown {
                let line = format!("failed: ./{name}:1:3: ");
                assert!(
                    messages.lines().any(|it| it.starts_with(&line)),
                    "{messages:?}"
                );
            }
            // The fourth one tells the time.
            assert_eq!(messages.lines().count(), 4, "{messages:?}");
            assert!(!messages.contains('\x1b'), "{messages:?}");
        }

        // A name in the other messages: what is not there, what is not done.
        let output = run(&[&folder.path().join("\x1b[31m\n"), &"--dry-run"]);
        let message = stderr(&output);
        assert!(message.contains("\u{fffd}[31m\u{fffd}"), "{message:?}");
        assert_eq!(message.lines().count(), 1, "{message:?}");
        let fifo = folder.path().join("d\x1b\n.json");
        let made = Command::new("mkfifo").arg(&fifo).status();
        assert!(made.expect("mkfifo starts").success());
        let child = program()
            .arg(&fifo)
            .args(["--dry-run", "--mode", "processes"])
            .spawn()
            .expect("it starts");
        wait_for("handler", || {
            (caught(child.id()) & 1 << 1 != 0).then_some(())
        });
        signal(child.id(), "INT");
        let output = ended(child);
        let messages = stderr(&output);
        assert!(
            messages.contains("d\u{fffd}\u{fffd}.json\n"),
            "{messages:?}"
        );
        assert!(!messages.contains('\x1b'), "{messages:?}");
    }

    /// Root may read and write everything, so it becomes nobody.
    fn as_nobody(folder: &TempDir) -> Command {
        let mut program = program();
        if fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
                .expect("it is ours");
            program.uid(65_534).gid(65_534);
        }
        program.current_dir(folder.path());
        program
    }

    #[test]
    fn an_unreadable_file_and_folder_fail_alone() {
        let folder = tree(&[
            ("in/a.json", "[1]"),
            ("in/b.json", "[1]"),
            ("in/closed/c.json", "[1]"),
        ]);
        for name in ["in/b.json", "in/closed"] {
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o000))
                .expect("it is ours");
        }
        let output = as_nobody(&folder).args(["in", "--dry-run"]).output();
        fs::set_permissions(
            folder.path().join("in/closed"),
            fs::Permissions::from_mode(0o700),
        )
        .expect("ours");
        let output = output.expect("it starts");
        assert_eq!(
            stdout(&output),
            "3 files: 1 processed, 2 failed; 1 records, 3 bytes\n",
            "{output:?}"
        );
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stderr(&output).matches("ermission denied").count(), 2);
    }

    #[test]
    fn an_output_folder_without_permission_is_an_error_per_file() {
        let folder = tree(&[("in/a.json", "[1]"), ("in/b.json", "[1,")]);
        let out = folder.path().join("out");
        fs::create_dir(&out).expect("a folder");
        fs::set_permissions(&out, fs::Permissions::from_mode(0o555)).expect("it is ours");
        let output = as_nobody(&folder)
            .args(["in", "out"])
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("cannot write out/processed_a.json"),
            "{output:?}"
        );
        assert!(stderr(&output).contains("b.json:1:4"), "{output:?}");
        assert_eq!(files(&out).len(), 0);
    }

    /// A limit of zero bytes per file fails as a full disk does, in the midst of writing.
    #[test]
    fn a_full_disk_is_an_error_per_file_and_leaves_nothing() {
        let folder = tree(&[("in/a.json", "[1]"), ("in/b.json", "[1]")]);
        for mode in MODES {
            let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
            let output = Command::new("sh")
                .args([
                    "-c",
                    script,
                    "sh",
                    env!("CARGO_BIN_EXE_json-pipeline"),
                    "in",
                    "out",
                    "--mode",
                    mode,
                ])
                .current_dir(folder.path())
                .output()
                .expect("sh starts");
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert_eq!(
                stdout(&output),
                "2 files: 0 processed, 2 failed; 0 records, 0 bytes\n"
            );
            assert!(
                stderr(&output).contains("cannot write out/processed_a.json"),
                "{output:?}"
            );
            assert_eq!(files(&folder.path().join("out")).len(), 0);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_behind_stdout_is_one_line_and_exit_code_1() {
        let folder = tree(&[("in/a.json", "[1]")]);
        for arguments in [
            &["in", "--dry-run"][..],
            &["in", "--dry-run", "--json"],
            &["--help"],
            &["-h"],
            &["--version"],
            &[],
        ] {
            let full = fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .expect("/dev/full");
            let output = program()
                .current_dir(folder.path())
                .args(arguments)
                .stdout(full)
                .output()
                .expect("it starts");
            assert_eq!(
                (output.status.code(), stderr(&output).lines().count()),
                (Some(1), 1),
                "{output:?}"
            );
        }
    }

    /// Many names of one file of two megabytes: long to process, quick to make.
    fn long_work() -> TempDir {
        let folder = tree(&[(
            "first",
            &format!("[{}0]", "[1, 2, \"three\"], ".repeat(120_000)),
        )]);
        fs::create_dir(folder.path().join("in")).expect("a folder");
        for number in 0..600 {
            let name = folder.path().join(format!("in/{number:03}.json"));
            fs::hard_link(folder.path().join("first"), name).expect("a second name");
        }
        folder
    }

    #[test]
    fn a_signal_ends_it_orderly_and_says_what_was_not_done() {
        let folder = long_work();
        for (name, number) in [("INT", 2), ("TERM", 15)] {
            for mode in MODES {
                let out = folder.path().join(format!("{name}-{mode}"));
                let input = folder.path().join("in");
                let mut child = program()
                    .arg(input)
                    .arg(&out)
                    .args(["--json", "--mode", mode])
                    .spawn()
                    .expect("it starts");
                let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
                let mut first = String::new();
                lines.read_line(&mut first).expect("the first file is done");
                signal(child.id(), name);
                let mut rest = String::new();
                lines.read_to_string(&mut rest).expect("text");
                let output = ended(child);
                assert_eq!(
                    output.status.code(),
                    Some(128 + number),
                    "{mode} {output:?}"
                );
                let summary: Value =
                    serde_json::from_str(rest.lines().last().expect("a line")).expect("JSON");
                let count = |key: &str| summary["summary"][key].as_u64().expect("a number");
                assert!(count("not_done") > 0, "{summary}");
                assert_eq!(
                    (count("failed"), count("processed") + count("not_done")),
                    (0, 600),
                    "{summary}"
                );
                assert_eq!(rest.lines().count(), 600);
                // One whole result for each file that is processed, and nothing else.
                let results = files(&out);
                assert_eq!(results.len() as u64, count("processed"));
                assert!(
                    results
                        .values()
                        .all(|text| serde_json::from_str::<Value>(text).is_ok())
                );
            }
        }
    }

    /// Nobody ever writes into the pipe. The exit code tells which signal ended it: one that comes
    /// between opening the pipe and reading from it ends it orderly, so there are several tries.
    #[test]
    fn a_second_signal_ends_it_at_once() {
        for mode in MODES {
            // A worker process that hangs is given up soon after the first one, too.
            let tries = if mode == "processes" { 1 } else { 10 };
            let codes: Vec<_> = (0..tries).map(|_| end_by_two_signals(mode)).collect();
            let at_once = |code: &Option<i32>| *code == Some(143) || mode == "processes";
            assert!(codes.iter().any(at_once), "{mode} {codes:?}");
            let known = |code: &Option<i32>| matches!(code, Some(130 | 143));
            assert!(codes.iter().all(known), "{mode} {codes:?}");
        }
    }

    fn end_by_two_signals(mode: &str) -> Option<i32> {
        let folder = tree(&[]);
        let (path, out) = (pipe(folder.path()), folder.path().join("out"));
        let child = program()
            .arg(&path)
            .arg(&out)
            .args(["--mode", mode])
            .spawn()
            .expect("it starts");
        let (sender, opened) = mpsc::channel();
        std::thread::spawn(move || sender.send(fs::OpenOptions::new().write(true).open(path)));
        let writer = opened.recv_timeout(Duration::from_secs(30));
        let writer = writer.expect("a reader within 30 s").expect("a pipe");
        let workers = children(child.id());
        signal(child.id(), "INT");
        signal(child.id(), "TERM");
        let code = ended(child).status.code();
        for worker in workers {
            wait_for("end of the worker", || (!alive(worker)).then_some(()));
        }
        assert_eq!(files(&out).len(), 0, "{mode}");
        drop(writer);
        code
    }

    /// The program is busy with writing results, and its own end waits for a reader of its output:
    /// only the second signal can end it. Both come at once, in the midst of some result.
    #[test]
    fn a_second_signal_leaves_no_worker_and_no_part_of_a_result() {
        let folder = tree(&[]);
        for number in 0..2000 {
            write(&folder.path().join(format!("in/{number}.json")), "[1]");
        }
        for (mode, round) in (0..8).flat_map(|round| [("threads", round), ("processes", round)]) {
            let out = folder.path().join(format!("{mode}-{round}"));
            let mut child = program()
                .arg(folder.path().join("in"))
                .arg(&out)
                .args(["--json", "--workers", "2", "--mode", mode])
                .spawn()
                .expect("it starts");
            let mut lines = BufReader::with_capacity(64, child.stdout.take().expect("a pipe"));
            let mut first = String::new();
            lines.read_line(&mut first).expect("the first file is done");
            let pid = child.id();
            let workers = children(pid);
            let both = format!("kill -INT {pid}; kill -TERM {pid}");
            let sent = Command::new("sh").args(["-c", &both]).status();
            assert!(sent.expect("sh starts").success());
            let output = ended(child);
            // Sent in one breath, the two may arrive the other way round; an orderly end would
            // wait for a reader.
            let code = output.status.code();
            assert!(matches!(code, Some(130 | 143)), "{mode} {output:?}");
            assert_eq!(stderr(&output), "", "{mode}");
            for worker in workers {
                wait_for("end of the worker", || (!alive(worker)).then_some(()));
            }
            let results = files(&out);
            assert!(!results.is_empty(), "{mode}");
            for (name, text) in results {
                let whole = serde_json::from_str::<Value>(&text).is_ok();
                assert!(whole && name.starts_with("processed_"), "{name}: {text}");
            }
        }
    }

    /// Known on Linux only, and elsewhere none.
    fn children(parent: u32) -> Vec<u32> {
        let mut pids = Vec::new();
        for task in fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pids.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        pids
    }

    fn alive(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie has ended; nobody has asked for it yet.
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
    }

    /// The signals that a process handles, as a mask.
    #[cfg(target_os = "linux")]
    fn caught(pid: u32) -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0)
    }

    #[cfg(not(target_os = "linux"))]
    fn caught(_: u32) -> u64 {
        std::thread::sleep(Duration::from_secs(1));
        u64::MAX
    }

    #[cfg(target_os = "linux")]
    mod workers {
        use super::*;
        use std::os::unix::process::ExitStatusExt;

        fn worker_of(parent: u32, not: Option<u32>) -> u32 {
            wait_for("worker", || {
                let children =
                    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
                let mut pids = children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse().ok());
                // Once it leaves SIGINT and SIGTERM to its parent it is at work. A child that has not
                // become a worker yet looks like its parent, which catches them as well.
                let at_work = |pid| {
                    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                    let worker = memchr::memmem::find(&environ, b"JSON_PIPELINE_WORKER").is_some();
                    worker && caught(pid) >> 1 & 1 == 1 && caught(pid) >> 14 & 1 == 1
                };
                pids.find(|pid| Some(*pid) != not && at_work(*pid))
            })
        }

        fn start(folder: &TempDir) -> (PathBuf, Child) {
            let path = pipe(folder.path());
            let child = program()
                .arg(&path)
                .args(["--dry-run", "--mode", "processes"])
                .spawn();
            (path, child.expect("it starts"))
        }

        #[test]
        fn a_killed_worker_is_replaced_and_its_file_tried_again() {
            let folder = tree(&[]);
            let (path, child) = start(&folder);
            let first = worker_of(child.id(), None);
            signal(first, "KILL");
            worker_of(child.id(), Some(first));
            fs::write(path, "[1, 2]").expect("the second worker reads");
            let output = ended(child);
            assert_eq!(
                stdout(&output),
                "1 files: 1 processed, 0 failed; 2 records, 6 bytes\n",
                "{output:?}"
            );
            let note = stderr(&output);
            assert!(
                note.contains(&format!("worker-1 (process {first}) died: signal: 9")),
                "{note}"
            );
        }

        #[test]
        fn a_file_that_kills_every_worker_is_reported_with_the_worker_and_the_signal() {
            let folder = tree(&[]);
            let (path, child) = start(&folder);
            let first = worker_of(child.id(), None);
            signal(first, "KILL");
            let second = worker_of(child.id(), Some(first));
            signal(second, "ABRT");
            let output = ended(child);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let failure = format!(
                "failed: {}: worker-1 (process {second}) died: signal: 6",
                path.display()
            );
            assert!(stderr(&output).contains(&failure), "{output:?}");
        }

        #[test]
        fn workers_leave_ctrl_c_to_the_parent() {
            let folder = tree(&[]);
            let (path, child) = start(&folder);
            let worker = worker_of(child.id(), None);
            signal(worker, "INT");
            signal(worker, "TERM");
            fs::write(path, "[1, 2]").expect("the worker is still there and reads");
            let output = ended(child);
            assert!(output.status.success(), "{output:?}");
            assert!(!stderr(&output).contains("died"), "{output:?}");
        }

        #[test]
        fn a_worker_that_hangs_does_not_hold_up_the_end() {
            let folder = tree(&[]);
            let (_path, child) = start(&folder);
            let worker = worker_of(child.id(), None);
            signal(child.id(), "TERM");
            let output = ended(child);
            assert_eq!(output.status.code(), Some(143), "{output:?}");
            assert!(stdout(&output).contains("1 not done"), "{output:?}");
            assert!(!alive(worker));
        }

        #[test]
        fn a_killed_parent_leaves_no_worker_behind() {
            let folder = tree(&[]);
            let (_path, mut child) = start(&folder);
            let worker = worker_of(child.id(), None);
            child.kill().expect("it can be killed");
            assert_eq!(child.wait().expect("it ends").signal(), Some(9));
            wait_for("end of the worker", || (!alive(worker)).then_some(()));
        }
    }
}
