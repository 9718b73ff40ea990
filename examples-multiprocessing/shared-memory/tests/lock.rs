//! The lock, between threads and between processes that are killed inside.
#![cfg(unix)]

#[path = "../src/lock.rs"]
mod lock;
#[path = "../src/mapping.rs"]
mod mapping;
#[expect(dead_code, reason = "segments have their own tests")]
#[path = "../src/shared.rs"]
mod shared;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lock::Entry;
use shared::Segment;

type Tested = Result<(), Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(30);

/// A segment as the program's workers expect it: under the lock 3 words and one for each of 4.
fn segment(test: &str) -> (String, Segment) {
    let name = format!("test-{}-{test}", process::id());
    let segment = Segment::create(&name, 0, 3 + 4).expect("the name is free");
    (name, segment)
}

/// Waits for the lock, but not for ever. Gives who was found to have died inside.
fn next_inside(segment: &Segment) -> u64 {
    thread::scope(|scope| {
        let (entered, waiting) = mpsc::channel();
        scope.spawn(move || {
            let mut found = 0;
            let repair = |_: &[AtomicU64], by| found = u64::from(by);
            drop(segment.lock().expect("a lock").or_repair(repair));
            let _ = entered.send(found);
        });
        match waiting.recv_timeout(PATIENCE) {
            Ok(found) => found,
            Err(_) => {
                eprintln!("still locked out");
                process::exit(1);
            }
        }
    })
}

/// A worker of the program, owned by this test.
struct Worker(Child);

