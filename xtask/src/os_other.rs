//! What `os.rs` does on Unix, as far as std alone can do it elsewhere.

use std::fs::File;
use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

pub const TERMINATE: i32 = 15;
pub const KILL: i32 = 9;

/// Ctrl-C ends us and, since they share the console, the program too.
pub fn take_charge() {}

pub fn asked_to_end() -> Option<(i32, usize)> {
    None
}

/// Ends a process and its descendants.
pub fn signal_group(group: u32, _signal: i32) -> bool {
    taskkill(&["/T", "/PID", &group.to_string()])
}

/// Ends a process alone.
pub fn signal_process(pid: u32, _signal: i32) {
    taskkill(&["/PID", &pid.to_string()]);
}

fn taskkill(arguments: &[&str]) -> bool {
    Command::new("taskkill")
        .arg("/F")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub fn terminal_width() -> Option<usize> {
    None
}

pub fn own_group(command: &mut Command) -> &mut Command {
    command
}

pub fn signal_name(_status: &ExitStatus) -> Option<String> {
    None
}

pub fn thread_cpu() -> Duration {
    Duration::ZERO
}

pub fn read_from_start(_file: &File, _bytes: &mut [u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

pub fn stderr_as_file() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}
