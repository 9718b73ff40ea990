//! The pool and workers that behave as badly as workers can.
//!
//! The workers are this very program, so it has its own `main` and no harness. Each test runs in a
//! process of its own: it may count its children and open files.

#![forbid(unsafe_code)]

#[path = "../src/pool.rs"]
mod pool;

#[path = "shared/bounded.rs"]
mod bounded;
#[path = "shared/orphans.rs"]
mod orphans;

use bounded::OutputInTime;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, panic};

use orphans::{running, stat, within_a_second};
use pool::{Bytes, Cause, Options, Pool, TaskError, TaskResult};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const SOON: Duration = Duration::from_secs(20);
/// Set where `main` is to be one that forgets what it owes its workers, to a file for marks.
const FORGETFUL: &str = "PROCESS_POOL_TEST_FORGETFUL";

type Workers = Pool<Task, Reply>;

// ---- The worker ---------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Way {
    Exit(i32),
    Panic,
    Abort,
    Kill,
    Stop,
}

impl Way {
    fn go(self) {
        match self {
            Way::Exit(code) => process::exit(code),
            Way::Panic => panic!("on purpose"),
            Way::Abort => process::abort(),
            Way::Kill => signal("KILL", process::id()),
            Way::Stop => signal("STOP", process::id()),
        }
        thread::sleep(Duration::from_secs(60));
    }
}

fn signal(name: &str, process: u32) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).arg(process.to_string());
    let status = kill.stdin(Stdio::null()).status().expect("kill runs");
    assert!(status.success());
}

/// Dies while it is read.
#[derive(Clone, Debug, Serialize)]
struct ReadTrap(Way);

impl<'de> Deserialize<'de> for ReadTrap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ReadTrap, D::Error> {
        Way::deserialize(deserializer)?.go();
        unreachable!()
    }
}

/// Dies while it is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct WriteTrap(Way);

impl Serialize for WriteTrap {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        self.0.go();
        unreachable!()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Task {
    Echo(u64),
    DieReading(ReadTrap),
    Die(Way),
    DieWriting(Way),
    /// Half of an answer, then the end.
    DieHalfWay(Way),
    /// The answer first.
    DieAfterwards(Way),
    Say(Vec<u8>),
    Dribble(Vec<u8>),
    Fail,
    Unwritable,
    Unsendable(BTreeMap<(u8, u8), u8>),
    Sleep(u64),
    AwaitFile(PathBuf),
    Spin,
    /// Leaves a mark in this file, then does the next.
    Count(PathBuf, Box<Task>),
    DieOnce(PathBuf, Way),
    Print,
    Group,
    /// Starts a program that keeps the worker's input open, and dies.
    LeaveAChild,
    Block(String, Bytes),
    State,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Reply {
    Number(u64),
    Trap(WriteTrap),
    Map(BTreeMap<(u8, u8), u8>),
    Block(String, Bytes),
}

#[derive(Default, Serialize, Deserialize)]
enum SetUp {
    #[default]
    Fine,
    Number(u64),
    Fail,
    Die(Way),
    Marked(PathBuf, Box<SetUp>),
    FailWithout(PathBuf),
    Interruptible,
}

fn set_up(set_up: SetUp) -> Result<u64, String> {
    match set_up {
        SetUp::Fine => Ok(0),
        SetUp::Number(number) => Ok(number),
        SetUp::Fail => Err("no licence found".to_string()),
        SetUp::Die(way) => {
            way.go();
            Ok(0)
        }
        SetUp::Marked(file, next) => {
            mark(&file);
            self::set_up(*next)
        }
        SetUp::Interruptible => interruptible().map(|()| 0).map_err(|e| e.to_string()),
        SetUp::FailWithout(file) => File::open(&file).map(|_| 0).map_err(|e| e.to_string()),
    }
}

fn perform(state: &mut u64, task: Task) -> Result<Reply, String> {
    match task {
        Task::Echo(n) => return Ok(Reply::Number(n)),
        Task::DieReading(_) => unreachable!(),
        Task::Die(way) => way.go(),
        Task::DieWriting(way) => return Ok(Reply::Trap(WriteTrap(way))),
        Task::DieHalfWay(way) => {
            say(b"POOL\x64\0\0\0\0\0\0\0\0\0\0\0{\"Ok\"");
            way.go();
        }
        Task::DieAfterwards(way) => drop(thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            // A panic would end this thread only.
            way.go();
        })),
        Task::Say(bytes) => {
            say(&bytes);
            thread::sleep(Duration::from_secs(60));
        }
        Task::Dribble(bytes) => {
            for byte in bytes {
                say(&[byte]);
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_secs(60));
        }
        Task::Fail => return Err("it failed".to_string()),
        Task::Unwritable => return Ok(Reply::Map(BTreeMap::from([((1, 2), 3)]))),
        Task::Unsendable(_) => unreachable!(),
        Task::Sleep(ms) => thread::sleep(Duration::from_millis(ms)),
        Task::AwaitFile(file) => wait_until("the file is there", || file.exists()),
        Task::Spin => loop {
            black_box(0);
        },
        Task::Count(file, next) => {
            mark(&file);
            return perform(state, *next);
        }
        Task::DieOnce(file, way) => {
            if File::create_new(file).is_ok() {
                way.go();
            }
        }
        Task::Print => {
            println!("POOL a task prints what looks like an answer");
            print!("{}", "x".repeat(10_000));
        }
        Task::Group => {
            let stat = fs::read_to_string("/proc/self/stat").map_err(|e| e.to_string())?;
            let rest = stat.rsplit(')').next().unwrap_or_default();
            let group = rest.split_whitespace().nth(2).unwrap_or_default();
            return Ok(Reply::Number(group.parse().unwrap_or_default()));
        }
        Task::LeaveAChild => {
            let mut child = Command::new("sleep");
            let child = child.arg("30").stdout(Stdio::null()).stderr(Stdio::null());
            let child = child.spawn();
            drop(child.map_err(|e| e.to_string())?);
            process::exit(7);
        }
        Task::Block(name, bytes) => return Ok(Reply::Block(name, bytes)),
        Task::State => {
            *state += 1;
            return Ok(Reply::Number(*state));
        }
    }
    Ok(Reply::Number(process::id().into()))
}

