//! A listener and its clients, which prove to each other that they have the same key.
//!
//! What a Python developer knows as
//!
//! ```python
//! with Listener(("localhost", 0), authkey=key) as listener:
//!     while True:
//!         connection = listener.accept()            # and the handshake, with no time-out
//!         Thread(target=serve, args=(connection,)).start()
//! # elsewhere: Client(address, authkey=key).send(request)
//! ```
//!
//! has three holes: one client that says nothing keeps all others out for ever, one wrong key
//! raises from `accept` and ends the loop, and without `authkey` everyone gets in. Here handshakes
//! run beside each other, each with a time-out; who fails is an item among those who come in; and
//! `Listener::bind` needs a key. The socket is TCP within this machine: it works on every system
//! and leaves no file behind. The key goes over stdin: anyone may see a process's arguments.
//!
//! Run it with `cargo run -p ipc-socket`. Look at the guests: each is refused for its own reason.
//! To take: `src/connection.rs`. Before this: `shared-memory`, and for frames `process-messages`.

#![forbid(unsafe_code)]

mod connection;
mod frame;
mod guests;
mod owned;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use connection::{Connection, HandshakeError, Key, Listener, Refusal};
use frame::FrameError;
use guests::{GUESTS, STALLS};
use owned::Owned;
use serde::{Deserialize, Serialize};

/// Set in children only, to what the child is to do.
const ROLE: &str = "IPC_SOCKET_ROLE";
const ASKS: &str = "asks";
const POSES: &str = "poses as listener";
const CLIENTS: usize = 4;
const REQUESTS: u32 = 25;
const HANDSHAKES_AT_ONCE: usize = 4;
/// For a handshake, which takes less than a millisecond where nobody stalls.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// For everything that should not take long at all, but is not to hang.
const LONG: Duration = Duration::from_secs(10);
/// What one client's requests add up to, as the tables have it.
const PRIMES: u32 = 38_006;
/// The largest message that either side takes.
const LIMIT: usize = 4096;

static ANSWERED: AtomicU32 = AtomicU32::new(0);

#[derive(Serialize, Deserialize)]
enum Request {
    CountPrimes { below: u32 },
}

fn main() -> ExitCode {
    let done = match env::var_os(ROLE) {
        Some(role) => child(&role.to_string_lossy()),
        None => parent(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
    let key = Key::random()?;
    let listener = Listener::bind(&key, HANDSHAKES_AT_ONCE, HANDSHAKE)?;
    let address = listener.address();
    say!("1. Process {} listens at {address}", process::id());
    guests_one_by_one(&listener, &key)?;

    say!("\n2. {CLIENTS} clients at once, and one that stalls");
    let answers = clients_at_once(&listener, &key)?;

    say!("\n3. The listener has to prove itself, too");
    let error = meet_an_impostor(&key)?;
    say!("   a listener that takes every key: not used, {error}");
    let seen = matches!(error, HandshakeError::WrongKey);
    check(seen, &format!("the impostor gave {error:?}"))?;

    let refused = GUESTS.len() + 1;
    say!("\nok: {CLIENTS} clients got {answers} answers, {refused} guests and an impostor nothing");
    Ok(())
}

/// Each is refused for a reason of its own. `Debug` gives its name, `Display` says it in words.
fn guests_one_by_one(listener: &Listener, key: &Key) -> Result<(), Box<dyn Error>> {
    for (what, expected) in GUESTS {
        let key = (what == guests::BOASTS).then_some(key);
        let mut guest = start(what, listener.address(), key)?;
        let why: Box<dyn Error> = match next(listener)? {
            Ok(connection) => match converse(connection) {
                Ok(()) => return Err(format!("one that {what} was not refused").into()),
                Err(error) => error.into(),
            },
            Err(refusal) => refusal.why.into(),
        };
        say!("   one that {what:28} {expected}: {why}");
        let named = format!("{why:?}").starts_with(expected);
        check(named, &format!("one that {what} gave {why:?}"))?;
        report(&mut guest)?;
    }
    Ok(())
}

/// Gives the number of answers. Each client that is let in gets a thread.
fn clients_at_once(listener: &Listener, key: &Key) -> Result<u32, Box<dyn Error>> {
    let _stalls = start(STALLS, listener.address(), None)?;
    let client = |_| start(ASKS, listener.address(), Some(key));
    let clients: io::Result<Vec<Owned>> = (0..CLIENTS).map(client).collect();
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let (mut talks, mut stalled) = (Vec::new(), false);
        while talks.len() < CLIENTS || !stalled {
            match next(listener)? {
                Ok(connection) => {
                    let name = format!("talk-{}", connection.peer().port());
                    let talk = || converse(connection);
                    talks.push(
                        thread::Builder::new()
                            .name(name)
                            .spawn_scoped(scope, talk)?,
                    );
                }
                // If others stall, too, they are clients, and come again.
                Err(refusal) if matches!(refusal.why, HandshakeError::TimedOut) => {
                    if !stalled {
                        let answered = ANSWERED.load(Relaxed);
                        say!("   {answered} answers were given until one was refused that stalls");
                        say!("   TimedOut: {}", refusal.why);
                    }
                    stalled = true;
                }
                Err(Refusal { peer, why }) => Err(format!("refused {peer:?}: {why}"))?,
            }
        }
        for talk in talks {
            talk.join().expect("a talk does not panic")?;
        }
        Ok(())
    })?;
    for mut client in clients? {
        let sum = report(&mut client)?;
        say!(
            "   client {}: {REQUESTS} answers, {sum} primes",
            client.id()
        );
        check(sum == PRIMES.to_string(), &format!("not {PRIMES} primes"))?;
    }
    let answers = ANSWERED.load(Relaxed);
    let enough = answers as usize == CLIENTS * REQUESTS as usize;
    check(enough, &format!("{answers} answers were given"))?;
    Ok(answers)
}

