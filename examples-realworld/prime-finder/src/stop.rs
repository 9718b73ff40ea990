//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once.

use std::io;
use std::process;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

/// Those who wait for something else look this often whether they should stop.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// An orderly end that takes longer than this, because nobody reads the output, is cut short.
const PATIENCE: Duration = Duration::from_secs(4);

/// The signal that came, or 0.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

pub fn requested() -> bool {
    SIGNAL.load(Ordering::Relaxed) != 0
}

/// 130 after Ctrl-C, 143 after SIGTERM, as a shell would say it.
pub fn exit_code() -> u8 {
    128 + SIGNAL.load(Ordering::Relaxed) as u8
}

/// Starts to listen. `at_first` runs at the first signal, `at_once` before a hard end.
#[cfg(unix)]
pub fn listen(at_first: fn(), at_once: fn()) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let listener = thread::Builder::new().name("signals".into());
    listener.spawn(move || {
        for signal in signals.forever() {
            received(signal, at_first, at_once);
        }
    })?;
    Ok(())
}

/// Elsewhere there is only the console's Ctrl-C.
#[cfg(not(unix))]
pub fn listen(at_first: fn(), at_once: fn()) -> io::Result<()> {
    ctrlc::set_handler(move || received(2, at_first, at_once)).map_err(io::Error::other)
}

fn received(signal: i32, at_first: fn(), at_once: fn()) {
    let end = move || {
        at_once();
        process::exit(exit_code().into());
    };
    if requested() {
        end();
    }
    SIGNAL.store(signal, Ordering::Relaxed);
    at_first();
    let patience = thread::Builder::new()
        .name("patience".into())
        .spawn(move || {
            thread::sleep(PATIENCE);
            end();
        });
    if patience.is_err() {
        eprintln!("note: another Ctrl-C ends this at once");
    }
}

/// A worker process leaves the terminal's Ctrl-C, which reaches the whole group, to its parent.
#[cfg(unix)]
pub fn leave_to_parent() -> io::Result<()> {
    use signal_hook::{consts::SIGINT, flag};
    use std::sync::{Arc, atomic::AtomicBool};
    flag::register(SIGINT, Arc::<AtomicBool>::default())?;
    Ok(())
}

#[cfg(not(unix))]
pub fn leave_to_parent() -> io::Result<()> {
    ctrlc::set_handler(|| ()).map_err(io::Error::other)
}
