//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! A parent that is ended by a signal can clean up nothing; its workers have to notice by
//! themselves. Their story is in `/proc`, so what is asked here is answered on Linux only.
#![allow(dead_code, reason = "some tests meet the parent in their own way")]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Against hangs only.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each of the parents that `start` gives has so many workers for a while.
pub fn workers_end_with_their_parent(workers: usize, start: impl Fn() -> Child) {
    for signal in ["INT", "TERM", "KILL"] {
        within_a_second(signal, || {
            let (mut parent, workers) = meet(workers, &start);
            time_to_end(signal, &mut parent, &workers)
        });
    }
}

/// A machine with much else to do may let anything be late, but not every time.
pub fn within_a_second(what: &str, round: impl FnMut() -> Duration) {
    let rounds = std::iter::repeat_with(round).take(10);
    let is_late = |took: &Duration| *took >= Duration::from_secs(1);
    let late: Vec<Duration> = rounds.take_while(is_late).collect();
    assert!(late.len() < 10, "{what}: always late: {late:?}");
}

/// Starts parents until one is met with so many workers or more, each out of reach of the Ctrl-C
/// that ends the parent. On a busy machine some parents may be done before we look.
pub fn meet(workers: usize, start: impl Fn() -> Child) -> (Child, Vec<u32>) {
    for _ in 0..20 {
        let mut parent = start();
        while let Ok(None) = parent.try_wait() {
            let mut met = children(parent.id());
            met.retain(|worker| running(*worker));
            if met.len() >= workers && met.iter().all(|worker| leads_its_group(*worker)) {
                return (parent, met);
            }
        }
    }
    panic!("no parent was met with {workers} workers in groups of their own");
}

/// From the parent's end by this signal to that of the last worker.
pub fn time_to_end(signal: &str, parent: &mut Child, workers: &[u32]) -> Duration {
    send(signal, parent.id());
    parent.wait().expect("it is ours");
    let begin = Instant::now();
    while workers.iter().any(|worker| running(*worker)) {
        if begin.elapsed() > PATIENCE {
            let mut left = workers.to_vec();
            left.retain(|worker| running(*worker));
            left.iter().for_each(|worker| send("KILL", *worker));
            panic!("workers {left:?} outlived their parent, ended by SIG{signal}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    begin.elapsed()
}

/// Starts a parent whose story nobody reads.
pub fn silent(mut parent: Command) -> Child {
    parent.stdin(Stdio::null());
    parent.stdout(Stdio::null()).stderr(Stdio::null());
    parent.spawn().expect("the program starts")
}

pub fn send(signal: &str, id: u32) {
    let kill = format!("kill -s {signal} {id}");
    let sent = Command::new("sh").args(["-c", &kill]).status();
    assert!(sent.expect("there is a shell").success(), "{kill}");
}

/// Whichever thread of the process has started them.
pub fn children(id: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{id}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let ids = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
    let ids: String = ids.map(Result::unwrap_or_default).collect();
    ids.split_whitespace().flat_map(str::parse).collect()
}

/// A zombie has ended; who reaps an orphan depends on the machine's first process. As long as it
/// has other threads it is a zombie that nobody can wait for, and so has not ended.
pub fn running(id: u32) -> bool {
    let stat = stat(id);
    !stat.is_empty() && (stat[0] != "Z" || stat[17] != "1")
}

/// A process that has just been made still has to enter its own group.
pub fn leads_its_group(id: u32) -> bool {
    stat(id).get(2) == Some(&id.to_string())
}

/// What the system tells of a process after its name: its state, parent, group, as 18th its number
/// of threads. Nothing of one that is gone.
pub fn stat(id: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    rest.split_whitespace().map(str::to_string).collect()
}