/// Writes past the pool into the worker's end of the socket.
#[cfg(unix)]
fn say(bytes: &[u8]) {
    use std::os::fd::AsFd;
    let socket = io::stdin().as_fd().try_clone_to_owned();
    let written = File::from(socket.expect("stdin is open")).write_all(bytes);
    written.expect("the parent lives");
}

#[cfg(not(unix))]
fn say(_: &[u8]) {}

/// From now on reading and writing fail with `Interrupted` when the worker goes on after a stop:
/// that is so, without any handler, where a socket has a time limit.
#[cfg(unix)]
fn interruptible() -> io::Result<()> {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_read_timeout(Some(100 * SOON))?;
    socket.set_write_timeout(Some(100 * SOON))
}

#[cfg(not(unix))]
fn interruptible() -> io::Result<()> {
    Ok(())
}

fn mark(file: &Path) {
    let file = OpenOptions::new().append(true).create(true).open(file);
    file.and_then(|mut file| file.write_all(b"x"))
        .expect("the file can be written");
}

// ---- What the tests share -----------------------------------------------------------------------

fn options(workers: usize) -> Options {
    Options::new(workers).config(&SetUp::Fine)
}

fn start(options: Options) -> Workers {
    options.start().expect("the pool starts")
}

fn number(result: &TaskResult<Reply>) -> u64 {
    match result {
        Ok(Reply::Number(number)) => *number,
        other => panic!("not a number: {other:?}"),
    }
}

fn error(result: TaskResult<Reply>) -> TaskError {
    *result.expect_err("the task fails")
}

fn cause(result: TaskResult<Reply>) -> Cause {
    error(result).cause
}

