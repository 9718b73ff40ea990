//! Ten users share five connections.
//!
//! In Python a pool is a semaphore, a list, and a promise of its users:
//!
//! ```python
//! connection = pool.get_connection()
//! try: use(connection)
//! finally: pool.release_connection(connection)    # once, please: a second call puts it in twice
//! ```
//!
//! Released twice, one connection serves two users at once, and the limit is one higher from then
//! on. Here `acquire` gives a guard, which returns its connection when it is dropped. It is one
//! value with one owner, so that a second release does not compile (`tests/refused`), and none can
//! be forgotten. The numbers of the connections come from a counter that only goes up, not from a
//! length.
//!
//! Run it with `cargo run -p connection-pool`. Look at the second five users in 1: each begins when
//! one of the first five is done, and gets its connection. In 2 and 3 a broken connection is
//! replaced.
//!
//! To take: `src/connections.rs`, with `src/sync.rs`; its tests are `tests/connections.rs` and
//! `tests/model.rs`.
//! Before this: `semaphore`, which only counts; after it: `graceful-shutdown`.

#![forbid(unsafe_code)]

#[macro_use]
mod say;
mod connections;
mod sync;

use std::error::Error;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use connections::{AcquireError, Id, Pool, Usage};

const USERS: usize = 10;
const CONNECTIONS: usize = 5;
/// How long the server takes for an answer.
const LATENCY: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_millis(20);
/// For a server that says nothing at all.
const LIMIT: Duration = Duration::from_secs(10);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = thread::Builder::new().name("server".into());
        server.spawn_scoped(scope, || serve(&listener, &stop))?;
        let outcome = use_the_server(address);
        // The server looks at `stop` when somebody comes.
        stop.store(true, Ordering::Relaxed);
        TcpStream::connect(address)?;
        outcome
    })
}

fn use_the_server(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let gauge = Arc::new(Gauge::default());
    let counted = Arc::clone(&gauge);
    let pool = Pool::new(CONNECTIONS, move |id| {
        Connection::open(id, address, &counted)
    });

    say!("1. {USERS} users, {CONNECTIONS} connections, opened when the first ones need them");
    ten_users(&pool)?;
    expect_usage(&pool, CONNECTIONS, CONNECTIONS)?;

    say!("\n2. The server hangs up in the middle of a conversation");
    broken_connection(&pool)?;
    expect_usage(&pool, CONNECTIONS, CONNECTIONS)?;

    say!("\n3. A user panics in the middle of a conversation");
    panicking_user(&pool)?;
    expect_usage(&pool, CONNECTIONS - 1, CONNECTIONS - 1)?;

    say!("\n4. All are in use");
    time_out(&pool)?;
    expect_usage(&pool, CONNECTIONS, CONNECTIONS)?;

    say!("\n5. No connection can be opened");
    failing_connect()?;

    drop(pool);
    let most = gauge.most.load(Ordering::SeqCst);
    let left = gauge.now.load(Ordering::SeqCst);
    expect(most <= CONNECTIONS, "never more connections than allowed")?;
    expect(left == 0, "the end of the pool closes them all")?;
    say!("\nok: never more than {most} connections, each with one user, and all came back");
    Ok(())
}

/// A conversation in lines, which counts itself among those that are open.
struct Connection {
    stream: BufReader<TcpStream>,
    /// Proves that nobody else uses this connection.
    in_use: AtomicBool,
    gauge: Arc<Gauge>,
}

type Connections = Pool<Connection, io::Error>;

