//! The owner, with real processes as its children.
#![cfg(target_os = "linux")]

#[path = "../src/family.rs"]
mod family;

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use family::{Family, How};

type Outcome = Result<(), Box<dyn Error>>;

const LIMIT: Duration = Duration::from_secs(30);
const AT_ONCE: Duration = Duration::from_millis(20);

/// A ready worker, and its child if it has one.
fn start(family: &Family, role: &str) -> Result<Vec<u32>, Box<dyn Error>> {
    let (answer, writer) = std::io::pipe()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_process-cleanup"));
    family.spawn(command.env("PROCESS_CLEANUP_ROLE", role).stdout(writer))?;
    drop(command);
    let mut line = String::new();
    BufReader::new(answer).read_line(&mut line)?;
    Ok(line.split_whitespace().flat_map(str::parse).collect())
}

fn state(id: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whoever is not ended by the family ends after a minute.
fn end_in_time(family: Family) {
    let begin = Instant::now();
    drop(family);
    assert!(begin.elapsed() < LIMIT);
}

fn states(ids: &[u32]) -> Vec<Option<char>> {
    ids.iter().map(|id| state(*id)).collect()
}

fn kill(kind: &str, id: u32) {
    let killed = Command::new("kill").args([kind, &id.to_string()]).status();
    assert!(killed.unwrap().success());
}

fn wait_for_state(id: u32, awaited: char) {
    let begin = Instant::now();
    while state(id) != Some(awaited) {
        assert!(begin.elapsed() < LIMIT, "{id} is {:?}", state(id));
        thread::sleep(Duration::from_millis(1));
    }
}

/// Python's block ended them at its end, which came at once.
#[test]
fn workers_that_are_waited_for_finish_instead_of_being_killed_at_once() -> Outcome {
    let family = Family::new(LIMIT);
    (0..4).try_for_each(|_| start(&family, "count").map(drop))?;
    let ended = family.wait(LIMIT);
    assert_eq!(ended.len(), 4);
    for it in ended {
        assert_eq!(it.how, How::ByItself);
        assert!(it.status.unwrap().success());
    }
    Ok(())
}

#[test]
fn a_wait_with_a_limit_gives_up_and_ends_nobody() -> Outcome {
    let family = Family::new(LIMIT);
    let ids = start(&family, "plain")?;
    assert_eq!(family.wait(AT_ONCE).len(), 0);
    assert_eq!(family.children(), ids);
    assert!(matches!(state(ids[0]), Some('S' | 'R')));
    Ok(())
}

#[test]
fn an_ended_child_is_a_zombie_until_it_is_waited_for() -> Outcome {
    let family = Family::new(LIMIT);
    let ids = start(&family, "plain")?;
    kill("-KILL", ids[0]);
    wait_for_state(ids[0], 'Z');
    assert_eq!(family.children(), ids);
    let ended = family.wait(LIMIT);
    assert_eq!((ended[0].id, ended[0].how), (ids[0], How::ByItself));
    assert_eq!((family.children(), state(ids[0])), (vec![], None));
    Ok(())
}

#[test]
fn a_drop_leaves_neither_children_nor_grandchildren_nor_zombies() -> Outcome {
    family::adopt_orphans()?;
    let family = Family::new(LIMIT);
    let ids = [start(&family, "plain")?, start(&family, "forgetful")?].concat();
    assert_eq!(ids.len(), 3);
    end_in_time(family);
    assert_eq!(states(&ids), [None; 3]);
    Ok(())
}

#[test]
fn a_panic_on_the_way_ends_them_too() -> Outcome {
    let family = Family::new(LIMIT);
    let ids = start(&family, "plain")?;
    let panicked = thread::spawn(move || {
        let _family = family;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert_eq!(states(&ids), [None]);
    Ok(())
}

#[test]
fn the_children_of_a_child_that_ended_by_itself_go_with_it() -> Outcome {
    family::adopt_orphans()?;
    let family = Family::new(LIMIT);
    let ids = start(&family, "forgetful")?;
    kill("-KILL", ids[0]);
    let begin = Instant::now();
    assert_eq!(family.wait(LIMIT)[0].how, How::ByItself);
    assert!(begin.elapsed() < LIMIT);
    assert_eq!(states(&ids), [None; 2]);
    Ok(())
}

#[test]
fn one_that_tidies_up_is_let_to() -> Outcome {
    let family = Family::new(LIMIT);
    start(&family, "tidy")?;
    let ended = &family.end()[0];
    assert_eq!(ended.how, How::WhenAsked);
    assert_eq!(ended.status.unwrap().code(), Some(0));
    Ok(())
}

#[test]
fn one_that_was_stopped_is_continued_so_that_it_hears() -> Outcome {
    let family = Family::new(LIMIT);
    let ids = start(&family, "tidy")?;
    kill("-STOP", ids[0]);
    wait_for_state(ids[0], 'T');
    assert_eq!(family.end()[0].how, How::WhenAsked);
    Ok(())
}

#[test]
fn one_that_does_not_listen_is_killed_after_its_time_of_grace() -> Outcome {
    let family = Family::new(Duration::from_millis(100));
    let ids = [start(&family, "deaf")?, start(&family, "plain")?].concat();
    let begin = Instant::now();
    let ended = family.end();
    assert!(begin.elapsed() >= Duration::from_millis(100));
    let deaf = ended.iter().find(|it| it.id == ids[0]).unwrap();
    assert_eq!((ended.len(), deaf.how), (2, How::Killed));
    assert_eq!(states(&ids), [None; 2]);
    Ok(())
}

#[test]
fn another_thread_can_kill_all_while_the_owner_waits_for_the_deaf() -> Outcome {
    family::adopt_orphans()?;
    let family = Family::new(LIMIT);
    let ids = [start(&family, "deaf")?, start(&family, "deaf")?].concat();
    let (said, killed) = std::sync::mpsc::channel();
    let mut kill = family.kill_then(move |count| said.send(count).unwrap());
    let other = thread::spawn(move || {
        thread::sleep(AT_ONCE);
        kill();
    });
    let begin = Instant::now();
    assert_eq!(family.end().len(), 0);
    assert!(begin.elapsed() < LIMIT);
    other.join().unwrap();
    assert_eq!(killed.recv()?, 2);
    assert_eq!(states(&ids), [None; 2]);
    Ok(())
}

#[test]
fn a_child_that_cannot_be_started_is_an_error_and_the_others_stay_owned() -> Outcome {
    let family = Family::new(LIMIT);
    let ids = start(&family, "plain")?;
    assert!(family.spawn(&mut Command::new("/no/such/program")).is_err());
    assert_eq!(family.children(), ids);
    assert_eq!(family.end().len(), 1);
    // It can be used again.
    start(&family, "count")?;
    assert_eq!(family.wait(LIMIT).len(), 1);
    Ok(())
}

/// A program that knows nothing of all this, with children that it does not look after.
#[test]
fn a_shell_and_what_it_has_started_go_as_well() -> Outcome {
    family::adopt_orphans()?;
    let family = Family::new(LIMIT);
    let (answer, writer) = std::io::pipe()?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep 60 & sleep 60 & echo $$ $!; exec sleep 60"]);
    family.spawn(shell.stdout(writer).stderr(Stdio::null()))?;
    drop(shell);
    let mut answer = BufReader::new(answer);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let ids: Vec<u32> = line.split_whitespace().flat_map(str::parse).collect();
    end_in_time(family);
    assert_eq!(states(&ids), [None; 2]);
    // All of them had the other end.
    assert_eq!(answer.read_line(&mut line)?, 0);
    Ok(())
}

/// With a child of its own that watches nothing and has only the group to be ended with.
#[test]
fn at_the_end_of_its_stdin_a_child_takes_its_group_along() -> Outcome {
    use std::os::unix::process::CommandExt;
    family::adopt_orphans()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_process-cleanup"));
    command.env("PROCESS_CLEANUP_ROLE", "careless");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.process_group(0).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line)?;
    let ids: Vec<u32> = line.split_whitespace().flat_map(str::parse).collect();
    assert_eq!(ids.len(), 2);

    let begin = Instant::now();
    drop(child.stdin.take());
    child.wait()?;
    family::reap_group(child.id());
    assert!(begin.elapsed() < LIMIT);
    assert_eq!(states(&ids), [None; 2]);
    Ok(())
}
