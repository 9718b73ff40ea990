//! Ctrl-C and SIGTERM: the first one asks for an orderly end, the second ends the program at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub struct Stop {
    caught: Arc<AtomicUsize>,
}

impl Stop {
    pub fn on_signals() -> io::Result<Stop> {
        let caught = Arc::new(AtomicUsize::new(0));
        let again = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Handlers run in the order of their registration: with the first signal `again` is
            // not set yet, with the second one it is.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            flag::register_usize(signal, Arc::clone(&caught), signal as usize)?;
        }
        Ok(Stop { caught })
    }

    /// Nobody will ask.
    #[cfg(test)]
    pub fn never() -> Stop {
        let caught = Arc::new(AtomicUsize::new(0));
        Stop { caught }
    }

    pub fn asked(&self) -> bool {
        self.caught.load(Ordering::Relaxed) != 0
    }

    /// The name of the signal and the exit code that belongs to it.
    pub fn signal(&self) -> Option<(&'static str, u8)> {
        match self.caught.load(Ordering::Relaxed) as i32 {
            0 => None,
            SIGTERM => Some(("SIGTERM", 143)),
            _ => Some(("SIGINT", 130)),
        }
    }
}
