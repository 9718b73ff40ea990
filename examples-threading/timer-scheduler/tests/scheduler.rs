//! What the scheduler promises. Most tests give it a clock that stands still until they move it, so
//! that nothing depends on how fast the machine is.

use std::panic;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use scheduler::{Cancel, Ended, JobId, Scheduler};

#[path = "../src/scheduler.rs"]
mod scheduler;
#[path = "../src/sync.rs"]
mod sync;

/// Only against tests that hang; no test needs anything like it.
const LIMIT: Duration = Duration::from_secs(20);

// The times.

#[test]
fn jobs_run_in_the_order_of_their_times_whatever_order_they_were_given_in() {
    let bench = Bench::new();
    for delay in [30, 10, 20, 40] {
        bench.after(delay);
    }
    assert_eq!(bench.advance(100), [10, 20, 30, 40]);
}

#[test]
fn jobs_of_one_time_run_in_the_order_in_which_they_were_given() {
    let bench = Bench::new();
    let (log, same) = (&bench.log, Duration::from_millis(10));
    for number in 0..100 {
        let log = Arc::clone(log);
        bench
            .scheduler
            .after("", same, move || log.lock().unwrap().push(number));
    }
    assert!(bench.advance(10).into_iter().eq(0..100));
}

#[test]
fn no_job_runs_before_its_time_and_each_runs_once() {
    let bench = Bench::new();
    bench.after(100);
    bench.after(200);
    assert_eq!(bench.advance(99), []);
    assert_eq!(bench.advance(1), [100]);
    assert_eq!(bench.advance(99), []);
    assert_eq!(bench.advance(1), [200]);
    assert_eq!(bench.advance(1_000), []);
}

/// `scheduler.enterabs`: it does not matter how late the job is given.
#[test]
fn a_job_given_with_its_time_runs_at_that_time_and_at_once_if_that_is_past() {
    let bench = Bench::new();
    bench.after(30);
    bench.move_clock(20);
    bench.at(25);
    bench.at(10);
    assert_eq!(bench.advance(0), [10]);
    assert_eq!(bench.advance(4), []);
    assert_eq!(bench.advance(1), [25]);
    assert_eq!(bench.advance(5), [30]);
}

/// The thread sleeps for an hour, and the new job wakes it.
#[test]
fn an_earlier_job_shortens_the_wait() {
    let scheduler = Scheduler::start().unwrap();
    scheduler.every("hourly", Duration::from_secs(3600), || ());
    for _ in 0..100 {
        let (ran, runs) = mpsc::channel();
        scheduler.after("now", Duration::ZERO, move || ran.send(()).unwrap());
        runs.recv_timeout(LIMIT).unwrap();
    }
}

#[test]
fn by_the_real_clock_each_of_many_jobs_of_several_threads_runs_once_and_not_before_its_time() {
    let scheduler = Scheduler::start().unwrap();
    let (ran, runs) = mpsc::channel();
    let mut random = 20_261u64;
    println!("seed {random}");
    let delays: Vec<Duration> = (0..2_000)
        .map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            Duration::from_micros((random >> 33) % 20_000)
        })
        .collect();
    thread::scope(|scope| {
        for (first, delays) in (0..).step_by(500).zip(delays.chunks(500)) {
            let (scheduler, ran) = (&scheduler, ran.clone());
            scope.spawn(move || {
                for (number, &delay) in (first..).zip(delays) {
                    let (ran, start) = (ran.clone(), Instant::now());
                    scheduler.after("", delay, move || {
                        ran.send((number, start.elapsed() >= delay)).unwrap();
                    });
                }
            });
        }
    });
    drop(ran);
    let mut numbers = Vec::new();
    while let Ok((number, in_time)) = runs.recv_timeout(LIMIT) {
        assert!(in_time, "job {number} ran before its time");
        numbers.push(number);
    }
    numbers.sort();
    assert!(numbers.into_iter().eq(0..2_000), "each job once");
}

