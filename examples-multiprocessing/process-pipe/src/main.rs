//! Pipes between processes: one way, two ways, both ways at once, and how each side sees the end.
//!
//! What a Python developer knows as
//!
//! ```python
//! ours, theirs = multiprocessing.Pipe()
//! receiver = Process(target=receive_until_eof, args=(theirs,)); receiver.start()
//! for number in range(4): ours.send(number)
//! ours.close()
//! receiver.join()               # for ever: the receiver has inherited `ours`, too, so no EOF
//! ```
//!
//! A pipe ends when its *last* write end is closed. `std::io::pipe` marks both ends close-on-exec:
//! a child has the ends that it was given, and no others. To give an end away moves it, so the
//! parent keeps none by mistake, and a write end that is dropped is closed.
//!
//! Run it with `cargo run -p process-pipe`. Look for "the end": each side sees it when the other
//! has nothing more to say, and a peer that dies in mid-message is an error instead.
//! To take: `src/duplex.rs`, for two sides that talk at once, and for `poll` with a time-out.
//! Before this: `process-messages`, which explains the frames; after it: `process-queue`.

#![forbid(unsafe_code)]

mod duplex;
mod frame;
mod owned;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use frame::FrameError;
use owned::Owned;
use serde::{Deserialize, Serialize};

/// Set in workers only, to what the worker is to do.
const ROLE: &str = "PROCESS_PIPE_ROLE";
/// The largest message that either side takes.
const LIMIT: usize = 64 * 1024;
/// What the worker says before it breaks off.
const WHOLE: &str = "a message that is whole";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Greeting {
    from: u32,
    number: u32,
    primes: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(role) = env::var_os(ROLE) {
        return match work(&role.to_string_lossy()) {
            // Nobody reads what this worker says: its parent is gone, and with it the work.
            Err(error) if error.downcast_ref().is_some_and(FrameError::is_broken_pipe) => Ok(()),
            done => done,
        };
    }
    say!("1. One way: a sender, a receiver, and a pipe between them");
    one_way()?;

    say!("\n2. Two ways: one asks, the other answers");
    two_ways()?;

    say!("\n3. Both talk before they listen, each more than a pipe holds");
    both_at_once()?;

    say!("\n4. A peer that is silent, and dies in the middle of a message");
    dies_in_mid_message()?;

    say!("\nok: every message arrived, then the end on both sides, and one broken message noticed");
    Ok(())
}

/// This program once more, as a worker that talks over its stdin and stdout.
fn worker(role: &str) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, role);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

/// Starts a worker with a pipe in each direction.
fn start(role: &str) -> io::Result<(Owned, ChildStdin, ChildStdout)> {
    let mut worker = Owned::spawn(worker(role)?)?;
    let to = worker.stdin.take().expect("stdin is a pipe");
    let from = worker.stdout.take().expect("stdout is a pipe");
    Ok((worker, to, from))
}

fn one_way() -> Result<(), Box<dyn Error>> {
    let (reader, writer) = io::pipe()?;
    let (mut receiver, mut sender) = (worker("receive")?, worker("send")?);
    receiver.stdin(reader);
    sender.stdin(Stdio::null()).stdout(writer);
    // The receiver starts while this process still has the write end, and does not inherit it.
    let mut receiver = Owned::spawn(receiver)?;
    let mut sender = Owned::spawn(sender)?;
    // Here our own ends are closed: they went into the commands, and `spawn` has dropped those.

    let mut reports = receiver.stdout.take().expect("stdout is a pipe");
    let mut greetings = Vec::new();
    while let Some(greeting) = frame::receive::<Greeting>(&mut reports, LIMIT)? {
        say!("   receiver {} got {greeting:?}", receiver.id());
        greetings.push(greeting);
    }
    say!("   then the end: first from the sender, and so from the receiver");
    let received = greetings.iter().map(|it| (it.from, it.number));
    let complete = received.eq((1..=4).map(|number| (sender.id(), number)));
    check(complete, "the receiver got something else than was sent")?;
    ended_well(&mut sender)?;
    ended_well(&mut receiver)
}

fn two_ways() -> Result<(), Box<dyn Error>> {
    let (mut worker, mut to, mut from) = start("square")?;
    let mut squares = Vec::new();
    for number in 1..=5 {
        frame::send(&mut to, &number, LIMIT)?;
        let square: Option<u64> = frame::receive(&mut from, LIMIT)?;
        squares.push(square.ok_or("the worker ended too early")?);
    }
    say!("   1 to 5 sent, {squares:?} received");
    check(squares == [1, 4, 9, 16, 25], "a wrong square")?;

    // Closing our end tells the worker, and the end that it then sends is its answer to that.
    drop(to);
    let end = frame::receive::<u64>(&mut from, LIMIT)?;
    say!("   our end closed; from the worker: {end:?}, the end");
    check(end.is_none(), "the worker says more than it was asked")?;
    ended_well(&mut worker)
}

