//! Starts one program.
//!
//! On Linux there is a detour. A child begins its life with the peak memory of the process that
//! it was forked from, and keeps that figure when it becomes another program, so whatever xtask
//! starts directly would report at least the memory of xtask. Therefore xtask starts itself anew,
//! as a launcher of hardly a megabyte, and the launcher forks the program, reports its pid and
//! the time of its start, and ends. The orphan becomes a child of xtask, which is its "subreaper".

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::os;

pub use system::*;

/// A program to run, in a process group of its own and with empty input.
#[derive(Default)]
pub struct Job {
    /// A path, absolute when `dir` is given, or a name to be searched for in PATH.
    pub program: OsString,
    pub args: Vec<OsString>,
    /// The current folder when there is none.
    pub dir: Option<PathBuf>,
    /// Our own stdout when there is none.
    pub stdout: Option<File>,
    /// Our own stderr when there is none.
    pub stderr: Option<File>,
    pub limit: Option<Duration>,
}

/// What the system has booked for a program and for the descendants that it waited for.
pub struct Usage {
    pub cpu: Duration,
    pub peak_kb: u64,
}

/// Folder and output of the program.
fn direct(command: &mut Command, job: &mut Job) {
    if let Some(dir) = &job.dir {
        command.current_dir(dir);
    }
    if let Some(file) = job.stdout.take() {
        command.stdout(file);
    }
    if let Some(file) = job.stderr.take() {
        command.stderr(file);
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::*;
    use std::env;
    use std::io::{Read, Write};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    /// The first argument that makes xtask a launcher.
    const LAUNCHER: &str = "--launch-for-xtask";

    pub struct Child {
        pub pid: u32,
        pub started: Instant,
    }

    pub fn start(mut job: Job) -> io::Result<Child> {
        let (mut report, launcher_end) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(LAUNCHER).arg(&job.program).args(&job.args);
        command.stdin(OwnedFd::from(launcher_end));
        direct(&mut command, &mut job);
        os::own_group(&mut command);
        let mut launcher = command.spawn()?;
        drop(command);
        let mut text = String::new();
        report.read_to_string(&mut text)?;
        // Its end makes the program our child.
        launcher.wait()?;
        understand(&text)
    }

    /// The launcher's report: `pid start`, or `0 errno`.
    fn understand(text: &str) -> io::Result<Child> {
        let mut numbers = text.split(' ').map(|number| number.parse::<u64>());
        match (numbers.next(), numbers.next()) {
            (Some(Ok(0)), Some(Ok(errno))) => Err(io::Error::from_raw_os_error(errno as i32)),
            (Some(Ok(pid)), Some(Ok(start))) => {
                let age = Duration::from_nanos(os::clock().saturating_sub(start));
                Ok(Child {
                    pid: pid as u32,
                    started: Instant::now() - age,
                })
            }
            _ => Err(io::Error::other(format!("the launcher said {text:?}"))),
        }
    }

    /// What xtask does when it is called as the launcher; None when it is called by a person.
    pub fn launcher() -> Option<ExitCode> {
        let mut args = env::args_os().skip(1);
        if args.next()? != LAUNCHER {
            return None;
        }
        let program = args.next()?;
        let mut report = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        os::own_group(os::start_by_fork(&mut command));
        let start = os::clock();
        let text = match command.spawn() {
            Ok(child) => format!("{} {start}", child.id()),
            Err(error) => format!("0 {}", error.raw_os_error().unwrap_or_default()),
        };
        let written = report.write_all(text.as_bytes());
        Some(ExitCode::from(u8::from(written.is_err())))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::*;

    pub struct Child {
        pub pid: u32,
        pub started: Instant,
        #[cfg(not(unix))]
        pub child: std::process::Child,
    }

    pub fn start(mut job: Job) -> io::Result<Child> {
        let mut command = Command::new(&job.program);
        command.args(&job.args).stdin(Stdio::null());
        direct(&mut command, &mut job);
        let started = Instant::now();
        let child = os::own_group(&mut command).spawn()?;
        Ok(Child {
            pid: child.id(),
            started,
            #[cfg(not(unix))]
            child,
        })
    }

    /// There is no launcher here.
    pub fn launcher() -> Option<ExitCode> {
        None
    }
}

impl Child {
    /// Waits until the program has ended, and leaves it to be reaped.
    pub fn wait_for_end(&mut self) {
        #[cfg(unix)]
        os::wait_for_end(self.pid);
        #[cfg(not(unix))]
        let _ = self.child.wait(); // a failure shows when it is reaped
    }

    pub fn reap(self) -> io::Result<(ExitStatus, Option<Usage>)> {
        #[cfg(unix)]
        return os::reap(self.pid).map(|(status, cpu, peak_kb)| {
            let usage = Usage { cpu, peak_kb };
            (status, Some(usage))
        });
        #[cfg(not(unix))]
        return { self }.child.wait().map(|status| (status, None));
    }
}
