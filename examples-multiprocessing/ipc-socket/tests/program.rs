//! The program as its user meets it, and its children as the listener meets them.

#[path = "../src/connection.rs"]
#[expect(dead_code, reason = "the client's side runs in the program")]
mod connection;

#[path = "shared/bounded.rs"]
mod bounded;
#[path = "shared/orphans.rs"]
mod orphans;

use bounded::{OutputInTime, end_in_time};
use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use connection::{HandshakeError, Key, Listener};

const LONG: Duration = Duration::from_secs(30);

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ipc-socket"))
}

#[test]
fn it_ends_with_its_verdict_and_each_guest_is_refused_for_its_reason() -> Result<(), Box<dyn Error>>
{
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    let verdict = "ok: 4 clients got 100 answers, 7 guests and an impostor nothing";
    assert_eq!(text.lines().last(), Some(verdict), "{text}");
    for why in [
        "TimedOut:",
        "WrongKey:",
        "NotOurs: it began with \"GET \"",
        "HungUp:",
        "Reflected:",
        "TooLarge: a message of 4294967295 bytes",
    ] {
        assert_eq!(text.matches(why).count(), 1, "{why}\n{text}");
    }
    Ok(())
}

#[test]
fn an_unknown_role_starts_nothing() -> Result<(), Box<dyn Error>> {
    for role in [
        "",
        "1",
        "asks",
        "127.0.0.1:9",
        "127.0.0.1:9 parent",
        "nowhere stalls",
    ] {
        let output = program().env("IPC_SOCKET_ROLE", role).output_in_time()?;
        assert_eq!(output.status.code(), Some(1), "{role:?}");
        assert_eq!(output.stdout, b"", "{role:?}");
        let complaint = String::from_utf8(output.stderr)?;
        assert!(complaint.contains("IPC_SOCKET_ROLE"), "{complaint}");
    }
    Ok(())
}

fn client(listener: SocketAddr, key: &[u8]) -> Result<Child, Box<dyn Error>> {
    let role = format!("{listener} asks");
    let mut client = program();
    client.env("IPC_SOCKET_ROLE", role).stdin(Stdio::piped());
    client.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn()?;
    let stdin = client.stdin.as_mut().expect("stdin is a pipe");
    stdin.write_all(key)?;
    Ok(client)
}

/// There is no other way than its stdin for a client to get the key.
#[test]
fn a_client_that_gets_no_whole_key_does_not_even_connect() -> Result<(), Box<dyn Error>> {
    let key = Key::random()?;
    let listener = Listener::bind(&key, 1, LONG)?;
    for half in [&key.as_bytes()[..0], &key.as_bytes()[..31]] {
        let output = end_in_time(client(listener.address(), half)?)?;
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(message, "error: no whole key came over stdin\n");
    }
    assert!(listener.incoming().try_recv().is_err());
    Ok(())
}

#[test]
fn a_client_with_another_key_says_that_it_was_refused() -> Result<(), Box<dyn Error>> {
    let listener = Listener::bind(&Key::random()?, 1, LONG)?;
    let mut client = client(listener.address(), &[7; 32])?;
    let refusal = listener.incoming().recv_timeout(LONG)?.unwrap_err();
    assert!(matches!(refusal.why, HandshakeError::WrongKey));
    let mut message = String::new();
    let stderr = client.stderr.as_mut().expect("stderr is a pipe");
    stderr.read_to_string(&mut message)?;
    assert_eq!(message, "error: it would not take our key\n");
    assert_eq!(client.wait()?.code(), Some(1));
    Ok(())
}

/// The listener hangs up on who takes too long for the handshake, and an honest one may, for once.
#[test]
fn a_client_that_is_hung_up_on_comes_again_but_only_once() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let mut client = client(listener.local_addr()?, &[7; 32])?;
    let (mut visits, begin) = (0, Instant::now());
    while client.try_wait()?.is_none() {
        match listener.accept() {
            Ok(_) => visits += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
        assert!(begin.elapsed() < LONG, "still there after {visits} visits");
    }
    let mut message = String::new();
    let stderr = client.stderr.as_mut().expect("stderr is a pipe");
    stderr.read_to_string(&mut message)?;
    assert_eq!(message, "error: it hung up in mid-handshake\n");
    assert_eq!((visits, client.wait()?.code()), (2, Some(1)));
    Ok(())
}

#[test]
fn a_killed_client_is_the_end_of_its_connection_and_of_no_other() -> Result<(), Box<dyn Error>> {
    let key = Key::random()?;
    let listener = Listener::bind(&key, 2, LONG)?;
    let mut clients = [
        client(listener.address(), key.as_bytes())?,
        client(listener.address(), key.as_bytes())?,
    ];
    let mut first = listener
        .incoming()
        .recv_timeout(LONG)?
        .map_err(|refusal| refusal.why)?;
    let mut second = listener
        .incoming()
        .recv_timeout(LONG)?
        .map_err(|refusal| refusal.why)?;
    for connection in [&mut first, &mut second] {
        connection.set_read_timeout(Some(LONG))?;
        connection.read_exact(&mut [0; 5])?;
    }
    // Which connection is whose does not matter: one of the two ends, the other is as before.
    clients[0].kill()?;
    clients[0].wait()?;
    let mut ended = 0;
    for connection in [&mut first, &mut second] {
        connection.set_read_timeout(Some(Duration::from_millis(300)))?;
        let mut rest = Vec::new();
        ended += usize::from(connection.read_to_end(&mut rest).is_ok());
    }
    assert_eq!(ended, 1);
    clients[1].kill()?;
    clients[1].wait()?;
    Ok(())
}

/// This one has nothing else to end it: no one ever calls.
#[test]
fn a_child_ends_when_its_parents_end_of_its_stdin_closes() -> Result<(), Box<dyn Error>> {
    let mut child = program();
    child.env("IPC_SOCKET_ROLE", "127.0.0.1:0 poses as listener");
    child.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn()?;
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut String::new())?;
    assert_eq!(child.try_wait()?, None);
    drop(child.stdin.take());
    let (end, ended) = mpsc::channel();
    thread::spawn(move || end.send(child.wait()));
    assert_eq!(ended.recv_timeout(LONG)??.code(), Some(1));
    Ok(())
}

/// The one that stalls, and some clients.
#[test]
#[cfg(target_os = "linux")]
fn the_children_of_a_parent_that_is_ended_by_a_signal_end_within_a_second() {
    orphans::workers_end_with_their_parent(4, || orphans::silent(program()));
}
