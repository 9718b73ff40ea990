//! What breaks while it works: signals, killed workers, a killed parent, full disks.
#![cfg(target_os = "linux")]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Against hangs only: whatever is waited for comes much earlier.
const BOUND: Duration = Duration::from_secs(60);

const MODES: [&str; 3] = ["sequential", "threads --workers 2", "processes --workers 2"];

fn program(arguments: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_prime-finder"));
    program
        .args(arguments.split_whitespace())
        .stdin(Stdio::null());
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begin.elapsed() < BOUND, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn send(signal: &str, process: u32) -> Result {
    let status = Command::new("kill")
        .args([signal, &process.to_string()])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("kill {signal} {process}: {status}").into())
    }
}

/// The number in a line of /proc/PID/status, such as `VmHWM`.
fn status_field(process: u32, name: &str, radix: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    u64::from_str_radix(line.split_whitespace().next()?, radix).ok()
}

/// The process group it is in.
fn group(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(2)?.parse().ok()
}

/// It listens to Ctrl-C (signal 2) and SIGTERM (15).
fn wait_until_it_listens(process: u32) {
    wait_for("the signal handlers", || {
        let caught = status_field(process, "SigCgt", 16)?;
        (caught & (1 << 1) != 0 && caught & (1 << 14) != 0).then_some(())
    });
}

/// Living children; one that ended and was not waited for does not count.
fn children(process: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(
            list.split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    found.retain(|&child| is_alive(child));
    found
}

fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn wait_until_gone(processes: &[u32]) {
    wait_for("the end of all workers", || {
        (!processes.iter().any(|&id| is_alive(id))).then_some(())
    });
}

/// Like `wait_with_output`, but bounded.
fn end(mut child: Child) -> Result<Output> {
    let stdout = child.stdout.take().map(read_in_thread);
    let stderr = child.stderr.take().map(read_in_thread);
    let status = wait_for("the program's end", || child.try_wait().transpose())?;
    let read = |thread: Option<thread::JoinHandle<Vec<u8>>>| {
        thread.map_or(Vec::new(), |thread| {
            thread.join().expect("reading does not panic")
        })
    };
    Ok(Output {
        status,
        stdout: read(stdout),
        stderr: read(stderr),
    })
}

/// Killed at the latest when its test ends, also by a failed assertion.
struct Owned(Child);

impl Owned {
    fn end(&mut self) -> Result<Option<i32>> {
        let status = wait_for("the program's end", || self.0.try_wait().transpose())?;
        Ok(status.code())
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read_in_thread(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

#[test]
fn the_first_signal_ends_it_orderly_with_a_summary() -> Result {
    for mode in MODES {
        for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
            let child = program(&format!("1e10 --mode {mode}")).spawn()?;
            wait_until_it_listens(child.id());
            send(signal, child.id())?;
            let output = end(child)?;
            let message = String::from_utf8(output.stderr)?;
            assert_eq!(
                output.status.code(),
                Some(code),
                "{mode} {signal}: {message}"
            );
            assert!(output.stdout.is_empty(), "a number would not be the answer");
            assert!(
                message.contains("stopped: ") && message.contains("not done: "),
                "{message}"
            );
            assert!(
                message.trim_end().ends_with("to 10,000,000,000"),
                "{message}"
            );
        }
    }
    Ok(())
}

/// Far up a single segment of the sieve takes seconds, and so do a few divided numbers.
#[test]
fn far_up_too_a_signal_ends_it_with_a_summary() -> Result {
    let sieve = "1e19 --from 9999999999999e6";
    for what in [
        sieve,
        &format!("{sieve} --list"),
        "1e15 --from 1e14 --algorithm trial",
    ] {
        for mode in MODES {
            let child = program(&format!("{what} --mode {mode}")).spawn()?;
            wait_until_it_listens(child.id());
            thread::sleep(Duration::from_millis(300)); // into the middle of a piece
            send("-INT", child.id())?;
            let output = end(child)?;
            let message = String::from_utf8(output.stderr)?;
            assert_eq!(output.status.code(), Some(130), "{what} {mode}: {message}");
            assert!(
                message.starts_with("stopped: ") && message.contains("not done: "),
                "{what} {mode}: {message}"
            );
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
    Ok(())
}

/// `script` lends it a terminal.
#[test]
fn on_a_terminal_a_long_run_shows_its_progress_and_tidies_up_after_it() -> Result {
    for mode in MODES {
        let command = format!(
            "exec {} 1e9 --algorithm trial --mode {mode}",
            env!("CARGO_BIN_EXE_prime-finder")
        );
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]);
        script.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = match script.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("not tested: there is no script here");
                return Ok(());
            }
            child => Owned(child?),
        };
        let mut terminal = BufReader::new(child.0.stdout.take().ok_or("a pipe")?);
        let (seen, first) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut first = Vec::new();
            while !first.ends_with(b"\x1b[K") && terminal.read_until(b'K', &mut first)? > 0 {}
            let _ = seen.send(first);
            std::io::read_to_string(terminal)
        });
        let first = first.recv_timeout(BOUND)?;
        let first = String::from_utf8(first)?;
        let name = mode.split(' ').next().unwrap_or_default();
        assert!(
            first.starts_with(&format!("\rtrial by {name}: ")),
            "{first}"
        );
        assert!(first.contains(" of 1,000,000,000, "), "{first}");
        assert!(first.ends_with(" s left \x1b[K"), "{first}");
        let [finder] = children(child.0.id())[..] else {
            return Err("script has one child".into());
        };
        send("-INT", finder)?;
        let code = child.end()?;
        let rest = reader.join().expect("reading does not panic")?;
        assert_eq!(code, Some(130), "{rest}");
        let (_, summary) = rest
            .rsplit_once("\r\x1b[K")
            .ok_or("the line is still there")?;
        assert!(summary.starts_with("stopped: "), "{summary}");
    }
    Ok(())
}

