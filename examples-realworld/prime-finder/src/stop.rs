//! What a stop means to the workers: who asks for one, and how long an orderly end may take.

use std::io::{self, Write};
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::signals;

/// Those who wait for something else look this often whether they should stop.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// An orderly end that takes longer than this, because nobody reads the output, is cut short.
const PATIENCE: Duration = Duration::from_secs(4);

pub fn requested() -> bool {
    signals::received().is_some()
}

/// 130 after Ctrl-C, 143 after SIGTERM, as a shell would say it.
pub fn exit_code() -> u8 {
    signals::received().map_or(0, |signal| signal.exit_code)
}

/// Starts to listen. `at_first` runs at the first signal, `at_once` before a hard end.
pub fn listen(at_first: fn(), at_once: fn()) -> io::Result<()> {
    let end_in_order = move |_| {
        at_first();
        let patience = thread::Builder::new().name("patience".into());
        let watch = patience.spawn(move || {
            thread::sleep(PATIENCE);
            at_once();
            say_that_it_was_cut_short();
            process::exit(exit_code().into());
        });
        if watch.is_err() {
            let _ = writeln!(io::stderr(), "note: another Ctrl-C ends this at once");
        }
    };
    signals::listen(end_in_order, at_once)
}

/// In a thread, because whoever does not read stdout may not read stderr either: then the line is
/// lost, but not the end.
fn say_that_it_was_cut_short() {
    let (said, heard) = mpsc::channel();
    let say = move || {
        let seconds = PATIENCE.as_secs();
        let _ = writeln!(
            io::stderr(),
            "stopped: cut short, because no orderly end came within {seconds} seconds"
        );
        let _ = said.send(());
    };
    if thread::Builder::new()
        .name("last word".into())
        .spawn(say)
        .is_ok()
    {
        let _ = heard.recv_timeout(LOOK_AGAIN * 10);
    }
}
