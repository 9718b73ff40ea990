//! Workers that are set up once each, from a configuration, before their first task.
//!
//! What a Python developer knows as
//! ```python
//! def init(factor):
//!     global kit; kit = Kit(factor)
//! with Pool(4, initializer=init, initargs=(10,)) as pool:
//!     print(pool.map(work, [1, 2, 3, 4, 5]))      # for ever, if `init` raises
//! ```
//!
//! is a function that returns `Result<Kit, _>` here. A task gets `&mut Kit`, so there is no global
//! that it could find empty. If the set-up fails, Python's pool replaces its workers without end;
//! here `start` waits for all of them, and an `Err` is its one error. With threads it is the same:
//! what Python calls `BrokenThreadPool` is a `Result`.
//!
//! Run it with `cargo run -p pool-initializer`. Look at the set-ups: 4 for 405 tasks, and no more
//! than 4 where they fail.
//!
//! To take: `src/threads.rs`; for processes `src/pool.rs`, its `serve_with_set_up_if_worker`.
//! Before this: `process-pool`; after it: `worker-crash`.

#![forbid(unsafe_code)]

mod pool;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.
mod threads;

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{env, panic, process};

use pool::{Cause, Options, Pool, TaskResult};
use serde::{Deserialize, Serialize};
use threads::by_threads;

const WORKERS: usize = 4;
const FACTOR: u64 = 10;
const ITEMS: [u64; 5] = [1, 2, 3, 4, 5];
const RESULTS: [u64; 5] = [10, 20, 30, 40, 50];
/// The primes below it take a while to find: no task should have to do that.
const LIMIT: usize = 4_000_000;

