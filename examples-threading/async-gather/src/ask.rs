//! The same question, asked by a task and by a thread.

use std::io::{self, Read, Write};
use std::net::{self, SocketAddr};
use std::thread::{self, ScopedJoinHandle};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// At each `.await` the task may be set aside, so that others run; or it is dropped there.
pub async fn ask(server: SocketAddr, question: u8) -> io::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[question]).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    complete(answer)
}

/// A thread is set aside by the system, anywhere, and nobody can end its wait from outside.
pub fn ask_and_block(server: SocketAddr, question: u8) -> io::Result<String> {
    let mut stream = net::TcpStream::connect(server)?;
    stream.write_all(&[question])?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    complete(answer)
}

fn complete(answer: String) -> io::Result<String> {
    match answer.as_str() {
        "" => Err(io::Error::other("the server hung up")),
        _ => Ok(answer),
    }
}

/// The questions from 1 to `count`, each asked by its own thread.
pub fn ask_by_threads(server: SocketAddr, count: u8) -> io::Result<Vec<String>> {
    thread::scope(|scope| {
        let start = |question| {
            let thread = thread::Builder::new().name(format!("asker-{question}"));
            thread.spawn_scoped(scope, move || ask_and_block(server, question))
        };
        let threads: Vec<_> = (1..=count).map(start).collect::<io::Result<_>>()?;
        let join = |thread: ScopedJoinHandle<_>| thread.join().expect("asking does not panic");
        threads.into_iter().map(join).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, TcpListener};
    use std::thread::JoinHandle;
    use tokio::runtime::Builder;

    const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// Takes so many questions one after another, and says nothing to an even one.
    fn server(questions: usize) -> (SocketAddr, JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind(NOWHERE).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            for client in listener.incoming().take(questions) {
                let (mut client, mut question) = (client?, [0]);
                client.read_exact(&mut question)?;
                if question[0] % 2 == 1 {
                    client.write_all(b"yes")?;
                }
            }
            Ok(())
        });
        (address, serving)
    }

    fn ask_by_task(server: SocketAddr, question: u8) -> io::Result<String> {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(ask(server, question))
    }

    #[test]
    fn an_answer_that_never_came_is_an_error_for_a_task_and_for_a_thread() {
        for ask in [ask_by_task, ask_and_block] {
            let (address, serving) = server(2);
            assert_eq!(ask(address, 1).unwrap(), "yes");
            let error = ask(address, 2).unwrap_err();
            assert_eq!(error.to_string(), "the server hung up");
            assert!(ask(NOWHERE, 1).is_err());
            serving.join().unwrap().unwrap();
        }
    }

    #[test]
    fn what_fails_for_one_of_several_threads_is_an_error_of_all() {
        let (address, serving) = server(4);
        assert_eq!(ask_by_threads(address, 1).unwrap(), ["yes"]);
        let error = ask_by_threads(address, 3).unwrap_err();
        assert_eq!(error.to_string(), "the server hung up");
        serving.join().unwrap().unwrap();
    }
}