#[test]
fn a_delay_too_long_for_the_clock_never_ends() {
    let bench = Bench::new();
    bench
        .scheduler
        .after("never", Duration::MAX, || panic!("it ran"));
    bench.after(1);
    assert_eq!(bench.advance(3_600_000), [1]);
    assert_eq!(bench.scheduler.stop().not_run, ["never"]);
}

#[test]
fn a_job_may_schedule_another_one() {
    let scheduler = Arc::new(Scheduler::start().unwrap());
    let (ran, runs) = mpsc::channel();
    let inner = Arc::downgrade(&scheduler);
    scheduler.after("first", Duration::ZERO, move || {
        let scheduler = inner.upgrade().unwrap();
        scheduler.after("second", Duration::ZERO, move || ran.send(()).unwrap());
    });
    runs.recv_timeout(LIMIT).unwrap();
}

// Repeating jobs.

#[test]
fn a_repeating_job_keeps_to_the_multiples_of_its_period_and_leaves_out_those_it_missed() {
    let bench = Bench::new();
    bench.every(10);
    assert_eq!(bench.advance(9), []);
    assert_eq!(bench.advance(1), [10]); // at 10
    assert_eq!(bench.advance(25), [10]); // at 35, for 20 and 30
    assert_eq!(bench.advance(4), []); // at 39: no drift, the next one is at 40
    assert_eq!(bench.advance(1), [10]); // at 40
    assert_eq!(bench.advance(10), [10]); // at 50
}

#[test]
fn a_period_of_zero_is_refused() {
    let scheduler = Scheduler::start().unwrap();
    let refused = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        scheduler.every("always", Duration::ZERO, || ())
    }));
    let message = *refused.unwrap_err().downcast_ref::<&str>().unwrap();
    assert!(message.contains("longer than zero"));
}

// Cancel.

#[test]
fn a_job_cancelled_in_time_never_runs_and_what_it_owns_is_dropped() {
    let bench = Bench::new();
    let owned = Arc::new(());
    let job = Arc::clone(&owned);
    let id = bench
        .scheduler
        .after("", Duration::from_millis(10), move || {
            panic!("it ran with {job:?}");
        });
    let other = bench.after(20);
    assert_eq!(bench.scheduler.cancel(id), Cancel::InTime);
    assert_eq!(Arc::strong_count(&owned), 1);
    assert_eq!(bench.scheduler.cancel(id), Cancel::Over, "twice");
    assert_eq!(bench.advance(100), [20]);
    assert_eq!(bench.scheduler.cancel(other), Cancel::Over, "it has run");
    assert_eq!(bench.scheduler.stop(), Ended::default());
}

/// `Timer.cancel()` returns None, whether the job is still to come, runs, or has run.
#[test]
fn a_cancel_that_came_while_the_job_ran_did_not_say_so() {
    let scheduler = Scheduler::start().unwrap();
    let busy = Busy::start(&scheduler);
    assert_eq!(scheduler.cancel(busy.id), Cancel::Running);
    busy.finish();
    run_now(&scheduler);
    assert_eq!(scheduler.cancel(busy.id), Cancel::Over);
}

#[test]
fn a_repeating_job_cancelled_while_it_runs_does_not_run_again() {
    let bench = Bench::new();
    let log = Arc::clone(&bench.log);
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let period = Duration::from_millis(10);
    let id = bench.scheduler.every("", period, move || {
        log.lock().unwrap().push(10);
        begun.send(()).unwrap();
        may_go_on.recv().unwrap();
    });
    bench.move_clock(10);
    has_begun.recv_timeout(LIMIT).unwrap();
    assert_eq!(bench.scheduler.cancel(id), Cancel::Running);
    go_on.send(()).unwrap();
    assert_eq!(bench.advance(100), [10]);
    assert_eq!(bench.scheduler.cancel(id), Cancel::Over);
}

