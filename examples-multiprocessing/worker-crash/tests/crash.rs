//! The pool's promise: a worker may die at any stage and in any way.
//!
//! The workers are the program of this example, whose first act is to see whether it is one.

#[allow(dead_code, reason = "main.rs uses the rest")]
#[path = "../src/deaths.rs"]
mod deaths;
#[path = "../src/pool.rs"]
mod pool;

#[path = "shared/orphans.rs"]
mod orphans;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use deaths::{BAD, Reply, STAGES, Stage, TASKS, Task, Trap, WAYS, Way};
use pool::{Cause, Options, Pool, TaskError, TaskResult};

/// Against hangs only.
const SOON: Duration = Duration::from_secs(30);
/// Enough for a task on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(3);
const NOBODY: [u32; 0] = [];

/// The tests count the children and open files of their process: one at a time.
fn alone() -> (MutexGuard<'static, ()>, Watchdog) {
    static ALONE: Mutex<()> = Mutex::new(());
    // After a failed test, too.
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    (alone, Watchdog::new())
}

/// A test that hangs is a failed one, whoever runs it.
struct Watchdog(#[allow(dead_code, reason = "dropped at the end of the test")] Sender<()>);

impl Watchdog {
    fn new() -> Watchdog {
        let (alive, ended) = mpsc::channel();
        let test = thread::current().name().unwrap_or("a test").to_string();
        thread::spawn(move || {
            if ended.recv_timeout(4 * SOON) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} hangs");
                process::exit(1);
            }
        });
        Watchdog(alive)
    }
}

fn options(workers: usize) -> Options {
    Options::new(workers).command(Command::new(env!("CARGO_BIN_EXE_worker-crash")))
}

/// With a limit tasks go one by one: none waits behind one that never ends.
fn one_by_one(workers: usize) -> Options {
    options(workers).timeout(8 * SOON)
}

fn start(options: Options) -> Pool<Task, Reply> {
    options.start().expect("the pool starts")
}

fn squares(tasks: usize) -> Vec<Task> {
    (0..tasks as u64).map(Task::Square).collect()
}

fn error(result: TaskResult<Reply>) -> TaskError {
    *result.expect_err("the task fails")
}

/// Where the system tells; elsewhere none.
fn children() -> Vec<u32> {
    orphans::children(process::id())
}

/// An empty file that goes with the test.
struct Marks(PathBuf);

impl Marks {
    fn new() -> Marks {
        let name = format!("worker-crash-test-{}", process::id());
        let marks = Marks(std::env::temp_dir().join(name));
        let _ = fs::remove_file(&marks.0);
        marks
    }

    fn count(&self) -> u64 {
        fs::metadata(&self.0).map_or(0, |file| file.len())
    }

    fn die_until(&self, deaths: u64, way: Way) -> Task {
        let marks = self.0.clone();
        Task::DieUntil { marks, deaths, way }
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Every cell is tried, several at a time as some of them wait for a limit, and all that went wrong
/// is told together.
#[test]
fn a_worker_may_die_at_any_stage_and_in_any_way() {
    let _alone = alone();
    let in_each_way = |way: &'static Way| STAGES.map(|stage| (stage, *way));
    let cells: Vec<(Stage, Way)> = WAYS.iter().flat_map(in_each_way).collect();
    let next = AtomicUsize::new(0);
    let complaints = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(&(stage, way)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = Instant::now();
                    let complaint = match deaths::strike(options(2), PATIENCE, stage, way) {
                        Ok(seen) => seen.complaint(stage, way),
                        Err(error) => Some(error.to_string()),
                    };
                    let hung = (begin.elapsed() > SOON).then(|| "it took too long".to_string());
                    let complaint = complaint.or(hung);
                    let named = complaint.map(|what| format!("{stage}, {way}: {what}"));
                    complaints.lock().unwrap().extend(named);
                }
            });
        }
    });
    let complaints = complaints.into_inner().unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert_eq!(children(), NOBODY, "zombies, or workers that live on");
    assert!(!cfg!(unix) || cells.len() == 56);
}

/// Python's `Pool.map` waited for ever.
#[test]
fn map_does_not_wait_for_ever_for_a_killed_worker() {
    let _alone = alone();
    for way in [Way::Kill, Way::Abort]
        .into_iter()
        .filter(|way| WAYS.contains(way))
    {
        let begin = Instant::now();
        // Without a time limit nothing but the death itself can end the wait.
        let pool = start(options(1).retries(0));
        let bad = error(pool.map([Task::Die(Trap(Stage::Running, way))]).remove(0));
        let Cause::WorkerDied { worker, how } = bad.cause else {
            panic!("not a death: {bad}");
        };
        assert!(
            worker != 0 && how.starts_with("signal") == cfg!(unix),
            "{how}"
        );
        assert_eq!((bad.task, bad.attempts), (Some(0), 1));
        assert!(begin.elapsed() < SOON);
    }
}

