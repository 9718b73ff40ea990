//! A task's handle: wait for it, with a time-out if need be, cancel it, be called when it is done.
//!
//! What a Python developer knows as
//!
//! ```python
//! future = pool.submit(square, 3)
//! future.add_done_callback(lambda future: print("done"))
//! future.result(timeout=1.0)                    # or future.cancel(), future.done()
//! done, not_done = wait(futures, return_when=FIRST_EXCEPTION)
//! for future in as_completed(futures): ...
//! ```
//!
//! is a `Task` here. `wait` takes the task and gives what it returned: a value, an error, a panic's
//! message or `Cancelled`, which the compiler makes one look at. A list of tasks is not mistaken for
//! a list of values, because it has another type; and an error on the way out does not leak the
//! pool, because its owner drops it, which ends its threads.
//!
//! `thread::spawn(|| job.run())` gives a thread such a handle, too: then `wait_timeout` is Python's
//! `Thread.join(timeout)`.
//!
//! Run it with `cargo run -p future-handle`. Look at part 2, where a time-out gives the task back,
//! and at part 4: four tasks, four ways to end, and three ways to wait for them.
//!
//! To take: `src/task.rs` with `src/sync.rs`. The pool that runs the tasks is that of
//! `hand-made-pool`, which is to be read before this; after it: `async-gather`.

#![forbid(unsafe_code)]

mod thread_pool;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.
mod sync;
mod task;

use std::error::Error;
use std::panic;
use std::sync::mpsc;
use std::time::Duration;

use task::{AnyError, Failure, Outcome, Task, Until, as_completed, task, wait_for};
use thread_pool::Pool;

const WORKERS: usize = 3;
const PATIENCE: Duration = Duration::from_millis(20);
/// Far more than any task here needs.
const LIMIT: Duration = Duration::from_secs(20);

fn main() -> Result<(), Box<dyn Error>> {
    panic::set_hook(Box::new(|panic| {
        let text = panic.payload().downcast_ref::<&str>();
        say!("   (a panic: {})", text.unwrap_or(&"?"));
    }));
    let pool = Pool::new(WORKERS)?;

    say!("1. Three tasks; their results in the order of the tasks");
    let squares = map(&pool, [3, 2, 1], |n| n * n)?;
    say!("   {squares:?}");
    expect(squares == [9, 4, 1], "the squares of 3, 2 and 1")?;

    say!("\n2. A time-out gives the task back; what has not begun can be cancelled");
    time_out_and_cancel()?;

    say!("\n3. Three callbacks, of which the second panics");
    callbacks(&pool)?;

    say!("\n4. Four tasks, four ways to end");
    four_ends(&pool)?;

    let totals = pool.shut_down();
    expect(
        totals.submitted == totals.finished,
        "nothing is left in the pool",
    )?;
    say!("\nok: each task ended once, as a value, an error, a panic or cancelled");
    Ok(())
}

fn submit<T: Send + 'static>(
    pool: &Pool,
    work: impl FnOnce() -> Result<T, AnyError> + Send + 'static,
) -> Result<Task<T>, Box<dyn Error>> {
    let (job, task) = task(work);
    pool.execute(|| job.run())?;
    Ok(task)
}

/// Gives values, not handles: to forget the waiting is an error of types.
fn map<T: Send + 'static, const N: usize>(
    pool: &Pool,
    inputs: [u64; N],
    work: impl Fn(u64) -> T + Copy + Send + 'static,
) -> Result<Vec<T>, Box<dyn Error>> {
    let start = |n| {
        submit(pool, move || {
            let primes = count_primes(n * 120_000);
            say!("   task {n} is done, after {primes} primes");
            Ok(work(n))
        })
    };
    let tasks: Vec<Task<T>> = inputs.into_iter().map(start).collect::<Result<_, _>>()?;
    say!(
        "   ready: {:?}",
        tasks.iter().map(Task::is_done).collect::<Vec<_>>()
    );
    let values: Result<_, Failure> = tasks.into_iter().map(Task::wait).collect();
    Ok(values?)
}