impl Worker {
    fn start(segment: &str, stage: &str) -> Worker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shared-memory"));
        command.env("SHARED_MEMORY_ROLE", format!("tally {segment} 0 {stage}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Worker(command.spawn().expect("the program starts"))
    }

    /// Starts one that stops half-way at that stage, and waits until it is there.
    fn at(segment: &str, stage: &str) -> Worker {
        let mut worker = Worker::start(segment, stage);
        let stdout = worker.0.stdout.take().expect("stdout is a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), stage);
        worker
    }

    fn kill(&mut self) -> u64 {
        let _ = self.0.kill();
        let _ = self.0.wait();
        self.0.id().into()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn guarded(segment: &Segment) -> Vec<u64> {
    let words = segment.lock().unwrap().or_repair(|_, _| ());
    words.iter().map(|word| word.load(Relaxed)).collect()
}

#[test]
fn no_count_is_lost_between_threads_and_between_segments_of_one_process() {
    let (name, owner) = segment("threads");
    let others = [(); 2].map(|()| Segment::attach(&name).unwrap());
    let count = |segment: &Segment| {
        for _ in 0..500 {
            let words = segment
                .lock()
                .unwrap()
                .or_repair(|_, _| panic!("no one died"));
            let before = words[0].load(Relaxed);
            thread::yield_now();
            words[0].store(before + 1, Relaxed);
        }
    };
    thread::scope(|scope| {
        for segment in [&owner, &owner, &others[0], &others[1]] {
            scope.spawn(move || count(segment));
        }
    });
    assert_eq!(guarded(&owner)[0], 4 * 500);
}

#[test]
fn a_try_does_not_wait_neither_for_a_thread_nor_for_a_process() -> Tested {
    let (name, segment) = segment("try");
    let words = segment.lock()?.or_repair(|_, _| ());
    assert!(segment.try_lock()?.is_none());
    assert!(Segment::attach(&name)?.try_lock()?.is_none());
    drop(words);
    assert!(matches!(segment.try_lock()?, Some(Entry::Clean(_))));

    let mut worker = Worker::at(&name, "between");
    assert!(segment.try_lock()?.is_none());
    let id = worker.kill();
    let entry = segment.try_lock()?;
    assert!(matches!(entry, Some(Entry::Abandoned { by, .. }) if u64::from(by) == id));
    Ok(())
}

#[test]
fn a_worker_killed_inside_the_lock_does_not_lock_the_others_out() {
    for stage in ["inside", "between", "changed"] {
        let (name, segment) = segment(stage);
        let id = Worker::at(&name, stage).kill();
        assert_eq!(next_inside(&segment), id, "{stage}");
        assert_eq!(next_inside(&segment), 0, "{stage}: it is told once");
        let halves = guarded(&segment);
        let expected = match stage {
            "inside" => [125, 125],
            "between" => [125, 126],
            _ => [126, 126],
        };
        assert_eq!([halves[0], halves[3]], expected, "{stage}");
    }
}

#[test]
fn a_worker_killed_outside_of_the_lock_leaves_all_in_order() {
    for stage in ["before", "after"] {
        let (name, segment) = segment(stage);
        Worker::at(&name, stage).kill();
        assert_eq!(next_inside(&segment), 0, "{stage}");
        assert_eq!(guarded(&segment)[0], guarded(&segment)[3], "{stage}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_worker_killed_while_it_waits_for_the_lock_leaves_all_in_order() -> Tested {
    let (name, segment) = segment("waiting");
    let words = segment.lock()?.or_repair(|_, _| ());
    let mut worker = Worker::start(&name, "none");
    // The system's list of locks has a line for each that is waited for.
    let waits = format!(" {} ", worker.0.id());
    let is_waiting = |line: &str| line.contains("->") && line.contains(&waits);
    while !std::fs::read_to_string("/proc/locks")?
        .lines()
        .any(is_waiting)
    {
        assert!(worker.0.try_wait()?.is_none(), "it has ended");
        thread::yield_now();
    }
    worker.kill();
    drop(words);
    assert_eq!(next_inside(&segment), 0);
    assert_eq!(guarded(&segment), [0; 7]);
    Ok(())
}

/// The one that is waiting when the holder is killed, not one that comes later.
#[test]
fn who_waits_when_the_holder_is_killed_gets_in() {
    let (name, segment) = segment("in-line");
    let mut worker = Worker::at(&name, "between");
    thread::scope(|scope| {
        let next = scope.spawn(|| next_inside(&segment));
        thread::sleep(Duration::from_millis(20));
        let id = worker.kill();
        assert_eq!(next.join().unwrap(), id);
    });
}

#[test]
fn a_replacement_goes_on_where_the_killed_one_was() -> Tested {
    let (name, segment) = segment("goes-on");
    Worker::at(&name, "between").kill();
    let mut worker = Worker::start(&name, "none");
    // `wait` would close it, and the worker would take that for the end of its parent.
    let _stdin = worker.0.stdin.take();
    let status = worker.0.wait()?;
    assert!(status.success());
    let words = guarded(&segment);
    assert_eq!([words[0], words[3]], [250, 250]);
    Ok(())
}

/// As with a poisoned `Mutex`.
#[test]
fn who_panics_inside_is_noticed_too() -> Tested {
    let (_, segment) = segment("panics");
    let panicking = || {
        let words = segment.lock().unwrap().or_repair(|_, _| ());
        words[0].store(1, Relaxed);
        panic!("on purpose");
    };
    assert!(thread::scope(|scope| scope.spawn(panicking).join()).is_err());
    let entry = segment.lock()?;
    assert!(matches!(entry, Entry::Abandoned { by, .. } if by == process::id()));
    Ok(())
}

#[test]
fn who_dies_while_it_repairs_is_noticed_too() {
    let (name, segment) = segment("repairs");
    Worker::at(&name, "between").kill();
    let dying = || {
        drop(
            segment
                .lock()
                .unwrap()
                .or_repair(|_, _| panic!("on purpose")),
        )
    };
    assert!(thread::scope(|scope| scope.spawn(dying).join()).is_err());
    assert_eq!(next_inside(&segment), u64::from(process::id()));
    assert_eq!(next_inside(&segment), 0);
}