#[test]
fn when_nobody_reads_the_output_it_is_cut_short_after_a_while_and_says_so() -> Result {
    let mut child = program("1e13 --list --mode sequential").spawn()?;
    let mut stdout = child.stdout.take().ok_or("a pipe")?;
    // After these it is in the midst of a write that is far longer than the pipe.
    stdout.read_exact(&mut [0; 64])?;
    send("-INT", child.id())?;
    let output = end(child)?;
    let message = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(
        message.starts_with("stopped: cut short") && message.lines().count() == 1,
        "{message}"
    );
    Ok(())
}

#[test]
fn a_signal_ends_the_worker_processes_too() -> Result {
    let child = program("1e13 --mode processes --workers 2").spawn()?;
    let workers = wait_for("two workers", || {
        Some(children(child.id())).filter(|all| all.len() == 2)
    });
    send("-TERM", child.id())?;
    let output = end(child)?;
    assert_eq!(output.status.code(), Some(143), "{output:?}");
    wait_until_gone(&workers);
    Ok(())
}

#[test]
fn the_terminals_ctrl_c_reaches_the_whole_group_and_the_parent_decides() -> Result {
    use std::os::unix::process::CommandExt;
    let child = program("1e13 --mode processes --workers 2")
        .process_group(0)
        .spawn()?;
    let workers = wait_for("two workers", || {
        Some(children(child.id())).filter(|all| all.len() == 2)
    });
    // A worker is a child of this group for the moment before it becomes one of its own.
    wait_for("groups of their own", || {
        workers
            .iter()
            .all(|&worker| group(worker) == Some(worker))
            .then_some(())
    });
    wait_until_it_listens(child.id());
    let status = Command::new("kill")
        .args(["-INT", "--", &format!("-{}", child.id())])
        .status()?;
    assert!(status.success());
    let output = end(child)?;
    let message = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(
        message.starts_with("stopped: ") && message.lines().count() == 1,
        "{message}"
    );
    wait_until_gone(&workers);
    Ok(())
}

#[test]
fn the_second_signal_ends_it_at_once_and_leaves_no_file() -> Result {
    let folder = tempfile::tempdir()?;
    // Nobody reads the pipe: an orderly end cannot come, however long one waits.
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status()?.success());
    let child = program("1e13 --list --mode processes --workers 2 --output")
        .arg(&fifo)
        .spawn()?;
    let mut reader = BufReader::with_capacity(16, fs::File::open(&fifo)?);
    reader.read_line(&mut String::new())?;
    let workers = wait_for("two workers", || {
        Some(children(child.id())).filter(|all| all.len() == 2)
    });
    send("-INT", child.id())?;
    thread::sleep(Duration::from_millis(50)); // two signals in the same moment are one
    send("-INT", child.id())?;
    assert_eq!(end(child)?.status.code(), Some(130));
    wait_until_gone(&workers);
    Ok(())
}