/// What each worker is told before its first task.
#[derive(Clone, Serialize, Deserialize)]
struct Config {
    factor: u64,
    /// Must be there for a set-up to succeed.
    licence: PathBuf,
    /// Here each set-up writes a line, for us to count.
    log: PathBuf,
    trouble: Option<Trouble>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Trouble {
    Panic,
    Exit,
}

/// What a worker makes of it, and keeps.
struct Kit {
    factor: u64,
    primes: Vec<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Task {
    Multiply(u64),
    NthPrime(usize),
    Abort,
}

fn main() -> Result<(), Box<dyn Error>> {
    pool::serve_with_set_up_if_worker(set_up, perform);

    say!("1. {WORKERS} processes, each set up once");
    set_up_once()?;

    say!("\n2. A set-up that fails is one error, not one after another");
    failing_from_the_start()?;
    failing_later()?;

    say!("\n3. The same with threads");
    with_threads()?;

    say!(
        "\nok: {WORKERS} set-ups, {RESULTS:?} from processes and from threads; failures told once"
    );
    Ok(())
}

// ---- In a worker -------------------------------------------------------------------------------

/// Before the first task, once.
fn set_up(config: Config) -> Result<Kit, String> {
    // The panics here are on purpose, and come back as errors.
    panic::set_hook(Box::new(|_| {}));
    log(&config.log).map_err(|error| format!("cannot write the log: {error}"))?;
    match config.trouble {
        Some(Trouble::Panic) => panic!("this cannot be"),
        Some(Trouble::Exit) => process::exit(3),
        None => {}
    }
    if let Err(error) = fs::metadata(&config.licence) {
        return Err(format!("no licence: {error}"));
    }
    Ok(Kit {
        factor: config.factor,
        primes: primes_below(LIMIT),
    })
}

/// One write, at the end of the file: the lines of several workers do not mix.
fn log(path: &PathBuf) -> io::Result<()> {
    let mut log = OpenOptions::new().append(true).create(true).open(path)?;
    log.write_all(format!("{}\n", process::id()).as_bytes())
}

fn perform(kit: &mut Kit, task: Task) -> Result<u64, String> {
    match task {
        Task::Multiply(item) => Ok(item * kit.factor),
        Task::NthPrime(n) => Ok(kit.primes[n - 1]),
        Task::Abort => process::abort(),
    }
}

fn primes_below(limit: usize) -> Vec<u64> {
    let mut composite = vec![false; limit];
    let mut primes = Vec::new();
    for n in 2..limit {
        if composite[n] {
            continue;
        }
        primes.push(n as u64);
        let mut multiple = n * n;
        while multiple < limit {
            composite[multiple] = true;
            multiple += n;
        }
    }
    primes
}

// ---- The parent --------------------------------------------------------------------------------

fn set_up_once() -> Result<(), Box<dyn Error>> {
    let (seen, processes) = with_log(|config| {
        let begin = Instant::now();
        let pool: Pool<Task, u64> = Options::new(WORKERS).config(config).start()?;
        let ready = begin.elapsed();
        let results = pool.map(ITEMS.map(Task::Multiply)).into_iter();
        let results: Vec<u64> = results.collect::<TaskResult<_>>()?;
        let begin = Instant::now();
        let primes = pool.map((1..=400).map(Task::NthPrime)).into_iter();
        let last = primes.last().expect("400 results")?;
        Ok((ready, results, last, begin.elapsed()))
    })?;
    let (ready, results, last, took) = seen;
    let (set_ups, names) = (processes.len(), processes.join(", "));
    say!("   processes {names} are ready, after {ready:.0?}");
    say!("   {ITEMS:?} become {results:?}");
    say!("   400 more tasks in {took:.1?}: the last one looked up {last}; set-ups: {set_ups}");
    check(results == RESULTS && last == 2741, "a wrong result")?;
    let different = processes.iter().collect::<HashSet<_>>().len();
    let once = (set_ups, different) == (WORKERS, WORKERS);
    check(once, "not one set-up for each worker")
}

fn failing_from_the_start() -> Result<(), Box<dyn Error>> {
    type Spoil = fn(&mut Config);
    let cases: [(Spoil, &str); 3] = [
        (
            |config| _ = config.licence.set_extension("lost"),
            "set-up failed: no licence",
        ),
        (
            |config| config.trouble = Some(Trouble::Panic),
            "set-up panicked: this cannot be",
        ),
        (|config| config.trouble = Some(Trouble::Exit), "exit code 3"),
    ];
    for (spoil, reason) in cases {
        let (error, set_ups) = with_log(|config| {
            spoil(config);
            let started: Result<Pool<Task, u64>, _> = Options::new(WORKERS).config(config).start();
            Ok(started.err().ok_or("a pool without set-up")?.to_string())
        })?;
        // Those that the first failure ended while they started had no time for theirs.
        let tried = set_ups.len();
        say!("   tried by {tried} of {WORKERS}: {error}");
        check(error.contains(reason), "not the reason")?;
        check((1..=WORKERS).contains(&tried), "workers were replaced")?;
    }
    Ok(())
}

/// A worker that replaces a dead one is set up as well. Several failures in a row are the end.
fn failing_later() -> Result<(), Box<dyn Error>> {
    let (results, set_ups) = with_log(|config| {
        let options = Options::new(1).config(config).retries(0);
        let pool: Pool<Task, u64> = options.start()?;
        fs::remove_file(&config.licence)?;
        let dead = pool.map([Task::Abort]).remove(0);
        let broken = pool.map([Task::Multiply(1)]).remove(0);
        Ok([dead, broken])
    })?;
    let causes = results.map(|result| {
        let error = result.expect_err("it cannot be done");
        say!("   later: {error}");
        error.cause
    });
    let vain = set_ups.len() - 1;
    say!("   then given up, after {vain} set-ups in vain");
    let expected = match causes {
        [Cause::WorkerDied { .. }, Cause::Broken(why)] => why.contains("set-up failed: no licence"),
        _ => false,
    };
    check(expected, "not the reason")?;
    check((1..10).contains(&vain), "workers were replaced for ever")
}

/// Lends a configuration with a licence and a log in a temp folder of their own. Returns what came
/// of it, and which processes were set up: one line of the log each.
fn with_log<V>(
    try_it: impl FnOnce(&mut Config) -> Result<V, Box<dyn Error>>,
) -> Result<(V, Vec<String>), Box<dyn Error>> {
    let folder = Folder(env::temp_dir().join(format!("pool-initializer-{}", process::id())));
    let _ = fs::remove_dir_all(&folder.0); // of a run that was killed, if it had this number
    fs::create_dir(&folder.0)?;
    let mut config = Config {
        factor: FACTOR,
        licence: folder.0.join("licence"),
        log: folder.0.join("log"),
        trouble: None,
    };
    fs::write(&config.licence, "")?;
    let value = try_it(&mut config)?;
    let log = fs::read_to_string(&config.log)?;
    Ok((value, log.lines().map(String::from).collect()))
}

/// Nobody prints while it is there: a reader that has gone would end the program before it does.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn check(holds: bool, complaint: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(complaint.into()) }
}

fn with_threads() -> Result<(), Box<dyn Error>> {
    let set_ups = AtomicUsize::new(0);
    let set_up = || {
        set_ups.fetch_add(1, Ordering::Relaxed);
        Ok(primes_below(LIMIT / 4))
    };
    let results = by_threads(WORKERS, set_up, |_, item| item * FACTOR, &ITEMS)?;
    let set_ups = set_ups.into_inner();
    say!("   {ITEMS:?} become {results:?}; set-ups: {set_ups}");
    check(results == RESULTS, "a wrong result")?;
    check(set_ups == WORKERS, "not one set-up for each thread")?;

    let refused = AtomicUsize::new(0);
    let set_up = || match refused.fetch_add(1, Ordering::Relaxed) {
        2 => Err("no licence for a third thread".to_string()),
        _ => Ok(()),
    };
    let performed = AtomicUsize::new(0);
    let work = |_: &mut (), _| performed.fetch_add(1, Ordering::Relaxed) as u64;
    let error = by_threads(WORKERS, set_up, work, &ITEMS).err();
    let error = error.ok_or("threads without set-up")?;
    let performed = performed.into_inner();
    say!("   {error}; tasks begun: {performed}");
    check(performed == 0, "a task was begun all the same")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_right() {
        assert_eq!(primes_below(30), [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert_eq!(primes_below(3_000)[399], 2741);
    }
}