/// How many connections are open, and how many ever were at once.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Connection {
    fn open(id: Id, address: SocketAddr, gauge: &Arc<Gauge>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        let now = gauge.now.fetch_add(1, Ordering::SeqCst) + 1;
        gauge.most.fetch_max(now, Ordering::SeqCst);
        tell(id, "opened");
        Ok(Self {
            stream: BufReader::new(stream),
            in_use: AtomicBool::new(false),
            gauge: Arc::clone(gauge),
        })
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        if self.in_use.swap(true, Ordering::SeqCst) {
            return Err(io::Error::other("two users at one connection"));
        }
        let line = format!("{question}\n"); // One write, one packet.
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut answer = String::new();
        if self.stream.read_line(&mut answer)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.in_use.store(false, Ordering::SeqCst);
        Ok(answer.trim_end().to_string())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.gauge.now.fetch_sub(1, Ordering::SeqCst);
    }
}

fn ten_users(pool: &Connections) -> Result<(), Box<dyn Error>> {
    let user = |number: usize| -> Result<(), AcquireError<io::Error>> {
        let mut connection = pool.acquire()?;
        let question = format!("how are you, {number}?");
        let answer = connection.ask(&question).map_err(AcquireError::Connect)?;
        tell(connection.id(), &answer);
        Ok(())
    };
    thread::scope(|scope| {
        let mut users = Vec::new();
        for number in 1..=USERS {
            let thread = thread::Builder::new().name(format!("user-{number}"));
            users.push(thread.spawn_scoped(scope, move || user(number))?);
        }
        let results: Vec<_> = users.into_iter().map(|it| it.join()).collect();
        for result in results {
            result.map_err(|_| "a user panicked")??;
        }
        Ok(())
    })
}

/// What is broken is discarded, and the question is asked again through another one.
fn broken_connection(pool: &Connections) -> Result<(), Box<dyn Error>> {
    let mut connection = pool.acquire()?;
    let (id, answer) = (connection.id(), connection.ask("hang up"));
    let error = answer.err().ok_or("the server was to hang up")?;
    tell(id, &format!("broken ({error}) and discarded"));
    connection.discard();
    // All five at once: four old ones, and a new one in the free place.
    let all = (0..CONNECTIONS).map(|_| pool.acquire());
    let mut all = all.collect::<Result<Vec<_>, _>>()?;
    let mut ids: Vec<Id> = all.iter().map(|it| it.id()).collect();
    ids.sort();
    say!("   now open: {ids:?}");
    expect(
        ids.is_sorted_by(|a, b| a < b),
        "each connection has a number of its own",
    )?;
    expect(
        !ids.contains(&id) && ids.contains(&6),
        "a new one for the broken one",
    )?;
    let answer = all[CONNECTIONS - 1].ask("better now?")?;
    tell(all[CONNECTIONS - 1].id(), &answer);
    Ok(())
}

/// The answer is still to come when the panic ends the conversation. So the connection is closed
/// and its place is free; the next user gets a fresh one and not somebody else's answer.
fn panicking_user(pool: &Connections) -> Result<(), Box<dyn Error>> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("clumsy".into());
        let clumsy = thread.spawn_scoped(scope, || -> Option<()> {
            let mut connection = pool.acquire().ok()?;
            writeln!(connection.stream.get_mut(), "a question").ok()?;
            tell(connection.id(), "asked, and then the user panics");
            // A panic without its message on stderr.
            panic::resume_unwind(Box::new("on purpose"))
        })?;
        expect(clumsy.join().is_err(), "a panic is an error at the join")?;
        Ok(())
    })
}

fn time_out(pool: &Connections) -> Result<(), Box<dyn Error>> {
    let all = (0..CONNECTIONS).map(|_| pool.acquire());
    let all = all.collect::<Result<Vec<_>, _>>()?;
    let Err(error) = pool.acquire_timeout(PATIENCE) else {
        return Err("there was one connection too many".into());
    };
    say!("   acquire within {PATIENCE:?}: {error}");
    drop(all);
    pool.acquire_timeout(PATIENCE)?;
    say!("   after they are returned: there is one");
    Ok(())
}