/// Python's `ProcessPoolExecutor` gave up the other tasks and itself.
#[test]
fn one_dead_worker_among_large_chunks_costs_the_other_tasks_nothing() {
    let _alone = alone();
    // No retries: whoever is charged for another's deed is lost.
    let pool = start(options(2).chunk_size(100).retries(0));
    let mut tasks = squares(300);
    tasks[123] = Task::Die(Trap(Stage::Running, Way::Abort));
    let mut seen = vec![0; 300];
    for (index, result) in pool.map_unordered(tasks) {
        seen[index] += 1;
        match result {
            Ok(reply) => assert_eq!(reply.square, (index * index) as u64),
            Err(error) => assert_eq!((index, error.attempts), (123, 1), "{error}"),
        }
    }
    assert_eq!(seen, [1; 300]);
}

#[test]
fn a_task_whose_worker_dies_once_is_done_by_another() {
    let _alone = alone();
    for way in [Way::Exit(0), Way::Abort] {
        let marks = Marks::new();
        let pool = start(options(2));
        let mut tasks = squares(TASKS);
        tasks[BAD] = marks.die_until(1, way);
        assert!(pool.map(tasks).iter().all(Result::is_ok));
        assert_eq!(marks.count(), 2);
    }
}

#[test]
fn a_poison_task_is_tried_so_many_times_and_then_named() {
    let _alone = alone();
    for retries in [0, 1, 4] {
        let marks = Marks::new();
        let pool = start(options(2).retries(retries));
        let mut tasks = squares(TASKS);
        tasks[BAD] = marks.die_until(u64::MAX, Way::Exit(3));
        let mut results = pool.map(tasks);
        let bad = error(results.remove(BAD));
        assert_eq!((bad.task, bad.attempts), (Some(BAD), retries + 1));
        assert_eq!(marks.count(), u64::from(retries) + 1);
        assert!(bad.to_string().contains("exit code 3"), "{bad}");
        assert!(results.iter().all(Result::is_ok));
    }
}

#[test]
fn when_every_task_kills_its_worker_each_is_told_and_the_pool_still_works() {
    let _alone = alone();
    let pool = start(options(3));
    let results = pool.map(vec![Task::Die(Trap(Stage::Running, Way::Abort)); 20]);
    for (index, result) in results.into_iter().enumerate() {
        let error = error(result);
        assert_eq!((error.task, error.attempts), (Some(index), 2));
    }
    assert!(pool.map(squares(TASKS)).iter().all(Result::is_ok));
}

#[test]
fn workers_are_replaced_after_their_share_and_the_backlog_completes() {
    let _alone = alone();
    for share in [1, 3] {
        let pool = start(options(2).max_tasks_per_worker(share));
        let mut shares = BTreeMap::new();
        for (index, result) in pool.map(squares(31)).into_iter().enumerate() {
            let reply = result.expect("the backlog completes");
            assert_eq!(reply.square, (index * index) as u64);
            *shares.entry(reply.worker).or_insert(0) += 1;
        }
        assert!(shares.values().all(|tasks| *tasks <= share), "{shares:?}");
        assert!(shares.len() >= 31 / share, "no new workers: {shares:?}");
    }
}

/// A worker that has done its share, and one that dies before that, in one pool.
#[test]
fn deaths_and_shares_together_lose_no_task() {
    let _alone = alone();
    // A task may be on its way to a worker that dies after its answer, and pays for it; but there
    // are no more than six of those.
    let pool = start(options(2).max_tasks_per_worker(2).retries(6));
    let mut tasks = squares(30);
    for index in (0..30).step_by(5) {
        tasks[index] = Task::Die(Trap(Stage::AnswerSent, Way::Abort));
        tasks[index + 1] = Task::Die(Trap(Stage::Running, Way::Abort));
    }
    for (index, result) in pool.map(tasks).into_iter().enumerate() {
        assert_eq!(result.is_err(), index % 5 == 1, "task {index}: {result:?}");
    }
}

#[test]
fn kill_ends_busy_idle_and_stopped_workers_now() {
    let _alone = alone();
    let pool = start(one_by_one(4));
    let mut tasks = vec![Task::Spin, Task::Spin];
    if cfg!(unix) {
        tasks[1] = Task::Die(Trap(Stage::Running, Way::Stop));
    }
    tasks.extend(squares(20));
    let mut results = pool.map_unordered(tasks);
    // Then the first two are with their workers, and the other workers have nothing to do.
    assert_eq!(
        results
            .by_ref()
            .take(20)
            .filter(|(_, result)| result.is_ok())
            .count(),
        20
    );
    let begin = Instant::now();
    pool.kill();
    for (index, result) in results {
        assert!(index < 2);
        assert_eq!(error(result).cause, Cause::Cancelled);
    }
    let refused = error(pool.map([Task::Square(1)]).remove(0));
    assert_eq!(refused.cause, Cause::Cancelled);
    drop(pool);
    assert!(begin.elapsed() < SOON);
    assert_eq!(children(), NOBODY);
}

