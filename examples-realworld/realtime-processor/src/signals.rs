//! The first SIGINT or SIGTERM asks for an orderly end, the second one ends the program at once.

use std::io;

/// The signal that asked: its name, and the exit code that tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    pub name: &'static str,
    pub exit_code: u8,
}

/// `timeout` signals its child and then the group that the child is in: those two are one.
#[cfg(unix)]
const SAME: std::time::Duration = std::time::Duration::from_millis(50);

/// `ctrlc` would not tell which of the two it was.
#[cfg(unix)]
pub fn on_first(mut tell: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let handle = move || {
        let mut first = None;
        for number in signals.forever() {
            let now = std::time::Instant::now();
            let exit_code = 128 + number as u8;
            match first {
                None => {
                    first = Some((number, now));
                    let name = if number == SIGINT {
                        "SIGINT"
                    } else {
                        "SIGTERM"
                    };
                    tell(Signal { name, exit_code });
                }
                Some((same, then)) if same == number && now - then < SAME => {}
                Some(_) => std::process::exit(exit_code.into()),
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(handle)?;
    Ok(())
}

#[cfg(not(unix))]
pub fn on_first(mut tell: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let mut nth = 0;
    let handle = move || {
        nth += 1;
        if nth > 1 {
            std::process::exit(130);
        }
        tell(Signal {
            name: "Ctrl-C",
            exit_code: 130,
        });
    };
    ctrlc::set_handler(handle).map_err(io::Error::other)
}
