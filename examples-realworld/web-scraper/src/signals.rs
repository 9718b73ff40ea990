//! Ctrl-C and SIGTERM: the first asks the program to end in order, the second ends it at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

/// Which signal has come; to be asked now and then.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicI32>);

impl Stop {
    /// The exit code that tells by which signal the program ended: 130 or 143.
    pub fn exit_code(&self) -> Option<u8> {
        match self.0.load(SeqCst) {
            0 => None,
            signal => Some((128 + signal) as u8),
        }
    }

    fn come(&self, signal: i32) {
        if self.0.compare_exchange(0, signal, SeqCst, SeqCst).is_err() {
            std::process::exit(128 + signal);
        }
    }
}

#[cfg(unix)]
pub fn listen() -> io::Result<Stop> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let stop = Stop::default();
    let for_thread = stop.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .stack_size(64 * 1024)
        .spawn(move || signals.forever().for_each(|signal| for_thread.come(signal)))?;
    Ok(stop)
}

#[cfg(not(unix))]
pub fn listen() -> io::Result<Stop> {
    const SIGINT: i32 = 2;
    let stop = Stop::default();
    let for_handler = stop.clone();
    ctrlc::set_handler(move || for_handler.come(SIGINT)).map_err(io::Error::other)?;
    Ok(stop)
}
