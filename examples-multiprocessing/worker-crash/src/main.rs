//! Workers that die at every stage of a task and in every way, and a pool that keeps its promise.
//!
//! What a Python developer knows as
//! ```python
//! with Pool(2) as pool:
//!     pool.map(work, tasks)             # for ever, if a worker is killed meanwhile
//! with ProcessPoolExecutor(2) as pool:
//!     list(pool.map(work, tasks))       # BrokenProcessPool: all tasks are lost, and the pool
//! ```
//!
//! is a `Result` per task here. Each worker has a channel of its own, so a death names its task
//! and half an answer is nobody else's: there is no queue shared by all workers that one of them
//! could leave locked, which is why Python's `map` waits for ever. The task is tried again so many
//! times, the worker replaced; every other task completes.
//!
//! Run it with `cargo run -p worker-crash`. Look at the table: the other tasks are always all done,
//! and what the parent learns of each death (task, worker, exit code or signal).
//!
//! To take: `src/pool.rs`, the pool; `src/deaths.rs`, to try a pool that you have changed.
//! Before this: `process-pool`, `pool-initializer`; after it: `shared-state`.

#![forbid(unsafe_code)]

mod deaths;
mod pool;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, io, panic, process};

use deaths::{Reply, Stage, Task, WAYS, Way};
use pool::{Cause, Options, Pool};

/// A few of each stage; the tests try them all.
const TABLE: [(Stage, Way); 16] = [
    (Stage::BeforeReading, Way::Abort),
    (Stage::ReadingTheTask, Way::Exit(3)),
    (Stage::ReadingTheTask, Way::Kill),
    (Stage::Running, Way::Exit(0)),
    (Stage::Running, Way::Panic),
    (Stage::Running, Way::Abort),
    (Stage::Running, Way::Stop),
    (Stage::WritingTheAnswer, Way::Panic),
    (Stage::WritingTheAnswer, Way::Kill),
    (Stage::HalfAnAnswerSent, Way::Exit(0)),
    (Stage::HalfAnAnswerSent, Way::Panic),
    (Stage::HalfAnAnswerSent, Way::Close),
    (Stage::AnswerSent, Way::Panic),
    (Stage::AnswerSent, Way::Kill),
    (Stage::Idle, Way::Exit(0)),
    (Stage::Idle, Way::Kill),
];

/// How long a worker may take for a task here, before it is taken for stopped. The innocent tasks
/// have this limit, too.
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    pool::serve_with_set_up_if_worker(quiet_panics, |(), task| deaths::perform(task));

    say!("1. Task 4 is bad for its worker: when, how, and what the parent learns of it");
    let ends = table()?;

    let marks = Marks(env::temp_dir().join(format!("worker-crash-{}", process::id())));
    say!("\n2. Tried again, but not for ever");
    tried_again(&marks)?;

    say!("\n3. Two workers that are replaced after three tasks each");
    replaced_after_their_share()?;

    say!("\n4. Two workers are busy for ever, and a third is not; the pool is ended now");
    kill_all()?;

    check(children()?.is_empty(), "a process is left over")?;
    say!(
        "\nok: {ends} bad ends: a task that was lost to one is named, every other is done, \
         no process left"
    );
    Ok(())
}

/// The panics are on purpose, and come back as results.
fn quiet_panics((): ()) -> Result<(), String> {
    panic::set_hook(Box::new(|_| {}));
    Ok(())
}

fn table() -> Result<usize, Box<dyn Error>> {
    let mut cells = 0;
    for (stage, way) in TABLE {
        if !WAYS.contains(&way) {
            say!("   {stage:18} {way:18} not on this system");
            continue;
        }
        let seen = deaths::strike(Options::new(2), PATIENCE, stage, way)?;
        let learnt = match &seen.bad {
            Ok(Reply { worker, .. }) => format!("task 4: done by worker {worker}, now replaced"),
            Err(error) => error.to_string(),
        };
        let done = seen.done();
        say!("   {stage:18} {way:18} {done} others done; {learnt}");
        if let Some(complaint) = seen.complaint(stage, way) {
            return Err(format!("{stage}, {way}: {complaint}").into());
        }
        cells += 1;
    }
    Ok(cells)
}

/// The file in which a task counts how often it was tried.
struct Marks(PathBuf);

impl Drop for Marks {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn tried_again(marks: &Marks) -> Result<(), Box<dyn Error>> {
    for (deaths, retries) in [(1, 1), (u64::MAX, 3)] {
        let _ = fs::remove_file(&marks.0);
        let pool: Pool<Task, Reply> = Options::new(2).retries(retries).start()?;
        let bad = Task::DieUntil {
            marks: marks.0.clone(),
            deaths,
            way: Way::Abort,
        };
        let tasks = (0..10).map(|n| if n == 4 { bad.clone() } else { Task::Square(n) });
        let mut results = pool.map(tasks);
        let tried = fs::metadata(&marks.0)?.len();
        let bad = results.remove(4);
        let outcome = match &bad {
            Ok(_) => "task 4: done".to_string(),
            Err(error) => error.to_string(),
        };
        say!("   at most {retries} more: tried {tried} times; {outcome}");
        check(results.iter().all(Result::is_ok), "another task failed")?;
        check(bad.is_ok() == (deaths == 1), "task 4 ended the other way")?;
        check(tried == u64::from(retries) + 1, "a wrong number of tries")?;
    }
    Ok(())
}

fn replaced_after_their_share() -> Result<(), Box<dyn Error>> {
    let pool: Pool<Task, Reply> = Options::new(2).max_tasks_per_worker(3).start()?;
    let mut shares = BTreeMap::new();
    for result in pool.map((0..20).map(Task::Square)) {
        *shares.entry(result?.worker).or_insert(0) += 1;
    }
    let (workers, counts) = (shares.len(), shares.values());
    let sum = counts.clone().map(i32::to_string).collect::<Vec<_>>();
    let sum = sum.join(" + ");
    say!("   {workers} workers in turn, none with more than three: {sum} tasks");
    check(
        counts.clone().all(|share| *share <= 3),
        "more than its share",
    )?;
    check(counts.sum::<i32>() == 20, "not the tasks' number")
}

fn kill_all() -> Result<(), Box<dyn Error>> {
    let pool: Pool<Task, Reply> = Options::new(3).chunk_size(1).start()?;
    let mut tasks = vec![Task::Spin, Task::Spin];
    tasks.extend((2..20).map(Task::Square));
    let mut results = pool.map_unordered(tasks);
    // When all that can be done is done, the first two are being tried.
    let first = results.by_ref().take(18);
    let done = first.filter(|(_, result)| result.is_ok()).count();
    let begin = Instant::now();
    pool.kill();
    let rest: Vec<_> = results.filter_map(|(_, result)| result.err()).collect();
    let took = begin.elapsed();
    rest.iter().for_each(|error| say!("   {error}"));
    say!("   {done} tasks were done before; to end all took {took:.0?}");
    let cancelled = rest.iter().filter(|error| error.cause == Cause::Cancelled);
    let both = (done, cancelled.count()) == (18, 2);
    check(both, "not the two that were running are cancelled")
}

/// The processes that this one has started and not waited for, where the system tells.
fn children() -> io::Result<String> {
    let mut children = String::new();
    if cfg!(target_os = "linux") {
        for thread in fs::read_dir("/proc/self/task")? {
            // A thread may end meanwhile; its children are another's then.
            children += &fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        }
    }
    Ok(children)
}

fn check(holds: bool, complaint: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(complaint.into()) }
}
