//! Jobs that run later, or again and again: one thread, and a heap of times.
//!
//! In Python there are two ways, and each has its price:
//!
//! ```python
//! timer = threading.Timer(0.05, job)      # a thread for each timer
//! timer.start(); timer.cancel()           # None, whether it came in time or not
//!
//! jobs = sched.scheduler()                # one thread, and it is ours: run() keeps it
//! jobs.enter(0.05, 1, job); jobs.run()    # an exception in a job ends them all
//! ```
//!
//! Here one thread sleeps until the earliest job is due, or until somebody adds an earlier one. What
//! it does next is a value under one lock, so a cancel can say what it did. A panic in a job is
//! caught, and kept for the report at the end.
//!
//! Run it with `cargo run -p timer-scheduler`. Look at the times: no job runs before its own. For a
//! single time-out no scheduler is needed: 5 shows crossbeam's `after` and `tick`.
//! To take: `src/scheduler.rs`, with `src/sync.rs`, `tests/scheduler.rs` and `tests/model.rs`.
//! Before this: `priority-queue`, which has the heap; after it: `graceful-shutdown`.

#![forbid(unsafe_code)]

#[macro_use]
mod say;
mod scheduler;
mod sync;

use std::error::Error;
use std::panic;
use std::time::{Duration, Instant};

use crossbeam::channel::{after, select, tick, unbounded};
use scheduler::{Cancel, Ended, Scheduler};

/// Against a scheduler that does nothing at all.
const LIMIT: Duration = Duration::from_secs(10);
const DELAYS_MS: [u64; 4] = [90, 30, 60, 30];
const PERIOD: Duration = Duration::from_millis(20);
const TICKS: u32 = 4;
const HOUR: Duration = Duration::from_secs(3600);

fn main() -> Result<(), Box<dyn Error>> {
    let scheduler = Scheduler::start()?;
    say!("1. Four jobs, given in another order than that of their times");
    delayed(&scheduler)?;
    say!("\n2. A job every {PERIOD:?}, cancelled after {TICKS} times");
    repeating(&scheduler)?;
    say!("\n3. A cancel in time, one while the job runs, one when all is over");
    cancelled(&scheduler)?;
    say!("\n4. A job that panics, one after it, and the end with two jobs to go");
    panicked_and_stopped(scheduler)?;
    say!("\n5. The short way: crossbeam's after and tick");
    short_way();
    say!("\nok: each job ran once and not before its time, and no cancelled one");
    Ok(())
}

fn delayed(scheduler: &Scheduler) -> Result<(), Box<dyn Error>> {
    let (ran, runs) = unbounded();
    let start = Instant::now();
    for (index, delay) in DELAYS_MS.map(Duration::from_millis).into_iter().enumerate() {
        let ran = ran.clone();
        scheduler.after(format!("job {}", index + 1), delay, move || {
            // Nobody listening any more is no reason to panic.
            let _ = ran.send((index, start.elapsed()));
        });
    }
    drop(ran); // The end comes when the last job has run.
    let mut times_run = [0; DELAYS_MS.len()];
    while let Ok((index, time)) = runs.recv_timeout(LIMIT) {
        let (number, due) = (index + 1, DELAYS_MS[index]);
        let time = time.as_millis();
        say!("   {time:>3} ms  job {number}, due at {due} ms");
        expect(time >= due.into(), "no job runs before its time")?;
        times_run[index] += 1;
    }
    Ok(expect(times_run == [1; 4], "each job runs once")?)
}

fn repeating(scheduler: &Scheduler) -> Result<(), Box<dyn Error>> {
    let (ran, runs) = unbounded();
    let start = Instant::now();
    let id = scheduler.every("tick", PERIOD, move || {
        let _ = ran.send(Instant::now());
    });
    for number in 1..=TICKS {
        let time = runs.recv_timeout(LIMIT)? - start;
        say!("   {:>3} ms  tick {number}", time.as_millis());
        expect(time >= number * PERIOD, "no tick comes before its time")?;
    }
    let outcome = scheduler.cancel(id);
    let cancelled = Instant::now();
    say!("   cancel: {outcome:?}");
    // The channel ends with the job. Only a run that was under way may still tell its time.
    let late = runs.iter().filter(|time| *time > cancelled).take(2).count();
    let under_way = usize::from(outcome == Cancel::Running);
    Ok(expect(late <= under_way, "no further tick after a cancel")?)
}

fn cancelled(scheduler: &Scheduler) -> Result<(), Box<dyn Error>> {
    let never = scheduler.after("never", HOUR, || ());
    let in_time = scheduler.cancel(never);

    let (begun, has_begun) = unbounded();
    let (go_on, may_go_on) = unbounded::<()>();
    let busy = scheduler.after("busy", Duration::ZERO, move || {
        let _ = begun.send(());
        let _ = may_go_on.recv_timeout(LIMIT);
    });
    has_begun.recv_timeout(LIMIT)?;
    let while_it_runs = scheduler.cancel(busy);
    drop(go_on);
    run_now(scheduler)?; // After the busy one: there is one thread.
    let too_late = scheduler.cancel(busy);

    let outcomes = [in_time, while_it_runs, too_late];
    say!("   {outcomes:?}");
    let expected = [Cancel::InTime, Cancel::Running, Cancel::Over];
    Ok(expect(outcomes == expected, "a cancel says what it did")?)
}

fn panicked_and_stopped(scheduler: Scheduler) -> Result<(), Box<dyn Error>> {
    // A panic without its message on stderr.
    let broken = || panic::resume_unwind(Box::new("the disk is gone"));
    scheduler.after("broken", Duration::ZERO, broken);
    run_now(&scheduler)?;
    say!("   the next one runs all the same");

    scheduler.after("in two hours", 2 * HOUR, || ());
    scheduler.after("in an hour", HOUR, || ());
    let start = Instant::now();
    let ended = scheduler.stop();
    say!("   ended after {:.1?}", start.elapsed());
    say!("   did not run: {}", ended.not_run.join(", "));
    for (name, message) in &ended.panicked {
        say!("   panicked: {name}: {message}");
    }
    let expected = Ended {
        not_run: vec!["in an hour".into(), "in two hours".into()],
        panicked: vec![("broken".into(), "the disk is gone".into())],
    };
    let all = ended == expected;
    Ok(expect(
        all,
        "the end says what did not run, and what panicked",
    )?)
}

/// No thread and no scheduler: channels on which something comes in time.
fn short_way() {
    let (ticks, end) = (tick(PERIOD), after(PERIOD * 7 / 2));
    let mut count = 0;
    loop {
        select! {
            recv(ticks) -> _ => count += 1,
            recv(end) -> _ => break,
        }
    }
    say!("   {count} ticks, and then the time-out");
}

/// Returns when everything that was due before has run.
fn run_now(scheduler: &Scheduler) -> Result<(), Box<dyn Error>> {
    let (ran, has_run) = unbounded();
    scheduler.after("now", Duration::ZERO, move || {
        let _ = ran.send(());
    });
    Ok(has_run.recv_timeout(LIMIT)?)
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}
