//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! `say!` is `println!` for a program whose reader may leave early, as `| head` does. `println!`
//! panics then; `say!` ends the program quietly. A full disk is one line on stderr and exit code 1.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process;

macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}

/// Writes one line under the lock of stdout, so that lines of different threads never mix.
pub fn line(text: fmt::Arguments) {
    match writeln!(io::stdout().lock(), "{text}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            eprintln!("error: cannot write to stdout: {error}");
            process::exit(1);
        }
    }
}
