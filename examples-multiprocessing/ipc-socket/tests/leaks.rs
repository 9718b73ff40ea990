//! Alone in its file: it counts what the whole process has, and no other test may run beside it.

#![cfg(target_os = "linux")]

#[path = "../src/connection.rs"]
#[expect(dead_code, reason = "this test does not need all of it")]
mod connection;

use std::error::Error;
use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use connection::{Key, Listener, connect};

const LONG: Duration = Duration::from_secs(30);

fn open_files_and_threads() -> io::Result<[usize; 2]> {
    let count = |folder| fs::read_dir(folder).map(Iterator::count);
    Ok([count("/proc/self/fd")?, count("/proc/self/task")?])
}

#[test]
fn a_hundred_listeners_leave_no_thread_and_no_open_file() -> Result<(), Box<dyn Error>> {
    let (right, wrong) = (Key::random()?, Key::random()?);
    let before = open_files_and_threads()?;
    for _ in 0..100 {
        let listener = Listener::bind(&right, 2, LONG)?;
        let ours = connect(listener.address(), &right, LONG)?;
        assert!(connect(listener.address(), &wrong, LONG).is_err());
        let outcomes: Vec<_> = listener.incoming().iter().take(2).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        drop((outcomes, ours));
    }
    // A joined thread may be listed for a moment longer.
    let deadline = Instant::now() + LONG;
    while open_files_and_threads()? != before && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(open_files_and_threads()?, before);
    Ok(())
}
