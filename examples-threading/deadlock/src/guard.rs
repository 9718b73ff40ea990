//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! A child process that cannot be forgotten. Dropping a plain `Child` neither ends nor waits for
//! the process: it runs on, and is a zombie when it ends. Dropping a `ChildGuard` does both.
//!
//! It needs the crates `wait-timeout`, for `wait_timeout`, which std lacks, and on Unix `rustix`,
//! for SIGTERM.

use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::process::{self, Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

pub use wait_timeout::ChildExt;

/// A running child; see `Child` for what else can be done with it.
pub struct ChildGuard {
    child: Child,
    /// The write end of the child's stdin. It is kept apart because `Child::wait` would close it,
    /// and a child that calls `end_with_parent` would take that for the parent's death.
    _lifeline: Option<ChildStdin>,
}

impl ChildGuard {
    /// Starts the command, with a pipe as its stdin.
    pub fn spawn(command: &mut Command) -> io::Result<ChildGuard> {
        // The terminal sends its Ctrl-C to a whole process group. In a group of its own the child
        // leaves the decision to the parent.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let lifeline = child.stdin.take();
        Ok(ChildGuard {
            child,
            _lifeline: lifeline,
        })
    }

    /// Asks the process to end (SIGTERM); it may clean up first, or refuse. Elsewhere than on Unix
    /// there is no such request and the process is killed.
    pub fn terminate(&mut self) -> io::Result<()> {
        // Once a process has been waited for, its number may belong to another one.
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        #[cfg(unix)]
        return Ok(rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        )?);
        #[cfg(not(unix))]
        self.child.kill()
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Both fail only for a child that has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Deref for ChildGuard {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for ChildGuard {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

/// For the child: ends this process as soon as its parent has ended, however it did. A killed
/// parent cannot run any `Drop`, but the system closes its end of the pipe.
pub fn end_with_parent() -> io::Result<()> {
    let watch = || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(1);
    };
    thread::Builder::new()
        .name("watch-parent".into())
        .spawn(watch)?;
    Ok(())
}

/// `exit code 3`, or `signal 9 (SIGKILL)`.
pub fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            6 => " (SIGABRT)",
            9 => " (SIGKILL)",
            11 => " (SIGSEGV)",
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