#[test]
fn a_repeating_job_can_be_cancelled_between_two_runs() {
    let bench = Bench::new();
    let id = bench.every(10);
    assert_eq!(bench.advance(10), [10]);
    assert_eq!(bench.scheduler.cancel(id), Cancel::InTime);
    assert_eq!(bench.advance(100), []);
}

#[test]
fn a_job_that_cancels_itself_is_told_that_it_runs() {
    let scheduler = Arc::new(Scheduler::start().unwrap());
    let (own_id, id) = mpsc::channel::<JobId>();
    let (said, answer) = mpsc::channel();
    let inner = Arc::downgrade(&scheduler);
    let job = scheduler.every("", Duration::from_millis(1), move || {
        let id = id.recv().unwrap();
        said.send(inner.upgrade().unwrap().cancel(id)).unwrap();
    });
    own_id.send(job).unwrap();
    assert_eq!(answer.recv_timeout(LIMIT), Ok(Cancel::Running));
    // Gone with what it owned, so it does not come again.
    let gone = answer.recv_timeout(LIMIT);
    assert_eq!(gone, Err(mpsc::RecvTimeoutError::Disconnected));
}

/// What a job owns may itself use the scheduler when it is dropped: not under the lock.
#[test]
fn what_a_job_owns_is_dropped_without_the_lock() {
    struct Uses(Arc<Scheduler>, mpsc::Sender<()>);
    impl Drop for Uses {
        fn drop(&mut self) {
            self.0.clock_changed();
            let _ = self.1.send(());
        }
    }
    let scheduler = Arc::new(Scheduler::start().unwrap());
    let (dropped, drops) = mpsc::channel();
    for panics in [true, false] {
        let uses = Uses(Arc::clone(&scheduler), dropped.clone());
        let id = scheduler.every("", Duration::from_millis(1), move || {
            let _uses = &uses;
            assert!(!panics, "on purpose");
        });
        if !panics {
            scheduler.cancel(id);
        }
        drops.recv_timeout(LIMIT).expect("it waits for itself");
    }
}

// Panics.

#[test]
fn an_exception_in_a_job_ended_the_scheduler() {
    let bench = Bench::new();
    let ms = Duration::from_millis;
    bench
        .scheduler
        .after("broken", ms(10), || panic!("no disk"));
    bench
        .scheduler
        .every("worse", ms(10), || panic!("no {}", "disks"));
    bench.after(20);
    bench.every(30);
    assert_eq!(bench.advance(20), [20]);
    assert_eq!(bench.advance(40), [30]);
    let panicked = bench.scheduler.stop().panicked;
    // Once each: a job that panicked is not repeated.
    let expected = [("broken", "no disk"), ("worse", "no disks")];
    assert_eq!(
        panicked,
        expected.map(|(name, text)| (name.into(), text.into()))
    );
}

// The end.

#[test]
fn stop_says_what_did_not_run_in_the_order_of_the_times() {
    let bench = Bench::new();
    for (name, delay) in [
        ("late", 300),
        ("cancelled", 100),
        ("soon", 200),
        ("ran", 10),
    ] {
        let id = bench
            .scheduler
            .after(name, Duration::from_millis(delay), || ());
        if name == "cancelled" {
            bench.scheduler.cancel(id);
        }
    }
    bench.every(50);
    bench.advance(50);
    assert_eq!(bench.scheduler.stop().not_run, ["soon", "late"]);
}

#[test]
fn stop_waits_for_the_running_job_and_no_other() {
    let scheduler = Scheduler::start().unwrap();
    let busy = Busy::start(&scheduler);
    scheduler.after("next", Duration::ZERO, || ());
    let (stopped, has_stopped) = mpsc::channel();
    thread::spawn(move || stopped.send(scheduler.stop()));
    let early = has_stopped.recv_timeout(Duration::from_millis(30));
    assert!(early.is_err(), "the job was still running");
    busy.finish();
    let ended = has_stopped.recv_timeout(LIMIT).unwrap();
    assert_eq!(ended.not_run, ["next"]);
}

