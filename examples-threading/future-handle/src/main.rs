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
//! message or `Cancelled`, which the compiler makes one look at. A list of tasks has another type
//! than a list of values. And an error on the way out does not leak the pool: its owner drops it.
//!
//! Run it with `cargo run -p future-handle`. Look at part 2, where a time-out gives the task back,
//! and at part 4: four tasks, four ways to end. To take: `src/task.rs` with `src/sync.rs`, also
//! without a pool: with `thread::spawn(|| job.run())`, `wait_timeout` is `Thread.join(timeout)`.
//! Before this: `hand-made-pool`, whose pool runs the tasks here; after it: `async-gather`.

#![forbid(unsafe_code)]

mod thread_pool;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.
mod sync;
mod task;

use std::error::Error;
use std::panic;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use task::{AnyError, Failure, Outcome, Task, Until, Waited, as_completed, task, wait_for};
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
    let squares = squares(&pool, &[3, 2, 1])?;
    say!("   {squares:?}");
    expect(squares == [9, 4, 1], "the squares of 3, 2 and 1")?;

    say!("\n2. A time-out gives the task back; what has not begun can be cancelled");
    time_out_and_cancel()?;

    say!("\n3. Three callbacks, of which the second panics");
    callbacks(&pool)?;

    say!("\n4. Four tasks, four ways to end");
    four_ends(&pool)?;

    let totals = pool.shut_down();
    let all = totals.submitted == totals.finished;
    expect(all, "nothing is left in the pool")?;
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
fn squares(pool: &Pool, numbers: &[usize]) -> Result<Vec<usize>, Box<dyn Error>> {
    let start = |&n: &usize| {
        submit(pool, move || {
            let primes = count_primes(n * 120_000);
            say!("   task {n} is done, after {primes} primes");
            Ok(n * n)
        })
    };
    let tasks: Vec<Task<usize>> = numbers.iter().map(start).collect::<Result<_, _>>()?;
    let ready: Vec<bool> = tasks.iter().map(Task::is_done).collect();
    say!("   ready: {ready:?}");
    let values: Outcome<Vec<usize>> = tasks.into_iter().map(Task::wait).collect();
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
        Ok(count_primes(100_000))
    })?;
    let next = submit(&pool, || Ok(0))?;
    start.recv()?;

    let Err(slow) = slow.wait_timeout(PATIENCE) else {
        return Err("the slow task cannot be done".into());
    };
    say!("   after {PATIENCE:?} it is not done");
    let (slow_one, next_one) = (slow.cancel(), next.cancel());
    say!("   cancelled: the one that runs {slow_one}, the next {next_one}");
    let only_next = !slow_one && next_one;
    expect(only_next, "only what has not begun can be cancelled")?;
    drop(go);
    let (ran, cancelled) = (slow.wait(), next.wait());
    say!("   the one that ran: {ran:?}; the next: {cancelled:?}");
    Ok(())
}

fn callbacks(pool: &Pool) -> Result<(), Box<dyn Error>> {
    let (go, wait) = mpsc::channel::<()>();
    let task = submit(pool, move || {
        let _ = wait.recv();
        Ok(count_primes(200_000))
    })?;
    let called = Arc::new(Mutex::new(Vec::new()));
    let note = |name| {
        let called = Arc::clone(&called);
        move |outcome: &Outcome<usize>| {
            say!("   {name} callback: {outcome:?}");
            called.lock().unwrap().push(name);
        }
    };
    task.on_done(note("first"));
    task.on_done(|_| panic!("the second callback gives up"));
    task.on_done(note("third"));
    drop(go);
    task.wait()?;
    // Who waits goes on when the callbacks have run.
    let in_order = *called.lock().unwrap() == ["first", "third"];
    Ok(expect(in_order, "two callbacks, in their order")?)
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
    let first = wait_for(&tasks, Until::FirstCompleted, None).done;
    say!("   the first completed: {first:?}");
    expect(first == [0], "the task whose door is open comes first")?;
    drop(doors.next());
    let Waited { done, pending } = wait_for(&tasks, Until::FirstError, None);
    say!("   until the first error: {done:?}, not yet {pending:?}");
    expect(done == [0, 1], "then the one that fails")?;
    drop(doors);
    tasks[3].cancel();
    let all = wait_for(&tasks, Until::All, None).done;
    say!("   all, in the order of their ends: {all:?}");
    expect(all.len() == 4, "in the end all are done")?;

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
    let each = ends == ["value", "error", "panic", "cancelled"];
    Ok(expect(each, "each task has its own end")?)
}

fn value() -> Result<usize, AnyError> {
    Ok(count_primes(250_000))
}

fn error() -> Result<usize, AnyError> {
    Err(format!("{} primes are not enough", count_primes(250_000)))?
}

fn panicking() -> Result<usize, AnyError> {
    let primes = count_primes(250_000);
    assert!(primes == 0, "this cannot be");
    Ok(primes)
}

/// By trial division: real work.
fn count_primes(limit: usize) -> usize {
    let mut primes = 0;
    for number in 2..limit {
        let mut divisor = 2;
        while divisor * divisor <= number && !number.is_multiple_of(divisor) {
            divisor += 1;
        }
        primes += usize::from(divisor * divisor > number);
    }
    primes
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
