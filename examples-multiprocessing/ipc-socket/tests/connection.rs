//! The handshake through real sockets: who gets in, who does not, and who is not kept waiting.

#[path = "../src/connection.rs"]
mod connection;

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use connection::{Connection, HandshakeError, Key, Listener, Refusal, connect};

type Outcome = Result<Connection, Refusal>;
type Done = Result<(), Box<dyn Error>>;

/// Against a hang of the test itself, and for handshakes that should not end by their time-out.
const LONG: Duration = Duration::from_secs(30);
/// For a handshake that should.
const SHORT: Duration = Duration::from_secs(1);
/// For what never happens, however long one waits.
const A_WHILE: Duration = Duration::from_millis(100);
/// The sizes of the first two messages.
const CHALLENGE: usize = 36;
const ANSWER: usize = 68;

fn listener(at_once: usize, timeout: Duration) -> io::Result<(Key, Listener)> {
    let key = Key::random()?;
    let listener = Listener::bind(&key, at_once, timeout)?;
    Ok((key, listener))
}

fn next(listener: &Listener) -> Result<Outcome, RecvTimeoutError> {
    listener.incoming().recv_timeout(LONG)
}

fn refused(outcome: Outcome) -> HandshakeError {
    outcome.expect_err("it should not get in").why
}

/// One that has nothing to do with our client's code.
fn stranger(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(LONG))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn challenge(stream: &mut TcpStream) -> io::Result<[u8; CHALLENGE]> {
    let mut challenge = [0; CHALLENGE];
    stream.read_exact(&mut challenge)?;
    Ok(challenge)
}

/// A client that has the key gets in, and what it says arrives.
fn gets_in(key: &Key, listener: &Listener) -> Done {
    let mut ours = connect(listener.address(), key, LONG)?;
    let mut theirs = next(listener)?.map_err(|refusal| refusal.why)?;
    assert_eq!(theirs.peer(), ours.local_addr()?);
    assert_eq!(ours.peer(), listener.address());
    ours.write_all(b"question")?;
    let mut heard = [0; 8];
    theirs.read_exact(&mut heard)?;
    assert_eq!(&heard, b"question");
    theirs.write_all(b"answered")?;
    ours.read_exact(&mut heard)?;
    assert_eq!(&heard, b"answered");
    drop(theirs);
    assert_eq!(ours.read(&mut heard)?, 0, "the end");
    Ok(())
}

#[test]
fn who_has_the_key_gets_in_and_both_can_talk() -> Done {
    let (key, listener) = listener(2, LONG)?;
    gets_in(&key, &listener)?;
    let handed_over = Key::from_bytes(*key.as_bytes());
    gets_in(&handed_over, &listener)
}

/// The system forgets the address of one who breaks off; the listener may want it for its log.
#[test]
fn who_breaks_off_right_after_the_handshake_is_still_known_by_its_address() -> Done {
    let (key, listener) = listener(1, LONG)?;
    let ours = connect(listener.address(), &key, LONG)?;
    let address = ours.local_addr()?;
    let mut theirs = next(&listener)?.map_err(|refusal| refusal.why)?;
    theirs.write_all(b"something")?;
    ours.peek(&mut [0])?;
    // With something unread this is no orderly end.
    drop(ours);
    let mut rest = Vec::new();
    assert!(theirs.read_to_end(&mut rest).is_err());
    assert_eq!(theirs.peer(), address);
    Ok(())
}

#[test]
fn a_time_out_may_be_as_long_as_can_be() -> Done {
    let (key, listener) = listener(1, Duration::MAX)?;
    let ours = connect(listener.address(), &key, Duration::MAX)?;
    assert!(next(&listener)?.is_ok());
    drop(ours);
    gets_in(&key, &listener)
}

/// In Python `accept` raises, and a loop around it that does not expect that is over.
#[test]
fn another_key_is_refused_and_the_next_client_gets_in() -> Done {
    let (key, listener) = listener(2, LONG)?;
    let mut nearly = *key.as_bytes();
    nearly[31] ^= 1;
    for other in [
        Key::random()?,
        Key::from_bytes(nearly),
        Key::from_bytes([0; 32]),
    ] {
        let told = connect(listener.address(), &other, LONG).unwrap_err();
        assert!(matches!(told, HandshakeError::Refused), "{told:?}");
        let why = refused(next(&listener)?);
        assert!(matches!(why, HandshakeError::WrongKey), "{why:?}");
    }
    gets_in(&key, &listener)
}