/// A file that is not there, in a folder that goes with it.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Temp {
        Temp::of(process::id())
    }

    fn of(process: u32) -> Temp {
        let folder = env::temp_dir().join(format!("process-pool-test-{process}"));
        fs::create_dir_all(&folder).expect("a temp folder");
        Temp(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn marks(&self, name: &str) -> usize {
        fs::read(self.file(name)).map_or(0, |marks| marks.len())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn children() -> Vec<u32> {
    orphans::children(process::id())
}

/// A signal is on its way for a while; this comes back when it has arrived.
fn kill_and_see_dead(id: u32) {
    signal("KILL", id);
    wait_until("it is dead", || !running(id));
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The process of the one worker of a pool.
fn worker_of(pool: &Workers) -> u32 {
    number(&pool.call(&Task::Sleep(0))) as u32
}

// ---- Results ------------------------------------------------------------------------------------

fn map_keeps_the_order_of_the_tasks_with_any_chunk_size() {
    for size in [None, Some(1), Some(7), Some(100), Some(1000)] {
        let mut options = options(3);
        if let Some(size) = size {
            options = options.chunk_size(size);
        }
        let pool = start(options);
        for tasks in [0, 1, 2, 3, 100, 5000] {
            let results = pool.map((0..tasks).map(Task::Echo));
            let numbers: Vec<u64> = results.iter().map(number).collect();
            assert_eq!(numbers, (0..tasks).collect::<Vec<u64>>(), "{size:?}");
        }
    }
}

fn results_as_completed_carry_the_index_of_their_task() {
    let temp = Temp::new();
    // With a limit tasks go one by one: none waits behind the first.
    let pool = start(options(2).timeout(SOON));
    let mut tasks = vec![Task::AwaitFile(temp.file("go"))];
    tasks.extend((1..10).map(Task::Echo));
    let mut results = pool.map_unordered(tasks);
    assert_eq!(results.len(), 10);
    let mut order = Vec::new();
    while let Some((index, result)) = results.next() {
        assert!(index == 0 || number(&result) == index as u64);
        order.push(index);
        assert_eq!(results.len(), 10 - order.len());
        if order.len() == 9 {
            fs::write(temp.file("go"), "").expect("a temp file");
        }
    }
    assert_eq!(order.last(), Some(&0), "the slowest came last: {order:?}");
    assert_eq!(order.iter().collect::<HashSet<_>>().len(), 10);
}

fn an_error_or_a_panic_is_its_own_tasks_and_the_worker_lives_on() {
    let pool = start(options(1));
    let before = worker_of(&pool);
    let results = pool.map([
        Task::Echo(1),
        Task::Fail,
        Task::Die(Way::Panic),
        Task::Echo(2),
    ]);
    let [one, failed, panicked, two] = results.try_into().expect("four results");
    assert_eq!((number(&one), number(&two)), (1, 2));
    let failed = error(failed);
    assert_eq!(failed.to_string(), "task 1: it failed");
    assert_eq!(failed.attempts, 1);
    assert_eq!(error(panicked).to_string(), "task 2: panicked: on purpose");
    assert_eq!(worker_of(&pool), before);
}

fn a_task_without_a_serialised_form_is_an_error_and_the_pool_lives() {
    let pool = start(options(2).chunk_size(3));
    let bad = || Task::Unsendable(BTreeMap::from([((1, 2), 3)]));
    let results = pool.map([Task::Echo(0), bad(), Task::Echo(2), bad(), Task::Echo(4)]);
    for (index, result) in results.into_iter().enumerate() {
        if index % 2 == 0 {
            assert_eq!(number(&result), index as u64);
        } else {
            let error = error(result);
            assert!(matches!(error.cause, Cause::NotSerializable(_)), "{error}");
            assert_eq!((error.task, error.attempts), (Some(index), 0));
        }
    }
    assert!(matches!(
        cause(pool.call(&bad())),
        Cause::NotSerializable(_)
    ));
    assert_eq!(number(&pool.call(&Task::Echo(5))), 5);
}

fn a_result_without_a_serialised_form_is_an_error_of_its_task() {
    let pool = start(options(2).chunk_size(3));
    let results = pool.map([Task::Echo(0), Task::Unwritable, Task::Echo(2)]);
    let [zero, bad, two] = results.try_into().expect("three results");
    assert_eq!((number(&zero), number(&two)), (0, 2));
    let bad = error(bad).to_string();
    assert!(bad.contains("result cannot be sent"), "{bad}");
}

fn impossible_options_are_errors() {
    let refused = |options: Options| options.start::<Task, Reply>().err().expect("refused");
    assert!(refused(options(0)).to_string().contains("needs a worker"));
    assert!(
        refused(options(1).chunk_size(0))
            .to_string()
            .contains("chunk")
    );
    assert!(
        refused(options(1).max_tasks_per_worker(0))
            .to_string()
            .contains("task")
    );
    let missing = Command::new("/nowhere/to/be/found");
    assert!(
        refused(options(1).command(missing))
            .to_string()
            .contains("cannot start a worker")
    );
    assert!(children().is_empty());
}

// ---- Workers that die ---------------------------------------------------------------------------

fn how(way: Way) -> &'static str {
    match way {
        Way::Exit(0) => "exit code 0",
        Way::Exit(3) => "exit code 3",
        Way::Abort => "signal 6 (SIGABRT)",
        Way::Kill => "signal 9 (SIGKILL)",
        _ => panic!("not in the table"),
    }
}

fn a_worker_may_die_at_any_stage_and_in_any_way() {
    let stages: [fn(Way) -> Task; 4] = [
        |way| Task::DieReading(ReadTrap(way)),
        Task::Die,
        Task::DieWriting,
        Task::DieHalfWay,
    ];
    for (number_of, stage) in stages.into_iter().enumerate() {
        for way in [Way::Exit(0), Way::Exit(3), Way::Abort, Way::Kill] {
            let pool = start(options(2));
            let mut tasks: Vec<Task> = (0..20).map(Task::Echo).collect();
            tasks[7] = stage(way);
            let begin = Instant::now();
            for (index, result) in pool.map(tasks).into_iter().enumerate() {
                if index != 7 {
                    assert_eq!(number(&result), index as u64);
                    continue;
                }
                let error = error(result);
                assert_eq!(
                    (error.task, error.attempts),
                    (Some(7), 2),
                    "{way:?} {error}"
                );
                let Cause::WorkerDied { how: seen, .. } = &error.cause else {
                    panic!("stage {number_of}, {way:?}: {error}");
                };
                assert!(
                    seen.starts_with(how(way)),
                    "stage {number_of}, {way:?}: {error}"
                );
                assert_eq!(seen.contains("in the middle of a message"), number_of == 3);
            }
            assert!(begin.elapsed() < SOON);
        }
    }
}

fn a_worker_that_dies_after_its_answer_costs_nothing() {
    for way in [Way::Exit(0), Way::Exit(3), Way::Abort, Way::Kill] {
        // Held up, a worker may well die before its answer; hardly so many times in a row.
        let pool = start(options(1).retries(20));
        let mut tasks = vec![Task::DieAfterwards(way)];
        tasks.extend((1..100).map(Task::Echo));
        let results = pool.map(tasks);
        assert_eq!(
            results.iter().skip(1).map(number).sum::<u64>(),
            99 * 100 / 2
        );
        assert!(results[0].is_ok());
    }
}

fn a_panic_while_a_task_is_read_or_a_result_written_is_an_error_of_the_task() {
    let pool = start(options(1));
    let before = worker_of(&pool);
    for task in [
        Task::DieReading(ReadTrap(Way::Panic)),
        Task::DieWriting(Way::Panic),
    ] {
        let error = error(pool.call(&task)).to_string();
        assert!(error.contains("panicked: on purpose"), "{error}");
    }
    assert_eq!(worker_of(&pool), before);
}

fn a_killed_worker_is_noticed_within_a_second() {
    within_a_second("noticed", || {
        let temp = Temp::new();
        let pool = start(options(1).retries(0));
        let worker = worker_of(&pool);
        let spin = Task::Count(temp.file("begun"), Box::new(Task::Spin));
        thread::scope(|scope| {
            let call = scope.spawn(|| pool.call(&spin));
            wait_until("it is begun", || temp.marks("begun") == 1);
            let begin = Instant::now();
            signal("KILL", worker);
            let result = call.join().expect("no panic");
            assert!(matches!(cause(result), Cause::WorkerDied { .. }));
            begin.elapsed()
        })
    });
}

fn the_error_says_which_worker_died_and_how() {
    let pool = start(options(1).retries(0));
    for way in [Way::Exit(0), Way::Exit(3), Way::Abort, Way::Kill] {
        let id = worker_of(&pool);
        let error = error(pool.map([Task::Die(way)]).remove(0));
        let said = format!("task 0: worker {id} died of it: {}, attempts: 1", how(way));
        assert_eq!(error.to_string(), said);
        let Cause::WorkerDied { worker, .. } = error.cause else {
            panic!("not a death");
        };
        assert_eq!(worker, id);
    }
}

fn a_killed_worker_does_not_hang_map() {
    let pool = start(options(2).chunk_size(1));
    let mut results = pool.map_unordered([Task::Sleep(3000), Task::Sleep(3000), Task::Echo(2)]);
    wait_until("both workers are there", || children().len() == 2);
    let begin = Instant::now();
    signal("KILL", children()[0]);
    let mut seen: Vec<usize> = results
        .by_ref()
        .map(|(index, result)| {
            number(&result);
            index
        })
        .collect();
    seen.sort();
    assert_eq!(seen, [0, 1, 2]);
    assert!(begin.elapsed() < SOON);
}

fn a_task_whose_worker_dies_once_succeeds_in_the_second_attempt() {
    let temp = Temp::new();
    let pool = start(options(2));
    for (round, way) in [Way::Exit(0), Way::Abort, Way::Kill]
        .into_iter()
        .enumerate()
    {
        let in_call = Task::DieOnce(temp.file(&format!("call-{round}")), way);
        number(&pool.call(&in_call));
        let in_map = Task::DieOnce(temp.file(&format!("map-{round}")), way);
        pool.map([Task::Echo(1), in_map, Task::Echo(3)])
            .iter()
            .for_each(|result| {
                number(result);
            });
    }
}

fn retries_are_bounded_and_counted() {
    for retries in [0, 1, 3] {
        let temp = Temp::new();
        let pool = start(options(2).retries(retries));
        let poison = |name: &str| Task::Count(temp.file(name), Box::new(Task::Die(Way::Abort)));
        let called = error(pool.call(&poison("call")));
        assert_eq!(called.attempts, retries + 1);
        assert_eq!(temp.marks("call"), retries as usize + 1);
        let mapped = pool.map([poison("map")]).remove(0);
        assert_eq!(error(mapped).attempts, retries + 1);
        assert_eq!(temp.marks("map"), retries as usize + 1);
    }
}

// Without retries, an innocent task that is charged for another's deed would be lost here.

fn one_poison_task_in_a_large_chunk_is_found_and_the_others_complete() {
    let pool = start(options(2).chunk_size(500).retries(0));
    let mut tasks: Vec<Task> = (0..1000).map(Task::Echo).collect();
    tasks[321] = Task::Die(Way::Kill);
    let mut times_seen = vec![0; 1000];
    for (index, result) in pool.map_unordered(tasks) {
        times_seen[index] += 1;
        if index == 321 {
            assert!(matches!(cause(result), Cause::WorkerDied { .. }));
        } else {
            assert_eq!(number(&result), index as u64);
        }
    }
    assert_eq!(times_seen, vec![1; 1000]);
}

fn one_poison_task_among_many_frames_in_flight_is_found_and_the_others_complete() {
    let pool = start(options(2).chunk_size(1).retries(0));
    let mut tasks: Vec<Task> = (0..20_000).map(Task::Echo).collect();
    tasks[12_345] = Task::Die(Way::Exit(3));
    let mut seen = HashSet::new();
    for (index, result) in pool.map_unordered(tasks) {
        assert!(seen.insert(index), "{index} twice");
        if index == 12_345 {
            let error = error(result);
            assert_eq!((error.task, error.attempts), (Some(index), 1));
        } else {
            assert_eq!(number(&result), index as u64);
        }
    }
    assert_eq!(seen.len(), 20_000);
}

fn a_large_task_that_waits_behind_a_deadly_one_is_neither_lost_nor_charged() {
    let large = Task::Block("large".to_string(), Bytes::from(vec![1; 1 << 20]));
    for round in 0..5 {
        let pool = start(options(1).chunk_size(1).retries(0));
        let mut tasks: Vec<Task> = (0..200).map(Task::Echo).collect();
        tasks[100] = Task::Die(Way::Abort);
        tasks[101] = large.clone();
        for (index, result) in pool.map(tasks).into_iter().enumerate() {
            match index {
                100 => assert_eq!(error(result).attempts, 1, "round {round}"),
                101 => assert!(result.is_ok(), "round {round}"),
                _ => assert_eq!(number(&result), index as u64),
            }
        }
    }
}

fn tasks_that_all_kill_their_workers_are_all_reported() {
    let pool = start(options(2));
    for (index, result) in pool
        .map(vec![Task::Die(Way::Abort); 20])
        .into_iter()
        .enumerate()
    {
        let error = error(result);
        assert_eq!((error.task, error.attempts), (Some(index), 2));
    }
    assert_eq!(number(&pool.call(&Task::Echo(1))), 1);
}

fn a_crash_while_a_large_task_is_being_written_does_not_hang() {
    let pool = start(options(1));
    let worker = worker_of(&pool);
    signal("STOP", worker);
    let block = Bytes::from(vec![1; 8 << 20]);
    thread::scope(|scope| {
        let call = scope.spawn(|| pool.call(&Task::Block("large".to_string(), block.clone())));
        // More than the socket takes: it is being written for as long as the worker is stopped.
        thread::sleep(Duration::from_millis(200));
        assert!(!call.is_finished());
        signal("KILL", worker);
        let result = call.join().expect("no panic");
        assert_eq!(result, Ok(Reply::Block("large".to_string(), block.clone())));
    });
    assert_ne!(worker_of(&pool), worker);
}

fn a_worker_that_says_something_else_than_an_answer_is_replaced() {
    let head = |length: u32| [b"POOL", &length.to_le_bytes()[..], &[0; 8]].concat();
    let frame = |text: &str| [&head(text.len() as u32), text.as_bytes()].concat();
    let says = [
        (b"hello, I am a worker".to_vec(), "not a message"),
        (head(u32::MAX), "more than the"),
        (frame("{\"Ok\""), "cannot be read: EOF"),
        (frame("true"), "cannot be read"),
        (frame("{\"Ok\":[[],[]]}"), "does not fit"),
        (
            frame("{\"Ok\":[[{\"Block\":[\"x\",7]}],[]]}"),
            "bytes are missing",
        ),
    ];
    let pool = start(options(1).retries(0));
    for (bytes, complaint) in says {
        let before = worker_of(&pool);
        let error = error(pool.call(&Task::Say(bytes)));
        let Cause::Protocol { worker, what } = &error.cause else {
            panic!("{error}");
        };
        assert_eq!(*worker, before);
        assert!(what.contains(complaint), "{error}");
        assert!(!running(before));
    }
}

fn a_dead_worker_is_noticed_although_its_child_holds_the_channel() {
    let pool = start(options(1).retries(0));
    let Cause::WorkerDied { how, .. } = cause(pool.call(&Task::LeaveAChild)) else {
        panic!("not a death");
    };
    assert_eq!(how, "exit code 7");
}

fn an_idle_worker_that_is_killed_is_replaced_before_anyone_asks() {
    let pool = start(options(2));
    let before = children();
    assert_eq!(before.len(), 2);
    signal("KILL", before[0]);
    wait_until("a replacement", || {
        let now = children();
        now.len() == 2 && !now.contains(&before[0]) && now.contains(&before[1])
    });
    // Neither does it cost anybody an attempt.
    assert_eq!(number(&pool.call(&Task::Echo(1))), 1);
}

fn an_idle_workers_death_costs_no_attempt() {
    let pool = start(options(1).retries(0));
    for n in 0..20 {
        kill_and_see_dead(worker_of(&pool));
        assert_eq!(number(&pool.call(&Task::Echo(n))), n);
    }
}

// ---- Time-outs ----------------------------------------------------------------------------------

fn a_task_over_its_time_is_given_up_and_its_worker_replaced() {
    let pool = start(options(2).timeout(Duration::from_secs(2)));
    let begin = Instant::now();
    let mut tasks: Vec<Task> = (0..10).map(Task::Echo).collect();
    tasks[2] = Task::Spin;
    tasks[5] = Task::Die(Way::Stop);
    for (index, result) in pool.map(tasks).into_iter().enumerate() {
        if index == 2 || index == 5 {
            let error = error(result);
            let Cause::TimedOut { worker, .. } = error.cause else {
                panic!("{error}");
            };
            assert!(!running(worker));
        } else {
            assert_eq!(number(&result), index as u64);
        }
    }
    assert!(matches!(
        cause(pool.call(&Task::Spin)),
        Cause::TimedOut { .. }
    ));
    assert_eq!(number(&pool.call(&Task::Echo(1))), 1);
    assert!(begin.elapsed() < SOON);
}

// ---- Set-up and replacement ---------------------------------------------------------------------

fn a_worker_is_set_up_once_with_what_the_parent_sends() {
    let temp = Temp::new();
    let marked = SetUp::Marked(temp.file("set-up"), Box::new(SetUp::Number(100)));
    let pool = start(options(1).config(&marked));
    let results = pool.map(vec![Task::State; 5]);
    let numbers: Vec<u64> = results.iter().map(number).collect();
    assert_eq!(numbers, [101, 102, 103, 104, 105]);
    assert_eq!(temp.marks("set-up"), 1);
}

fn a_replacement_is_set_up_like_the_first() {
    let temp = Temp::new();
    let marked = SetUp::Marked(temp.file("set-up"), Box::new(SetUp::Number(100)));
    let pool = start(options(1).config(&marked).retries(0));
    let first = worker_of(&pool);
    assert_eq!(number(&pool.call(&Task::State)), 101);
    assert_eq!(number(&pool.call(&Task::State)), 102);
    kill_and_see_dead(first);
    assert_eq!(number(&pool.call(&Task::State)), 101);
    assert_eq!(temp.marks("set-up"), 2);
}

fn a_failing_set_up_is_one_clear_error_and_no_respawning_without_end() {
    let cases = [
        (SetUp::Fail, "set-up failed: no licence found"),
        (SetUp::Die(Way::Panic), "set-up panicked: on purpose"),
        (SetUp::Die(Way::Exit(3)), "exit code 3"),
        (SetUp::Die(Way::Kill), "signal 9 (SIGKILL)"),
    ];
    for (case, (set_up, complaint)) in cases.into_iter().enumerate() {
        let temp = Temp::new();
        let marked = SetUp::Marked(temp.file(&case.to_string()), Box::new(set_up));
        let error = options(4).config(&marked).start::<Task, Reply>().err();
        let error = error.expect("it does not start").to_string();
        assert!(error.contains(complaint), "{error}");
        assert!(temp.marks(&case.to_string()) <= 4);
        assert!(children().is_empty());
    }
}

fn a_set_up_that_hangs_is_ended_at_its_limit() {
    let stuck = options(2).config(&SetUp::Die(Way::Stop));
    let error = stuck
        .start_limit(Duration::from_millis(200))
        .start::<Task, Reply>()
        .err();
    assert!(
        error
            .expect("it does not start")
            .to_string()
            .contains("too long")
    );
    assert!(children().is_empty());
}

fn a_pool_whose_workers_cannot_be_replaced_says_so_and_stops_trying() {
    let temp = Temp::new();
    let needed = temp.file("needed");
    fs::write(&needed, "").expect("a temp file");
    let marked = SetUp::Marked(
        temp.file("starts"),
        Box::new(SetUp::FailWithout(needed.clone())),
    );
    let pool = start(options(2).config(&marked));
    fs::remove_file(needed).expect("it is there");
    for result in pool.map(vec![Task::Die(Way::Kill); 20]) {
        match cause(result) {
            Cause::Broken(reason) => assert!(reason.contains("set-up failed"), "{reason}"),
            Cause::WorkerDied { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let broken = error(pool.call(&Task::Echo(1))).to_string();
    assert!(
        broken.contains("the pool is broken: a worker's set-up failed"),
        "{broken}"
    );
    // Long enough for the housekeeper to have tried again several times.
    thread::sleep(Duration::from_millis(1000));
    let starts = temp.marks("starts");
    assert!(starts < 10, "{starts} starts");
}

fn workers_retire_after_their_share_and_the_backlog_completes() {
    let pool = start(options(2).max_tasks_per_worker(3));
    let results = pool.map(vec![Task::Sleep(0); 31]);
    let mut shares = BTreeMap::new();
    for result in &results {
        *shares.entry(number(result)).or_insert(0) += 1;
    }
    assert!(shares.values().all(|share| *share <= 3), "{shares:?}");
    assert!(shares.len() >= 11);
    let called: HashSet<u64> = (0..6)
        .map(|_| number(&pool.call(&Task::Sleep(0))))
        .collect();
    assert!(called.len() >= 2);
    wait_until("the retired are gone", || children().len() <= 2);
}

// ---- Large things and stray ones ----------------------------------------------------------------

fn an_answer_that_comes_byte_by_byte_is_an_answer() {
    let pool = start(options(1).retries(0));
    let text = br#"{"Ok":[[{"Block":["x",0]}],[]]}"#;
    let head = [
        b"POOL",
        &(text.len() as u32).to_le_bytes()[..],
        &[1, 0, 0, 0],
    ]
    .concat();
    let frame = [&head, &[0; 4][..], &[3, 0, 0, 0], text, b"abc"].concat();
    let reply = Reply::Block("x".to_string(), b"abc".to_vec().into());
    assert_eq!(pool.call(&Task::Dribble(frame)), Ok(reply));
}

fn a_worker_that_is_interrupted_while_it_reads_or_writes_loses_nothing() {
    let pool = start(options(1).config(&SetUp::Interruptible).retries(0));
    let worker = worker_of(&pool);
    let interrupt = || {
        signal("STOP", worker);
        wait_until("it is stopped", || stat(worker)[0] == "T");
        signal("CONT", worker);
    };
    for n in 0..10 {
        wait_until("it waits for a task", || stat(worker)[0] == "S");
        interrupt();
        assert_eq!(number(&pool.call(&Task::Echo(n))), n);
    }
    let block = |n: usize| Task::Block(n.to_string(), Bytes::from(vec![n as u8; 2_000_000]));
    for (n, result) in pool.map_unordered((0..30).map(block)) {
        interrupt();
        let bytes = Bytes::from(vec![n as u8; 2_000_000]);
        assert!(result == Ok(Reply::Block(n.to_string(), bytes)), "task {n}");
    }
    assert_eq!(worker_of(&pool), worker);
}

fn a_payload_of_100_mb_goes_both_ways() {
    let pool = start(options(2));
    let block: Vec<u8> = (0..100_000_000u32).map(|n| (n % 251) as u8).collect();
    let block = Bytes::from(block);
    let reply = pool.call(&Task::Block("one".to_string(), block.clone()));
    assert_eq!(reply, Ok(Reply::Block("one".to_string(), block)));
}

fn many_large_payloads_beside_small_ones_do_not_deadlock() {
    let pool = start(options(2).chunk_size(1));
    let size = |n: u32| if n.is_multiple_of(50) { 3_000_000 } else { 10 };
    let block = |n: u32| Bytes::from(vec![n as u8; size(n)]);
    let results = pool.map((0..400).map(|n| Task::Block(n.to_string(), block(n))));
    for (n, result) in (0..).zip(results) {
        assert_eq!(result, Ok(Reply::Block(n.to_string(), block(n))));
    }
}

fn json_text_of_20_mb_goes_both_ways() {
    let pool = start(options(1));
    let text = "text ".repeat(4_000_000);
    let reply = pool.call(&Task::Block(text.clone(), Bytes::default()));
    assert!(reply == Ok(Reply::Block(text, Bytes::default())));
}

fn prints_of_a_task_do_not_disturb_the_answers() {
    let pool = start(options(2).chunk_size(1));
    let before: HashSet<u32> = children().into_iter().collect();
    for result in pool.map(vec![Task::Print; 50]) {
        assert!(before.contains(&(number(&result) as u32)));
    }
}

// ---- Ends ---------------------------------------------------------------------------------------

fn a_hundred_pools_leave_no_process_and_no_open_file() {
    let files = || {
        fs::read_dir("/proc/self/fd")
            .expect("/proc is there")
            .count()
    };
    let use_a_pool = |round: u64| {
        let pool = start(options(2));
        if round.is_multiple_of(3) {
            let _ = pool.call(&Task::Die(Way::Abort));
        }
        assert_eq!(number(&pool.call(&Task::Echo(round))), round);
        if round.is_multiple_of(2) {
            pool.shut_down();
        }
    };
    use_a_pool(0);
    let before = files();
    (0..100).for_each(use_a_pool);
    assert!(children().is_empty());
    assert_eq!(files(), before);
}

fn dropping_the_iterator_cancels_what_has_not_begun() {
    let temp = Temp::new();
    let pool = start(options(2).chunk_size(1));
    let slow = Task::Count(temp.file("begun"), Box::new(Task::Sleep(50)));
    let mut results = pool.map_unordered(vec![slow; 100]);
    number(&results.next().expect("a result").1);
    drop(results);
    assert_eq!(number(&pool.call(&Task::Echo(1))), 1);
    pool.shut_down();
    let begun = temp.marks("begun");
    assert!(begun < 90, "{begun} tasks were begun");
}

fn dropping_the_pool_in_the_middle_of_a_map_reports_the_rest_as_cancelled() {
    let pool = start(options(2).chunk_size(1));
    let mut results = pool.map_unordered((0..100).map(|n| {
        if n < 5 {
            Task::Echo(n)
        } else {
            Task::Sleep(10_000)
        }
    }));
    let first = results.next().expect("a result");
    number(&first.1);
    let begin = Instant::now();
    drop(pool);
    assert!(
        begin.elapsed() < Duration::from_secs(9),
        "it waited for the tasks"
    );
    assert!(children().is_empty());
    let rest: Vec<_> = results.collect();
    assert_eq!(rest.len(), 99);
    let cancelled = rest.into_iter().filter_map(|(_, result)| result.err());
    let causes: Vec<Cause> = cancelled.map(|error| error.cause).collect();
    assert!(causes.len() >= 95);
    assert!(
        causes.iter().all(|cause| *cause == Cause::Cancelled),
        "{causes:?}"
    );
}

fn kill_ends_all_at_once_and_later_tasks_are_refused() {
    let temp = Temp::new();
    let pool = start(options(2));
    let spin = |name: &str| Task::Count(temp.file(name), Box::new(Task::Spin));
    thread::scope(|scope| {
        let blocked = scope.spawn(|| pool.call(&spin("call")));
        wait_until("the call is begun", || temp.marks("call") == 1);
        let waiting = scope.spawn(|| pool.map(vec![spin("map"); 4]));
        wait_until("the map is begun", || temp.marks("map") == 1);
        pool.kill();
        assert_eq!(cause(blocked.join().expect("no panic")), Cause::Cancelled);
        for result in waiting.join().expect("no panic") {
            assert_eq!(cause(result), Cause::Cancelled);
        }
    });
    assert_eq!(cause(pool.call(&Task::Echo(1))), Cause::Cancelled);
    assert!(children().is_empty());
}

fn shut_down_waits_for_what_has_been_given() {
    let temp = Temp::new();
    let pool = start(options(2));
    let slow = Task::Count(temp.file("done"), Box::new(Task::Sleep(20)));
    let results = pool.map_unordered(vec![slow; 50]);
    pool.shut_down();
    assert_eq!(temp.marks("done"), 50);
    let answered: Vec<u64> = results.map(|(_, result)| number(&result)).collect();
    assert_eq!(answered.len(), 50);
    assert!(children().is_empty());
}

fn a_crash_during_shut_down_does_not_hang() {
    let pool = start(options(2));
    let results = pool.map_unordered(vec![Task::Die(Way::Kill); 6]);
    pool.shut_down();
    assert_eq!(results.filter(|(_, result)| result.is_err()).count(), 6);
    assert!(children().is_empty());
}

fn two_pools_at_once_do_not_disturb_each_other() {
    let (one, two) = (
        start(options(2)),
        start(options(2).config(&SetUp::Number(1000))),
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            for result in one.map(vec![Task::Die(Way::Abort); 5]) {
                error(result);
            }
        });
        scope.spawn(|| {
            for (index, result) in two.map((0..1000).map(Task::Echo)).iter().enumerate() {
                assert_eq!(number(result), index as u64);
            }
        });
    });
    drop(one);
    assert!(number(&two.call(&Task::State)) > 1000);
}

fn a_call_does_not_wait_for_the_end_of_a_long_map() {
    let pool = start(options(1).chunk_size(1));
    let temp = Temp::new();
    let slow = Task::Count(temp.file("begun"), Box::new(Task::Sleep(20)));
    let mut results = pool.map_unordered(vec![slow; 100]);
    results.next();
    assert_eq!(number(&pool.call(&Task::Echo(1))), 1);
    let begun = temp.marks("begun");
    assert!(begun < 100, "the map was over first");
    let answered: Vec<u64> = results.map(|(_, result)| number(&result)).collect();
    assert_eq!(answered.len(), 99);
}

fn many_threads_share_a_pool() {
    let pool = start(options(2));
    thread::scope(|scope| {
        for caller in 0..8 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..200 {
                    assert_eq!(number(&pool.call(&Task::Echo(caller * n))), caller * n);
                }
            });
        }
    });
}

