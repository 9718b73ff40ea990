//! A listener and its clients on this machine, who have to prove to each other that they have the
//! same key before anything else is said.
//!
//! ```text
//! listener -> client   "ipc1", a random number L
//! client -> listener   "ipc1", a random number C, HMAC-SHA256(key, "client", L, C)
//! listener -> client   yes,    HMAC-SHA256(key, "listener", L, C)        or no
//! ```
//!
//! The key itself is never sent. The random numbers make each proof good for one handshake, and the
//! words in it for one side, so nobody gets in with a proof that was overheard or sent back. The
//! client goes first: a caller without the key is told nothing that was made with it.
//!
//! Handshakes run on a few threads of their own, each with a time-out: who stalls, or speaks
//! something else, harms nobody. What is said later is neither encrypted nor signed: one who stands
//! between the two and hands everything on can read and change it. It is for one machine.
//!
//! It needs the crates `getrandom`, `hmac` and `sha2`.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What this is and its version: how both numbers begin.
const MAGIC: [u8; 4] = *b"ipc1";
const YES: u8 = 1;
const NO: u8 = 0;

type Nonce = [u8; 32];
type Proof = [u8; 32];

/// The secret that both sides share. It has no `Debug`, so it does not get into a log by mistake,
/// and no short or empty form.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    pub fn random() -> io::Result<Key> {
        random().map(Key)
    }

    /// For one that was handed over, by a way that others cannot read: not in the arguments or the
    /// environment, which others can see.
    pub fn from_bytes(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn proof(&self, side: &str, listeners: &Nonce, clients: &Nonce) -> Hmac<Sha256> {
        let mut proof = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length will do");
        proof.update(side.as_bytes());
        proof.update(listeners);
        proof.update(clients);
        proof
    }
}

/// From the system, whose numbers nobody can foretell.
fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// Why a handshake failed.
#[derive(Debug)]
pub enum HandshakeError {
    /// The other side speaks something else, or another version of this.
    NotOurs {
        began: [u8; 4],
    },
    /// It sent our own number back as its own.
    Reflected,
    /// Its proof was made with another key, for another handshake, or for the other side.
    WrongKey,
    /// The listener would not take our proof.
    Refused,
    HungUp,
    TimedOut,
    Io(io::Error),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            HandshakeError::NotOurs { began } => {
                write!(f, "it began with \"{}\"", began.escape_ascii())
            }
            HandshakeError::Reflected => f.write_str("it sent our own challenge back"),
            HandshakeError::WrongKey => f.write_str("it does not have our key"),
            HandshakeError::Refused => f.write_str("it would not take our key"),
            HandshakeError::HungUp => f.write_str("it hung up in mid-handshake"),
            HandshakeError::TimedOut => f.write_str("its handshake took too long"),
            HandshakeError::Io(error) => error.fmt(f),
        }
    }
}

impl Error for HandshakeError {}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        match error.kind() {
            ErrorKind::UnexpectedEof
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted => HandshakeError::HungUp,
            // What a time-out is called depends on the system.
            ErrorKind::TimedOut | ErrorKind::WouldBlock => HandshakeError::TimedOut,
            _ => HandshakeError::Io(error),
        }
    }
}

/// Who was not let in. The address is unknown where the system could not even accept.
#[derive(Debug)]
pub struct Refusal {
    pub peer: Option<SocketAddr>,
    pub why: HandshakeError,
}

/// A stream after the handshake: there is no other way to make one. For frames of limited length
/// over it see `frame.rs`; for time-outs, `shutdown` and the like see `TcpStream`.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
}

