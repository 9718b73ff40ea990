//! The broker, with real processes as its producers and consumers.

#[path = "../src/broker.rs"]
#[allow(dead_code, reason = "the workers' side runs in the program")]
mod broker;
#[path = "../src/frame.rs"]
mod frame;
#[path = "../src/owned.rs"]
mod owned;

use std::collections::BTreeMap;
use std::io;
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use broker::{Event, Plan};
use serde::{Deserialize, Serialize};

/// Against hangs only.
const LIMIT: Duration = Duration::from_secs(100);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Item {
    producer: usize,
    number: u32,
    deadly: u32,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "it is only printed")]
struct Counted {
    primes: u32,
    by: u32,
}

type News = Event<Item, Counted>;

/// A test that hangs is a failed one, whoever runs it.
struct Watchdog(#[allow(dead_code, reason = "dropped at the end of the test")] Sender<()>);

impl Watchdog {
    fn new() -> Watchdog {
        let (alive, ended) = mpsc::channel();
        let test = thread::current().name().unwrap_or("a test").to_string();
        thread::spawn(move || {
            if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} hangs");
                process::exit(1);
            }
        });
        Watchdog(alive)
    }
}

fn worker(role: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_process-queue"));
    // Not the test's own stderr: a worker that aborts on purpose has something to say there.
    command
        .env("PROCESS_QUEUE_ROLE", role)
        .stderr(Stdio::null());
    command
}

fn plan<'a>(producers: &[&str], consumer: &'a (dyn Fn() -> Command + Sync)) -> Plan<'a> {
    Plan {
        producers: producers.iter().map(|role| worker(role)).collect(),
        consumers: 3,
        consumer,
        capacity: 4,
        attempts: 3,
    }
}

#[derive(Debug, Default)]
struct Account {
    done: BTreeMap<(usize, u32), usize>,
    given_up: Vec<(Item, String)>,
    given_back: Vec<String>,
    failed_producers: Vec<(usize, String)>,
    most_on_their_way: isize,
}

/// Runs the plan to its end and counts what happened. `look` sees everything first.
fn account(plan: Plan, mut look: impl FnMut(&News)) -> io::Result<Account> {
    let _watchdog = Watchdog::new();
    let mut account = Account::default();
    let mut on_their_way = 0;
    broker::run(plan, |event: News| {
        look(&event);
        match event {
            Event::Put => on_their_way += 1,
            Event::Full { .. } => {}
            Event::ProducerFailed { producer, why } => {
                account.failed_producers.push((producer, why))
            }
            Event::Done { item, .. } => {
                on_their_way -= 1;
                *account
                    .done
                    .entry((item.producer, item.number))
                    .or_default() += 1;
            }
            Event::GivenBack { why, .. } => account.given_back.push(why),
            Event::GivenUp { item, why } => {
                on_their_way -= 1;
                account.given_up.push((item, why));
            }
        }
        account.most_on_their_way = account.most_on_their_way.max(on_their_way);
    })?;
    assert_eq!(on_their_way, 0, "{account:?}");
    Ok(account)
}

impl Account {
    fn each_once(&self, producers: usize, items: u32) -> bool {
        let all = (1..=producers).flat_map(|producer| (1..=items).map(move |n| ((producer, n), 1)));
        self.done.clone().into_iter().eq(all)
    }
}

/// Python's workers took results for items in 9 of 20 runs. Here there are as many results as
/// items, and what comes back is of another type than what is handed out.
#[test]
fn each_item_has_one_result_and_no_result_is_an_item() -> io::Result<()> {
    let consumer = || worker("consume");
    let seen = account(
        plan(&["produce 1 10 0", "produce 2 10 0"], &consumer),
        |_| (),
    )?;
    assert!(seen.each_once(2, 10), "{seen:?}");
    assert!(
        seen.given_back.is_empty() && seen.given_up.is_empty(),
        "{seen:?}"
    );
    assert!(seen.most_on_their_way <= 4 + 3, "{seen:?}");
    Ok(())
}

