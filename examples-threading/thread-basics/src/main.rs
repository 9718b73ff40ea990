//! Start threads, name them, wait for them and get their results.
//!
//! What a Python developer knows as
//!
//! ```python
//! workers = [Thread(target=fibonacci, args=(n,), name=f"worker-{n}") for n in range(1, 6)]
//! for worker in workers: worker.start()
//! for worker in workers: worker.join()        # and where are the results?
//! ```
//!
//! is one step here: `spawn` starts the thread, `join` waits for it and hands over what its
//! function returned. The threads run at the same time on different cores; there is no lock
//! around the interpreter because there is no interpreter.
//!
//! Run it with `cargo run -p thread-basics`. Look at the five workers: they end in another order
//! than they began, and the results still come in the order of the joins. Nor do printed lines
//! glue together: text and line end are written under one lock. And none of it runs by halves: with
//! a mistake in any line, the program does not compile, and not even its first line runs.
//!
//! To take: `start_workers`, the pattern for "n named threads, n results".

#![forbid(unsafe_code)]

#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const WORKERS: u64 = 5;
const STACK_MIB: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    say!("1. Two tasks take turns while they wait");
    interleave()?;

    say!("\n2. Five workers compute a Fibonacci number each; the numbers come back through join");
    let results = five_results()?;

    say!("\n3. A thread has a name, an end one can ask for, and a stack of the size one gives it");
    life_of_a_thread()?;
    let depth = deep_recursion(STACK_MIB << 20, 100_000)?;
    say!("   with a stack of {STACK_MIB} MiB a recursion went {depth} calls deep");

    let expected: Vec<u64> = (1..=WORKERS).map(work_of).collect();
    if results != expected {
        return Err("the threads computed something else than one thread alone".into());
    }
    say!("\nok: {WORKERS} results in the order of the joins, equal to those of one thread alone");
    Ok(())
}

/// Two threads that mostly wait, as for a network: their steps interleave.
fn interleave() -> io::Result<()> {
    let begin = Instant::now();
    let a = spawn("task-a", move || three_steps("A", 50, begin))?;
    let b = spawn("task-b", move || three_steps("B", 30, begin))?;
    a.join().expect("task A does not panic");
    b.join().expect("task B does not panic");
    Ok(())
}

fn three_steps(name: &str, pause_ms: u64, begin: Instant) {
    for step in 1..=3 {
        let elapsed_ms = begin.elapsed().as_millis();
        say!("   {elapsed_ms:3} ms  task {name}: step {step}");
        thread::sleep(Duration::from_millis(pause_ms));
    }
}

/// Starts a thread with a name: it stands in panic messages, debuggers and `top -H`.
///
/// `Builder::spawn` reports a thread that the system refuses to start; the shorter
/// `thread::spawn` panics. `move` closures own what they use, so nothing can be gone too early.
fn spawn<T, F>(name: &str, work: F) -> io::Result<JoinHandle<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    thread::Builder::new().name(name.into()).spawn(work)
}

/// Starts the workers, says who ended when, and returns their results in the order of the joins.
fn five_results() -> io::Result<Vec<u64>> {
    let (ended, endings) = mpsc::channel();
    let handles = start_workers(WORKERS, move |n| {
        let result = work_of(n);
        // Nobody listening any more would be no reason to lose the result.
        let _ = ended.send(n);
        result
    })?;
    let order: Vec<String> = endings.iter().map(|n| n.to_string()).collect();
    say!("   started 1 2 3 4 5, ended {}", order.join(" "));

    let mut results = Vec::new();
    for (n, handle) in (1..).zip(handles) {
        // `join` is an `Err` when the thread panicked: its failure cannot be overlooked.
        let result = handle.join().expect("a worker does not panic");
        say!("   worker-{n} returned {result}");
        results.push(result);
    }
    Ok(results)
}

/// One thread for each of 1..=count, running `work(n)`.
fn start_workers<T, F>(count: u64, work: F) -> io::Result<Vec<JoinHandle<T>>>
where
    T: Send + 'static,
    F: Fn(u64) -> T + Clone + Send + 'static,
{
    let start = |n| {
        let work = work.clone();
        spawn(&format!("worker-{n}"), move || work(n))
    };
    (1..=count).map(start).collect()
}

/// The later a worker starts, the less it has to do, so the last ones end first.
fn work_of(worker: u64) -> u64 {
    fibonacci(36 - worker)
}

