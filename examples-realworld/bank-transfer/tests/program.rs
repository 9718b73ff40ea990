//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use serde_json::Value;
use std::error::Error;
use std::process::{Command, Output, Stdio};

type Outcome = Result<(), Box<dyn Error>>;

const LOCKINGS: [&str; 3] = ["global", "ordered", "optimistic"];

fn program(args: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bank-transfer"));
    program.args(args.split_whitespace()).stdin(Stdio::null());
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

fn run(args: &str) -> Result<Output, Box<dyn Error>> {
    Ok(program(args).output_in_time()?)
}

/// Standard output of a run that has to succeed and to say nothing on stderr.
fn text(args: &str) -> Result<String, Box<dyn Error>> {
    let output = run(args)?;
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn json(args: &str) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_str(&text(&format!("{args} --json"))?)?)
}

#[test]
fn without_options_it_compares_all_lockings_and_ends_with_its_verdict() -> Outcome {
    let text = text("")?;
    for start in ["limit ", "global ", "ordered ", "optimistic "] {
        let rows = text.lines().filter(|line| line.starts_with(start));
        assert_eq!(rows.count(), 1, "{text}");
    }
    assert!(text.contains("seed 1"), "{text}");
    assert!(text.contains("withdraw -5 from 0"), "{text}");
    assert!(
        text.contains("A finer lock is not faster by itself"),
        "{text}"
    );
    assert!(text.contains("\nok: "), "{text}");
    Ok(())
}

#[test]
fn a_single_locking_runs_alone() -> Outcome {
    for locking in LOCKINGS {
        let text = text(&format!("--locking {locking} --transfers 1000"))?;
        for other in LOCKINGS {
            let shown = text.lines().any(|line| line.starts_with(other));
            assert_eq!(shown, other == locking, "{text}");
        }
        assert!(text.contains("\nok: "), "{text}");
    }
    Ok(())
}

/// One transfer is often done before the auditor has got its turn.
#[test]
fn a_verdict_on_no_audit_does_not_speak_of_every_audit() -> Outcome {
    for locking in LOCKINGS.repeat(5) {
        let text = text(&format!("--locking {locking} --transfers 1"))?;
        let row = text.lines().find(|line| line.starts_with(locking));
        // The last but two, before "0.001 ms".
        let audits = row.and_then(|row| row.split_whitespace().nth_back(2));
        let (_, verdict) = text.split_once("\nok: ").ok_or("no verdict")?;
        let start = match audits.ok_or("no row")? {
            "0" => "no audit came in between; the one at the end saw ",
            _ => "every audit during these transfers, 1 in all, saw ",
        };
        assert!(verdict.starts_with(start), "{text}");
        assert!(
            verdict.contains(" saw 1,000,000.00 in 1,000 accounts"),
            "{text}"
        );
    }
    Ok(())
}

#[test]
fn every_key_of_the_json_output_stands_in_the_help() -> Outcome {
    let help = text("--help")?;
    let json = json("--transfers 1000")?;
    let Some(runs) = json["runs"].as_array() else {
        panic!("no runs: {json}");
    };
    assert_eq!(runs.len(), 4);
    for object in [&json, &runs[0]] {
        for key in object
            .as_object()
            .into_iter()
            .flat_map(|object| object.keys())
        {
            assert!(help.contains(key), "{key}");
        }
    }
    assert_eq!(json["ok"], true);
    assert_eq!(json["stopped_by"], Value::Null);
    assert_eq!(json["total_cents"], 100_000_000);
    Ok(())
}

#[test]
fn every_run_accounts_for_all_its_transfers_and_is_audited_many_times_meanwhile() -> Outcome {
    let json = json("--transfers 100_000 --accounts 50 --initial 20_000 --seed 7 --threads 3")?;
    for run in json["runs"].as_array().into_iter().flatten() {
        let count = |key: &str| run[key].as_u64().unwrap_or_else(|| panic!("{key}: {run}"));
        assert_eq!(count("applied") + count("refused"), 100_000, "{run}");
        assert!(count("refused") > 0, "{run}");
        assert_eq!(count("not_done"), 0, "{run}");
        assert!(count("audits") >= 16, "{run}");
        assert_eq!(run["problems"], serde_json::json!([]));
    }
    assert_eq!(json["runs"][1]["threads"], 3);
    Ok(())
}