fn workers_are_out_of_reach_of_the_terminals_ctrl_c() {
    let pool = start(options(1));
    assert_eq!(
        number(&pool.call(&Task::Group)),
        u64::from(worker_of(&pool))
    );
}

/// The parent of the next test: two of its four workers are busy for ever.
fn parent_with_busy_and_idle_workers() {
    let temp = Temp::new();
    let pool = start(options(4).chunk_size(1));
    let spin = Task::Count(temp.file("busy"), Box::new(Task::Spin));
    let _results = pool.map_unordered(vec![spin; 2]);
    wait_until("two are busy", || temp.marks("busy") == 2);
    println!("ready");
    thread::sleep(Duration::from_secs(60));
}

fn busy_and_idle_workers_of_a_killed_parent_end_within_a_second() {
    within_a_second("their end", || {
        let (mut parent, workers) = orphans::meet(4, || {
            let mut parent = Command::new(env::current_exe().expect("a program has a path"));
            parent.args(["--exact", "parent_with_busy_and_idle_workers"]);
            let mut parent = parent.stdout(Stdio::piped()).spawn().expect("it starts");
            let said = BufReader::new(parent.stdout.as_mut().expect("a pipe")).lines();
            let ready = said.map_while(Result::ok).find(|line| line == "ready");
            ready.expect("two are busy");
            parent
        });
        // It cannot remove its files itself.
        let _temp = Temp::of(parent.id());
        orphans::time_to_end("KILL", &mut parent, &workers)
    });
}

