//! What ends a command early, and with which exit code.

use std::fmt;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

#[derive(Debug)]
pub enum Error {
    /// The call was wrong: exit code 2.
    Usage(String),
    /// The call was right and it did not work: exit code 1.
    Failed(String),
    /// Everything worth saying is said already; this is the exit code.
    Code(u8),
    /// The reader of our output has gone, as `| head` does: nothing is wrong.
    Unread,
}

pub type Result<T = ()> = std::result::Result<T, Error>;

pub fn usage(text: impl Into<String>) -> Error {
    Error::Usage(text.into())
}

pub fn failed(text: impl Into<String>) -> Error {
    Error::Failed(text.into())
}

impl Error {
    /// Prints the error's one line, if it has one.
    pub fn report(self) -> ExitCode {
        match self {
            Error::Usage(text) => {
                eprintln!("error: {text}");
                ExitCode::from(2)
            }
            Error::Failed(text) => {
                eprintln!("error: {text}");
                ExitCode::from(1)
            }
            Error::Code(code) => ExitCode::from(code),
            Error::Unread => ExitCode::SUCCESS,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Usage(text) | Error::Failed(text) => f.write_str(text),
            Error::Code(code) => write!(f, "exit code {code}"),
            Error::Unread => f.write_str("the reader of the output has gone"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            ErrorKind::BrokenPipe => Error::Unread,
            _ => Error::Failed(error.to_string()),
        }
    }
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Error {
        Error::Usage(format!("{error}; `cargo xtask --help` lists what there is"))
    }
}