/// With enough money nothing is refused, and then the balances depend on the transfers alone.
#[test]
fn the_same_seed_gives_the_same_balances_with_any_locking_and_number_of_threads() -> Outcome {
    let checksum = |locking: &str, threads: u32, seed: u32| -> Result<String, Box<dyn Error>> {
        let text = text(&format!(
            "--checksum --locking {locking} --threads {threads} --seed {seed} \
             --accounts 10 --transfers 2e4 --initial 1e12"
        ))?;
        Ok(text.lines().next().unwrap_or_default().to_string())
    };
    let one = checksum("global", 1, 5)?;
    assert!(one.ends_with(" refused 0"), "{one}");
    for locking in LOCKINGS {
        assert_eq!(checksum(locking, 8, 5)?, one);
    }
    assert_ne!(checksum("global", 1, 6)?, one);
    Ok(())
}

/// What one thread refuses depends on the seed alone, so the outcome is known to the cent.
#[test]
fn one_thread_gives_the_same_refusals_with_every_locking() -> Outcome {
    let options = "--threads 1 --accounts 20 --transfers 5e4 --initial 9000";
    let json = json(options)?;
    let results = json["runs"].as_array().into_iter().flatten();
    let mut results: Vec<_> = results
        .map(|run| (&run["refused"], &run["checksum"]))
        .collect();
    assert!(results[0].0.as_u64() > Some(0), "{json}");
    results.dedup();
    assert_eq!(results.len(), 1, "{json}");
    Ok(())
}

#[test]
fn the_smallest_runs_work_and_start_no_thread_without_work() -> Outcome {
    for transfers in 1..=5 {
        let args = format!("--accounts 2 --transfers {transfers} --threads 1000 --initial 1");
        let json = json(&args)?;
        assert_eq!(json["ok"], true, "{json}");
        for run in &json["runs"].as_array().unwrap_or(&Vec::new())[1..] {
            assert_eq!(run["threads"], transfers, "{run}");
        }
    }
    Ok(())
}

#[test]
fn more_threads_than_processors_and_many_accounts_work() -> Outcome {
    for options in ["--threads 64 --accounts 2", "--accounts 200_000"] {
        let json = json(&format!("{options} --transfers 60_000"))?;
        assert_eq!(json["ok"], true, "{json}");
    }
    Ok(())
}

#[test]
fn impossible_options_are_usage_errors() -> Outcome {
    let wrong = [
        ("--accounts 0", "from 2 to 10000000"),
        ("--accounts 1", "from 2 to 10000000"),
        ("--accounts 10_000_001", "from 2 to 10000000"),
        ("--threads 0", "from 1 to 1024"),
        ("--threads 1e9", "from 1 to 1024"),
        ("--transfers 0", "from 1 to 1000000000000"),
        ("--transfers 99999999999999999999", "not a whole number"),
        ("--transfers 1e99", "not a whole number"),
        ("--transfers -1", "not a whole number"),
        ("--transfers many", "not a whole number"),
        ("--seed 1.5", "not a whole number"),
        ("--initial 0", "from 1 to"),
        ("--accounts 1e7 --initial 1e12", "a total can hold"),
        ("--locking none", "optimistic"),
        ("--checksum", "--locking"),
        ("--checksum --json --locking global", "cannot be used with"),
        ("--colour", "unexpected argument"),
        ("1000", "unexpected argument"),
    ];
    for (args, cause) in wrong {
        let output = run(args)?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{args}: {message}");
        assert!(message.contains(cause), "{args}: {message}");
        assert!(output.stdout.is_empty(), "{args}");
    }
    Ok(())
}

/// Python took an opening balance of -100 as it was.
#[test]
fn a_negative_opening_balance_is_refused() -> Outcome {
    let output = run("--initial -100")?;
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}

/// Python's NaN passed every check and turned both balances into NaN.
#[test]
fn nan_is_not_an_amount() -> Outcome {
    for nan in ["NaN", "nan", "inf", "0.1"] {
        assert_eq!(run(&format!("--initial {nan}"))?.status.code(), Some(2));
    }
    Ok(())
}

