//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! A small HTTP/1.1 server on 127.0.0.1 that also misbehaves on purpose: what a network program
//! meets out there, it can meet in a test or a demonstration, without a network.
//!
//! One thread per connection, connections are kept alive. A closure answers each request with a
//! `Reply`, which is a short script of what goes over the wire and when. `drop` ends everything:
//! connections are cut, pauses end, all threads are joined (on Windows they may still wait for
//! their clients to leave).

#![allow(
    dead_code,
    reason = "each example that carries this file uses another part of it"
)]

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The longest request head and body that a client may send.
const LONGEST_REQUEST: u64 = 1024 * 1024;

pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

pub struct Request {
    pub method: String,
    /// The path with its query, as it stands in the request: `/page?n=1`.
    pub target: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        let (_, value) = all.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }
}

impl Server {
    /// Listens on a free port and answers with what `handler` returns, until dropped.
    pub fn start<H>(handler: H) -> io::Result<Server>
    where
        H: Fn(&Request) -> Reply + Send + Sync + 'static,
    {
        Server::start_on("127.0.0.1:0", handler)
    }

    /// The same on another address, as `[::1]:0`.
    pub fn start_on<H>(address: &str, handler: H) -> io::Result<Server>
    where
        H: Fn(&Request) -> Reply + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let for_acceptor = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name("server".into())
            .spawn(move || accept(&listener, &for_acceptor, &handler))?;
        Ok(Server {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT` and the path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections there are now.
    pub fn live(&self) -> usize {
        self.shared.inner.lock().unwrap().live.len()
    }

    /// The most connections that there were at one time.
    pub fn peak(&self) -> usize {
        self.shared.inner.lock().unwrap().peak
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.shared.inner.lock().unwrap().accepted
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop();
        // `accept` waits for somebody: it is us.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            // On Windows, who reads or writes is not woken up: such a thread goes with its client.
            if !cfg!(windows) {
                // A handler that panicked has said so already; a second panic would hide it.
                let _ = acceptor.join();
            }
        }
    }
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    stopped: Condvar,
    requests: AtomicUsize,
}

#[derive(Default)]
struct Inner {
    stopping: bool,
    live: HashMap<u64, Arc<TcpStream>>,
    accepted: u64,
    peak: usize,
}

impl Shared {
    /// Enters a connection into the books; none once the server stops.
    fn enter(&self, stream: &Arc<TcpStream>) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap();
        if inner.stopping {
            return None;
        }
        inner.accepted += 1;
        let id = inner.accepted;
        inner.live.insert(id, Arc::clone(stream));
        inner.peak = inner.peak.max(inner.live.len());
        Some(id)
    }

    fn leave(&self, id: u64) {
        self.inner.lock().unwrap().live.remove(&id);
    }

    fn stop(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.stopping = true;
        for stream in inner.live.values() {
            // Whoever reads from it or writes to it wakes up with an error, but not on Windows.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(inner);
        self.stopped.notify_all();
    }

    /// Sleeps, but not beyond the end of the server.
    fn pause(&self, time: Duration) {
        let inner = self.inner.lock().unwrap();
        let waiting = self
            .stopped
            .wait_timeout_while(inner, time, |inner| !inner.stopping);
        drop(waiting.unwrap());
    }
}

/// Leaves the books when the connection ends, also when its handler panics.
struct Entry<'a> {
    shared: &'a Shared,
    id: u64,
    stream: Arc<TcpStream>,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.shared.leave(self.id);
    }
}

fn accept<H>(listener: &TcpListener, shared: &Shared, handler: &H)
where
    H: Fn(&Request) -> Reply + Sync,
{
    // The scope joins the threads of all connections before the acceptor ends.
    thread::scope(|scope| {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                // Too many open files, or a client that left already: no reason to spin.
                shared.pause(Duration::from_millis(10));
                if shared.inner.lock().unwrap().stopping {
                    return;
                }
                continue;
            };
            let stream = Arc::new(stream);
            let Some(id) = shared.enter(&stream) else {
                return;
            };
            let entry = Entry { shared, id, stream };
            let connection = thread::Builder::new()
                .name(format!("server-{id}"))
                .stack_size(256 * 1024);
            // When the system refuses a thread, the connection is closed: `entry` is dropped.
            let _ = connection.spawn_scoped(scope, move || {
                // An error here is the client that left, as clients do.
                let _ = serve(&entry, handler);
            });
        }
    });
}

/// Answers the requests of one connection, one after another.
fn serve<H>(entry: &Entry, handler: &H) -> io::Result<()>
where
    H: Fn(&Request) -> Reply,
{
    let stream = &*entry.stream;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(4096, stream);
    while let Some(request) = read_request(&mut reader)? {
        entry.shared.requests.fetch_add(1, Ordering::Relaxed);
        let last = request
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut reply = handler(&request);
        if request.method == "HEAD" {
            reply.steps.truncate(1);
        }
        let closes = last || reply.closes;
        for step in reply.steps {
            step.run(stream, entry.shared)?;
        }
        if closes {
            break;
        }
    }
    Ok(())
}

/// The next request, or none when the client has closed the connection.
fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_string());
    let mut head = reader.take(LONGEST_REQUEST);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(bad("not a request line"));
    };
    let (method, target) = (method.to_string(), target.to_string());
    let mut headers = Vec::new();
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(bad("the request head does not end"));
        }
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(|| bad("not a header"))?;
        headers.push((name.trim().to_string(), value.trim().to_string()));
    }
    let mut request = Request {
        method,
        target,
        headers,
        body: Vec::new(),
    };
    if let Some(length) = request.header("content-length") {
        let length: u64 = length.parse().map_err(|_| bad("not a length"))?;
        if length > LONGEST_REQUEST {
            return Err(bad("the request is too long"));
        }
        request.body = vec![0; length as usize];
        reader.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

/// What goes over the wire as the answer to one request.
pub struct Reply {
    steps: Vec<Step>,
    /// Whether the connection ends after it.
    closes: bool,
}

pub enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// Byte after byte, with a pause before each.
    Drip(Vec<u8>, Duration),
    /// The same bytes again and again, until the client leaves.
    ForEver(Vec<u8>),
    /// Nothing more, until the client leaves.
    Never,
}

impl Step {
    fn run(self, mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
        match self {
            Step::Send(bytes) => stream.write_all(&bytes),
            Step::Pause(time) => {
                shared.pause(time);
                Ok(())
            }
            Step::Drip(bytes, pause) => bytes.iter().try_for_each(|byte| {
                shared.pause(pause);
                stream.write_all(&[*byte])
            }),
            Step::ForEver(bytes) => {
                let block = bytes.repeat(16 * 1024 / bytes.len().max(1) + 1);
                loop {
                    stream.write_all(&block)?;
                }
            }
            Step::Never => io::copy(&mut stream, &mut io::sink()).map(drop),
        }
    }
}

impl Reply {
    /// A whole answer. `headers` are lines without their end, as `"content-type: text/html"`.
    pub fn new(status: u16, headers: &[&str], body: impl Into<Vec<u8>>) -> Reply {
        let body = body.into();
        let length = format!("content-length: {}", body.len());
        let mut bytes = head(status, &[headers, &[&length]].concat());
        bytes.extend(body);
        Reply::script(vec![Step::Send(bytes)])
    }

    pub fn html(body: impl Into<Vec<u8>>) -> Reply {
        Reply::new(200, &["content-type: text/html; charset=utf-8"], body)
    }

    pub fn status(status: u16) -> Reply {
        let body = format!("<title>{status} {}</title>", reason(status));
        Reply::new(status, &["content-type: text/html; charset=utf-8"], body)
    }

    /// To a path on this server or to any URL. To the same path again: a loop without end.
    pub fn redirect(to: &str) -> Reply {
        Reply::new(302, &[&format!("location: {to}")], "")
    }

    /// Any script; the connection stays open afterwards.
    pub fn script(steps: Vec<Step>) -> Reply {
        Reply {
            steps,
            closes: false,
        }
    }

    /// Closes the connection afterwards: the client waits for more in vain when more was promised.
    pub fn then_close(mut self) -> Reply {
        self.closes = true;
        self
    }

    pub fn after(mut self, pause: Duration) -> Reply {
        self.steps.insert(0, Step::Pause(pause));
        self
    }

    /// The connection stays open, no answer comes.
    pub fn never() -> Reply {
        Reply::script(vec![Step::Never])
    }

    /// A correct page, byte after byte.
    pub fn drip(body: &str, pause: Duration) -> Reply {
        let bytes = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Reply::script(vec![Step::Drip(bytes.into_bytes(), pause)])
    }

    /// Promises `length` bytes, sends `body` and closes.
    pub fn wrong_length(body: &str, length: usize) -> Reply {
        let mut bytes = head(200, &[&format!("content-length: {length}")]);
        bytes.extend(body.as_bytes());
        Reply::script(vec![Step::Send(bytes)]).then_close()
    }

    /// Closes without a word.
    pub fn hang_up() -> Reply {
        Reply::script(vec![]).then_close()
    }

    /// A body without end.
    pub fn endless() -> Reply {
        let head = head(200, &["content-type: text/html", "connection: close"]);
        Reply::script(vec![
            Step::Send(head),
            Step::ForEver(b"<p>and on ".to_vec()),
        ])
        .then_close()
    }

    /// A page in gzip form, not made any smaller.
    pub fn gzip(body: &str) -> Reply {
        let headers = ["content-type: text/html", "content-encoding: gzip"];
        Reply::new(200, &headers, gzip(body.as_bytes()))
    }

    /// Gzip that becomes 158 times as long when it is unpacked, without end.
    pub fn gzip_bomb() -> Reply {
        let head = head(200, &["content-encoding: gzip", "connection: close"]);
        let mut start = GZIP_HEADER.to_vec();
        // In the fixed code of deflate: last block, one byte 0, and "258 bytes as the one before"
        // (11000101 00000); these 24 bits fill three bytes. Eight more of the latter fill thirteen.
        start.extend(pack_bits(
            &["1", "10", "00110000", "1100010100000"].concat(),
        ));
        let again = pack_bits(&"1100010100000".repeat(8));
        Reply::script(vec![
            Step::Send([head, start].concat()),
            Step::ForEver(again),
        ])
        .then_close()
    }

    /// Something that is not HTTP.
    pub fn garbage() -> Reply {
        Reply::script(vec![Step::Send(
            b"\x16\x03\x01 what is this?\r\n\r\n".to_vec(),
        )])
        .then_close()
    }

    /// A head with one header of this length.
    pub fn huge_header(length: usize) -> Reply {
        let line = format!("x-much: {}", "a".repeat(length));
        Reply::new(200, &[&line], "")
    }

    /// A chunked body in which a length is no number.
    pub fn bad_chunk() -> Reply {
        let mut bytes = head(200, &["transfer-encoding: chunked"]);
        bytes.extend(b"5\r\nhello\r\nxyz\r\nworld\r\n0\r\n\r\n");
        Reply::script(vec![Step::Send(bytes)]).then_close()
    }
}

/// The first part of an answer, with the empty line that ends it.
pub fn head(status: u16, headers: &[&str]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for header in headers {
        text += header;
        text += "\r\n";
    }
    text += "\r\n";
    text.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        302 => "Found",
        400 => "Bad Request",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Gzip without compression: stored blocks between the header and the checksum.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = GZIP_HEADER.to_vec();
    for block in data.chunks(0xffff) {
        out.push(0); // not the last block, stored
        out.extend((block.len() as u16).to_le_bytes());
        out.extend((!block.len() as u16).to_le_bytes());
        out.extend(block);
    }
    out.extend([1, 0, 0, 0xff, 0xff]); // the last block, stored, empty
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    out.extend((!crc).to_le_bytes());
    out.extend((data.len() as u32).to_le_bytes());
    out
}

/// Bits as text, the first one lowest in its byte, as deflate has them.
fn pack_bits(bits: &str) -> Vec<u8> {
    bits.as_bytes()
        .chunks(8)
        .map(|byte| {
            byte.iter()
                .rev()
                .fold(0, |all, bit| all << 1 | (bit - b'0'))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn connect(server: &Server) -> TcpStream {
        let stream = TcpStream::connect(server.address()).unwrap();
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
        stream
    }

    fn ask(mut stream: &TcpStream, path: &str, close: bool) {
        let last = if close { "connection: close\r\n" } else { "" };
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n{last}\r\n").unwrap();
    }

    fn all(mut stream: &TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn a_connection_serves_several_requests() {
        let server = Server::start(|request| Reply::html(request.target.clone())).unwrap();
        let stream = connect(&server);
        ask(&stream, "/a", false);
        ask(&stream, "/b?c=d", true);
        let text = all(&stream);
        assert!(
            text.contains("\r\n\r\n/a") && text.ends_with("\r\n\r\n/b?c=d"),
            "{text}"
        );
        assert_eq!(
            (server.connections(), server.requests(), server.peak()),
            (1, 2, 1)
        );
    }

    #[test]
    fn drop_cuts_what_waits_pauses_and_sends() {
        let server = Server::start(|request| match request.target.as_str() {
            "/never" => Reply::never(),
            "/endless" => Reply::endless(),
            "/drip" => Reply::drip("slow", Duration::from_secs(60)),
            _ => Reply::html("late").after(Duration::from_secs(60)),
        })
        .unwrap();
        let streams: Vec<TcpStream> = ["/never", "/endless", "/drip", "/late", "/idle"]
            .iter()
            .map(|path| {
                let stream = connect(&server);
                if *path != "/idle" {
                    ask(&stream, path, false);
                }
                stream
            })
            .collect();
        let begin = Instant::now();
        while server.requests() < 4 && begin.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        assert_eq!(server.requests(), 4);
        drop(server);
        assert!(begin.elapsed() < Duration::from_secs(20), "drop took long");
        for stream in &streams {
            all(stream); // ends: the other side is gone
        }
    }

    #[test]
    fn connections_that_ended_leave_the_books() {
        let server = Server::start(|_| Reply::html("x")).unwrap();
        for _ in 0..3 {
            let stream = connect(&server);
            ask(&stream, "/", true);
            all(&stream);
        }
        let begin = Instant::now();
        while server.live() > 0 && begin.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        assert_eq!((server.live(), server.connections()), (0, 3));
    }

    #[test]
    fn a_handler_that_panics_ends_its_connection_only() {
        let server = Server::start(|request| {
            assert!(request.target != "/panic", "on purpose");
            Reply::html("fine")
        })
        .unwrap();
        let (bad, good) = (connect(&server), connect(&server));
        ask(&bad, "/panic", false);
        assert_eq!(all(&bad), "");
        ask(&good, "/", true);
        assert!(all(&good).ends_with("fine"));
    }

    #[test]
    fn a_bomb_repeats_after_thirteen_bytes() {
        assert_eq!(pack_bits("11000101"), [0b1010_0011]);
        assert_eq!(pack_bits(&"1100010100000".repeat(8)).len(), 13);
    }
}
