//! A small server to ask things: it answers late, or hangs up, and counts what it sees.
//!
//! A question is one byte; its answer is the text up to the end of the connection.

use std::error::Error;
use std::io;
use std::net::{self, Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

/// What the server does about a question, and when.
#[derive(Clone, Copy)]
pub enum Reply {
    Answer(Duration),
    HangUp(Duration),
}

/// What the server has seen up to now: from outside, so no client can be wrong about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub asked: usize,
    pub answered: usize,
    pub hung_up: usize,
    /// The client went away before the reply.
    pub abandoned: usize,
    /// The most questions that were open at once.
    pub most_open: usize,
}

impl Counts {
    fn open(&self) -> usize {
        self.asked - self.answered - self.hung_up - self.abandoned
    }
}

/// One thread, however many clients. It ends when this is dropped.
pub struct Server {
    pub address: SocketAddr,
    counts: watch::Receiver<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `script` says for each question what to do about it.
    pub fn start(script: fn(u8) -> Reply) -> io::Result<Server> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (seen, counts) = watch::channel(Counts::default());
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("server".to_string());
        let thread = thread.spawn(move || {
            runtime.spawn(accept(listener, script, seen));
            // Nothing is ever sent: the sender's drop is the signal. The tasks end with `runtime`.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Server {
            address,
            counts,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The counts as soon as no question is open any more; after some seconds, as they are.
    pub async fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        let none_open = counts.wait_for(|counts| counts.open() == 0);
        let _ = timeout(Duration::from_secs(5), none_open).await;
        *counts.borrow()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What was done at a server, how long it took, and what the server saw of it.
pub struct Attempt<T> {
    pub value: T,
    pub wall: Duration,
    pub seen: Counts,
}

/// The first attempt at which the server saw so many questions open at once; one after another they
/// would never be. More attempts are needed only where a busy machine begins some of them late.
pub async fn all_at_once<T>(
    questions: u8,
    script: fn(u8) -> Reply,
    ask: impl AsyncFn(SocketAddr) -> Result<T, Box<dyn Error>>,
) -> Result<Attempt<T>, Box<dyn Error>> {
    for _ in 0..10 {
        let server = Server::start(script)?;
        let begin = Instant::now();
        let value = ask(server.address).await?;
        let wall = begin.elapsed();
        let seen = server.counts().await;
        if seen.most_open == usize::from(questions) {
            return Ok(Attempt { value, wall, seen });
        }
        if seen.most_open > usize::from(questions) {
            return Err(format!("{} questions were open at once", seen.most_open).into());
        }
    }
    Err(format!("never were {questions} questions open at once").into())
}

async fn accept(listener: TcpListener, script: fn(u8) -> Reply, seen: watch::Sender<Counts>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(reply(client, script, seen.clone()))),
            // A client that has gone already, or too many open files: neither is a reason to end.
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn reply(mut client: TcpStream, script: fn(u8) -> Reply, seen: watch::Sender<Counts>) {
    let count = |add: fn(&mut Counts)| {
        seen.send_modify(|counts| {
            add(counts);
            counts.most_open = counts.most_open.max(counts.open());
        });
    };
    let Ok(question) = client.read_u8().await else {
        return;
    };
    count(|counts| counts.asked += 1);
    let script = script(question);
    let (Reply::Answer(delay) | Reply::HangUp(delay)) = script;
    // A client says nothing more, so if reading ends before the time, the client has gone.
    let gone = timeout(delay, client.read_u8()).await.is_ok();
    // Counted before the client can know, so that what it does next cannot come before this.
    match script {
        _ if gone => count(|counts| counts.abandoned += 1),
        Reply::HangUp(_) => count(|counts| counts.hung_up += 1),
        Reply::Answer(_) => {
            count(|counts| counts.answered += 1);
            let answer = format!("answer {question}");
            let _ = client.write_all(answer.as_bytes()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpStream as Client;

    const SOON: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_secs(600);

    fn ask(server: &Server, question: u8) -> Client {
        let mut client = Client::connect(server.address).unwrap();
        client.write_all(&[question]).unwrap();
        client
    }

    /// When the server has seen as many questions as that.
    fn counts_after(server: &Server, asked: usize) -> Counts {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut counts = server.counts.clone();
            counts
                .wait_for(|counts| counts.asked >= asked)
                .await
                .unwrap();
            server.counts().await
        })
    }

    #[test]
    fn it_answers_hangs_up_and_notices_who_goes_away() {
        let server = Server::start(|question| match question {
            1 => Reply::Answer(SOON),
            2 => Reply::HangUp(SOON),
            _ => Reply::Answer(NEVER),
        });
        let server = server.unwrap();
        assert_eq!(io::read_to_string(ask(&server, 1)).unwrap(), "answer 1");
        assert_eq!(io::read_to_string(ask(&server, 2)).unwrap(), "");
        drop(ask(&server, 3));
        let seen = Counts {
            asked: 3,
            answered: 1,
            hung_up: 1,
            abandoned: 1,
            most_open: 1,
        };
        assert_eq!(counts_after(&server, 3), seen);
    }

    #[test]
    fn its_end_ends_who_waits_for_an_answer() {
        let begin = Instant::now();
        let server = Server::start(|_| Reply::Answer(NEVER)).unwrap();
        let client = ask(&server, 1);
        drop(server);
        // An end or a reset of the connection, but no answer.
        assert_ne!(io::read_to_string(client).unwrap_or_default(), "answer 1");
        assert!(begin.elapsed() < NEVER);
    }
}
