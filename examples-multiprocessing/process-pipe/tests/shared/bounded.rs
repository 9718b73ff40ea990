//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! A program that hangs fails its test, instead of keeping it waiting for ever.
#![allow(dead_code, reason = "some tests start the program in their own way")]

use std::io::{self, ErrorKind, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// None needs anything like it, not even where many others compute.
const LIMIT: Duration = Duration::from_secs(60);

pub trait OutputInTime {
    /// `output` with a limit; there is nothing to read, and both outputs are captured.
    fn output_in_time(&mut self) -> io::Result<Output>;
}

impl OutputInTime for Command {
    fn output_in_time(&mut self) -> io::Result<Output> {
        self.stdin(Stdio::null());
        self.stdout(Stdio::piped()).stderr(Stdio::piped());
        end_in_time(self.spawn()?)
    }
}

/// `wait_with_output` with a limit: a child that is still running then is killed.
pub fn end_in_time(mut child: Child) -> io::Result<Output> {
    drop(child.stdin.take());
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let mut in_time = |bytes: Receiver<io::Result<Vec<u8>>>| match bytes.recv_timeout(LIMIT) {
        Ok(bytes) => bytes,
        Err(_) => {
            child.kill()?;
            child.wait()?;
            let message = format!("the program was still running after {LIMIT:?}");
            Err(io::Error::new(ErrorKind::TimedOut, message))
        }
    };
    let (stdout, stderr) = (in_time(stdout)?, in_time(stderr)?);
    let status = child.wait()?;
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn collect(output: Option<impl Read + Send + 'static>) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, bytes) = mpsc::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        let read = output.map_or(Ok(0), |mut output| output.read_to_end(&mut all));
        sender.send(read.map(|_| all))
    });
    bytes
}