#[test]
fn drop_ends_the_thread_at_once_and_drops_what_did_not_run() {
    let owned = Arc::new(());
    let scheduler = Scheduler::start().unwrap();
    for hours in 1..=3 {
        let job = Arc::clone(&owned);
        scheduler.after("later", Duration::from_secs(hours * 3600), move || {
            drop(job)
        });
    }
    let (dropped, has_dropped) = mpsc::channel();
    thread::spawn(move || {
        drop(scheduler);
        dropped.send(()).unwrap();
    });
    has_dropped
        .recv_timeout(LIMIT)
        .expect("it waits for the jobs");
    assert_eq!(Arc::strong_count(&owned), 1);
}

#[test]
fn a_job_may_drop_its_own_scheduler() {
    let scheduler = Arc::new(Mutex::new(Some(Scheduler::start().unwrap())));
    let (ended, end) = mpsc::channel();
    let inner = Arc::clone(&scheduler);
    let job = move || {
        let scheduler = inner.lock().unwrap().take();
        drop(scheduler);
        ended.send(()).unwrap();
    };
    let guard = scheduler.lock().unwrap();
    guard
        .as_ref()
        .unwrap()
        .after("the end", Duration::ZERO, job);
    drop(guard);
    end.recv_timeout(LIMIT).expect("it waits for itself");
}

#[test]
fn a_scheduler_without_jobs_ends_at_once() {
    assert_eq!(Scheduler::start().unwrap().stop(), Ended::default());
}

// The helpers.

/// A scheduler whose clock stands still, and a list of the jobs that ran.
struct Bench {
    scheduler: Scheduler,
    start: Instant,
    passed: Arc<Mutex<Duration>>,
    log: Arc<Mutex<Vec<u64>>>,
}

impl Bench {
    fn new() -> Self {
        let passed = Arc::new(Mutex::new(Duration::ZERO));
        let (start, clock) = (Instant::now(), Arc::clone(&passed));
        let scheduler = Scheduler::with_clock(move || start + *clock.lock().unwrap());
        Self {
            scheduler: scheduler.unwrap(),
            start,
            passed,
            log: Arc::default(),
        }
    }

    /// A job that notes its delay.
    fn after(&self, delay: u64) -> JobId {
        let log = Arc::clone(&self.log);
        let job = move || log.lock().unwrap().push(delay);
        self.scheduler.after("", Duration::from_millis(delay), job)
    }

    /// A job that notes its time, in milliseconds from the start.
    fn at(&self, time: u64) -> JobId {
        let log = Arc::clone(&self.log);
        let job = move || log.lock().unwrap().push(time);
        let due = self.start + Duration::from_millis(time);
        self.scheduler.at("", due, job)
    }

    /// A job that notes its period.
    fn every(&self, period: u64) -> JobId {
        let log = Arc::clone(&self.log);
        let job = move || log.lock().unwrap().push(period);
        self.scheduler.every("", Duration::from_millis(period), job)
    }

    fn move_clock(&self, millis: u64) {
        *self.passed.lock().unwrap() += Duration::from_millis(millis);
        self.scheduler.clock_changed();
    }

    /// What ran when so many milliseconds had passed.
    fn advance(&self, millis: u64) -> Vec<u64> {
        self.move_clock(millis);
        run_now(&self.scheduler);
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

/// Returns when everything that was due before has run.
fn run_now(scheduler: &Scheduler) {
    let (ran, has_run) = mpsc::channel();
    scheduler.after("now", Duration::ZERO, move || ran.send(()).unwrap());
    has_run.recv_timeout(LIMIT).expect("the scheduler hangs");
}

/// A job that runs until it is told to end.
struct Busy {
    id: JobId,
    go_on: mpsc::Sender<()>,
}

impl Busy {
    fn start(scheduler: &Scheduler) -> Self {
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        let id = scheduler.after("busy", Duration::ZERO, move || {
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
        });
        has_begun.recv_timeout(LIMIT).unwrap();
        Self { id, go_on }
    }

    fn finish(&self) {
        self.go_on.send(()).unwrap();
    }
}
