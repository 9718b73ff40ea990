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
//! Here one thread sleeps until the earliest job is due, or until somebody adds an earlier one.
//! What it has to do next is a value under one lock, so a cancel can say what it did: it came in
//! time, the job is running, or it was over. A panic in a job is caught, and kept for the report at
//! the end.
//!
//! Run it with `cargo run -p timer-scheduler`. Look at the times: no job runs before its own.
//! For a single time-out no scheduler is needed: 7 shows crossbeam's `after` and `tick`.
//!
//! To take: `src/scheduler.rs`, with `src/sync.rs`; its tests: `tests/scheduler.rs`,
//! `tests/model.rs`.
//! Before this: `priority-queue`, which has the heap; after it: `graceful-shutdown`.

#![forbid(unsafe_code)]

#[macro_use]
mod say;
mod scheduler;
mod sync;

use std::error::Error;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crossbeam::channel::{after, select, tick, unbounded};
use scheduler::{Cancel, Ended, Scheduler};

/// Against a scheduler that does nothing at all.
const LIMIT: Duration = Duration::from_secs(10);
const DELAYS: [u64; 4] = [90, 30, 60, 30];
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
    say!("\n4. A job that panics, and one after it");
    panicking(&scheduler)?;
    say!("\n5. The end, with two jobs to go");
    stopped(scheduler)?;
    say!("\n6. Two hours in no time, by a clock of one's own");
    own_clock()?;
    say!("\n7. The short way: crossbeam's after and tick");
    short_way()?;
    say!("\nok: each job ran once and not before its time, and no cancelled one");
    Ok(())
}

fn delayed(scheduler: &Scheduler) -> Result<(), Box<dyn Error>> {
    let (ran, runs) = mpsc::channel();
    let start = Instant::now();
    // A job that lasts until all four are given: one that comes late, since the machine is busy,
    // still has its place in the order.
    let (given, all_given) = mpsc::channel::<()>();
    scheduler.at("wait for all", start, move || {
        let _ = all_given.recv_timeout(LIMIT);
    });
    for (number, delay) in (1..).zip(DELAYS.map(Duration::from_millis)) {
        let ran = ran.clone();
        scheduler.at(format!("job {number}"), start + delay, move || {
            // Nobody listening any more is no reason to panic.
            let _ = ran.send((number, delay, start.elapsed()));
        });
    }
    drop(given);
    drop(ran); // The end comes when the last job has run.
    let mut order = Vec::new();
    while let Ok((number, delay, time)) = runs.recv_timeout(LIMIT) {
        say!(
            "   {:>3} ms  job {number}, due at {delay:?}",
            time.as_millis()
        );
        expect(time >= delay, "no job runs before its time")?;
        order.push(number);
    }
    expect(
        order == [2, 4, 3, 1],
        "each runs once, the earliest first, equals as they came",
    )?;
    Ok(())
}

fn repeating(scheduler: &Scheduler) -> Result<(), Box<dyn Error>> {
    let (ran, runs) = mpsc::channel();
    let start = Instant::now();
    let id = scheduler.every("tick", PERIOD, move || {
        let _ = ran.send(start.elapsed());
    });
    for number in 1..=TICKS {
        let time = runs.recv_timeout(LIMIT)?;
        say!("   {:>3} ms  tick {number}", time.as_millis());
        expect(time >= number * PERIOD, "no tick comes before its time")?;
    }
    let outcome = scheduler.cancel(id);
    let cancelled = start.elapsed();
    say!("   cancel: {outcome:?}");
    expect(
        outcome != Cancel::Over,
        "a repeating job is never over by itself",
    )?;
    // The channel ends with the job. A run that was under way may still tell its time.
    let under_way = usize::from(outcome == Cancel::Running);
    let further = runs.iter().filter(|time| *time > cancelled);
    let further = further.take(under_way + 1).count();
    Ok(expect(
        further <= under_way,
        "no further tick after a cancel",
    )?)
}

