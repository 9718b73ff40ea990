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
//! value with one owner: a second release does not compile (`tests/refused`), and none can be
//! forgotten. And the numbers come from a counter that only goes up, not from a length.
//!
//! Run it with `cargo run -p connection-pool`. Look at the second five users in 1: each gets the
//! connection of one who is done. In 2 and 3 a broken connection is replaced.
//!
//! To take: `src/connections.rs`, with `src/sync.rs`, `tests/connections.rs`, `tests/model.rs`.
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
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use connections::{Id, Pool, Pooled, Usage};

const USERS: usize = 10;
const CONNECTIONS: usize = 5;
/// How long the server takes for an answer.
const LATENCY: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_millis(20);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static OPEN: AtomicUsize = AtomicUsize::new(0);
static MOST_OPEN: AtomicUsize = AtomicUsize::new(0);

fn main() -> Result<(), Box<dyn Error>> {
    let address = start_server()?;
    let pool = Pool::new(CONNECTIONS, move |id| Connection::open(id, address));
    say!("1. {USERS} users, {CONNECTIONS} connections, opened when the first ones need them");
    ten_users(&pool)?;
    say!("\n2. The server hangs up in the middle of a conversation");
    broken_connection(&pool)?;
    say!("\n3. A user panics in the middle of a conversation");
    panicking_user(&pool)?;
    say!("\n4. All are in use");
    all_in_use(&pool)?;

    drop(pool);
    let (most, left) = (
        MOST_OPEN.load(Ordering::SeqCst),
        OPEN.load(Ordering::SeqCst),
    );
    expect(most <= CONNECTIONS, "never more connections than allowed")?;
    expect(left == 0, "the end of the pool closes them all")?;
    say!("\nok: never more than {most} connections, each with one user, and all came back");
    Ok(())
}

/// Lines to a server and back. It counts itself among those that are open.
struct Connection(BufReader<TcpStream>);

type Connections = Pool<Connection, io::Error>;
type Acquired<'a> = Pooled<'a, Connection, io::Error>;

impl Connection {
    fn open(id: Id, address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        let open = OPEN.fetch_add(1, Ordering::SeqCst) + 1;
        MOST_OPEN.fetch_max(open, Ordering::SeqCst);
        tell(id, "opened");
        Ok(Self(BufReader::new(stream)))
    }

    fn send(&mut self, question: &str) -> io::Result<()> {
        self.0
            .get_mut()
            .write_all(format!("{question}\n").as_bytes())
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        self.send(question)?;
        let mut answer = String::new();
        match self.0.read_line(&mut answer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer.trim_end().into()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A server in this same program; its threads end with it.
fn start_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let serve = move || {
        for stream in listener.incoming().flatten() {
            let guest = thread::Builder::new().name("guest".into());
            _ = guest.spawn(move || converse(&stream));
        }
    };
    thread::Builder::new().name("server".into()).spawn(serve)?;
    Ok(address)
}

fn converse(mut stream: &TcpStream) -> io::Result<()> {
    for question in BufReader::new(stream).lines() {
        let question = question?;
        if question == "hang up" {
            break;
        }
        thread::sleep(LATENCY);
        stream.write_all(format!("fine, thanks for {question:?}\n").as_bytes())?;
    }
    Ok(())
}

fn ten_users(pool: &Connections) -> Result<(), Box<dyn Error>> {
    let user = |number| -> io::Result<()> {
        let mut connection = pool.acquire().map_err(io::Error::other)?;
        let answer = connection.ask(&format!("how are you, {number}?"))?;
        tell(connection.id(), &answer);
        Ok(())
    };
    thread::scope(|scope| {
        let mut users = Vec::new();
        for number in 1..=USERS {
            let thread = thread::Builder::new().name(format!("user-{number}"));
            users.push(thread.spawn_scoped(scope, move || user(number))?);
        }
        for user in users {
            user.join().expect("no user panics here")?;
        }
        Ok::<_, io::Error>(())
    })?;
    Ok(expect_all_back(pool)?)
}

/// What is broken is discarded. Its place is free for a new connection with a new number.
fn broken_connection(pool: &Connections) -> Result<(), Box<dyn Error>> {
    let mut connection = pool.acquire()?;
    let broken = connection.id();
    let error = connection.ask("hang up").err().ok_or("it was to break")?;
    tell(broken, &format!("{error}; discarded"));
    connection.discard();

    let mut ids: Vec<Id> = acquire_all(pool)?.iter().map(Pooled::id).collect();
    ids.sort();
    say!("   now open: {ids:?}");
    let different = ids.is_sorted_by(|a, b| a < b);
    expect(different, "each connection has a number of its own")?;
    let replaced = !ids.contains(&broken) && ids.contains(&6);
    expect(replaced, "there is a new one for the broken one")?;
    Ok(expect_all_back(pool)?)
}

/// The answer is still to come when the panic ends the conversation. So the connection is closed:
/// the next user gets a fresh one and not somebody else's answer.
fn panicking_user(pool: &Connections) -> Result<(), Box<dyn Error>> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("clumsy".into());
        let clumsy = thread.spawn_scoped(scope, || {
            let mut connection = pool.acquire().expect("one is free");
            connection.send("what time is it?").expect("it works");
            tell(connection.id(), "asked, and then the user panics");
            // A panic without its message on stderr.
            panic::resume_unwind(Box::new("on purpose"))
        })?;
        expect(clumsy.join().is_err(), "a panic is an error at the join")?;
        let closed = pool.usage().open == CONNECTIONS - 1;
        expect(closed, "what is left half-way is not used again")?;
        Ok(expect_all_back(pool)?)
    })
}

fn all_in_use(pool: &Connections) -> Result<(), Box<dyn Error>> {
    let all = acquire_all(pool)?;
    let one_more = pool.acquire_timeout(PATIENCE).map(|_| ());
    let error = one_more.err().ok_or("there was one connection too many")?;
    say!("   acquire within {PATIENCE:?}: {error}");
    drop(all);
    pool.acquire_timeout(PATIENCE)?;
    say!("   after they are returned: there is one");
    Ok(expect_all_back(pool)?)
}

fn acquire_all(pool: &Connections) -> Result<Vec<Acquired<'_>>, Box<dyn Error>> {
    (0..CONNECTIONS).map(|_| Ok(pool.acquire()?)).collect()
}

fn expect_all_back(pool: &Connections) -> Result<(), String> {
    let Usage { open, idle } = pool.usage();
    say!("   {open} open, {idle} of them idle");
    expect(idle == open, "each connection comes back")
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

/// Says who did what through which connection, and when.
fn tell(id: Id, event: &str) {
    let now = START.elapsed().as_millis();
    let thread = thread::current();
    let name = thread.name().unwrap_or("?");
    say!("{now:>5} ms  {name:<8} connection {id}: {event}");
}