/// In Python one client that says nothing keeps all others out, for ever.
#[test]
fn silent_clients_keep_nobody_out() -> Done {
    let (key, listener) = listener(3, LONG)?;
    let mut silent = [stranger(listener.address())?, stranger(listener.address())?];
    for stream in &mut silent {
        challenge(stream)?;
    }
    for _ in 0..10 {
        gets_in(&key, &listener)?;
    }
    // They are still there, and still in their handshakes.
    drop(silent);
    for _ in 0..2 {
        let why = refused(next(&listener)?);
        assert!(matches!(why, HandshakeError::HungUp), "{why:?}");
    }
    Ok(())
}

#[test]
fn when_silent_clients_take_every_place_the_others_wait_for_a_time_out_only() -> Done {
    let (key, listener) = listener(1, SHORT)?;
    let _silent = [stranger(listener.address())?, stranger(listener.address())?];
    let ours = thread::spawn({
        let (address, key) = (listener.address(), key.clone());
        move || connect(address, &key, LONG).map(drop)
    });
    let outcomes = [next(&listener)?, next(&listener)?, next(&listener)?];
    let let_in = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(let_in, 1, "{outcomes:?}");
    for refusal in outcomes.into_iter().filter_map(Result::err) {
        let why = refusal.why;
        assert!(matches!(why, HandshakeError::TimedOut), "{why:?}");
    }
    assert!(ours.join().expect("no panic").is_ok());
    Ok(())
}

/// With a time-out for each read, and not for the whole, this one would stay as long as it likes.
#[test]
fn a_byte_now_and_then_does_not_prolong_the_handshake() -> Done {
    let (_, listener) = listener(1, SHORT)?;
    let mut slow = stranger(listener.address())?;
    let mut bytes = challenge(&mut slow)?.to_vec();
    bytes.resize(ANSWER, 0);
    bytes[CHALLENGE - 1] ^= 1;
    thread::spawn(move || {
        for byte in bytes {
            thread::sleep(SHORT / 20);
            slow.write_all(&[byte])?;
        }
        io::Result::Ok(())
    });
    let why = refused(next(&listener)?);
    assert!(matches!(why, HandshakeError::TimedOut), "{why:?}");
    Ok(())
}

/// No more than so many, whoever comes: the others are not even greeted.
#[test]
fn the_number_of_handshakes_at_once_is_bounded() -> Done {
    let (_, listener) = listener(2, LONG)?;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(stranger(listener.address())?);
        challenge(silent.last_mut().expect("just added"))?;
    }
    let mut third = stranger(listener.address())?;
    third.set_read_timeout(Some(A_WHILE))?;
    let nothing = challenge(&mut third).unwrap_err().kind();
    assert!(
        matches!(nothing, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{nothing}"
    );
    drop(silent.pop());
    third.set_read_timeout(Some(LONG))?;
    challenge(&mut third)?;
    Ok(())
}

#[test]
fn many_clients_at_once_all_get_in() -> Done {
    let (key, listener) = listener(4, LONG)?;
    let address = listener.address();
    thread::scope(|scope| {
        let visit = || connect(address, &key, LONG).map(drop);
        let clients: Vec<_> = (0..40).map(|_| scope.spawn(visit)).collect();
        for _ in &clients {
            assert!(next(&listener)?.is_ok());
        }
        for client in clients {
            client.join().expect("no panic")?;
        }
        Ok(())
    })
}

#[test]
fn half_a_handshake_is_no_handshake_wherever_it_stops() -> Done {
    let (key, listener) = listener(1, LONG)?;
    for length in [0, 1, 3, 4, 5, 35, 36, 67] {
        let mut half = stranger(listener.address())?;
        let mut answer = challenge(&mut half)?.to_vec();
        answer.resize(ANSWER, 0);
        half.write_all(&answer[..length])?;
        let peer = half.local_addr()?;
        drop(half);
        let refusal = next(&listener)?.expect_err("half will not do");
        assert_eq!(refusal.peer, Some(peer));
        let why = refusal.why;
        assert!(matches!(why, HandshakeError::HungUp), "{length}: {why:?}");
    }
    gets_in(&key, &listener)
}

/// A frame of Python's `Connection`, of our own, a large one, and what is no frame at all.
#[test]
fn whatever_else_is_said_is_refused_by_how_it_begins() -> Done {
    let (key, listener) = listener(1, LONG)?;
    let huge = vec![0xff; 1 << 20];
    let pickle = b"\0\0\0\x0e\x80\x04\x95\x03\0\0\0\0\0\0\0K\x07.";
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\xff\xff\xff\xff",
        pickle,
        b"ipc2 and so on, of another version",
        b"\0\0\0\0",
        &huge,
    ];
    for bytes in garbage {
        let mut stream = stranger(listener.address())?;
        challenge(&mut stream)?;
        // The listener does not wait for all of it, so this may fail.
        let _ = stream.write_all(bytes);
        let why = refused(next(&listener)?);
        let expected = &bytes[..4];
        assert!(
            matches!(&why, HandshakeError::NotOurs { began } if began == expected),
            "{why:?}"
        );
    }
    gets_in(&key, &listener)
}

