//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

type Result = std::result::Result<(), Box<dyn Error>>;

const MODES: [&str; 3] = ["sequential", "threads --workers 3", "processes --workers 3"];

fn program(arguments: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_prime-finder"));
    program
        .args(arguments.split_whitespace())
        .stdin(Stdio::null());
    program
}

fn run(arguments: &str) -> Output {
    program(arguments)
        .output_in_time()
        .expect("the program starts")
}

/// Its stdout, when all went well and stderr is empty.
fn answer(arguments: &str) -> String {
    let output = run(arguments);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{arguments}: {output:?}"
    );
    String::from_utf8(output.stdout).expect("the output is text")
}

fn is_prime(n: u64) -> bool {
    n >= 2
        && (2..)
            .take_while(|d| d * d <= n)
            .all(|d| !n.is_multiple_of(d))
}

fn listed(from: u64, limit: u64) -> String {
    (from..limit)
        .filter(|&n| is_prime(n))
        .map(|n| format!("{n}\n"))
        .collect()
}

#[test]
fn a_single_mode_prints_the_bare_count() {
    for mode in ["sequential", "threads", "processes"] {
        assert_eq!(answer(&format!("1_000_000 --mode {mode}")), "78498\n");
        assert_eq!(
            answer(&format!("1e5 --algorithm trial --mode {mode}")),
            "9592\n"
        );
    }
}

#[test]
fn all_modes_agree_when_there_is_something_to_share() {
    for mode in MODES {
        // Several pieces; 10^8 has 5,761,455.
        let arguments = format!("10^8 --from 60000000 --mode {mode}");
        assert_eq!(answer(&arguments), "2199340\n", "{mode}");
    }
}

/// From https://oeis.org/A006880, as those up to 10^10 in src/sieve.rs.
#[test]
#[ignore = "ten seconds, and many minutes unoptimised: cargo test -rp prime-finder -- --ignored"]
fn the_count_below_10_to_the_11_is_the_known_one() {
    assert_eq!(answer("1e11 --mode sequential"), "4118054813\n");
}

#[test]
#[ignore = "minutes, and hours unoptimised: cargo test -rp prime-finder -- --ignored"]
fn the_count_below_10_to_the_12_is_the_known_one() {
    assert_eq!(answer("1e12 --mode threads"), "37607912018\n");
}

/// Whoever has one CPU waits longer and reads the same.
#[test]
#[cfg(target_os = "linux")]
fn on_one_cpu_the_results_are_the_same() -> Result {
    let status = fs::read_to_string("/proc/self/status")?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .ok_or("no list of CPUs")?;
    // As in "0-3,8".
    let first = allowed.trim().split(['-', ',']).next().unwrap_or("0");
    if let Err(error) = Command::new("taskset").arg("--version").output() {
        println!("not tested: there is no taskset: {error}");
        return Ok(());
    }
    for mode in MODES {
        for what in [
            "1e7",
            "5e6 --list",
            "1e5 --algorithm trial",
            "3e4 --algorithm trial --list",
        ] {
            let arguments = format!("{what} --mode {mode}");
            let mut program = Command::new("taskset");
            program.args(["-c", first, env!("CARGO_BIN_EXE_prime-finder")]);
            program.args(arguments.split(' ')).stdin(Stdio::null());
            let output = program.output_in_time()?;
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{arguments}: {output:?}"
            );
            assert!(
                output.stdout == answer(&arguments).as_bytes(),
                "{arguments}"
            );
        }
    }
    Ok(())
}

#[test]
fn from_is_included_and_the_limit_is_not() {
    for (from, limit, count) in [
        (7, 7, 0),
        (7, 8, 1),
        (2, 3, 1),
        (0, 2, 0),
        (3, 7, 2),
        (8, 11, 0),
        (0, 0, 0),
    ] {
        for algorithm in ["sieve", "trial"] {
            let arguments = format!("{limit} --from {from} --mode threads --algorithm {algorithm}");
            assert_eq!(answer(&arguments), format!("{count}\n"), "{arguments}");
        }
    }
}