#[test]
fn a_death_while_the_pool_shuts_down_does_not_hang() {
    let _alone = alone();
    for stage in STAGES {
        let pool = start(options(2));
        let results = pool.map_unordered(vec![Task::Die(Trap(stage, Way::Abort)); 4]);
        let begin = Instant::now();
        pool.shut_down();
        assert!(begin.elapsed() < SOON, "{stage}");
        assert_eq!(results.count(), 4, "{stage}");
        assert_eq!(children(), NOBODY, "{stage}");
    }
}

#[test]
fn deaths_in_one_pool_are_nothing_to_another() {
    let _alone = alone();
    let (one, two) = (start(options(2)), start(options(2).retries(0)));
    thread::scope(|scope| {
        scope.spawn(|| one.map(vec![Task::Die(Trap(Stage::Running, Way::Abort)); 10]));
        assert!(two.map(squares(100)).iter().all(Result::is_ok));
    });
}

#[test]
fn a_hundred_pools_with_deaths_leave_no_process_and_no_open_file() {
    let _alone = alone();
    let open_files = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let use_a_pool = |round: usize| {
        let pool = start(options(2));
        let mut tasks = squares(4);
        let ways = [Way::Abort, Way::Exit(0), Way::Panic];
        tasks[2] = Task::Die(Trap(STAGES[round % 7], ways[round % 3]));
        pool.map(tasks);
        match round / 7 % 3 {
            0 => pool.shut_down(),
            1 => pool.kill(),
            _ => drop(pool),
        }
    };
    use_a_pool(0);
    let before = open_files();
    (0..100).for_each(use_a_pool);
    assert_eq!(open_files(), before);
    assert_eq!(children(), NOBODY);
}

/// As by the system when it runs out of memory.
#[test]
#[cfg(target_os = "linux")]
fn a_busy_worker_that_somebody_kills_is_noticed_within_a_second() {
    let _alone = alone();
    orphans::within_a_second("noticed", || {
        let pool = start(options(2).chunk_size(1).retries(0));
        let mut tasks = squares(21);
        tasks[0] = Task::Spin;
        let mut results = pool.map_unordered(tasks);
        // Then the other one has nothing to do.
        let squares = results.by_ref().take(20);
        let idle: Vec<u32> = squares
            .map(|(_, done)| done.expect("done").worker)
            .collect();
        let mut busy = children();
        busy.retain(|worker| !idle.contains(worker));
        assert_eq!(busy.len(), 1);
        let begin = Instant::now();
        orphans::send("KILL", busy[0]);
        let (index, bad) = results.next().expect("the one that spins");
        let (took, bad) = (begin.elapsed(), error(bad));
        let Cause::WorkerDied { worker, how } = bad.cause else {
            panic!("not a death: {bad}");
        };
        assert_eq!((index, worker), (0, busy[0]));
        assert_eq!(how, "signal 9 (SIGKILL)");
        println!("noticed after {took:?}");
        took
    });
}

/// Not a test of its own: the parent that the next one kills. Of its workers two are idle, one is
/// busy for ever and one is stopped.
#[test]
#[ignore = "the next test starts it as its victim"]
fn victim() {
    if std::env::var_os("WORKER_CRASH_VICTIM").is_none() {
        return;
    }
    let pool = start(one_by_one(4));
    let mut tasks = vec![Task::Spin, Task::Die(Trap(Stage::Running, Way::Stop))];
    tasks.extend(squares(20));
    let mut results = pool.map_unordered(tasks);
    results.by_ref().take(20).for_each(drop);
    println!("\nready");
    thread::sleep(Duration::from_secs(20));
}

#[test]
#[cfg(target_os = "linux")]
fn busy_idle_and_stopped_workers_of_an_ended_parent_end_within_a_second() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let _alone = alone();
    orphans::workers_end_with_their_parent(4, || {
        // In a session of its own: a stopped orphan is ended (SIGHUP) only if its next parent,
        // whichever that is, belongs to another one.
        let mut victim = Command::new("setsid");
        victim.arg(std::env::current_exe().expect("a program has a path"));
        victim.args(["--ignored", "--exact", "victim", "--nocapture"]);
        victim.env("WORKER_CRASH_VICTIM", "1");
        let mut victim = victim.stdout(Stdio::piped()).spawn().expect("it starts");
        let said = BufReader::new(victim.stdout.as_mut().expect("a pipe")).lines();
        let ready = said.map_while(Result::ok).find(|line| line == "ready");
        ready.expect("its workers are as they are to be");
        victim
    });
}
