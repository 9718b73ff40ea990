//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::Command;

fn program(arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_graceful-shutdown"));
    program.args(arguments);
    program
}

#[test]
fn it_ends_by_itself_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program(&[]).output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert_eq!(verdict, "ok: all 24 items finished", "{text}");
    Ok(())
}

#[test]
fn an_argument_that_makes_no_sense_is_a_usage_error() -> Result<(), Box<dyn Error>> {
    for arguments in [
        &["many"][..],
        &["-1"],
        &["1", "two"],
        &["1", "2", "3"],
        &["--limit"],
        &[""],
    ] {
        let output = program(arguments).output_in_time()?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(message.contains("Usage: graceful-shutdown"), "{message}");
        assert_eq!(output.stdout, b"");
    }
    let help = program(&["--help"]).output_in_time()?;
    assert!(help.status.success() && help.stdout.starts_with(b"Usage: "));
    Ok(())
}

#[cfg(unix)]
mod signals {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Stdio};
    use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
    use std::thread;
    use std::time::{Duration, Instant};

    /// Only against tests that hang.
    const LIMIT: Duration = Duration::from_secs(30);
    const KINDS: [(&str, &str, i32); 2] = [("-INT", "SIGINT", 130), ("-TERM", "SIGTERM", 143)];
    /// Items that take hours.
    const HOURS: &str = "4000000000";
    /// Small items, and so many that it does not end by itself before the signal comes.
    const MANY: [&str; 2] = ["50000", "2000"];

    /// The running program; killed if the test fails before its end.
    struct Running {
        child: Child,
        lines: Receiver<String>,
    }

    impl Running {
        fn start(arguments: &[&str]) -> Running {
            let mut child = program(arguments).stdout(Stdio::piped()).spawn().unwrap();
            let stdout = BufReader::new(child.stdout.take().unwrap());
            let (send, lines) = mpsc::channel();
            thread::spawn(move || {
                for line in stdout.lines() {
                    let _ = send.send(line.unwrap());
                }
            });
            Running { child, lines }
        }

        /// Reads on up to a line that contains `what`.
        fn read_to(&self, what: &str) -> String {
            let next = || self.lines.recv_timeout(LIMIT).expect("one more line");
            std::iter::repeat_with(next)
                .find(|line| line.contains(what))
                .unwrap()
        }

        /// One `kill` for all of them, so that nothing comes in between.
        fn signal(&self, kind: &str, times: usize) {
            let ids = vec![self.child.id().to_string(); times];
            let kill = Command::new("kill").arg(kind).args(ids).status();
            assert!(kill.unwrap().success());
        }

        /// Its exit code and the rest of its lines.
        fn end(mut self) -> (Option<i32>, Vec<String>) {
            let (mut rest, begin) = (Vec::new(), Instant::now());
            loop {
                let left = LIMIT.saturating_sub(begin.elapsed());
                match self.lines.recv_timeout(left) {
                    Ok(line) => rest.push(line),
                    // Its output ends when the program does.
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => panic!("it goes on after {rest:?}"),
                }
            }
            (self.child.wait().unwrap().code(), rest)
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// What the last line says was begun, finished, given back and not begun.
    fn counts(lines: &[String], name: &str) -> [u32; 4] {
        let verdict = lines.last().expect("a last line");
        assert!(verdict.starts_with(&format!("ok: stopped by {name} within ")));
        let (_, counts) = verdict
            .split_once(": ")
            .unwrap()
            .1
            .split_once(": ")
            .unwrap();
        let numbers = counts.split_whitespace().flat_map(str::parse);
        numbers.collect::<Vec<u32>>().try_into().expect(verdict)
    }

    fn check_counts([begun, finished, given_back, not_begun]: [u32; 4]) {
        assert_eq!(begun, finished + given_back);
        assert_eq!((begun + not_begun).to_string(), MANY[1]);
    }

    /// SIGTERM killed Python's program.
    #[test]
    fn a_signal_in_the_middle_of_work_lets_the_item_be_finished() {
        for (kind, name, code) in KINDS {
            // Not each attempt has to be in time: the machine may be busy.
            let in_time = (0..5).any(|_| {
                let running = Running::start(&MANY);
                let line = running.read_to(" works on item ");
                running.signal(kind, 1);
                let begin = Instant::now();
                let (status, lines) = running.end();
                let took = begin.elapsed();
                assert_eq!(status, Some(code), "{lines:?}");
                check_counts(counts(&lines, name));

                let words: Vec<&str> = line.split_whitespace().collect();
                let [_, "ms", worker, "works", "on", "item", item] = words[..] else {
                    panic!("{line}");
                };
                let report = format!("{worker} finished [{item}");
                assert!(lines.iter().any(|it| it.starts_with(&report)), "{lines:?}");
                took < Duration::from_secs(5)
            });
            assert!(in_time, "it goes on for longer than 5 s after {name}");
        }
    }

    /// Python's program slept on for up to a second.
    #[test]
    fn it_ends_well_under_100_ms_after_the_signal() {
        let runs = [(); 9].map(|()| {
            let running = Running::start(&MANY);
            // The workers begin to wait, for 100 ms if nothing wakes them.
            running.read_to("Ctrl-C stops");
            running.signal("-TERM", 1);
            let begin = Instant::now();
            assert_eq!(running.end().0, Some(143));
            begin.elapsed()
        });
        // Some, not all: the machine may be busy. Not just one: that could be luck.
        let fast = runs.iter().filter(|took| took.as_millis() < 50).count();
        assert!(fast > 2, "{runs:?}");
    }

    #[test]
    fn a_signal_while_all_workers_wait_ends_it_with_every_item_accounted_for() {
        for (kind, name, code) in KINDS {
            let running = Running::start(&MANY);
            running.read_to("Ctrl-C stops");
            running.signal(kind, 1);
            let (status, lines) = running.end();
            assert_eq!(status, Some(code), "{lines:?}");
            check_counts(counts(&lines, name));
        }
    }

    #[test]
    fn a_signal_is_not_lost_whenever_it_comes() {
        // One more line is read each time before the signal is sent.
        for lines in 1..=6 {
            let running = Running::start(&MANY);
            (0..lines).for_each(|_| drop(running.read_to("")));
            running.signal("-TERM", 1);
            let (status, lines) = running.end();
            assert_eq!(status, Some(143), "{lines:?}");
            check_counts(counts(&lines, "SIGTERM"));
        }
    }

    /// Python's program ran its shutdown twice.
    #[test]
    fn a_second_signal_ends_it_at_once() {
        for (second, code) in [("-INT", 130), ("-TERM", 143)] {
            let mut running = Running::start(&[HOURS]);
            running.read_to(" works on item ");
            running.signal("-INT", 1);
            running.read_to("SIGINT: ");
            // Two of a kind within a moment are one signal: then it takes a third.
            for _ in 0..1000 {
                running.signal(second, 1);
                thread::sleep(Duration::from_millis(10));
                if running.child.try_wait().unwrap().is_some() {
                    break;
                }
            }
            let (status, lines) = running.end();
            assert_eq!(status, Some(code));
            assert!(lines.iter().all(|line| !line.contains("ok: ")), "{lines:?}");
        }
    }

    /// As `timeout` does: to the program and to its group.
    #[test]
    fn a_doubled_signal_is_one() {
        let running = Running::start(&MANY);
        running.read_to(" works on item ");
        running.signal("-INT", 2);
        let (status, lines) = running.end();
        assert_eq!(status, Some(130));
        check_counts(counts(&lines, "SIGINT"));
    }
}