/// Leads a worker, too, to where the program starts its pool.
fn forgetful(starts: &Path) -> Options {
    let mut again = Command::new(env::current_exe().expect("a program has a path"));
    again.args(["--exact", "main_that_forgets_to_serve"]);
    again.env(FORGETFUL, starts);
    options(4).command(again)
}

fn main_that_forgets_to_serve() {
    let starts = PathBuf::from(env::var_os(FORGETFUL).expect("set by the next test"));
    mark(&starts);
    // Without end this would stop the whole machine: then the test is to be red, no more.
    if fs::metadata(&starts).is_ok_and(|starts| starts.len() > 50) {
        process::exit(3);
    }
    if let Err(error) = forgetful(&starts).start::<Task, Reply>() {
        eprintln!("error: {error}");
        process::exit(1);
    }
}

fn a_main_that_forgets_to_serve_is_one_error_and_no_fork_bomb() {
    let temp = Temp::new();
    let pool = forgetful(&temp.file("starts")).start::<Task, Reply>();
    let error = pool.err().expect("it does not start").to_string();
    let said = "a worker ended before it was ready: exit code 1; \
                does main call serve_if_worker first?";
    assert_eq!(error, said);
    assert!(children().is_empty());
    let starts = temp.marks("starts");
    assert!((1..=4).contains(&starts), "{starts} starts");
}