/// With one sentinel for two consumers, one of Python's waited for ever.
#[test]
fn the_end_reaches_every_consumer() -> io::Result<()> {
    let consumer = || worker("consume");
    for (consumers, producers) in [(1, 3), (5, 1), (2, 0)] {
        let roles: Vec<String> = (1..=producers)
            .map(|n| format!("produce {n} 2 0"))
            .collect();
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let mut plan = plan(&roles, &consumer);
        plan.consumers = consumers;
        let seen = account(plan, |_| ())?;
        assert!(seen.each_once(producers, 2), "{seen:?}");
    }
    Ok(())
}

#[test]
fn no_consumers_are_an_error_not_a_hang() {
    let consumer = || worker("consume");
    let mut plan = plan(&["produce 1 2 0"], &consumer);
    plan.consumers = 0;
    let error = account(plan, |_| ()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
#[cfg(unix)]
fn the_item_of_a_dead_consumer_is_given_to_another_and_reported() -> io::Result<()> {
    let consumer = || worker("consume");
    let seen = account(plan(&["produce 1 10 2"], &consumer), |_| ())?;
    assert!(seen.each_once(1, 10), "{seen:?}");
    assert_eq!(seen.given_back.len(), 2, "{seen:?}");
    for why in &seen.given_back {
        assert!(why.ends_with("ended: signal 6 (SIGABRT)"), "{why}");
    }
    Ok(())
}

#[test]
fn an_item_that_kills_every_consumer_is_given_up_and_the_others_are_done() -> io::Result<()> {
    let consumer = || worker("consume");
    let seen = account(plan(&["produce 1 10 99"], &consumer), |_| ())?;
    assert_eq!((seen.done.len(), seen.given_back.len()), (9, 2), "{seen:?}");
    let [(item, _)] = &seen.given_up[..] else {
        panic!("{seen:?}");
    };
    assert_eq!((item.producer, item.number), (1, 5));
    Ok(())
}

/// Killed at any moment: idle, with an item, or just done with one.
#[test]
#[cfg(target_os = "linux")]
fn whichever_consumers_are_killed_nothing_is_lost_and_nothing_twice() -> io::Result<()> {
    let mark = "PROCESS_QUEUE_TEST_MARK";
    let consumer = || {
        let mut consumer = worker("consume");
        consumer.env(mark, "1");
        consumer
    };
    let kill_one = || {
        let children = std::fs::read_dir("/proc/self/task").unwrap();
        let children: String = children
            .map(|thread| thread.unwrap().path().join("children"))
            .map(|list| std::fs::read_to_string(list).unwrap_or_default())
            .collect();
        let ours = |id: &&str| {
            let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(mark)
        };
        if let Some(id) = children.split_whitespace().find(ours) {
            Command::new("sh")
                .args(["-c", &format!("kill -9 {id}")])
                .status()
                .unwrap();
        }
    };
    let mut plan = plan(&["produce 1 10 0", "produce 2 10 0"], &consumer);
    plan.attempts = 1000;
    let seen = account(plan, |event| {
        if matches!(event, Event::Done { .. }) {
            kill_one();
        }
    })?;
    assert!(seen.each_once(2, 10), "{seen:?}");
    assert!(!seen.given_back.is_empty(), "{seen:?}");
    for why in &seen.given_back {
        assert!(why.ends_with("ended: signal 9 (SIGKILL)"), "{why}");
    }
    Ok(())
}

/// No consumer works before the queue has been full.
#[test]
#[cfg(unix)]
fn producers_wait_while_the_queue_is_full() -> io::Result<()> {
    let go = std::env::temp_dir().join(format!("process-queue-{}", std::process::id()));
    let consumer = || {
        let mut consumer = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_process-queue");
        let wait =
            "while ! test -e \"$0\"; do kill -0 $PPID && sleep 0.01 || exit; done; exec \"$1\"";
        consumer.args(["-c", wait]).arg(&go).arg(program);
        consumer.env("PROCESS_QUEUE_ROLE", "consume");
        consumer
    };
    let mut plan = plan(&["produce 1 10 0"], &consumer);
    (plan.consumers, plan.capacity) = (1, 2);
    let (mut put, mut put_when_full) = (0, None);
    let seen = account(plan, |event| {
        match event {
            Event::Put => put += 1,
            Event::Full { .. } => put_when_full = put_when_full.or(Some(put)),
            _ => {}
        }
        if put_when_full.is_some() || put == 10 {
            std::fs::write(&go, "").unwrap();
        }
    })?;
    std::fs::remove_file(&go)?;
    // Two in the queue, and perhaps one in the consumer's hands.
    assert!(matches!(put_when_full, Some(2 | 3)), "{put_when_full:?}");
    assert!(
        seen.each_once(1, 10) && seen.most_on_their_way <= 3,
        "{seen:?}"
    );
    Ok(())
}

/// In Python a bare `except` took such an error for the end of the queue and hid it; and then the
/// program hung at its exit, with items that nobody took any more.
#[test]
fn consumers_that_talk_nonsense_or_do_not_start_end_every_item_with_a_reason() -> io::Result<()> {
    let other_type = || worker("produce 1 1 0");
    let exits = || worker("no such role");
    let missing = || Command::new("/no/such/program");
    type Start<'a> = &'a (dyn Fn() -> Command + Sync);
    let cases: [(Start, &str); 3] = [
        (&other_type, "was ended: a malformed message"),
        (&exits, "ended: exit code 1"),
        (&missing, "os error"),
    ];
    for (consumer, reason) in cases {
        let seen = account(plan(&["produce 1 4 0"], consumer), |_| ())?;
        assert_eq!((seen.done.len(), seen.given_up.len()), (0, 4), "{seen:?}");
        for (_, why) in &seen.given_up {
            assert!(why.contains(reason), "{why}");
        }
    }
    Ok(())
}

#[test]
fn a_failed_producer_is_reported_and_the_others_go_on() -> io::Result<()> {
    let consumer = || worker("consume");
    let seen = account(plan(&["produce 1 3 0", "no such role"], &consumer), |_| ())?;
    assert!(seen.each_once(1, 3), "{seen:?}");
    let [(2, why)] = &seen.failed_producers[..] else {
        panic!("{seen:?}");
    };
    assert!(why.ends_with("ended: exit code 1"), "{why}");
    Ok(())
}

/// The first item is whole, the second breaks off.
#[test]
#[cfg(unix)]
fn a_producer_that_dies_in_mid_item_loses_that_one_and_says_so() -> io::Result<()> {
    let consumer = || worker("consume");
    let mut plan = plan(&[], &consumer);
    let mut producer = Command::new("sh");
    let item = r#"{"producer":1,"number":1,"deadly":0}"#;
    let frame = r"\001\044\000\000\000";
    producer.args(["-c", &format!("printf '{frame}{item}{frame}{{'; exit 3")]);
    plan.producers.push(producer);
    let seen = account(plan, |_| ())?;
    assert!(seen.each_once(1, 1), "{seen:?}");
    let [(1, why)] = &seen.failed_producers[..] else {
        panic!("{seen:?}");
    };
    assert!(why.ends_with("ended: exit code 3"), "{why}");
    Ok(())
}

/// A late or second answer must not pass for the answer to the next item.
#[test]
#[cfg(unix)]
fn an_answer_to_another_delivery_is_no_result() -> io::Result<()> {
    let consumer = || {
        let receipt = r#"{"id":7,"result":{"primes":1,"by":1}}"#;
        let mut consumer = Command::new("sh");
        let answer = format!(r"printf '\001\045\000\000\000{receipt}'; cat > /dev/null");
        consumer.args(["-c", &answer]);
        consumer
    };
    let mut plan = plan(&["produce 1 2 0"], &consumer);
    plan.attempts = 1;
    let seen = account(plan, |_| ())?;
    assert_eq!((seen.done.len(), seen.given_up.len()), (0, 2), "{seen:?}");
    for (_, why) in &seen.given_up {
        assert!(why.contains("was ended: it answers 7 instead of "), "{why}");
    }
    Ok(())
}