#[test]
fn near_the_maximum_it_still_answers() {
    // 10^13 + 37 is the first prime above 10^13.
    assert_eq!(
        answer("10000000000038 --from 1e13 --list --mode sequential"),
        "10000000000037\n"
    );
    assert_eq!(
        answer("1000000000038 --from 1e12 --mode sequential --algorithm trial"),
        "0\n"
    );
}

#[test]
fn lists_are_in_order_and_equal_in_all_modes() {
    let expected = listed(0, 30_000);
    for mode in MODES {
        for algorithm in ["sieve", "trial"] {
            let list = format!("3e4 --list --mode {mode} --algorithm {algorithm}");
            assert!(answer(&list) == expected, "{list}");
        }
    }
    assert_eq!(
        answer("1_000_100 --from 1e6 --list"),
        listed(1_000_000, 1_000_100)
    );
}

#[test]
fn long_lists_are_in_order_too() {
    // Several pieces, more workers than pieces, and the window between them.
    let alone = answer("8e6 --list --mode sequential");
    let numbers: Vec<u64> = alone.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.len() == 539_777);
    for others in [
        "threads --workers 2",
        "threads --workers 16",
        "processes --workers 3",
    ] {
        assert!(
            answer(&format!("8e6 --list --mode {others}")) == alone,
            "{others}"
        );
    }
}