#[test]
fn the_listeners_own_challenge_sent_back_is_refused() -> Done {
    let (key, listener) = listener(2, LONG)?;
    let mut mirror = stranger(listener.address())?;
    let challenge_of_mirror = challenge(&mut mirror)?;
    let mut answer = challenge_of_mirror.to_vec();
    answer.extend(&challenge_of_mirror[4..]);
    mirror.write_all(&answer)?;
    let why = refused(next(&listener)?);
    assert!(matches!(why, HandshakeError::Reflected), "{why:?}");
    assert_eq!(rest(&mut mirror)?, [0], "it is told no, and no proof");

    // The same over two connections: the challenge of one as the number of the other.
    let (mut first, mut second) = (stranger(listener.address())?, stranger(listener.address())?);
    let mut answer = challenge(&mut first)?.to_vec();
    answer.extend(&challenge(&mut second)?[4..]);
    second.write_all(&answer)?;
    let why = refused(next(&listener)?);
    assert!(matches!(why, HandshakeError::WrongKey), "{why:?}");
    assert_eq!(rest(&mut second)?, [0], "it is told no, and no proof");
    drop(first);
    let _ = next(&listener)?;
    gets_in(&key, &listener)
}

fn rest(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    Ok(rest)
}

/// Stands between a client and the listener for one handshake, hands everything on byte by byte,
/// and gives what each of them said.
fn overhear(key: &Key, listener: &Listener) -> Result<[Vec<u8>; 2], Box<dyn Error>> {
    let between = TcpListener::bind("127.0.0.1:0")?;
    let address = between.local_addr()?;
    thread::scope(|scope| {
        let client = scope.spawn(move || connect(address, key, LONG));
        let (to_client, _) = between.accept()?;
        let to_listener = stranger(listener.address())?;
        to_client.set_read_timeout(Some(LONG))?;
        to_client.set_nodelay(true)?;
        let copies = [to_client.try_clone()?, to_listener.try_clone()?];
        let from_client = scope.spawn(move || hand_on(&to_client, &to_listener));
        let from_listener = scope.spawn(move || hand_on(&copies[1], &copies[0]));
        // Both have to get in, or else this has overheard nothing of interest.
        drop(next(listener)?.map_err(|refusal| refusal.why)?);
        drop(client.join().expect("no panic")?);
        let from_client = from_client.join().expect("no panic")?;
        let from_listener = from_listener.join().expect("no panic")?;
        Ok([from_client, from_listener])
    })
}

fn hand_on(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<Vec<u8>> {
    let (mut said, mut byte) = (Vec::new(), [0]);
    while from.read(&mut byte)? == 1 {
        said.push(byte[0]);
        // The other side may have left.
        let _ = to.write_all(&byte);
    }
    let _ = to.shutdown(Shutdown::Write);
    Ok(said)
}

#[test]
fn the_key_is_never_sent_and_bytes_may_come_one_by_one() -> Done {
    let (key, listener) = listener(1, LONG)?;
    let said = overhear(&key, &listener)?;
    assert_eq!([said[0].len(), said[1].len()], [ANSWER, CHALLENGE + 33]);
    for part in key.as_bytes().windows(4) {
        for said in &said {
            assert!(!said.windows(4).any(|bytes| bytes == part));
        }
    }
    Ok(())
}

#[test]
fn no_two_handshakes_say_the_same() -> Done {
    let (key, listener) = listener(1, LONG)?;
    let [first, second] = [overhear(&key, &listener)?, overhear(&key, &listener)?];
    // The number and the proof, of each side.
    assert_ne!(first[0][4..36], second[0][4..36]);
    assert_ne!(first[0][36..], second[0][36..]);
    assert_ne!(first[1][4..36], second[1][4..36]);
    assert_ne!(first[1][37..], second[1][37..]);
    Ok(())
}

#[test]
fn what_was_overheard_does_not_open_the_door_again() -> Done {
    let (key, listener) = listener(1, LONG)?;
    let [clients, listeners] = overhear(&key, &listener)?;
    let mut replay = stranger(listener.address())?;
    replay.write_all(&clients)?;
    let why = refused(next(&listener)?);
    assert!(matches!(why, HandshakeError::WrongKey), "{why:?}");

    let error = meet(&key, LONG, move |stream| {
        stream.write_all(&listeners[..CHALLENGE])?;
        stream.read_exact(&mut [0; ANSWER])?;
        stream.write_all(&listeners[CHALLENGE..])
    })?;
    assert!(matches!(error, HandshakeError::WrongKey), "{error:?}");
    Ok(())
}

/// What our client says about a listener that does this.
fn meet(
    key: &Key,
    timeout: Duration,
    act: impl FnOnce(&mut TcpStream) -> io::Result<()> + Send + 'static,
) -> Result<HandshakeError, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let impostor = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(LONG))?;
        act(&mut stream)
    });
    let error = connect(address, key, timeout).expect_err("it does not have the key");
    impostor.join().expect("no panic")?;
    Ok(error)
}