#[test]
fn a_stopped_list_leaves_no_partial_file_and_keeps_the_old_one() -> Result {
    for (mode, signals) in MODES.into_iter().flat_map(|mode| [(mode, 1), (mode, 2)]) {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("primes.txt");
        fs::write(&file, "old")?;
        let arguments = format!("1e13 --list --mode {mode} --output");
        let child = program(&arguments).arg(&file).spawn()?;
        wait_for("the unfinished file", || {
            let entries = fs::read_dir(folder.path()).ok()?.flatten();
            entries
                .filter_map(|entry| entry.metadata().ok())
                .find(|data| data.len() > 3)
        });
        for _ in 0..signals {
            // The second may find the process gone.
            let _ = send("-INT", child.id());
        }
        let output = end(child)?;
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert_eq!(fs::read_to_string(&file)?, "old");
        assert_eq!(
            fs::read_dir(folder.path())?.count(),
            1,
            "{mode}, {signals} signals"
        );
    }
    Ok(())
}

#[test]
fn a_full_disk_is_one_line_and_exit_code_1() -> Result {
    for mode in MODES {
        for what in ["1e7 --list", "1e5", "1e5 --json"] {
            let full = fs::OpenOptions::new().write(true).open("/dev/full")?;
            let arguments = format!("{what} --mode {mode}");
            for child in [
                program(&arguments).stdout(full).spawn()?,
                program(&arguments)
                    .args(["--output", "/dev/full"])
                    .spawn()?,
            ] {
                let output = end(child)?;
                let message = String::from_utf8(output.stderr)?;
                assert_eq!(
                    (output.status.code(), message.lines().count()),
                    (Some(1), 1),
                    "{message}"
                );
                assert!(message.contains("No space left"), "{message}");
            }
        }
    }
    Ok(())
}

#[test]
fn help_and_version_say_so_as_well_when_the_disk_is_full() -> Result {
    for argument in ["--help", "-h", "--version"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full")?;
        let output = end(program(argument).stdout(full).spawn()?)?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{argument}: {message}");
        assert!(
            message.starts_with("error: cannot write to stdout: No space left")
                && message.lines().count() == 1,
            "{message}"
        );
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = end(program(argument).stdout(writer).spawn()?)?;
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{argument}: {output:?}"
        );
    }
    Ok(())
}

/// Beyond the allowed size a write fails as on a full disk, instead of SIGXFSZ killing.
#[test]
fn a_file_that_does_not_fit_leaves_the_old_one_and_nothing_else() -> Result {
    for mode in MODES {
        for to in ["--output", ">"] {
            let folder = tempfile::tempdir()?;
            fs::write(folder.path().join("primes.txt"), "old")?;
            let script = match to {
                ">" => "ulimit -f 16; exec \"$@\" > shell.txt",
                _ => "ulimit -f 16; exec \"$@\" --output primes.txt",
            };
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "sh", env!("CARGO_BIN_EXE_prime-finder")]);
            shell.args(format!("1e6 --list --mode {mode}").split(' '));
            shell.current_dir(folder.path()).stdin(Stdio::null());
            let output = end(shell
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?)?;
            let message = String::from_utf8(output.stderr)?;
            assert_eq!(output.status.code(), Some(1), "{mode} {to}: {message}");
            assert!(
                message.starts_with("error: cannot write ") && message.lines().count() == 1,
                "{message}"
            );
            assert_eq!(fs::read_to_string(folder.path().join("primes.txt"))?, "old");
            let others = fs::read_dir(folder.path())?.count() - 1;
            assert_eq!(others, usize::from(to == ">"), "{mode}: {message}");
        }
    }
    Ok(())
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next_but_not_what_a_living_one_writes() -> Result {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("primes.txt");
    let begin = || -> Result<Owned> {
        let child = Owned(program("1e13 --list --output").arg(&file).spawn()?);
        let own = folder
            .path()
            .join(format!(".primes.txt.{}.unfinished", child.0.id()));
        wait_for("the unfinished file", || {
            fs::metadata(&own).ok().filter(|data| data.len() > 0)
        });
        Ok(child)
    };
    let names = || -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder.path())? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    let (mut killed, mut living) = (begin()?, begin()?);
    killed.0.kill()?;
    killed.end()?;
    fs::write(folder.path().join(".primes.txt.mine.unfinished"), "")?;
    assert_eq!(names()?.len(), 3);

    let output = end(program("100 --list --output").arg(&file).spawn()?)?;
    assert!(output.status.success(), "{output:?}");
    let unfinished = format!(".primes.txt.{}.unfinished", living.0.id());
    let expected = [&unfinished, ".primes.txt.mine.unfinished", "primes.txt"];
    assert_eq!(names()?, expected);
    send("-INT", living.0.id())?;
    assert_eq!(living.end()?, Some(130));
    assert_eq!(names()?, expected[1..]);
    Ok(())
}