fn cancelled(scheduler: &Scheduler) -> Result<(), Box<dyn Error>> {
    let (ran, runs) = mpsc::channel();
    let never = scheduler.after("never", HOUR, move || {
        let _ = ran.send("never");
    });
    let in_time = scheduler.cancel(never);

    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let busy = scheduler.after("busy", Duration::ZERO, move || {
        let _ = begun.send(());
        let _ = may_go_on.recv_timeout(LIMIT);
    });
    has_begun.recv_timeout(LIMIT)?;
    let while_it_runs = scheduler.cancel(busy);
    drop(go_on);
    // `begun` goes with the job. So this fails as soon as the job has ended.
    let _ = has_begun.recv_timeout(LIMIT);
    // And this one runs after it.
    run_now(scheduler)?;
    let too_late = scheduler.cancel(busy);

    let outcomes = [in_time, while_it_runs, too_late];
    say!("   {outcomes:?}");
    let expected = [Cancel::InTime, Cancel::Running, Cancel::Over];
    expect(outcomes == expected, "a cancel says what it did")?;
    // The job was dropped, and its end of the channel with it.
    let never_ran = runs.recv_timeout(LIMIT) == Err(RecvTimeoutError::Disconnected);
    Ok(expect(never_ran, "a cancelled job never runs")?)
}

fn panicking(scheduler: &Scheduler) -> Result<(), Box<dyn Error>> {
    // A panic without its message on stderr.
    let broken = || panic::resume_unwind(Box::new("the disk is gone"));
    scheduler.after("broken", Duration::ZERO, broken);
    run_now(scheduler)?;
    say!("   the next one runs all the same");
    Ok(())
}

fn stopped(scheduler: Scheduler) -> Result<(), Box<dyn Error>> {
    scheduler.after("in two hours", 2 * HOUR, || ());
    scheduler.after("in an hour", HOUR, || ());
    let start = Instant::now();
    let ended = scheduler.stop();
    let took = start.elapsed();
    say!("   ended after {took:.1?}");
    say!("   did not run: {}", ended.not_run.join(", "));
    for (name, message) in &ended.panicked {
        say!("   panicked: {name}: {message}");
    }
    let expected = Ended {
        not_run: vec!["in an hour".into(), "in two hours".into()],
        panicked: vec![("broken".into(), "the disk is gone".into())],
    };
    expect(
        ended == expected,
        "the end says what did not run, and what panicked",
    )?;
    Ok(expect(took < LIMIT, "the end does not wait for the jobs")?)
}

/// How a program that schedules can be tested without waiting.
fn own_clock() -> Result<(), Box<dyn Error>> {
    let (start, hours) = (Instant::now(), Arc::new(AtomicU32::new(0)));
    let clock = Arc::clone(&hours);
    let now = move || start + HOUR * clock.load(Ordering::SeqCst);
    let scheduler = Scheduler::with_clock(now)?;
    let (ran, runs) = mpsc::channel();
    scheduler.every("backup", 2 * HOUR, move || {
        let _ = ran.send(());
    });
    for hour in 1..=2 {
        hours.store(hour, Ordering::SeqCst);
        scheduler.clock_changed();
        run_now(&scheduler)?;
        let backups = runs.try_iter().count();
        say!("   {hour} h: backups: {backups}");
        expect(
            backups == [0, 1][hour as usize - 1],
            "a backup every two hours",
        )?;
    }
    Ok(())
}

/// No thread and no scheduler: channels on which something comes in time.
fn short_way() -> Result<(), Box<dyn Error>> {
    let (_quiet, messages) = unbounded::<&str>();
    let (ticks, end) = (tick(PERIOD), after(PERIOD * 7 / 2));
    let mut count = 0;
    loop {
        select! {
            recv(messages) -> message => return Err(format!("a {message:?} from nobody").into()),
            recv(ticks) -> _ => count += 1,
            recv(end) -> _ => break,
        }
    }
    say!("   {count} ticks, and then the time-out");
    Ok(())
}

/// Returns when everything that was due before has run.
fn run_now(scheduler: &Scheduler) -> Result<(), Box<dyn Error>> {
    let (ran, has_run) = mpsc::channel();
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
