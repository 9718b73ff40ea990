//! How pipes end, and what it takes that they do, with real processes at the other end.

#[path = "../src/frame.rs"]
mod frame;

use std::error::Error;
use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use frame::FrameError;

const LIMIT: usize = 64 * 1024;
/// Against a hang of the test itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// For what never happens, however long one waits.
const A_WHILE: Duration = Duration::from_millis(200);

fn worker(role: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_process-pipe"));
    command.env("PROCESS_PIPE_ROLE", role);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn ended_within(child: &mut Child, limit: Duration) -> io::Result<Option<i32>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// This is how both of Python's programs came to hang.
#[test]
fn there_is_no_end_as_long_as_one_write_end_is_left_open() -> Result<(), Box<dyn Error>> {
    let (reader, writer) = io::pipe()?;
    let forgotten = writer.try_clone()?;
    let mut receiver = worker("receive").stdin(reader).spawn()?;
    drop(writer);
    assert_eq!(ended_within(&mut receiver, A_WHILE)?, None);
    drop(forgotten);
    assert_eq!(ended_within(&mut receiver, PATIENCE)?, Some(0));
    Ok(())
}

/// A child of Python's fork has every end that the parent has, its own write end among them.
#[test]
fn a_child_inherits_no_end_that_it_was_not_given() -> Result<(), Box<dyn Error>> {
    let (reader, writer) = io::pipe()?;
    let mut receiver = worker("receive").stdin(reader).spawn()?;
    let mut bystander = worker("receive").spawn()?;
    drop(writer);
    assert_eq!(ended_within(&mut receiver, PATIENCE)?, Some(0));
    drop(bystander.stdin.take());
    assert_eq!(ended_within(&mut bystander, PATIENCE)?, Some(0));
    Ok(())
}

/// A `Command` holds what it was given until it is dropped, even after `spawn`.
#[test]
fn a_command_that_lives_on_keeps_the_pipe_open() -> Result<(), Box<dyn Error>> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = worker("receive");
    let mut child = command.stdin(Stdio::null()).stdout(writer).spawn()?;
    assert_eq!(ended_within(&mut child, PATIENCE)?, Some(0));
    let (seen, end) = mpsc::channel();
    thread::spawn(move || {
        seen.send(frame::receive_bytes(&mut reader, LIMIT).is_ok_and(|m| m.is_none()))
    });
    let waiting = end.recv_timeout(A_WHILE);
    assert_eq!(waiting, Err(RecvTimeoutError::Timeout));
    drop(command);
    assert!(end.recv_timeout(PATIENCE)?);
    Ok(())
}

#[test]
fn the_death_of_the_peer_is_the_end_of_the_pipe() -> Result<(), Box<dyn Error>> {
    let mut child = worker("square").spawn()?;
    let mut from = child.stdout.take().expect("stdout is a pipe");
    let mut to = child.stdin.take().expect("stdin is a pipe");
    frame::send(&mut to, &7, LIMIT)?;
    assert_eq!(frame::receive::<u64>(&mut from, LIMIT)?, Some(49));
    child.kill()?;
    assert_eq!(frame::receive::<u64>(&mut from, LIMIT)?, None);
    child.wait()?;
    // And who writes to it learns that nobody reads, instead of being killed by SIGPIPE.
    let error = frame::send(&mut to, &8, LIMIT).unwrap_err();
    assert!(error.is_broken_pipe(), "{error:?}");
    Ok(())
}

#[test]
fn a_peer_killed_in_mid_message_is_an_error_not_an_end() -> Result<(), Box<dyn Error>> {
    let mut child = worker("stall").spawn()?;
    let mut from = child.stdout.take().expect("stdout is a pipe");
    // The half is written together with this one, so it is there as well, however slow the worker.
    let whole = frame::receive::<String>(&mut from, LIMIT)?;
    assert_eq!(whole.as_deref(), Some("a message that is whole"));
    let (seen, end) = mpsc::channel();
    thread::spawn(move || seen.send(frame::receive::<String>(&mut from, LIMIT)));
    let waiting = end.recv_timeout(A_WHILE);
    assert!(
        matches!(waiting, Err(RecvTimeoutError::Timeout)),
        "{waiting:?}"
    );
    child.kill()?;
    child.wait()?;
    let error = end.recv_timeout(PATIENCE)?.unwrap_err();
    assert!(
        matches!(
            error,
            FrameError::Truncated {
                received: 21,
                expected: 43
            }
        ),
        "{error:?}"
    );
    Ok(())
}

/// Why the program sends in a thread of its own.
#[test]
fn two_that_both_write_first_wait_for_each_other_until_one_reads() -> Result<(), Box<dyn Error>> {
    let mut child = worker("talk first").spawn()?;
    let mut from = child.stdout.take().expect("stdout is a pipe");
    let mut to = child.stdin.take().expect("stdin is a pipe");
    let (done, all_written) = mpsc::channel();
    thread::spawn(move || {
        for number in 0..64 {
            frame::send_bytes(&mut to, &vec![number; 16 * 1024], LIMIT)?;
        }
        let _ = done.send(());
        Ok::<(), FrameError>(())
    });
    let waiting = all_written.recv_timeout(A_WHILE);
    assert_eq!(waiting, Err(RecvTimeoutError::Timeout));
    let mut received = 0;
    while frame::receive_bytes(&mut from, LIMIT)?.is_some() {
        received += 1;
    }
    assert_eq!(received, 64);
    all_written.recv_timeout(PATIENCE)?;
    assert_eq!(ended_within(&mut child, PATIENCE)?, Some(0));
    Ok(())
}

/// The system hands over a large message in many short pieces.
#[test]
fn a_message_much_larger_than_a_pipe_arrives_whole() -> Result<(), Box<dyn Error>> {
    let large: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut reader, mut writer) = io::pipe()?;
    thread::scope(|scope| {
        scope.spawn(|| frame::send_bytes(&mut writer, &large, large.len()));
        let received = frame::receive_bytes(&mut reader, large.len())?;
        assert!(received.as_ref() == Some(&large));
        Ok(())
    })
}
