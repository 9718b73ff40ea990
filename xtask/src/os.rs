//! The calls of the operating system that std does not offer, each behind a safe function. The
//! only module of xtask with unsafe code. Its counterpart for other systems is `os_other.rs`.

use std::io;
use std::mem::zeroed;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use libc::c_int;

pub const TERMINATE: i32 = libc::SIGTERM;
pub const KILL: i32 = libc::SIGKILL;

static SIGNAL: AtomicI32 = AtomicI32::new(0);
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(signal: c_int) {
    SIGNAL.store(signal, Ordering::Relaxed);
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// From now on Ctrl-C, SIGTERM and SIGHUP are noted instead of ending us, and what a program
/// leaves behind becomes our child instead of init's, so that it can be found and ended.
pub fn take_charge() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler only touches atomics, which is allowed in a signal handler, and
            // it has the type that a handler without SA_SIGINFO must have. The structures outlive
            // the calls.
            unsafe {
                let mut action: libc::sigaction = zeroed();
                libc::sigaction(signal, std::ptr::null(), &mut action);
                if action.sa_sigaction == libc::SIG_IGN {
                    continue; // as `nohup` wants it
                }
                action.sa_sigaction = note as extern "C" fn(c_int) as libc::sighandler_t;
                action.sa_flags = libc::SA_RESTART;
                libc::sigaction(signal, &action, std::ptr::null_mut());
            }
        }
        #[cfg(target_os = "linux")]
        // SAFETY: takes plain numbers and no pointer.
        unsafe {
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        }
    });
}

/// The last signal that asked us to end, and how many there were.
pub fn asked_to_end() -> Option<(i32, usize)> {
    match SIGNALS.load(Ordering::Relaxed) {
        0 => None,
        count => Some((SIGNAL.load(Ordering::Relaxed), count)),
    }
}

/// Makes `command` start by a real fork and not by a vfork in our own memory.
#[cfg(target_os = "linux")]
pub fn start_by_fork(command: &mut Command) -> &mut Command {
    // SAFETY: the closure does nothing, so it does nothing that is forbidden after a fork.
    unsafe { command.pre_exec(|| Ok(())) }
}

/// Nanoseconds on a clock that all processes share.
#[cfg(target_os = "linux")]
pub fn clock() -> u64 {
    read_clock(libc::CLOCK_MONOTONIC)
}

/// The CPU time of the calling thread so far.
pub fn thread_cpu() -> Duration {
    Duration::from_nanos(read_clock(libc::CLOCK_THREAD_CPUTIME_ID))
}

fn read_clock(clock: libc::clockid_t) -> u64 {
    // SAFETY: `time` outlives the call, which fills it. These two clocks always exist.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(clock, &mut time);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Waits until our child `pid` has ended, and leaves it to be reaped later.
pub fn wait_for_end(pid: u32) {
    loop {
        // SAFETY: `info` outlives the call, which fills it.
        let result = unsafe {
            let mut info: libc::siginfo_t = zeroed();
            libc::waitid(libc::P_PID, pid, &mut info, libc::WEXITED | libc::WNOWAIT)
        };
        if result == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Reaps our child `pid`, which has ended. Answers how, its CPU time, and its peak of memory in kB.
pub fn reap(pid: u32) -> io::Result<(ExitStatus, Duration, u64)> {
    let mut status = 0;
    // SAFETY: both pointers are to live variables of the right type.
    let (reaped, usage) = unsafe {
        let mut usage: libc::rusage = zeroed();
        (libc::wait4(pid as i32, &mut status, 0, &mut usage), usage)
    };
    if reaped < 0 {
        return Err(io::Error::last_os_error());
    }
    let unit = if cfg!(target_os = "macos") { 1024 } else { 1 };
    let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
    let peak_kb = usage.ru_maxrss as u64 / unit;
    Ok((ExitStatus::from_raw(status), cpu, peak_kb))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

/// Reaps the children that have ended, as long as `but` is not among them. Answers whether there
/// are children left.
#[cfg(target_os = "linux")]
pub fn reap_others(but: Option<u32>) -> bool {
    loop {
        // SAFETY: `info` outlives the call, which fills it; `si_pid` is a field that waitid sets,
        // or that stays 0 when no child has ended.
        let (result, pid) = unsafe {
            let mut info: libc::siginfo_t = zeroed();
            let options = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
            let result = libc::waitid(libc::P_ALL, 0, &mut info, options);
            (result, info.si_pid() as u32)
        };
        if result != 0 {
            return false;
        }
        if pid == 0 || Some(pid) == but || reap(pid).is_err() {
            return true;
        }
    }
}

/// Sends a signal to one process. That it has gone already is no error.
pub fn signal_process(pid: u32, signal: i32) {
    // SAFETY: takes plain numbers and no pointer.
    unsafe {
        libc::kill(pid as i32, signal);
    }
}

/// Sends a signal to a process group, 0 to ask only whether it is there.
pub fn signal_group(group: u32, signal: i32) -> bool {
    // SAFETY: takes plain numbers and no pointer.
    unsafe { libc::kill(-(group as i32), signal) == 0 }
}

/// The width of the terminal that stdout or stderr is, if it is one.
pub fn terminal_width() -> Option<usize> {
    [libc::STDOUT_FILENO, libc::STDERR_FILENO]
        .into_iter()
        .find_map(|file| {
            // SAFETY: `size` outlives the call, which fills it when it succeeds.
            let (result, size) = unsafe {
                let mut size: libc::winsize = zeroed();
                (libc::ioctl(file, libc::TIOCGWINSZ, &mut size), size)
            };
            (result == 0 && size.ws_col > 0).then_some(size.ws_col as usize)
        })
}

/// Puts a program to be started into a process group of its own.
pub fn own_group(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// The name of the signal that ended a program, such as `SIGKILL`.
pub fn signal_name(status: &ExitStatus) -> Option<String> {
    let signal = status.signal()?;
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        other => return Some(format!("signal {other}")),
    };
    Some(name.to_string())
}

/// Reads a file from its beginning, wherever its cursor is.
pub fn read_from_start(file: &std::fs::File, bytes: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, 0)
}

/// Another handle of our stderr.
pub fn stderr_as_file() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd;
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}
