//! What it costs to wait, for a task and for a thread: time to start, wake and join it, and memory.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};

/// For one of them, on average.
pub struct Cost {
    pub time: Duration,
    /// Where the system tells how much memory is in use. What the kernel keeps is not in it.
    pub bytes: Option<usize>,
}

/// All tasks wait at once for a door to open.
pub async fn of_tasks(count: usize) -> Cost {
    let cost = Measuring::begin();
    let door = Arc::new(Semaphore::new(0));
    let waiting = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (door, waiting) = (Arc::clone(&door), Arc::clone(&waiting));
        tasks.spawn(async move {
            waiting.fetch_add(1, Ordering::Relaxed);
            let _ = door.acquire().await; // The error is the signal.
        });
    }
    while waiting.load(Ordering::Relaxed) < count {
        yield_now().await;
    }
    let in_use = resident_bytes();
    door.close();
    tasks.join_all().await;
    cost.end(count, in_use)
}

/// All threads wait at once for a door to open.
pub fn of_threads(count: usize) -> io::Result<Cost> {
    let cost = Measuring::begin();
    let door = RwLock::new(());
    let in_use = thread::scope(|scope| {
        let _closed = door.write().unwrap(); // Also an error on the way opens it.
        let (waiting, all_waiting) = mpsc::channel::<()>();
        for n in 1..=count {
            let (door, waiting) = (&door, waiting.clone());
            let thread = thread::Builder::new().name(format!("waiter-{n}"));
            thread.spawn_scoped(scope, move || {
                drop(waiting);
                drop(door.read());
            })?;
        }
        drop(waiting);
        let _ = all_waiting.recv(); // The channel's end: all threads run.
        Ok::<_, io::Error>(resident_bytes())
    })?;
    Ok(cost.end(count, in_use))
}

struct Measuring {
    begin: Instant,
    in_use: Option<usize>,
}

impl Measuring {
    fn begin() -> Measuring {
        Measuring {
            in_use: resident_bytes(),
            begin: Instant::now(),
        }
    }

    fn end(self, count: usize, in_use: Option<usize>) -> Cost {
        let grown = in_use.zip(self.in_use);
        let grown = grown.map(|(after, before)| after.saturating_sub(before));
        Cost {
            time: self.begin.elapsed() / count as u32,
            bytes: grown.map(|grown| grown / count),
        }
    }
}

/// Linux: the pages of this process that are in memory.
fn resident_bytes() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = status.lines().find(|line| line.starts_with("Rss:"))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::runtime::Builder;

    /// That they end shows that all of them waited at once, and were woken.
    #[test]
    fn the_cost_is_that_of_tasks_and_threads_that_wait_at_once() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let tasks = runtime.block_on(of_tasks(20_000));
        let threads = of_threads(50).unwrap();
        // The other tests take and give back memory, too, but not megabytes.
        assert!(tasks.bytes.is_none_or(|bytes| bytes >= 64));
        for cost in [tasks, threads] {
            assert_eq!(cost.bytes.is_some(), cfg!(target_os = "linux"));
            assert!(cost.time > Duration::ZERO);
        }
    }
}
