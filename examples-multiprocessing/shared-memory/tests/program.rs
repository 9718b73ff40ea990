//! The program as its user meets it, and what it leaves behind.

#[path = "shared/bounded.rs"]
mod bounded;
#[path = "shared/orphans.rs"]
mod orphans;

use bounded::OutputInTime;
use std::error::Error;
use std::process::{Command, Stdio};

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_shared-memory"));
    program.stdin(Stdio::null()).stderr(Stdio::piped());
    program
}

#[test]
#[cfg(unix)]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: counts exact"), "{text}");
    assert!(text.contains("4 workers counted to 4000000 "), "{text}");
    Ok(())
}

#[test]
fn a_count_that_is_none_is_a_usage_error() -> Result<(), Box<dyn Error>> {
    for arguments in [&["-1"][..], &["many"], &["--help"], &["1", "2"], &[""]] {
        let output = program().args(arguments).output_in_time()?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(message, "usage: shared-memory [COUNT]\n");
    }
    Ok(())
}

#[test]
fn an_unknown_role_starts_nothing() -> Result<(), Box<dyn Error>> {
    for role in ["", "1", "parent", "count", "count a", "tally  "] {
        let output = program().env("SHARED_MEMORY_ROLE", role).output_in_time()?;
        assert_eq!(output.status.code(), Some(1), "{role:?}");
        assert_eq!(output.stdout, b"", "{role:?}");
        let complaint = String::from_utf8(output.stderr)?;
        assert!(complaint.contains("SHARED_MEMORY_ROLE"), "{complaint}");
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod left_behind {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process};
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Child, Output};
    use std::thread;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(20);
    /// A count that no worker ever reaches.
    const ENDLESS: &str = "1000000000000000000";

    /// A run in the middle of its count.
    struct Run {
        child: Option<Child>,
        id: u32,
        workers: Vec<u32>,
    }

    impl Run {
        fn start() -> Run {
            Run::of(program())
        }

        /// For one that dies while its workers are stopped: they are ended (SIGHUP) only if their
        /// next parent, whichever that is, belongs to another session.
        fn start_in_its_own_session() -> Run {
            let mut command = Command::new("setsid");
            command.arg(env!("CARGO_BIN_EXE_shared-memory"));
            command.stdin(Stdio::null()).stderr(Stdio::piped());
            Run::of(command)
        }

        fn of(mut command: Command) -> Run {
            let child = command.arg(ENDLESS).stdout(Stdio::piped()).spawn();
            let child = child.expect("the program starts");
            let id = child.id();
            let mut run = Run {
                child: Some(child),
                id,
                workers: Vec::new(),
            };
            run.eventually("its workers are there", |run| {
                run.workers = orphans::children(id);
                run.workers.len() == 4 && run.segment().len() == 2
            });
            run
        }

        fn eventually(&mut self, what: &str, mut holds: impl FnMut(&mut Run) -> bool) {
            let deadline = Instant::now() + PATIENCE;
            while !holds(self) {
                assert!(Instant::now() < deadline, "in vain: {what}");
                thread::sleep(Duration::from_millis(2));
            }
        }

        fn segment(&self) -> Vec<String> {
            segment_of(self.id)
        }

        fn send(&self, signal: Signal) {
            send(self.id, signal);
        }

        /// Stops a worker: from then on it does nothing at all, not even end. The system ends
        /// (SIGHUP) a stopped orphan, if all its threads had stopped already.
        fn stop(&mut self, worker: usize) {
            let id = self.workers[worker];
            send(id, Signal::STOP);
            self.eventually("it stops", |_| {
                let threads = fs::read_dir(format!("/proc/{id}/task")).expect("it is there");
                let mut stats = threads.map(|thread| thread.unwrap().path().join("stat"));
                stats.all(|stat| state(&stat) == Some('T'))
            });
        }

        /// How the program ended; its workers have to be gone soon then.
        fn end(&mut self) -> Output {
            // First this: as long as one runs, it has the other end of the pipe for the errors.
            self.eventually("no worker is left", |run| {
                !run.workers.iter().any(|id| orphans::running(*id))
            });
            let child = self.child.take().expect("it is ended once");
            child.wait_with_output().expect("it can be waited for")
        }
    }

    impl Drop for Run {
        fn drop(&mut self) {
            if let Some(mut child) = self.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
            // If the test has failed, they may still be there.
            for id in self.workers.iter().filter(|id| orphans::running(**id)) {
                let _ = kill_process(Pid::from_raw(*id as i32).unwrap(), Signal::KILL);
            }
            // What a killed run left; otherwise there is nothing.
            for name in self.segment() {
                let _ = fs::remove_file(format!("/dev/shm/{name}"));
            }
        }
    }

    fn send(id: u32, signal: Signal) {
        let id = Pid::from_raw(id as i32).expect("it is not zero");
        kill_process(id, signal).expect("the process is there");
    }

    fn segment_of(id: u32) -> Vec<String> {
        let prefix = format!("shared-memory-example-{id}-");
        let files = fs::read_dir("/dev/shm").expect("shared memory is there");
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&prefix)).collect()
    }

    fn state(stat: &Path) -> Option<char> {
        let stat = fs::read_to_string(stat).ok()?;
        stat.rsplit(')').next()?.trim().chars().next()
    }

    fn last_line(output: &Output) -> &str {
        let text = str::from_utf8(&output.stdout).expect("the output is text");
        text.lines().last().unwrap_or_default()
    }

    #[test]
    fn a_signal_ends_it_in_good_order() {
        for (signal, name, code) in [(Signal::INT, "SIGINT", 130), (Signal::TERM, "SIGTERM", 143)] {
            let mut run = Run::start();
            run.send(signal);
            let output = run.end();
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            let expected = format!("stopped by {name}: no worker and no segment is left");
            assert_eq!(last_line(&output), expected);
            assert!(run.segment().is_empty(), "{:?}", run.segment());
        }
    }

    /// At regular times of its life, and beyond its end.
    #[test]
    fn a_signal_at_any_time_leaves_nothing() {
        for wait in (0..9).map(|n| 70 * n) {
            let mut command = program();
            let child = command.stdout(Stdio::null()).spawn().unwrap();
            let id = child.id();
            thread::sleep(Duration::from_millis(wait));
            // Not waited for yet: the number is still its own.
            send(id, Signal::TERM);
            let output = child.wait_with_output().unwrap();
            // Before it listens, the signal ends it as any other program.
            let by_signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
            let how = (output.status.code(), by_signal);
            let expected = [(Some(0), None), (Some(143), None), (None, Some(15))];
            assert!(expected.contains(&how), "after {wait} ms: {output:?}");
            assert_eq!(output.stderr, b"", "after {wait} ms");
            assert!(segment_of(id).is_empty(), "after {wait} ms");
        }
    }

    #[test]
    fn a_second_signal_does_not_wait_for_workers_that_hang() {
        let mut run = Run::start_in_its_own_session();
        (0..4).for_each(|worker| run.stop(worker));
        run.send(Signal::INT);
        run.send(Signal::TERM);
        let output = run.end();
        let code = output.status.code();
        assert!([Some(130), Some(143)].contains(&code), "{output:?}");
        assert!(output.stdout.ends_with(b"\n") && !last_line(&output).starts_with("stopped"));
        assert!(run.segment().is_empty(), "{:?}", run.segment());
    }

    #[test]
    fn after_one_signal_workers_that_hang_are_killed() {
        let mut run = Run::start();
        run.stop(2);
        run.send(Signal::INT);
        let output = run.end();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert!(run.segment().is_empty(), "{:?}", run.segment());
    }

    /// As in `| head -1`, `| head -2` and so on.
    #[test]
    fn a_reader_that_leaves_early_ends_it_quietly_and_nothing_is_left() {
        for lines in [1, 2, 5, 8, 11, 14, 17] {
            let mut child = program().stdout(Stdio::piped()).spawn().unwrap();
            let id = child.id();
            let reader = BufReader::new(child.stdout.take().unwrap());
            assert_eq!(reader.lines().take(lines).count(), lines);
            let output = child.wait_with_output().unwrap();
            assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
            assert!(segment_of(id).is_empty(), "after {lines} lines");
        }
    }

    #[test]
    fn a_killed_worker_is_named_and_ends_the_count_that_it_spoils() {
        let mut run = Run::start();
        send(run.workers[2], Signal::KILL);
        let output = run.end();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            message.starts_with("error: worker ") && message.contains("SIGKILL"),
            "{message}"
        );
        assert!(run.segment().is_empty(), "{:?}", run.segment());
    }

    #[test]
    fn the_workers_of_a_killed_parent_end_and_the_next_run_removes_its_segment() {
        // Some other test's run may remove it before the one here does, but not every time.
        let told = (0..10).any(|_| {
            let mut run = Run::start();
            run.send(Signal::KILL);
            run.end();
            let output = program().output_in_time().unwrap();
            assert!(output.status.success(), "{output:?}");
            run.eventually("its segment is removed", |run| run.segment().is_empty());
            let text = String::from_utf8_lossy(&output.stdout);
            text.contains(&format!("removed shared-memory-example-{}-", run.id))
        });
        assert!(told, "no run says that it removed the segment");
    }

    #[test]
    fn the_workers_of_a_killed_parent_end_within_a_second_even_if_they_hang() {
        for hanging in [0, 4] {
            let what = format!("the end when {hanging} hang");
            orphans::within_a_second(&what, || {
                let mut run = Run::start_in_its_own_session();
                (0..hanging).for_each(|worker| run.stop(worker));
                let begin = Instant::now();
                run.send(Signal::KILL);
                run.end();
                begin.elapsed()
            });
        }
    }

    #[test]
    fn runs_at_the_same_time_do_not_disturb_each_other() {
        let mut long_run = Run::start();
        // They need not count meanwhile.
        (0..4).for_each(|worker| long_run.stop(worker));
        let start = || program().stdout(Stdio::piped()).spawn().unwrap();
        let runs: Vec<Child> = (0..3).map(|_| start()).collect();
        for run in runs {
            let id = run.id();
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            assert!(segment_of(id).is_empty());
        }
        assert_eq!(long_run.segment().len(), 2);
        assert!(long_run.workers.iter().all(|id| orphans::running(*id)));
    }

    /// As in a container with little shared memory, where touching it would be a SIGBUS.
    #[test]
    fn too_little_memory_is_one_line_and_leaves_nothing() -> Result<(), Box<dyn Error>> {
        let limited = "trap '' XFSZ; ulimit -f 64; exec \"$0\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", limited, env!("CARGO_BIN_EXE_shared-memory")]);
        shell
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = shell.spawn()?;
        // `exec` keeps the number.
        let id = child.id();
        let output = child.wait_with_output()?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.starts_with("error: shared memory: "), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(segment_of(id).is_empty());
        Ok(())
    }
}
