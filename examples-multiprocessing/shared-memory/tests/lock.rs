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
use std::time::{Duration, Instant};

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
    fn start(segment: &str, number: usize, stage: &str) -> Worker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shared-memory"));
        let role = format!("tally {segment} {number} {stage}");
        command.env("SHARED_MEMORY_ROLE", role);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Worker(command.spawn().expect("the program starts"))
    }

    /// Starts one that stops half-way at that stage, and waits until it is there.
    fn at(segment: &str, stage: &str) -> Worker {
        let mut worker = Worker::start(segment, 0, stage);
        let stdout = worker.0.stdout.take().expect("stdout is a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), stage);
        worker
    }

    /// Waits until it waits for the lock: the system's list of locks has a line for that.
    #[cfg(target_os = "linux")]
    fn wait_until_it_waits(&mut self) -> Tested {
        let waits = format!(" {} ", self.0.id());
        let is_waiting = |line: &str| line.contains("->") && line.contains(&waits);
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_to_string("/proc/locks")?
            .lines()
            .any(is_waiting)
        {
            assert!(self.0.try_wait()?.is_none(), "it has ended");
            assert!(Instant::now() < deadline, "it does not wait for the lock");
            thread::yield_now();
        }
        Ok(())
    }

    /// Waits until it has done its part. `wait` would close its stdin, and it would take that for
    /// the end of its parent.
    fn finish(mut self) -> Tested {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.0.try_wait()? {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(1));
        };
        assert!(status.success(), "{status}");
        Ok(())
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

/// All four are in line before the first gets in. Nobody is found to have died inside.
#[test]
#[cfg(target_os = "linux")]
fn no_count_is_lost_between_processes() -> Tested {
    let (name, segment) = segment("processes");
    let words = segment.lock()?.or_repair(|_, _| ());
    let mut workers: Vec<Worker> = (0..4).map(|n| Worker::start(&name, n, "none")).collect();
    for worker in &mut workers {
        worker.wait_until_it_waits()?;
    }
    drop(words);
    workers.into_iter().try_for_each(Worker::finish)?;
    assert_eq!(guarded(&segment), [1000, 0, 0, 250, 250, 250, 250]);
    Ok(())
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
    let mut worker = Worker::start(&name, 0, "none");
    worker.wait_until_it_waits()?;
    worker.kill();
    drop(words);
    assert_eq!(next_inside(&segment), 0);
    assert_eq!(guarded(&segment), [0; 7]);
    Ok(())
}

/// The one that is waiting when the holder is killed, not one that comes later.
#[test]
#[cfg(target_os = "linux")]
fn who_waits_when_the_holder_is_killed_gets_in() -> Tested {
    let (name, segment) = segment("in-line");
    let mut holder = Worker::at(&name, "between");
    let mut next = Worker::start(&name, 1, "none");
    next.wait_until_it_waits()?;
    let id = holder.kill();
    next.finish()?;
    // It was told whom it follows, and that the total was off by one.
    assert_eq!(guarded(&segment), [126 + 250, id, 1, 126, 250, 0, 0]);
    Ok(())
}

#[test]
fn a_replacement_goes_on_where_the_killed_one_was() -> Tested {
    let (name, segment) = segment("goes-on");
    Worker::at(&name, "between").kill();
    Worker::start(&name, 0, "none").finish()?;
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
