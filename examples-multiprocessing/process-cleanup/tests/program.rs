//! The program as its user meets it, and who is left after it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::process::{Command, Stdio};

fn program(arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_process-cleanup"));
    program.args(arguments).stdin(Stdio::null());
    program
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program(&[]).output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.ends_with("no zombie, no orphan"), "{text}");
    assert!(verdict.starts_with("ok: "), "{text}");
    Ok(())
}

#[test]
fn what_is_no_way_out_is_refused() -> Result<(), Box<dyn Error>> {
    for arguments in [&["through the window"][..], &[""], &["wait", "error"]] {
        let output = program(arguments).output_in_time()?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(2), &[][..])
        );
        assert!(message.contains("Usage: process-cleanup"), "{message}");
    }
    let help = program(&["--help"]).output_in_time()?;
    assert!(help.status.success() && help.stdout.starts_with(b"Usage: "));
    Ok(())
}

#[test]
fn an_unknown_role_starts_nothing() -> Result<(), Box<dyn Error>> {
    for role in ["", "1", "owner", "own", "parent"] {
        for arguments in [&[][..], &["through the window"]] {
            let mut program = program(arguments);
            let output = program.env("PROCESS_CLEANUP_ROLE", role).output_in_time()?;
            assert_eq!(
                (output.status.code(), &output.stdout[..]),
                (Some(1), &[][..])
            );
            let complaint = String::from_utf8(output.stderr)?;
            assert!(complaint.contains("PROCESS_CLEANUP_ROLE"), "{complaint}");
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
#[path = "../src/family.rs"]
mod family;

#[cfg(target_os = "linux")]
mod ways_out {
    use super::*;
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, ExitStatus};
    use std::sync::mpsc::{self, Receiver};
    use std::thread;
    use std::time::{Duration, Instant};

    const LIMIT: Duration = Duration::from_secs(30);
    /// All descendants inherit it, and by that are found.
    const TOKEN: &str = "PROCESS_CLEANUP_TEST";

    /// A process: its number may be another's one day, but not with the same time of birth.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Process {
        id: u32,
        born: u64,
    }

    /// Its state and what it is, if there is such a process, even as a zombie.
    fn look(id: u32) -> Option<(char, Process)> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
        let born = fields[19].parse().ok()?;
        Some((fields[0].chars().next()?, Process { id, born }))
    }

    fn left(members: &[Process]) -> Vec<(char, Process)> {
        let found = members.iter().flat_map(|it| look(it.id));
        found.filter(|(_, it)| members.contains(it)).collect()
    }

    /// Those that run with this token.
    fn with_token(token: &str) -> Vec<u32> {
        let token = format!("{TOKEN}={token}\0");
        let has_token = |id: &u32| {
            let variables = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            String::from_utf8_lossy(&variables).contains(&token)
        };
        let entries = fs::read_dir("/proc").unwrap();
        let names = entries.flat_map(|it| it.unwrap().file_name().into_string());
        let ids = names.flat_map(|name| name.parse());
        ids.filter(has_token).collect()
    }

    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !holds() {
            assert!(begin.elapsed() < LIMIT, "not in time: {what}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The running owner; killed if the test fails before its end.
    struct Running {
        owner: Child,
        token: String,
        lines: Receiver<String>,
        /// Four workers and a child of one.
        members: Vec<Process>,
    }

    impl Running {
        fn start(arguments: &[&str], token: &str) -> Running {
            // Orphans become children of the tests, which makes their zombies visible in any case:
            // process 1 may reap them or not.
            family::adopt_orphans().unwrap();
            let token = format!("{token}-{}", std::process::id());
            let mut command = program(arguments);
            command.env(TOKEN, &token).process_group(0);
            let piped = command.stdout(Stdio::piped()).stderr(Stdio::null());
            let mut owner = piped.spawn().unwrap();
            let stdout = BufReader::new(owner.stdout.take().unwrap());
            let (send, lines) = mpsc::channel();
            thread::spawn(move || stdout.lines().try_for_each(|line| send.send(line.unwrap())));
            Running {
                owner,
                token,
                lines,
                members: Vec::new(),
            }
        }

        /// One that waits, as soon as its workers are there.
        fn ready(way: &str, token: &str) -> Running {
            let mut running = Running::start(&[way], token);
            let line = running.lines.recv_timeout(LIMIT).unwrap();
            let words = line.split(|c: char| !c.is_ascii_digit());
            let ids = words.flat_map(str::parse::<u32>);
            running.members = ids.map(|id| look(id).expect(&line).1).collect();
            assert_eq!(running.members.len(), 5, "{line}");
            running
        }

        fn signal(&self, kind: &str) {
            kill(kind, &self.owner.id().to_string());
        }

        /// How it ended, and what it said until then.
        fn end(&mut self) -> (ExitStatus, Vec<String>) {
            let owner = &mut self.owner;
            wait_until("the owner's end", || owner.try_wait().unwrap().is_some());
            (owner.wait().unwrap(), self.lines.iter().collect())
        }

        /// For those ways that leave it to the workers: bounded, and then they are reaped here.
        fn see_the_workers_end(&self) {
            wait_until("the workers' end", || {
                left(&self.members).iter().all(|(state, _)| *state == 'Z')
            });
            self.members.iter().for_each(|it| family::reap_group(it.id));
            assert_eq!(left(&self.members), []);
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.owner.kill();
            let _ = self.owner.wait();
            for (_, it) in left(&self.members) {
                kill("-KILL", &it.id.to_string());
            }
        }
    }

    fn kill(kind: &str, id: &str) {
        let killed = Command::new("kill").args([kind, "--", id]).status();
        assert!(killed.unwrap().success());
    }

    /// The state when the owner has ended: nobody else had the time, or the right, to reap.
    #[test]
    fn a_return_an_error_and_a_panic_leave_no_child_and_no_zombie() {
        for (way, code) in [("return", 0), ("error", 1), ("panic", 101)] {
            let begin = Instant::now();
            let output = program(&[way]).output_in_time().unwrap();
            assert_eq!(output.status.code(), Some(code));
            let text = String::from_utf8(output.stdout).unwrap();
            let words = text.split(|c: char| !c.is_ascii_digit());
            let ids: Vec<u32> = words.flat_map(str::parse).collect();
            assert_eq!(ids.len(), 5, "{text}");
            assert!(ids.iter().all(|id| look(*id).is_none()), "{way}");
            // Python waited for workers that nobody had joined; these live for a minute.
            assert!(begin.elapsed() < LIMIT);
        }
    }

    #[test]
    fn exit_runs_no_drop_and_yet_the_workers_and_the_child_of_one_end() {
        family::adopt_orphans().unwrap();
        let output = program(&["exit"]).output_in_time().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let text = String::from_utf8(output.stdout).unwrap();
        let words = text.split(|c: char| !c.is_ascii_digit());
        let ids: Vec<u32> = words.flat_map(str::parse).collect();
        assert_eq!(ids.len(), 5, "{text}");
        wait_until("the workers' end", || {
            ids.iter().for_each(|id| family::reap_group(*id));
            ids.iter().all(|id| look(*id).is_none())
        });
    }

    /// SIGTERM ended Python's program before any `finally`.
    #[test]
    fn a_signal_ends_and_reaps_all_and_says_so() {
        for (kind, name, code) in [("-INT", "SIGINT", 130), ("-TERM", "SIGTERM", 143)] {
            let mut running = Running::ready("wait", name);
            running.signal(kind);
            let (status, lines) = running.end();
            assert_eq!(left(&running.members), []);
            assert_eq!(status.code(), Some(code), "{lines:?}");
            let last = format!("{name}: 4 ended, 0 of them killed, all reaped");
            assert_eq!(lines.last(), Some(&last));
        }
    }

    /// As the terminal does it: to the group. The workers are not in it.
    #[test]
    fn a_signal_to_the_whole_group_leaves_the_decision_to_the_owner() {
        let mut running = Running::ready("deaf", "group");
        kill("-INT", &format!("-{}", running.owner.id()));
        let line = running.lines.recv_timeout(LIMIT).unwrap();
        assert_eq!(line, "SIGINT: 4 asked to end; a second signal kills them");
        running.signal("-TERM");
        assert_eq!(running.end().0.code(), Some(130));
        assert_eq!(left(&running.members), []);
    }

    #[test]
    fn a_second_signal_kills_those_who_do_not_listen_at_once() {
        let mut running = Running::ready("deaf", "second");
        running.signal("-INT");
        running.lines.recv_timeout(LIMIT).unwrap();
        running.signal("-TERM");
        let (status, lines) = running.end();
        assert_eq!(left(&running.members), []);
        assert_eq!(status.code(), Some(130));
        // Without it they would have their time of grace, and another line.
        let last = lines.last().unwrap();
        assert!(last.ends_with(" killed at once, and reaped"), "{last}");
    }

    /// Those of a killed owner. A machine with much else to do may let them be late, but not every
    /// time.
    fn end_within_a_second(way: &str) -> bool {
        (0..5).any(|round| {
            let mut running = Running::ready(way, &format!("killed-{way}-{round}"));
            let begin = Instant::now();
            running.signal("-KILL");
            assert_eq!(running.end().0.code(), None);
            running.see_the_workers_end();
            begin.elapsed() < Duration::from_secs(1)
        })
    }

    #[test]
    fn the_workers_of_a_killed_owner_end_within_a_second_and_so_does_the_child_of_one() {
        assert!(end_within_a_second("wait"));
    }

    /// What does not listen to requests still sees the end of its stdin.
    #[test]
    fn deaf_workers_of_a_killed_owner_end_too() {
        assert!(end_within_a_second("deaf"));
    }

    /// At every stage: the processes that are just being started have to notice, too.
    #[test]
    fn the_demonstration_leaves_nobody_whenever_it_is_killed_or_interrupted() {
        for lines in [0, 1, 2, 5, 13, 17, 20] {
            for (kind, code) in [("-KILL", None), ("-INT", Some(130))] {
                let mut running = Running::start(&[], &format!("stage-{lines}{kind}"));
                (0..lines).for_each(|_| drop(running.lines.recv_timeout(LIMIT)));
                running.signal(kind);
                let (status, lines) = running.end();
                if !status.success() {
                    // At the very start nobody listens yet.
                    assert!(
                        lines.is_empty() || status.code() == code,
                        "{status} {lines:?}"
                    );
                }
                let running_still = || with_token(&running.token);
                wait_until("the end of all", || running_still().is_empty());
            }
        }
    }

    /// `say!` calls exit: the same as `exit_runs_no_drop`.
    #[test]
    fn a_reader_that_leaves_leaves_nobody() {
        let token = format!("reader-{}", std::process::id());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut program = program(&["wait"]);
        let status = program.env(TOKEN, &token).stdout(writer).status();
        assert_eq!(status.unwrap().code(), Some(0));
        wait_until("the workers' end", || with_token(&token).is_empty());
    }
}