#[test]
fn an_output_that_is_a_link_stays_one_also_when_it_points_to_nothing_yet() -> Result {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir()?;
    let path = |name| folder.path().join(name);
    fs::create_dir(path("sub"))?;
    symlink("sub/second", path("first"))?;
    symlink("../real", path("sub/second"))?;
    for (limit, primes) in [("4", "2\n3\n"), ("6", "2\n3\n5\n")] {
        let list = format!("{limit} --list --output");
        let output = end(program(&list).arg(path("first")).spawn()?)?;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(fs::read_to_string(path("real"))?, primes);
        assert!(path("first").is_symlink() && path("sub/second").is_symlink());
    }
    symlink("circle", path("circle"))?;
    let output = end(program("4 --list --output").arg(path("circle")).spawn()?)?;
    let message = String::from_utf8(output.stderr)?;
    assert_eq!(
        (output.status.code(), message.lines().count()),
        (Some(1), 1),
        "{message}"
    );
    assert!(path("circle").is_symlink());
    Ok(())
}

#[test]
fn a_worker_killed_in_the_middle_costs_nothing_but_a_note() -> Result {
    // Long enough to be killed in the middle, and no longer.
    let limit = 1_000_000_000_000_u64
        + if cfg!(debug_assertions) {
            4_000
        } else {
            20_000
        };
    let arguments =
        format!("{limit} --from 1e12 --algorithm trial --mode processes --workers 2 --json");
    let expected = end(program(&arguments.replace("processes", "threads")).spawn()?)?;
    let child = program(&arguments).spawn()?;
    let workers = wait_for("two workers", || {
        Some(children(child.id())).filter(|all| all.len() == 2)
    });
    send("-KILL", workers[0])?;
    let output = end(child)?;
    let message = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(
        message.contains(&format!("(process {})", workers[0])),
        "{message}"
    );
    assert!(message.contains("ended by signal 9"), "{message}");
    let count = |output: &[u8]| -> Result<serde_json::Value> {
        Ok(serde_json::from_slice::<serde_json::Value>(output)?["count"].take())
    };
    assert_eq!(count(&output.stdout)?, count(&expected.stdout)?);
    Ok(())
}

#[test]
fn when_every_worker_dies_it_gives_up_and_names_what_was_not_done() -> Result {
    // Pieces that take for ever, and nobody who lives long enough for one.
    let mut child = program("1e19 --from 9_999_999e12 --mode processes --workers 1").spawn()?;
    let begin = Instant::now();
    let mut killed = 0;
    while child.try_wait()?.is_none() {
        assert!(begin.elapsed() < BOUND, "it does not give up");
        for worker in children(child.id()) {
            if send("-KILL", worker).is_ok() {
                killed += 1;
                wait_until_gone(&[worker]);
            }
        }
    }
    assert!(killed >= 3, "{killed} workers killed");
    let output = end(child)?;
    let message = String::from_utf8(output.stderr)?;
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(1), 0),
        "{message}"
    );
    assert!(
        message.contains("given up after 3 tries, worker 1"),
        "{message}"
    );
    assert!(
        message.contains("error: not done, 9999999000000000000 to "),
        "{message}"
    );
    Ok(())
}

#[test]
fn a_killed_parent_leaves_no_worker_behind() -> Result {
    let mut child = program("1e13 --mode processes --workers 2").spawn()?;
    let workers = wait_for("two workers", || {
        Some(children(child.id())).filter(|all| all.len() == 2)
    });
    child.kill()?;
    child.wait()?;
    wait_until_gone(&workers);
    Ok(())
}

#[test]
fn never_more_threads_or_processes_than_asked_for() -> Result {
    for (mode, threads_allowed) in [("threads", 2 + 3), ("processes", 2 + 3)] {
        let child = program(&format!("1e13 --mode {mode} --workers 3")).spawn()?;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(300) {
            let threads = status_field(child.id(), "Threads", 10).unwrap_or_default();
            assert!(threads <= threads_allowed, "{mode}: {threads} threads");
            assert!(children(child.id()).len() <= 3, "{mode}");
        }
        send("-TERM", child.id())?;
        end(child)?;
    }
    Ok(())
}

#[test]
fn counting_needs_less_than_16_mib_at_any_limit() -> Result {
    for limit in ["1e9", "1e12", "1e13", "1e19"] {
        let from = if limit == "1e19" { "9_999_000e12" } else { "0" };
        let child =
            program(&format!("{limit} --from {from} --mode threads --workers 2")).spawn()?;
        wait_until_it_listens(child.id());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(1) && is_alive(child.id()) {
            if let Some(peak) = status_field(child.id(), "VmHWM", 10) {
                assert!(peak < 16 << 10, "{peak} kB below {limit}");
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = send("-TERM", child.id());
        end(child)?;
    }
    Ok(())
}