fn a_worker_cannot_start_a_pool() {
    let mut again = Command::new(env::current_exe().expect("a program has a path"));
    again.args(["--exact", "parent_with_busy_and_idle_workers"]);
    for value in ["", "0", "1", "parent", "-1"] {
        again.env("PROCESS_POOL_PARENT", value);
        let output = again
            .stdin(Stdio::null())
            .output_in_time()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{value:?}");
        assert_eq!(output.stdout, b"");
    }
}

// ---- A harness: each test in a process of its own -----------------------------------------------

macro_rules! tests {
    ($($name:ident)*) => {
        const TESTS: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

tests! {
    map_keeps_the_order_of_the_tasks_with_any_chunk_size
    results_as_completed_carry_the_index_of_their_task
    an_error_or_a_panic_is_its_own_tasks_and_the_worker_lives_on
    a_task_without_a_serialised_form_is_an_error_and_the_pool_lives
    a_result_without_a_serialised_form_is_an_error_of_its_task
    impossible_options_are_errors
    a_worker_may_die_at_any_stage_and_in_any_way
    a_worker_that_dies_after_its_answer_costs_nothing
    a_panic_while_a_task_is_read_or_a_result_written_is_an_error_of_the_task
    a_killed_worker_is_noticed_within_a_second
    the_error_says_which_worker_died_and_how
    a_killed_worker_does_not_hang_map
    a_task_whose_worker_dies_once_succeeds_in_the_second_attempt
    retries_are_bounded_and_counted
    one_poison_task_in_a_large_chunk_is_found_and_the_others_complete
    one_poison_task_among_many_frames_in_flight_is_found_and_the_others_complete
    a_large_task_that_waits_behind_a_deadly_one_is_neither_lost_nor_charged
    tasks_that_all_kill_their_workers_are_all_reported
    a_crash_while_a_large_task_is_being_written_does_not_hang
    a_worker_that_says_something_else_than_an_answer_is_replaced
    a_dead_worker_is_noticed_although_its_child_holds_the_channel
    an_idle_worker_that_is_killed_is_replaced_before_anyone_asks
    an_idle_workers_death_costs_no_attempt
    a_task_over_its_time_is_given_up_and_its_worker_replaced
    a_worker_is_set_up_once_with_what_the_parent_sends
    a_replacement_is_set_up_like_the_first
    a_failing_set_up_is_one_clear_error_and_no_respawning_without_end
    a_set_up_that_hangs_is_ended_at_its_limit
    a_pool_whose_workers_cannot_be_replaced_says_so_and_stops_trying
    workers_retire_after_their_share_and_the_backlog_completes
    an_answer_that_comes_byte_by_byte_is_an_answer
    a_worker_that_is_interrupted_while_it_reads_or_writes_loses_nothing
    a_payload_of_100_mb_goes_both_ways
    many_large_payloads_beside_small_ones_do_not_deadlock
    json_text_of_20_mb_goes_both_ways
    prints_of_a_task_do_not_disturb_the_answers
    a_hundred_pools_leave_no_process_and_no_open_file
    dropping_the_iterator_cancels_what_has_not_begun
    dropping_the_pool_in_the_middle_of_a_map_reports_the_rest_as_cancelled
    kill_ends_all_at_once_and_later_tasks_are_refused
    shut_down_waits_for_what_has_been_given
    a_crash_during_shut_down_does_not_hang
    two_pools_at_once_do_not_disturb_each_other
    a_call_does_not_wait_for_the_end_of_a_long_map
    many_threads_share_a_pool
    workers_are_out_of_reach_of_the_terminals_ctrl_c
    busy_and_idle_workers_of_a_killed_parent_end_within_a_second
    a_main_that_forgets_to_serve_is_one_error_and_no_fork_bomb
    a_worker_cannot_start_a_pool
}

fn main() -> ExitCode {
    if env::var_os(FORGETFUL).is_none() {
        pool::serve_with_set_up_if_worker(set_up, perform);
    }

    if !cfg!(target_os = "linux") {
        println!("these tests look at their children in /proc, which this system does not have");
        return ExitCode::SUCCESS;
    }
    // The formats of the list differ in a line that nobody needs.
    let arguments = env::args().skip(1);
    let arguments: Vec<String> = arguments.filter(|word| word != "terse").collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let words: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    if has("--exact") && words.len() == 1 {
        let name = words[0].as_str();
        let parents: [(&str, fn()); 2] = [
            (
                "parent_with_busy_and_idle_workers",
                parent_with_busy_and_idle_workers,
            ),
            ("main_that_forgets_to_serve", main_that_forgets_to_serve),
        ];
        let (_, test) = TESTS
            .iter()
            .chain(&parents)
            .find(|test| test.0 == name)
            .expect("a test's name");
        watch(name);
        test();
        return ExitCode::SUCCESS;
    }
    let chosen = |test: &&(&str, fn())| {
        words.is_empty() || words.iter().any(|word| test.0.contains(word.as_str()))
    };
    let chosen = TESTS.iter().filter(chosen).filter(|_| !has("--ignored"));
    let names: Vec<&str> = chosen.map(|test| test.0).collect();
    if has("--list") {
        names.iter().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    run(&names)
}

/// A test that hangs is a failed one, whoever runs it.
fn watch(test: &str) {
    let test = test.to_string();
    thread::spawn(move || {
        thread::sleep(4 * SOON);
        eprintln!("{test} hangs");
        process::exit(1);
    });
}

fn run(names: &[&str]) -> ExitCode {
    println!("\nrunning {} tests", names.len());
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    let mut failed = 0;
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut test = Command::new(env::current_exe().expect("a program has a path"));
                    let test = test.args(["--exact", name]).stdin(Stdio::null());
                    let _ = sender.send((name, test.output_in_time()));
                }
            });
        }
        drop(sender);
        for (name, output) in results {
            match output {
                Ok(output) if output.status.success() => println!("test {name} ... ok"),
                output => {
                    failed += 1;
                    println!("test {name} ... FAILED");
                    if let Ok(output) = output {
                        println!("{}", String::from_utf8_lossy(&output.stdout));
                        println!("{}", String::from_utf8_lossy(&output.stderr));
                    }
                }
            }
        }
    });
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let passed = names.len() - failed;
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; \
         0 ignored; 0 measured; 0 filtered out\n"
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(101)
    }
}