/// Slow on purpose: something to compute.
fn fibonacci(n: u64) -> u64 {
    match n {
        0 | 1 => n,
        _ => fibonacci(n - 1) + fibonacci(n - 2),
    }
}

/// `is_finished` asks without waiting; the thread itself knows its name.
fn life_of_a_thread() -> io::Result<()> {
    let (go, wait_for_go) = mpsc::channel::<()>();
    let thread = spawn("patient", move || {
        // The channel's end is the signal: `recv` fails as soon as `go` is dropped.
        let _ = wait_for_go.recv();
        thread::current().name().unwrap_or("unnamed").to_string()
    })?;
    say!("   before the signal: finished = {}", thread.is_finished());
    drop(go);
    let name = thread.join().expect("the patient thread does not panic");
    say!("   after join: the thread says its name was {name:?}");
    Ok(())
}

/// A stack of our own size lets a recursion go deeper than the usual 2 MiB would. A small one saves
/// memory where there are many threads.
fn deep_recursion(stack_size: usize, calls: u32) -> io::Result<u32> {
    fn depth(remaining: u32) -> u32 {
        if remaining == 0 {
            0
        } else {
            1 + std::hint::black_box(depth(remaining - 1))
        }
    }
    let thread = thread::Builder::new()
        .name("deep".into())
        .stack_size(stack_size);
    let reached = thread.spawn(move || depth(calls))?.join();
    Ok(reached.expect("the stack is deep enough"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Condvar, Mutex};

    #[test]
    fn results_come_in_the_order_of_the_joins_whatever_order_the_threads_end_in() {
        // Worker n ends only after worker n + 1 has: 3, 2, 1.
        let turn = Arc::new((Mutex::new(3), Condvar::new()));
        let handles = start_workers(3, move |n| {
            let (turn, changed) = &*turn;
            let limit = Duration::from_secs(30);
            let waiting =
                changed.wait_timeout_while(turn.lock().unwrap(), limit, |turn| *turn != n);
            *waiting.unwrap().0 -= 1;
            changed.notify_all();
            n * 10
        });
        let join = |handle: JoinHandle<u64>| handle.join().unwrap();
        let results: Vec<u64> = handles.unwrap().into_iter().map(join).collect();
        assert_eq!(results, [10, 20, 30]);
    }

    #[test]
    fn a_panicking_thread_is_an_error_at_its_join_and_leaves_the_others_alone() {
        let handles = start_workers(3, |n| match n {
            2 => panic!("worker {n} gives up"),
            _ => n,
        });
        let results: Vec<_> = handles.unwrap().into_iter().map(JoinHandle::join).collect();
        assert!(matches!(results[..], [Ok(1), Err(_), Ok(3)]));
        let payload = results[1].as_ref().unwrap_err();
        let message = payload.downcast_ref::<String>().unwrap();
        assert_eq!(message, "worker 2 gives up");
    }

    #[test]
    fn every_worker_knows_its_own_name() {
        let name = |_| thread::current().name().map(str::to_string);
        let handles = start_workers(2, name).unwrap().into_iter();
        let names: Vec<_> = handles.map(|handle| handle.join().unwrap()).collect();
        let expected = ["worker-1", "worker-2"].map(|name| Some(name.to_string()));
        assert_eq!(names, expected);
    }

    #[test]
    fn no_workers_is_an_empty_list() {
        assert!(start_workers(0, |n| n).unwrap().is_empty());
    }

    #[test]
    fn a_thread_that_the_system_refuses_is_an_error_not_an_abort() {
        let impossible = thread::Builder::new().stack_size(usize::MAX / 4);
        assert!(impossible.spawn(|| ()).is_err());
    }

    #[test]
    fn small_and_large_stacks_work() {
        for (kib, calls) in [(64, 10), (64 * 1024, 100_000)] {
            assert_eq!(deep_recursion(kib << 10, calls).unwrap(), calls);
        }
    }

    #[test]
    fn is_finished_asks_without_waiting() {
        let (go, wait_for_go) = mpsc::channel::<()>();
        let limit = Duration::from_secs(30);
        let thread = spawn("patient", move || wait_for_go.recv_timeout(limit)).unwrap();
        assert!(!thread.is_finished());
        drop(go);
        let begin = Instant::now();
        while !thread.is_finished() && begin.elapsed() < limit {
            thread::yield_now();
        }
        assert!(thread.is_finished());
        // It was told to end, and did not run out of time.
        let told = Err(mpsc::RecvTimeoutError::Disconnected);
        assert_eq!(thread.join().unwrap(), told);
    }
}
