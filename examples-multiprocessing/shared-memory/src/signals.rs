//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! Ctrl-C and SIGTERM: the first one asks for an orderly end, the second ends the program at once.
//!
//! It needs `signal-hook` on Unix, where the simpler `ctrlc` would not tell which of the two came,
//! and `ctrlc` elsewhere, where there is only Ctrl-C.
#![allow(dead_code, reason = "one program needs the name, another the code")]

use std::io;
use std::process;
use std::sync::OnceLock;

/// What asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    pub name: &'static str,
    /// As a shell would say it.
    pub exit_code: u8,
}

const INTERRUPT: Signal = Signal {
    name: "SIGINT",
    exit_code: 130,
};

static FIRST: OnceLock<Signal> = OnceLock::new();

/// The signal that asked for an end, if one did.
pub fn received() -> Option<Signal> {
    FIRST.get().copied()
}

/// Starts to listen. `at_first` is called after the first signal, for those who wait instead of
/// asking `received`; `at_second` before the second one ends the program.
#[cfg(unix)]
pub fn listen(
    mut at_first: impl FnMut(Signal) + Send + 'static,
    mut at_second: impl FnMut() + Send + 'static,
) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use std::time::{Duration, Instant};

    const TERMINATE: Signal = Signal {
        name: "SIGTERM",
        exit_code: 143,
    };
    // `timeout` signals its child and then the group that the child is in: those two are one.
    const ONE_AND_THE_SAME: Duration = Duration::from_millis(50);

    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let handle = move || {
        let mut first_at = Instant::now();
        for number in signals.forever() {
            let signal = if number == SIGINT {
                INTERRUPT
            } else {
                TERMINATE
            };
            if FIRST.set(signal).is_ok() {
                first_at = Instant::now();
                at_first(signal);
            } else if received() != Some(signal) || first_at.elapsed() > ONE_AND_THE_SAME {
                at_second();
                process::exit(signal.exit_code.into());
            }
        }
    };
    let listener = std::thread::Builder::new().name("signals".into());
    listener.stack_size(64 * 1024).spawn(handle)?;
    Ok(())
}

#[cfg(not(unix))]
pub fn listen(
    mut at_first: impl FnMut(Signal) + Send + 'static,
    mut at_second: impl FnMut() + Send + 'static,
) -> io::Result<()> {
    let handle = move || {
        if FIRST.set(INTERRUPT).is_ok() {
            at_first(INTERRUPT);
        } else {
            at_second();
            process::exit(INTERRUPT.exit_code.into());
        }
    };
    ctrlc::set_handler(handle).map_err(io::Error::other)
}

/// For a worker process. What reaches its whole group, such as the terminal's Ctrl-C, is for the
/// parent to decide.
pub fn leave_to_parent() -> io::Result<()> {
    #[cfg(unix)]
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let noticed = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        signal_hook::flag::register(signal, noticed)?;
    }
    #[cfg(not(unix))]
    ctrlc::set_handler(|| ()).map_err(io::Error::other)?;
    Ok(())
}