/// Who comes in next, or does not.
fn next(listener: &Listener) -> Result<Result<Connection, Refusal>, &'static str> {
    let came = listener.incoming().recv_timeout(LONG);
    came.map_err(|_| "not all of the clients and guests came")
}

/// Answers one client until it has no more requests.
fn converse(mut connection: Connection) -> Result<(), FrameError> {
    // Who has the key may think for a while, but not keep this program from ending.
    connection.set_read_timeout(Some(LONG))?;
    while let Some(request) = frame::receive(&mut connection, LIMIT)? {
        let Request::CountPrimes { below } = request;
        frame::send(&mut connection, &count_primes(below), LIMIT)?;
        ANSWERED.fetch_add(1, Relaxed);
    }
    Ok(())
}

fn meet_an_impostor(key: &Key) -> Result<HandshakeError, Box<dyn Error>> {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut impostor = start(POSES, nowhere, None)?;
    let mut address = String::new();
    let stdout = impostor.stdout.as_mut().expect("stdout is a pipe");
    BufReader::new(stdout).read_line(&mut address)?;
    match connection::connect(address.trim().parse()?, key, LONG) {
        Ok(_) => Err("the impostor's proof was taken".into()),
        Err(error) => Ok(error),
    }
}

/// Starts this program once more. The child's stdin stays open until it has ended.
fn start(role: &str, address: SocketAddr, key: Option<&Key>) -> io::Result<Owned> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, format!("{address} {role}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Owned::spawn(command)?;
    if let Some(key) = key {
        let stdin = child.stdin.as_mut().expect("stdin is a pipe");
        stdin.write_all(key.as_bytes())?;
    }
    Ok(child)
}

/// What a child prints before it ends, and ends well.
fn report(child: &mut Owned) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    // To its end, so the child has ended when `wait` closes its stdin.
    let stdout = child.stdout.as_mut().expect("stdout is a pipe");
    stdout.read_to_string(&mut text)?;
    let status = child.wait()?;
    let complaint = format!("child {} ended: {}", child.id(), owned::describe(status));
    check(status.success(), &complaint)?;
    Ok(text.trim().to_string())
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

/// What a child does instead of the parent's part.
fn child(role: &str) -> Result<(), Box<dyn Error>> {
    let parts = role.split_once(' ');
    let parts = parts.and_then(|(address, what)| Some((address.parse().ok()?, what)));
    let guest = |what| GUESTS.iter().any(|(guest, _)| *guest == what);
    let known = |what| [ASKS, POSES, STALLS].contains(&what) || guest(what);
    let Some((address, what)) = parts.filter(|(_, what)| known(*what)) else {
        // Someone else set the variable. Starting children now could go on without end.
        return Err(format!("{ROLE} is for this program's own children; unset it").into());
    };
    let needs_key = [ASKS, guests::BOASTS].contains(&what);
    let key = needs_key.then(key_from_stdin).transpose()?;
    end_with_parent()?;
    match (what, key) {
        (ASKS, Some(key)) => say!("{}", ask(address, &key)?),
        (POSES, _) => guests::pose_as_listener(|at| say!("{at}"))?,
        (what, key) => guests::visit(what, address, key)?,
    }
    Ok(())
}

fn key_from_stdin() -> Result<Key, &'static str> {
    let mut bytes = [0; 32];
    let read = io::stdin().read_exact(&mut bytes);
    read.map_err(|_| "no whole key came over stdin")?;
    Ok(Key::from_bytes(bytes))
}

/// The system closes the parent's end of our stdin, however the parent ended.
fn end_with_parent() -> io::Result<()> {
    let watch = || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(1);
    };
    thread::Builder::new()
        .name("watch-parent".into())
        .spawn(watch)?;
    Ok(())
}

fn ask(address: SocketAddr, key: &Key) -> Result<u32, Box<dyn Error>> {
    let connect = || connection::connect(address, key, LONG);
    let mut connection = match connect() {
        // As the listener does with those who stall. We did not mean to; the machine may be busy.
        Err(HandshakeError::HungUp) => connect()?,
        first => first?,
    };
    let mut sum = 0;
    for number in 1..=REQUESTS {
        let below = number * 1000;
        frame::send(&mut connection, &Request::CountPrimes { below }, LIMIT)?;
        let primes: Option<u32> = frame::receive(&mut connection, LIMIT)?;
        sum += primes.ok_or("the listener ended too early")?;
    }
    Ok(sum)
}

fn count_primes(limit: u32) -> u32 {
    let divides = |n: u32| {
        (2..)
            .take_while(move |d| d * d <= n)
            .any(move |d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divides(*n)).count() as u32
}