impl Connection {
    /// Known even if the other side has left; `peer_addr` asks the system, which may have
    /// forgotten it.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl Deref for Connection {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Connects, proves to have the key, and has the listener prove it. Connecting and the handshake
/// may each take the time-out.
pub fn connect(to: SocketAddr, key: &Key, timeout: Duration) -> Result<Connection, HandshakeError> {
    let stream = TcpStream::connect_timeout(&to, timeout)?;
    prove(stream, key, timeout)
}

/// The client's side of the handshake.
pub fn prove(
    stream: TcpStream,
    key: &Key,
    timeout: Duration,
) -> Result<Connection, HandshakeError> {
    let address = stream.peer_addr()?;
    let mut peer = Timed::new(&stream, timeout);
    let listeners = peer.receive_nonce()?;
    let clients = random()?;
    let proof = key.proof("client", &listeners, &clients).finalize();
    // In one piece: the system may hold a second one back until the first is acknowledged.
    peer.write_all(&[&MAGIC[..], &clients, &proof.into_bytes()].concat())?;

    let [verdict] = peer.receive()?;
    if verdict != YES {
        return Err(HandshakeError::Refused);
    }
    let proof: Proof = peer.receive()?;
    let expected = key.proof("listener", &listeners, &clients);
    expected
        .verify_slice(&proof)
        .map_err(|_| HandshakeError::WrongKey)?;
    Ok(established(stream, address)?)
}

/// The listener's side.
fn admit(
    stream: TcpStream,
    address: SocketAddr,
    key: &Key,
    timeout: Duration,
) -> Result<Connection, HandshakeError> {
    let mut peer = Timed::new(&stream, timeout);
    let listeners = random()?;
    peer.write_all(&[&MAGIC[..], &listeners].concat())?;
    match check_client(&mut peer, key, &listeners) {
        Ok(proof) => peer.write_all(&[&[YES][..], &proof].concat())?,
        Err(why) => {
            // Kind to one who has only mixed up the keys; it may be gone.
            let _ = peer.write_all(&[NO]);
            return Err(why);
        }
    }
    Ok(established(stream, address)?)
}

/// Reads the client's part; gives the listener's proof.
fn check_client(peer: &mut Timed, key: &Key, listeners: &Nonce) -> Result<Proof, HandshakeError> {
    let clients = peer.receive_nonce()?;
    let proof: Proof = peer.receive()?;
    if clients == *listeners {
        return Err(HandshakeError::Reflected);
    }
    // `verify_slice` takes the same time wherever the first wrong byte is; `==` would not.
    let expected = key.proof("client", listeners, &clients);
    expected
        .verify_slice(&proof)
        .map_err(|_| HandshakeError::WrongKey)?;
    let ours = key.proof("listener", listeners, &clients).finalize();
    Ok(ours.into_bytes().into())
}

fn established(stream: TcpStream, peer: SocketAddr) -> io::Result<Connection> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    // A small message is to leave at once, not to wait for company.
    stream.set_nodelay(true)?;
    Ok(Connection { stream, peer })
}

/// A stream with one time-out for all that is done with it. One for each read would let somebody
/// who sends a byte now and then stay for ever.
struct Timed<'a> {
    stream: &'a TcpStream,
    since: Instant,
    timeout: Duration,
}

impl Timed<'_> {
    fn new(stream: &TcpStream, timeout: Duration) -> Timed<'_> {
        let since = Instant::now();
        Timed {
            stream,
            since,
            timeout,
        }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        // In this way no time-out is too long, not even `Duration::MAX`.
        match self.timeout.saturating_sub(self.since.elapsed()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }

    fn receive<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn receive_nonce(&mut self) -> Result<Nonce, HandshakeError> {
        let began = self.receive()?;
        if began != MAGIC {
            return Err(HandshakeError::NotOurs { began });
        }
        Ok(self.receive()?)
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Waits for clients at a free port of this machine, which others cannot reach from outside.
pub struct Listener {
    address: SocketAddr,
    /// `None` only while it is dropped.
    incoming: Option<Receiver<Result<Connection, Refusal>>>,
    closing: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Listener {
    /// With so many handshakes at once, each of which may take so long. Who comes when all are
    /// under way waits for one to end.
    pub fn bind(key: &Key, at_once: usize, timeout: Duration) -> io::Result<Listener> {
        if at_once == 0 {
            let never = "with 0 handshakes at once nobody ever gets in";
            return Err(io::Error::new(ErrorKind::InvalidInput, never));
        }
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        let socket = Arc::new(socket);
        let (report, incoming) = mpsc::sync_channel(at_once);
        let mut listener = Listener {
            address,
            incoming: Some(incoming),
            closing: Arc::default(),
            threads: Vec::new(),
        };
        for number in 1..=at_once {
            let door = Door {
                socket: Arc::clone(&socket),
                key: key.clone(),
                timeout,
                closing: Arc::clone(&listener.closing),
                report: report.clone(),
            };
            let thread = thread::Builder::new().name(format!("handshake-{number}"));
            listener.threads.push(thread.spawn(move || door.keep())?);
        }
        Ok(listener)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who was let in and who was not, in a channel, so there is `recv`, `recv_timeout`, `iter`.
    pub fn incoming(&self) -> &Receiver<Result<Connection, Refusal>> {
        self.incoming.as_ref().expect("it is not being dropped")
    }
}

/// Ends the threads. A handshake under way may take its time-out first.
impl Drop for Listener {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        // Whoever waits to report need not wait any more.
        self.incoming = None;
        for _ in &self.threads {
            // Nothing but a caller wakes a thread from `accept`.
            let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What each of the threads has.
struct Door {
    socket: Arc<TcpListener>,
    key: Key,
    timeout: Duration,
    closing: Arc<AtomicBool>,
    report: SyncSender<Result<Connection, Refusal>>,
}

impl Door {
    fn keep(self) {
        loop {
            let accepted = self.socket.accept();
            if self.closing.load(Ordering::Acquire) {
                return;
            }
            let outcome = match accepted {
                Ok((stream, peer)) => {
                    let refused = |why| Refusal {
                        peer: Some(peer),
                        why,
                    };
                    admit(stream, peer, &self.key, self.timeout).map_err(refused)
                }
                Err(error) => {
                    // Too many open files, say: that may pass, and until then, no hurry.
                    thread::sleep(Duration::from_millis(20));
                    let why = HandshakeError::Io(error);
                    Err(Refusal { peer: None, why })
                }
            };
            if self.report.send(outcome).is_err() {
                return;
            }
        }
    }
}