#[test]
fn bad_input_is_a_usage_error_that_names_it() {
    for (arguments, named) in [
        ("NaN", "NaN"),
        ("-- -5", "'-5' for '[LIMIT]': not a number such as"),
        ("-5", "'-5' for '[LIMIT]': not a number such as"),
        ("1e9.5", "1e9.5"),
        ("1.5", "whole"),
        ("1e30", "10^19"),
        ("10000000000000000001", "10^19"),
        ("ten", "ten"),
        ("100 --from x", "--from"),
        ("100 --workers 0", "--workers"),
        ("100 --workers -1", "not a whole number from 1 to 1024"),
        ("100 --from -1", "not a number such as"),
        ("100 --workers 1000000", "1024"),
        ("100 --workers two", "two"),
        ("100 --mode fast", "fast"),
        ("100 --algorithm magic", "magic"),
        ("100 --list --mode compare", "--list"),
        ("1e16 --algorithm trial", "10^15"),
        ("5 --from 9", "--from is beyond the LIMIT"),
        ("5 --from 9 --mode threads", "--from is beyond the LIMIT"),
        ("100 --mode sequential --workers 4", "exactly one worker"),
        ("--list", "LIMIT"),
        ("--from 5", "LIMIT"),
        ("--mode threads", "LIMIT"),
        ("100 200", "200"),
        ("100 --nonsense", "--nonsense"),
    ] {
        let output = run(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {output:?}");
        assert!(
            message.contains(named) && output.stdout.is_empty(),
            "{arguments}: {message}"
        );
    }
}

#[test]
fn one_sequential_worker_may_be_asked_for() {
    assert_eq!(answer("100 --mode sequential --workers 1"), "25\n");
}

#[test]
fn help_teaches() {
    let help = answer("--help");
    for word in [
        "LIMIT",
        "--from",
        "--mode",
        "sequential",
        "1e9",
        "JSON keys",
        "Exit codes",
        "143",
    ] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
}

#[test]
fn without_arguments_it_compares_and_checks_itself() {
    let text = answer("");
    assert!(
        text.lines()
            .any(|line| line.starts_with("ok: equal answers")),
        "{text}"
    );
    for line in [
        "Trial division below 10,000: 1,229 primes",
        "Sieve below 20,000,000: 1,270,607 primes",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

/// Seen in Python at this size: two processes 0.09 times as fast as none.
#[test]
fn parallel_is_slower_for_small_inputs_so_it_says_so_and_starts_no_thread() {
    let text = answer("10000 --algorithm trial");
    assert!(text.contains("too little to share"), "{text}");
    assert!(text.contains("Workers do not pay here"), "{text}");
    assert!(answer("10000 --mode threads --workers 8 --json").contains("\"workers\":1"));
}

#[test]
fn json_has_the_documented_keys() -> Result {
    let object: serde_json::Value =
        serde_json::from_str(&answer("1e6 --from 10 --mode processes --json"))?;
    let keys: Vec<&String> = object.as_object().ok_or("an object")?.keys().collect();
    assert_eq!(
        keys,
        [
            "algorithm",
            "count",
            "from",
            "limit",
            "mode",
            "seconds",
            "workers"
        ]
    );
    assert_eq!(
        (&object["count"], &object["limit"]),
        (&78494.into(), &1_000_000.into())
    );
    assert_eq!(object["mode"], "processes");

    let object: serde_json::Value = serde_json::from_str(&answer("1e4 --json"))?;
    let comparisons = object["comparisons"].as_array().ok_or("an array")?;
    assert_eq!(comparisons.len(), 2);
    for comparison in comparisons {
        assert_eq!(comparison["count"], 1229);
        let modes = comparison["modes"].as_array().ok_or("an array")?;
        let names: Vec<_> = modes.iter().map(|mode| &mode["mode"]).collect();
        assert_eq!(names, ["sequential", "threads", "processes"]);
        assert!(
            modes
                .iter()
                .all(|mode| mode["seconds"].is_f64() && mode["speedup"].is_f64())
        );
    }

    assert_eq!(
        answer("8 --list --json"),
        "{\"prime\":2}\n{\"prime\":3}\n{\"prime\":5}\n{\"prime\":7}\n"
    );
    Ok(())
}

/// The keys as paths, such as `comparisons.modes.seconds`.
fn keys(value: &serde_json::Value, prefix: &str, found: &mut BTreeSet<String>) {
    if let Some(object) = value.as_object() {
        for (key, value) in object {
            found.insert(format!("{prefix}{key}"));
            keys(value, &format!("{prefix}{key}."), found);
        }
    }
    for value in value.as_array().into_iter().flatten() {
        keys(value, prefix, found);
    }
}

/// The same as the help has them, where it reads `comparisons: [{algorithm, modes: [{…}]}]`.
fn documented_keys(kind: &str) -> BTreeSet<String> {
    let help = answer("--help");
    let (_, section) = help.split_once("JSON keys:\n").expect("a section on keys");
    let (section, _) = section.split_once("\n\n").expect("a section after it");
    let mut text = String::new();
    let mut is_ours = false;
    for line in section.lines() {
        let line = &line[2..];
        if !line.starts_with(' ') {
            is_ours = line.split(' ').next() == Some(kind);
        }
        if is_ours {
            text += &line[13..];
        }
    }
    let (mut found, mut around) = (BTreeSet::new(), Vec::new());
    let mut last = String::new();
    for part in text.split_inclusive([' ', ',', '{', '}']) {
        let word = part.trim_matches(|c: char| !c.is_alphabetic());
        if !word.is_empty() {
            last = around
                .iter()
                .map(|key: &String| format!("{key}."))
                .collect();
            last += word;
            found.insert(last.clone());
            last = word.into();
        }
        if part.ends_with('{') {
            around.push(last.clone());
        } else if part.ends_with('}') {
            around.pop();
        }
    }
    found
}

#[test]
fn json_has_all_the_keys_that_the_help_names_and_no_others() -> Result {
    let [count, list, compare] = ["count", "list", "compare"].map(documented_keys);
    let check = |documented: &BTreeSet<String>, line: &str| -> Result {
        let mut emitted = BTreeSet::new();
        keys(&serde_json::from_str(line)?, "", &mut emitted);
        assert_eq!(emitted, *documented, "{line}");
        Ok(())
    };
    for mode in MODES {
        for algorithm in ["sieve", "trial"] {
            let options = format!("1e4 --from 100 --json --algorithm {algorithm} --mode {mode}");
            check(&count, &answer(&options))?;
            let lines = answer(&format!("{options} --list"));
            assert_eq!(lines.lines().count(), 1229 - 25);
            for line in lines.lines() {
                check(&list, line)?;
            }
        }
    }
    check(&compare, &answer("1e4 --json"))?;
    check(&compare, &answer("--json --mode compare --algorithm trial"))
}

#[test]
fn an_output_file_gets_counts_and_comparisons_as_well() -> Result {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("answer.txt");
    let written = |arguments: &str| -> std::result::Result<String, Box<dyn Error>> {
        let output = program(arguments)
            .arg("--output")
            .arg(&file)
            .output_in_time()?;
        assert!(
            output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments}: {output:?}"
        );
        assert_eq!(entries(folder.path())?, ["answer.txt"]);
        Ok(fs::read_to_string(&file)?)
    };
    for mode in MODES {
        assert_eq!(written(&format!("1e5 --mode {mode}"))?, "9592\n");
        let object = written(&format!("1e5 --json --mode {mode}"))?;
        assert!(object.contains("\"count\":9592,"), "{object}");
    }
    let table = written("1e4")?;
    assert!(
        table.contains("Sieve below 10,000: 1,229 primes"),
        "{table}"
    );
    assert!(table.contains("\nok: equal answers"), "{table}");
    let object: serde_json::Value = serde_json::from_str(&written("1e4 --json")?)?;
    assert_eq!(object["comparisons"][0]["count"], 1229);
    Ok(())
}

#[test]
fn an_output_file_replaces_the_old_one_and_leaves_nothing_else() -> Result {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("primes.txt");
    fs::write(&file, "old")?;
    let output = program("100 --list --output").arg(&file).output_in_time()?;
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    assert_eq!(fs::read_to_string(&file)?, listed(0, 100));
    assert_eq!(entries(folder.path())?, ["primes.txt"]);
    Ok(())
}

#[test]
fn an_output_file_that_cannot_be_written_is_one_line_and_exit_code_1() -> Result {
    let folder = tempfile::tempdir()?;
    for file in ["no/such/folder", "."] {
        let output = program("100 --list --output")
            .arg(folder.path().join(file))
            .output_in_time()?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(
            (output.status.code(), message.lines().count()),
            (Some(1), 1),
            "{message}"
        );
    }
    assert!(entries(folder.path())?.is_empty());
    Ok(())
}

fn entries(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

#[test]
fn a_reader_who_leaves_early_ends_it_quietly() -> Result {
    for mode in MODES {
        let list = format!("1e13 --list --mode {mode}");
        let mut child = program(&list)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("a pipe")?).lines();
        assert_eq!(lines.next().ok_or("a line")??, "2");
        drop(lines);
        let output = child.wait_with_output()?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(
            (output.status.code(), message.as_str()),
            (Some(0), ""),
            "{mode}"
        );
    }
    Ok(())
}

#[test]
fn a_worker_variable_that_is_no_task_starts_nothing() -> Result {
    for task in ["", "1", "sieve", "magic 100", "sieve 1e99"] {
        let output = program("100")
            .env("PRIME_FINDER_WORKER", task)
            .output_in_time()?;
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(2), 0),
            "{task:?}"
        );
    }
    // A true worker ends with its input and never starts others.
    let output = program("100")
        .env("PRIME_FINDER_WORKER", "sieve 100")
        .output_in_time()?;
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    Ok(())
}

