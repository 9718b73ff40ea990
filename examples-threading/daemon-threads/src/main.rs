//! Threads end with `main`: what that cuts off, and how a scope or a stop signal avoids it.
//!
//! In Python a thread that should not keep the program alive is marked as such:
//!
//! ```python
//! Thread(target=save_for_ever, daemon=True).start()
//! regular = Thread(target=three_steps)
//! regular.start()
//! regular.join()
//! print("main ends")                 # and the daemon, somewhere
//! ```
//!
//! In Rust every thread is a daemon: when `main` returns, all others are gone, in the middle of
//! what they do, without any `drop`, and the exit code is 0. Python's other kind of thread, which
//! the program waits for, is the one of `thread::scope`: it cannot be forgotten, for the scope ends
//! after it. And a thread without an end of its own is given a stop signal, and joined.
//!
//! Run it with `cargo run -p daemon-threads`. It starts itself three times; look at record 3, which
//! is cut in the first run and complete in the other two. To take: `with_scope` and
//! `with_stop_signal`. Before this: `scoped-threads`; after it: `event-flag`.

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::env::{self, VarError};
use std::error::Error;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

/// Set in the runs that this program starts, to the way in which `main` treats its threads.
const ROLE: &str = "DAEMON_THREADS_ROLE";
/// `main` does not look after its threads any more when this record is half written.
const RECORD: usize = 3;
/// As for a slow disk, between the two halves of a record.
const DISK: Duration = Duration::from_millis(40);
/// So slow that `main` has returned before for certain. Nobody waits that long.
const STALLED_DISK: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let result = match env::var(ROLE).as_deref() {
        Err(VarError::NotPresent) => tell(),
        Ok("forgotten") => forgotten(),
        Ok("scope") => with_scope(),
        Ok("stop") => with_stop_signal(),
        _ => {
            // Someone else set the variable. Starting processes now could go on without end.
            eprintln!("error: {ROLE} is for this program's own processes; unset it");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell() -> Result<(), Box<dyn Error>> {
    say!("1. Nobody waits for the thread that saves");
    let text = run("forgotten")?;
    let [begun, ended] = [FIRST_HALF, SECOND_HALF].map(|half| text.matches(half).count());
    let cut_off = (begun, ended) == (RECORD, RECORD - 1);
    check(cut_off, "the forgotten thread was not cut off")?;
    check(!text.contains(CLEAN_UP), "the thread has cleaned up")?;
    say!("   => as expected: record {RECORD} cut off, nothing cleaned up, and still exit code 0");

    say!("\n2. A scope waits for it");
    lost_nothing(&run("scope")?)?;

    say!("\n3. A thread without end is told to stop, and waited for");
    lost_nothing(&run("stop")?)?;

    say!("\nok: forgotten, the thread lost a record; in a scope or with a stop signal, nothing");
    Ok(())
}

/// Starts this program in one of its roles, and returns what that has printed.
fn run(role: &str) -> Result<String, Box<dyn Error>> {
    let mut program = Command::new(env::current_exe()?);
    let program = program.env(ROLE, role).stdin(Stdio::null());
    let output = program.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    for line in text.lines() {
        say!("   {line}");
    }
    let complaint = format!("the run {role:?} ended with {}", output.status);
    check(output.status.success(), &complaint)?;
    Ok(text)
}

fn lost_nothing(text: &str) -> Result<(), String> {
    let [begun, ended] = [FIRST_HALF, SECOND_HALF].map(|half| text.matches(half).count());
    check(begun >= RECORD, "not every record was begun")?;
    check(ended == begun, "a record was begun and not ended")?;
    check(text.contains(CLEAN_UP), "the thread has not cleaned up")
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

/// `main` waits for one thread, and returns while the other one is writing.
fn forgotten() -> Result<(), Box<dyn Error>> {
    let (progress, half_written) = mpsc::channel();
    let disk = |record| if record < RECORD { DISK } else { STALLED_DISK };
    // Nobody keeps the handle, so nobody can join. That is all there is to a daemon thread.
    named("saver").spawn(move || save(1..=RECORD, disk, progress))?;
    let regular = named("regular").spawn(three_steps)?;

    regular.join().expect("the regular thread does not panic");
    wait_for(RECORD, &half_written)?;
    say!("main     returns");
    Ok(())
}

/// The scope ends only after its threads, also when an error or a panic leaves it early.
fn with_scope() -> Result<(), Box<dyn Error>> {
    let (progress, half_written) = mpsc::channel();
    thread::scope(|scope| {
        named("saver").spawn_scoped(scope, move || save(1..=RECORD, |_| DISK, progress))?;
        wait_for(RECORD, &half_written)?;
        say!("main     has nothing more to do");
        Ok::<(), Box<dyn Error>>(())
    })?;
    say!("main     returns");
    Ok(())
}

/// The thread looks at the signal between two records, never within one.
fn with_stop_signal() -> Result<(), Box<dyn Error>> {
    let stop = &AtomicBool::new(false);
    let (progress, half_written) = mpsc::channel();
    thread::scope(|scope| {
        let records = (1..).take_while(|_| !stop.load(Ordering::Relaxed));
        named("saver").spawn_scoped(scope, move || save(records, |_| DISK, progress))?;
        let reached = wait_for(RECORD, &half_written);
        // Before the question mark: the scope would wait for ever for a thread that nobody stops.
        stop.store(true, Ordering::Relaxed);
        say!("main     says stop");
        reached
    })?;
    say!("main     returns");
    Ok(())
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.into())
}

const FIRST_HALF: &str = "first half";
const SECOND_HALF: &str = "second half";
const CLEAN_UP: &str = "cleans up";

/// Writes records, each in two halves; one without the other is of no use.
fn save(
    records: impl Iterator<Item = usize>,
    disk: impl Fn(usize) -> Duration,
    progress: Sender<usize>,
) {
    let _clean_up = CleanUp;
    for record in records {
        say!("saver    record {record}, {FIRST_HALF}");
        // `main` may have stopped listening; that is no reason to stop saving.
        let _ = progress.send(record);
        thread::sleep(disk(record));
        say!("saver    record {record}, {SECOND_HALF}");
    }
}

/// As a file lock to be given back, or a buffer to be written out.
struct CleanUp;

impl Drop for CleanUp {
    fn drop(&mut self) {
        say!("saver    {CLEAN_UP}");
    }
}

fn wait_for(record: usize, half_written: &Receiver<usize>) -> Result<(), Box<dyn Error>> {
    match half_written.iter().find(|&it| it == record) {
        Some(_) => Ok(()),
        None => Err(format!("the saver ended before record {record}").into()),
    }
}

fn three_steps() {
    for step in 1..=3 {
        say!("regular  step {step}");
        thread::sleep(DISK / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_half_and_a_missing_clean_up_are_found() {
        let record = "saver  first half\nsaver  second half\n";
        let complete = format!("{}saver  cleans up\n", record.repeat(3));
        assert_eq!(lost_nothing(&complete), Ok(()));
        for lost in ["saver  first half\n", "saver  second half\n", "cleans up"] {
            assert!(lost_nothing(&complete.replacen(lost, "", 1)).is_err());
        }
        assert!(lost_nothing(&complete.replacen(record, "", 1)).is_err());
    }

    #[test]
    fn waiting_ends_when_the_saver_does() {
        let (progress, half_written) = mpsc::channel();
        save(1..=2, |_| Duration::ZERO, progress);
        let error = wait_for(3, &half_written).unwrap_err().to_string();
        assert_eq!(error, "the saver ended before record 3");
    }
}
