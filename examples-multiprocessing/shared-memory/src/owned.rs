//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! A child process that is killed and waited for when its owner goes away; dropping a plain `Child`
//! does neither. Its stdin and stdout stay the caller's, to talk with it. A child that reads its
//! stdin to the end needs nothing else to end with its parent, even with one that was killed.

#![allow(dead_code, reason = "not every program uses all of it")]

use std::io;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus};

/// A running child; see `Child` for what can be done with it.
pub struct Owned(Child);

impl Owned {
    /// Takes the command, and so drops it: it holds the pipe ends that it was given, and as long
    /// as a write end is held somewhere, no reader of the pipe sees its end.
    pub fn spawn(mut command: Command) -> io::Result<Owned> {
        // The terminal sends its Ctrl-C to a whole process group. In a group of its own the child
        // leaves the decision to the parent.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(Owned(command.spawn()?))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Both fail only for a child that has been waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Deref for Owned {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Owned {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

/// `exit code 3`, or `signal 9 (SIGKILL)`.
pub fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            6 => " (SIGABRT)",
            9 => " (SIGKILL)",
            11 => " (SIGSEGV)",
            13 => " (SIGPIPE)",
            15 => " (SIGTERM)",
            _ => "",
        };
        return format!("signal {signal}{name}");
    }
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}