/// With room for one, the second attempt would find no place if the first one had kept it.
fn failing_connect() -> Result<(), Box<dyn Error>> {
    let pool: Pool<(), _> = Pool::new(1, |_| Err("the server is down"));
    for attempt in 1..=2 {
        let Err(error) = pool.acquire_timeout(PATIENCE) else {
            return Err("a connection to nowhere".into());
        };
        say!("   attempt {attempt}: {error}");
        let failed = error == AcquireError::Connect("the server is down");
        expect(failed, "a failed connect gives its place back")?;
    }
    Ok(())
}

fn expect_usage(pool: &Connections, open: usize, idle: usize) -> Result<(), String> {
    let usage = pool.usage();
    say!("   {} open, {} of them idle", usage.open, usage.idle);
    match usage == (Usage { open, idle }) {
        true => Ok(()),
        false => Err(format!("{open} should be open and {idle} idle")),
    }
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

/// Answers each line after a while, in a thread for each connection.
fn serve(listener: &TcpListener, stop: &AtomicBool) {
    let came = (Mutex::new(0), Condvar::new());
    thread::scope(|scope| {
        for (number, stream) in (1..).zip(listener.incoming()) {
            let Ok(stream) = stream else { continue };
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let thread = thread::Builder::new().name(format!("line-{number}"));
            // A client that hangs up, or a thread too many, is no reason to end the server.
            let _ = thread.spawn_scoped(scope, || answer(stream, &came));
        }
    });
}

fn answer(mut stream: TcpStream, (came, changed): &(Mutex<usize>, Condvar)) -> io::Result<()> {
    // The first clients wait for each other. So there are five in every run, also on a machine that
    // is so busy that one would be done, and its connection idle, before the next one comes.
    let mut came = came.lock().unwrap();
    *came += 1;
    changed.notify_all();
    drop(changed.wait_timeout_while(came, LIMIT / 2, |came| *came < CONNECTIONS));

    let questions = BufReader::new(stream.try_clone()?).lines();
    for question in questions {
        let question = question?;
        thread::sleep(LATENCY); // The network and the database, as it were.
        if question == "hang up" {
            break;
        }
        let line = format!("fine, thanks for \"{question}\"\n");
        stream.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// Says who did what through which connection, and when.
fn tell(id: Id, event: &str) {
    let now = START.elapsed().as_millis();
    let thread = thread::current();
    let name = thread.name().unwrap_or("?");
    say!("{now:>5} ms  {name:<8} connection {id}: {event}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_holds_with_a_server_of_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| serve(&listener, &stop));
            let outcome = use_the_server(address).map_err(|error| error.to_string());
            stop.store(true, Ordering::Relaxed);
            TcpStream::connect(address).unwrap();
            assert_eq!(outcome, Ok(()));
        });
    }

    /// Else five connections would be a matter of luck.
    #[test]
    fn nobody_gets_an_answer_before_there_are_as_many_clients_as_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| serve(&listener, &stop));
            let open = |id| Connection::open(id, address, &Arc::default()).unwrap();
            let mut clients: Vec<_> = (1..CONNECTIONS as Id).map(open).collect();
            let first = clients[0].stream.get_mut();
            first.set_read_timeout(Some(2 * LATENCY)).unwrap();
            let early = clients[0].ask("early?").map_err(|error| error.kind());

            clients.push(open(CONNECTIONS as Id));
            let answer = clients[1].ask("now?");
            stop.store(true, Ordering::Relaxed);
            TcpStream::connect(address).unwrap();
            drop(clients);
            let late = [ErrorKind::WouldBlock, ErrorKind::TimedOut]; // On Unix, on Windows.
            assert!(early.is_err_and(|kind| late.contains(&kind)));
            assert_eq!(answer.unwrap(), "fine, thanks for \"now?\"");
        });
    }

    #[test]
    fn without_a_server_it_is_an_error_and_not_a_hang() {
        // Not a port that was free a moment ago: by now it may be another test's.
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = use_the_server(nobody).unwrap_err();
        assert!(error.to_string().starts_with("cannot connect"), "{error}");
    }
}