/// One worker, which is held up until `go` is dropped.
fn time_out_and_cancel() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(1)?;
    let (started, start) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let slow = submit(&pool, move || {
        started.send(())?;
        let _ = wait.recv(); // An error is the signal.
        Ok("it took its time")
    })?;
    let next = submit(&pool, || Ok("never"))?;
    start.recv()?;

    let Err(slow) = slow.wait_timeout(PATIENCE) else {
        return Err("the slow task cannot be done".into());
    };
    say!("   after {PATIENCE:?} it is not done");
    let cancelled = [slow.cancel(), next.cancel()];
    say!(
        "   cancelled: the one that runs {}, the next {}",
        cancelled[0],
        cancelled[1]
    );
    expect(
        cancelled == [false, true],
        "only what has not begun can be cancelled",
    )?;
    drop(go);
    say!(
        "   the one that ran: {:?}; the next: {:?}",
        slow.wait(),
        next.wait()
    );
    Ok(())
}

fn callbacks(pool: &Pool) -> Result<(), Box<dyn Error>> {
    let (go, wait) = mpsc::channel::<()>();
    let task = submit(pool, move || {
        let _ = wait.recv();
        Ok(count_primes(200_000))
    })?;
    let (sender, called) = mpsc::channel();
    let note = |name: &'static str| {
        let sender = sender.clone();
        move |outcome: &Outcome<usize>| {
            say!("   {name} callback: {outcome:?}");
            let _ = sender.send(name); // Nobody listening is no reason to panic.
        }
    };
    task.on_done(note("first"));
    task.on_done(|_| panic!("the second callback gives up"));
    task.on_done(note("third"));
    drop(go);
    task.wait()?;
    // Who waits goes on when the callbacks have run.
    let called: Vec<_> = called.try_iter().collect();
    expect(
        called == ["first", "third"],
        "two callbacks, in their order",
    )?;
    Ok(())
}

fn four_ends(pool: &Pool) -> Result<(), Box<dyn Error>> {
    let (mut doors, mut tasks) = (Vec::new(), Vec::new());
    for work in [value, error, panicking] {
        // Each task begins when its door is dropped, so that we know which comes first.
        let (door, opened) = mpsc::channel::<()>();
        doors.push(door);
        tasks.push(submit(pool, move || {
            let _ = opened.recv();
            work()
        })?);
    }
    let (_never_run, cancelled) = task(value);
    tasks.push(cancelled);

    let mut doors = doors.into_iter();
    drop(doors.next());
    let first = wait_for(&tasks, Until::FirstCompleted, None);
    say!("   the first completed: {:?}", first.done);
    drop(doors.next());
    let failed = wait_for(&tasks, Until::FirstError, None);
    say!(
        "   until the first error: {:?}, not yet {:?}",
        failed.done,
        failed.pending
    );
    drop(doors);
    tasks[3].cancel();
    let all = wait_for(&tasks, Until::All, None);
    say!("   all, in the order of their ends: {:?}", all.done);

    let mut ends = ["?"; 4];
    // `for (index, outcome) in as_completed(tasks)` where there need be no time limit.
    let mut results = as_completed(tasks);
    while let Some((index, outcome)) = results.next_timeout(LIMIT)? {
        ends[index] = match &outcome {
            Ok(_) => "value",
            Err(Failure::Error(_)) => "error",
            Err(Failure::Panicked(_)) => "panic",
            Err(Failure::Cancelled) => "cancelled",
        };
        match outcome {
            Ok(primes) => say!("   task {index}: {primes} primes"),
            Err(failure) => say!("   task {index}: {failure}"),
        }
    }
    expect(first.done == [0], "the task whose door is open comes first")?;
    expect(
        failed.done == [0, 1] && all.done.len() == 4,
        "then the error, then all",
    )?;
    expect(
        ends == ["value", "error", "panic", "cancelled"],
        "each task has its own end",
    )?;
    Ok(())
}

fn value() -> Result<usize, AnyError> {
    Ok(count_primes(250_000))
}

fn error() -> Result<usize, AnyError> {
    Err(format!("{} primes are not enough", count_primes(250_000)))?
}

fn panicking() -> Result<usize, AnyError> {
    count_primes(250_000);
    panic!("this cannot be")
}

/// By trial division: real work.
fn count_primes(limit: u64) -> usize {
    let mut primes = 0;
    for number in 2..limit {
        let mut divisor = 2;
        while divisor * divisor <= number && !number.is_multiple_of(divisor) {
            divisor += 1;
        }
        primes += usize::from(divisor * divisor > number);
    }
    std::hint::black_box(primes)
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_25_primes_below_100() {
        assert_eq!(count_primes(100), 25);
    }
}