/// As in `bank-transfer | head -0`: the reader is gone before the first line.
#[test]
fn a_closed_pipe_ends_it_quietly() -> Outcome {
    for args in ["", "--json", "--help", "--checksum --locking global"] {
        let mut child = program(args).spawn()?;
        drop(child.stdout.take());
        let output = child.wait_with_output()?;
        assert_eq!(output.status.code(), Some(0), "{args}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_one_line_and_exit_code_1() -> Outcome {
    for args in [
        "",
        "--json",
        "--help",
        "--version",
        "--checksum --locking global",
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
        let output = program(args).stdout(full).output()?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{args}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(
            message.starts_with("error: cannot write to stdout: No space left on device"),
            "{message}"
        );
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod on_linux {
    use super::*;
    use std::fs;
    use std::io::{self, BufRead, BufReader, Read, Write};
    use std::process::Child;
    use std::thread;
    use std::time::{Duration, Instant};

    /// More than any machine does within the test's bounds.
    const ENDLESS: &str = "--transfers 1e12 --accounts 100";
    const LIMIT: Duration = Duration::from_secs(60);

    fn signal(child: &Child, name: &str) -> Outcome {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status()?.success());
        Ok(())
    }

    fn wait(child: &mut Child) -> Result<Option<i32>, Box<dyn Error>> {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code());
            }
            thread::sleep(Duration::from_millis(5));
        }
        child.kill()?;
        child.wait()?;
        Err("no end".into())
    }

    /// Waits until the program has asked to be told of these signals.
    fn wait_for_handlers(child: &Child, signals: &[u32]) -> Outcome {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(caught.unwrap_or("0").trim(), 16)?;
            if signals.iter().all(|signal| caught >> (signal - 1) & 1 == 1) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err("no signal handlers".into())
    }

    /// Waits until threads of this name exist, so that the transfers are under way.
    fn wait_for_thread(child: &Child, name: &str) -> Outcome {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            for task in fs::read_dir(format!("/proc/{}/task", child.id()))?.flatten() {
                let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                if comm.trim() == name {
                    return Ok(());
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(format!("no thread {name}").into())
    }

    #[test]
    fn a_signal_ends_it_orderly_with_checks_and_a_summary_of_what_was_not_done() -> Outcome {
        for (name, code) in [("-INT", 130), ("-TERM", 143)] {
            for locking in LOCKINGS {
                let mut child =
                    program(&format!("{ENDLESS} --json --locking {locking}")).spawn()?;
                wait_for_thread(&child, "worker-4")?;
                signal(&child, name)?;
                assert_eq!(wait(&mut child)?, Some(code));
                let output = child.wait_with_output()?;
                assert!(output.stderr.is_empty(), "{output:?}");
                let json: Value = serde_json::from_slice(&output.stdout)?;
                assert_eq!(json["stopped_by"], format!("SIG{}", &name[1..]));
                assert_eq!(json["ok"], true);
                let run = &json["runs"][0];
                let count = |key: &str| run[key].as_u64().unwrap_or_default();
                assert!(count("not_done") > 0, "{run}");
                let all = count("applied") + count("refused") + count("not_done");
                assert_eq!(all, 1_000_000_000_000, "{run}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_signal_during_the_comparison_names_every_locking_with_what_it_has_left() -> Outcome {
        let mut child = program(ENDLESS).spawn()?;
        wait_for_handlers(&child, &[2, 15])?;
        signal(&child, "-INT")?;
        assert_eq!(wait(&mut child)?, Some(130));
        let text = String::from_utf8(child.wait_with_output()?.stdout)?;
        let (_, left) = text.split_once("stopped by SIGINT").ok_or("not said")?;
        for locking in LOCKINGS {
            assert!(left.contains(&format!("   {locking} ")), "{text}");
        }
        assert!(left.contains("1,000,000,000,000"), "{text}");
        Ok(())
    }

    /// Its orderly end is kept from coming to its end by a pipe that takes nothing more.
    #[test]
    fn a_second_signal_ends_it_at_once() -> Outcome {
        let (reader, mut writer) = io::pipe()?;
        let filling = writer.try_clone()?;
        let filler = thread::spawn(move || {
            let mut filling = filling;
            while filling.write_all(&[b'.'; 4096]).is_ok() {}
        });
        let mut child = program(ENDLESS).stdout(writer.try_clone()?).spawn()?;
        wait_for_handlers(&child, &[2, 15])?;
        signal(&child, "-INT")?;
        signal(&child, "-TERM")?;
        let code = wait(&mut child)?;
        assert!(matches!(code, Some(130 | 143)), "{code:?}");
        drop(reader);
        assert!(writer.write_all(b"nobody reads this").is_err());
        filler.join().map_err(|_| "the filler panicked")?;
        Ok(())
    }

    /// `script` gives the program a terminal. Its own end then ends the program, too.
    #[test]
    fn a_long_run_shows_its_progress_on_a_terminal() -> Outcome {
        let command = format!(
            "{} {ENDLESS} --locking global",
            env!("CARGO_BIN_EXE_bank-transfer")
        );
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]);
        script.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = match script.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("not tested: there is no script here");
                return Ok(());
            }
            child => child?,
        };
        let output = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let shown = output.split(b'\r').find(|part| match part {
            Ok(part) => part.starts_with(b"global: "),
            Err(_) => true,
        });
        child.kill()?;
        child.wait()?;
        let shown = String::from_utf8(shown.ok_or("no progress")??)?;
        assert!(shown.contains(" transfers, "), "{shown}");
        Ok(())
    }

    /// As `nohup` starts it, with its output in a file, and then the window is closed.
    #[test]
    fn a_terminal_that_goes_away_does_not_take_the_result_with_it() -> Outcome {
        let folder = std::env::temp_dir().join(format!("bank-transfer-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (result, id) = (folder.join("result"), folder.join("id"));
        let command = format!(
            "trap '' HUP; echo $$ > {}; exec {} {ENDLESS} --json --locking global > {}",
            id.display(),
            env!("CARGO_BIN_EXE_bank-transfer"),
            result.display()
        );
        let mut script = Command::new("script");
        script
            .args(["-qec", &command, "/dev/null"])
            .env("SHELL", "/bin/sh");
        script.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = match script.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("not tested: there is no script here");
                return Ok(());
            }
            child => child?,
        };
        let output = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut parts = output.split(b'\r');
        let shown = parts.any(|part| part.is_ok_and(|part| part.starts_with(b"global: ")));
        assert!(shown, "no progress");
        child.kill()?;
        child.wait()?;
        let id = fs::read_to_string(id)?;
        Command::new("kill").args(["-INT", id.trim()]).status()?;
        let end = Instant::now() + LIMIT;
        let json = loop {
            let running = std::path::Path::new("/proc").join(id.trim()).exists();
            let text = fs::read_to_string(&result)?;
            match serde_json::from_str::<Value>(&text) {
                Ok(json) => break json,
                Err(error) if !running || Instant::now() > end => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        assert_eq!(json["stopped_by"], "SIGINT");
        fs::remove_dir_all(folder)?;
        Ok(())
    }

    #[test]
    fn a_reader_that_leaves_during_a_run_ends_it_quietly() -> Outcome {
        let mut child = program("--transfers 3e5 --threads 2").spawn()?;
        let mut first = String::new();
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        lines.read_line(&mut first)?;
        drop(lines);
        assert!(first.contains("1,000 accounts"), "{first}");
        assert_eq!(wait(&mut child)?, Some(0));
        let mut message = String::new();
        child
            .stderr
            .take()
            .ok_or("no stderr")?
            .read_to_string(&mut message)?;
        assert_eq!(message, "");
        Ok(())
    }

    /// The audits happen during the transfers on one processor, too.
    #[test]
    fn on_one_processor_everything_holds_as_well() -> Outcome {
        let mut command = Command::new("taskset");
        command.args(["-c", "0", env!("CARGO_BIN_EXE_bank-transfer")]);
        command.args(["--transfers", "100_000", "--json", "--threads", "8"]);
        let output = match command.output_in_time() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("not tested: there is no taskset here");
                return Ok(());
            }
            output => output?,
        };
        assert!(output.status.success(), "{output:?}");
        let json: Value = serde_json::from_slice(&output.stdout)?;
        for run in json["runs"].as_array().into_iter().flatten() {
            assert!(run["audits"].as_u64() >= Some(16), "{run}");
        }
        Ok(())
    }
}