#[test]
fn a_worker_answers_counts_and_lists_and_refuses_the_rest() -> Result {
    use std::io::Write;
    let worker = |requests: &[u8]| -> std::io::Result<Output> {
        let mut child = program("")
            .env("PRIME_FINDER_WORKER", "sieve 1000")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut stdout = child.stdout.take().expect("a pipe");
        stdin.write_all(requests)?;
        // The answers are there before the input ends, which ends the worker at once.
        let mut bytes = vec![0; 7];
        let read = stdout.read_exact(&mut bytes).map_or(0, |()| 7);
        bytes.truncate(read);
        drop(stdin);
        stdout.read_to_end(&mut bytes)?;
        let output = child.wait_with_output()?;
        Ok(Output {
            stdout: bytes,
            ..output
        })
    };
    // 0 to 60: all but 1; all but 49. The bits stand for 1, 7, 11, 13, 17, 19, 23 and 29.
    assert_eq!(
        worker(b"count 0 100\nlist 0 60\n")?.stdout,
        b"22\n2\n\xfe\xdf"
    );
    for request in ["count 5\n", "sum 1 2\n", "count 1 x\n", "\n"] {
        let output = worker(request.as_bytes())?;
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(2), 0),
            "{request:?}"
        );
    }
    Ok(())
}