/// The worker writes 1 MB before it reads anything. If we did the same, each would wait for ever
/// until the other reads; sends and receives at the same time break the circle.
fn both_at_once() -> Result<(), Box<dyn Error>> {
    let (mut worker, to, mut from) = start("talk first")?;
    let received = duplex::both_ways(to, bulk(), &mut from, LIMIT)?;
    let count = received.len();
    check(received.into_iter().eq(bulk()), "bulk was lost")?;
    say!("   {count} messages of 16 KB each way, all at once, then the end");
    // The worker ends well only if all of ours arrived.
    ended_well(&mut worker)
}

/// Sixteen times what a pipe usually holds, so whoever writes it has to wait for a reader.
fn bulk() -> impl Iterator<Item = Vec<u8>> + Send {
    (0..64).map(|number| vec![number; 16 * 1024])
}

fn dies_in_mid_message() -> Result<(), Box<dyn Error>> {
    let (mut worker, _to, from) = start("stall")?;
    let incoming = duplex::incoming::<String>(from, LIMIT)?;
    // The half is written together with this one, so it is there as well, however slow the worker.
    let whole = incoming.recv()??;
    check(whole == WHOLE, "the whole message is another one")?;
    let nothing = incoming.recv_timeout(Duration::from_millis(50));
    say!(
        "   {whole:?}; another one within 50 ms: {}",
        nothing.is_ok()
    );
    let silent = matches!(nothing, Err(RecvTimeoutError::Timeout));
    check(silent, "half a message passes for a whole one")?;

    worker.kill()?;
    // Nothing can be left to wait for: the system has closed the dead worker's end.
    let error = match incoming.recv()? {
        Ok(message) => return Err(format!("half a message passes for {message:?}").into()),
        Err(error) => error,
    };
    say!("   worker {} is killed: {error}", worker.id());
    let truncated = matches!(error, FrameError::Truncated { .. });
    check(truncated, "the broken message has another error")?;
    check(incoming.recv().is_err(), "there is no end after that").map_err(Into::into)
}

fn ended_well(worker: &mut Owned) -> Result<(), Box<dyn Error>> {
    let how = owned::describe(worker.wait()?);
    let complaint = format!("worker {} ended with {how}", worker.id());
    Ok(check(how == "exit code 0", &complaint)?)
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

/// What a worker does instead of the parent's part.
fn work(role: &str) -> Result<(), Box<dyn Error>> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    match role {
        "send" => {
            for number in 1..=4 {
                let greeting = Greeting {
                    from: process::id(),
                    number,
                    primes: count_primes(number * 50_000),
                };
                frame::send(&mut output, &greeting, LIMIT)?;
            }
        }
        "receive" => {
            while let Some(greeting) = frame::receive::<Greeting>(&mut input, LIMIT)? {
                frame::send(&mut output, &greeting, LIMIT)?;
            }
        }
        "square" => {
            while let Some(number) = frame::receive::<u32>(&mut input, LIMIT)? {
                frame::send(&mut output, &u64::from(number).pow(2), LIMIT)?;
            }
        }
        "talk first" => {
            for message in bulk() {
                frame::send_bytes(&mut output, &message, LIMIT)?;
            }
            for message in bulk() {
                let received = frame::receive_bytes(&mut input, LIMIT)?;
                check(received == Some(message), "bulk was lost")?;
            }
        }
        "stall" => {
            let (mut said, mut broken) = (Vec::new(), Vec::new());
            frame::send(&mut said, WHOLE, LIMIT)?;
            frame::send(&mut broken, "a message of which only half is sent", LIMIT)?;
            said.extend(&broken[..broken.len() / 2]);
            let said = output.write_all(&said).and_then(|()| output.flush());
            said.map_err(FrameError::Io)?;
            io::copy(&mut input, &mut io::sink())?;
        }
        // Someone else set the variable. Starting workers now could go on without end.
        _ => Err(format!(
            "{ROLE} is for this program's own workers; unset it"
        ))?,
    }
    Ok(())
}

fn count_primes(limit: u32) -> u32 {
    let divides = |n: u32| {
        (2..)
            .take_while(move |d| d * d <= n)
            .any(move |d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divides(*n)).count() as u32
}