#[test]
fn a_listener_without_the_key_is_found_out() -> Done {
    let key = Key::random()?;
    let mut challenge = b"ipc1".to_vec();
    challenge.extend([9; 32]);

    let own_proof_back = challenge.clone();
    let error = meet(&key, LONG, move |stream| {
        stream.write_all(&own_proof_back)?;
        let mut answer = [0; ANSWER];
        stream.read_exact(&mut answer)?;
        stream.write_all(&[1])?;
        stream.write_all(&answer[CHALLENGE..])
    })?;
    assert!(matches!(error, HandshakeError::WrongKey), "{error:?}");

    let any_proof = challenge.clone();
    let error = meet(&key, LONG, move |stream| {
        stream.write_all(&any_proof)?;
        stream.read_exact(&mut [0; ANSWER])?;
        stream.write_all(&[1; 33])
    })?;
    assert!(matches!(error, HandshakeError::WrongKey), "{error:?}");

    let a_yes_alone = challenge.clone();
    let error = meet(&key, LONG, move |stream| {
        stream.write_all(&a_yes_alone)?;
        stream.read_exact(&mut [0; ANSWER])?;
        stream.write_all(&[1])
    })?;
    assert!(matches!(error, HandshakeError::HungUp), "{error:?}");

    let error = meet(&key, LONG, |stream| {
        stream.write_all(b"220 mail.example.org ESMTP ready, at your service\r\n")
    })?;
    assert!(
        matches!(&error, HandshakeError::NotOurs { began } if began == b"220 "),
        "{error:?}"
    );

    let error = meet(&key, LONG, |_| Ok(()))?;
    assert!(matches!(error, HandshakeError::HungUp), "{error:?}");

    // Says nothing until the client has had enough.
    let error = meet(&key, SHORT, |stream| {
        stream.read_to_end(&mut Vec::new()).map(drop)
    })?;
    assert!(matches!(error, HandshakeError::TimedOut), "{error:?}");
    Ok(())
}

/// The proof that an honest client gives to an impostor's challenge is good for that alone.
#[test]
fn a_proof_that_an_impostor_got_does_not_let_it_in() -> Done {
    let (key, listener) = listener(1, LONG)?;
    let (send, taken) = std::sync::mpsc::channel();
    meet(&key, LONG, move |stream| {
        stream.write_all(b"ipc1")?;
        stream.write_all(&[9; 32])?;
        let mut answer = [0; ANSWER];
        stream.read_exact(&mut answer)?;
        send.send(answer).map_err(io::Error::other)
    })?;
    let mut impostor = stranger(listener.address())?;
    impostor.write_all(&taken.recv()?)?;
    let why = refused(next(&listener)?);
    assert!(matches!(why, HandshakeError::WrongKey), "{why:?}");
    Ok(())
}

#[test]
fn a_dropped_listener_is_gone_even_if_nobody_asked_who_came() -> Done {
    let (key, listener) = listener(2, SHORT)?;
    let address = listener.address();
    // It keeps one thread busy while the listener is dropped.
    let mut silent = stranger(address)?;
    challenge(&mut silent)?;
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let key = key.clone();
            thread::spawn(move || connect(address, &key, LONG).map(drop))
        })
        .collect();
    drop(listener);
    let error = connect(address, &key, LONG).unwrap_err();
    assert!(matches!(&error, HandshakeError::Io(e) if e.kind() == ErrorKind::ConnectionRefused));
    for client in clients {
        // In or out, but not left waiting.
        let _ = client.join().expect("no panic");
    }
    Ok(())
}

#[test]
fn no_handshake_at_once_is_an_error() -> Done {
    let error = Listener::bind(&Key::random()?, 0, LONG)
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    Ok(())
}
