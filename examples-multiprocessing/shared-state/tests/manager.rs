//! The manager, with real processes as its workers.

#[macro_use]
#[path = "../src/say.rs"]
mod say;
#[path = "../src/board.rs"]
#[allow(dead_code, reason = "the bars are the program's")]
mod board;
#[path = "../src/frame.rs"]
mod frame;
#[path = "../src/manager.rs"]
#[allow(dead_code, reason = "the workers' side runs in the program")]
mod manager;
#[path = "../src/owned.rs"]
mod owned;
#[path = "../src/state.rs"]
#[allow(dead_code, reason = "the checks are the program's")]
mod state;

use std::io;
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use frame::FrameError;
use manager::Owner;
use state::{Answer, State};

/// Against hangs only.
const LIMIT: Duration = Duration::from_secs(100);

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
    let mut command = Command::new(env!("CARGO_BIN_EXE_shared-state"));
    command.env("SHARED_STATE_ROLE", role).stderr(Stdio::null());
    command
}

/// The state after the work of workers with these roles.
fn after(roles: &[&str]) -> io::Result<State> {
    run(roles.iter().map(|role| worker(role)).collect())
}

fn run(workers: Vec<Command>) -> io::Result<State> {
    let _watchdog = Watchdog::new();
    let mut state = State::new(workers.len());
    manager::run(&mut state, workers)?;
    Ok(state)
}

// ---- What Python's manager loses --------------------------------------------------------------

/// `d[k] += 1` through Python's proxies lost nearly half of them. Nothing was given to these workers, no
/// proxy and no lock, so nothing had to be picklable either.
#[test]
fn no_update_that_is_one_request_is_lost() -> io::Result<()> {
    let state = after(&["add 1000"; 4])?;
    assert_eq!((state.counter, state.failures), (4000, vec![]));
    Ok(())
}

#[test]
fn an_update_that_is_two_requests_is_lost() -> io::Result<()> {
    for workers in 2..5 {
        let state = after(&vec!["two requests"; workers])?;
        let (gets, sets) = state.history.split_at(workers);
        assert!(gets.iter().all(|get| get.ends_with("gets 0")), "{gets:?}");
        assert!(sets.iter().all(|set| set.ends_with("sets 1")), "{sets:?}");
        assert_eq!((sets.len(), state.counter), (workers, 1));
    }
    Ok(())
}

#[test]
fn a_worker_that_waits_for_the_others_does_not_wait_for_a_dead_one() -> io::Result<()> {
    let state = after(&["two requests", "no such role", "two requests"])?;
    let [failure] = &state.failures[..] else {
        panic!("{:?}", state.failures);
    };
    assert!(failure.starts_with("worker 2, process "), "{failure}");
    assert!(failure.ends_with(" ended: exit code 1"), "{failure}");
    assert_eq!(state.counter, 1);
    Ok(())
}

// ---- Requests that are none -------------------------------------------------------------------

/// What the manager answers to these bytes, and how it ends the conversation.
fn answers(requests: &[u8]) -> (Vec<Result<Answer, String>>, Result<(), FrameError>) {
    let (mut state, mut written) = (State::new(1), Vec::new());
    let ask = |request| Some(state.answer(1, request));
    let end = manager::serve(&mut &requests[..], &mut written, ask);
    let mut written = &written[..];
    let next = || frame::receive(&mut written, 1 << 20).expect("the answers are right");
    (std::iter::from_fn(next).collect(), end)
}

#[test]
fn a_malformed_or_unknown_request_is_an_error_for_its_worker_not_for_the_manager() {
    let mut requests = Vec::new();
    for body in [
        r#"{"Multiply":2}"#,
        r#"{"Add":1"#,
        r#"{"Add":"one"}"#,
        r#"{"Progress":101}"#,
        r#"{"Add":5}"#,
        r#""Get""#,
    ] {
        frame::send_bytes(&mut requests, body.as_bytes(), 100).unwrap();
    }
    let (answers, end) = answers(&requests);
    let texts: Vec<String> = answers.iter().map(|answer| format!("{answer:?}")).collect();
    let expected = [
        "unknown kind \\\"Multiply\\\", known are Piece,",
        "malformed message: EOF",
        "malformed message: invalid type",
        "101 % after 0 %",
        "Ok(Done)",
        "Ok(Counter(5))",
    ];
    assert_eq!(texts.len(), expected.len(), "{texts:?}");
    for (text, expected) in texts.iter().zip(expected) {
        assert!(text.contains(expected), "{text}");
    }
    assert!(end.is_ok(), "{end:?}");
}

#[test]
fn a_request_that_breaks_off_or_is_too_large_ends_the_conversation_with_an_error() {
    let (answered, end) = answers(b"\x01\x05\0\0\0\"Ge");
    assert!(answered.is_empty());
    assert!(matches!(end, Err(FrameError::Truncated { .. })), "{end:?}");
    let (answered, end) = answers(b"\x01\xff\xff\xff\xff");
    assert!(answered.is_empty());
    assert!(matches!(end, Err(FrameError::TooLarge { .. })), "{end:?}");
}

#[test]
fn an_answer_that_cannot_be_sent_is_an_error_for_its_worker() {
    let mut requests = Vec::new();
    for length in [2 << 20, 3] {
        frame::send(&mut requests, &length, 100).unwrap();
    }
    let mut written = Vec::new();
    let ask = |length: usize| Some(Ok("x".repeat(length)));
    manager::serve(&mut &requests[..], &mut written, ask).unwrap();
    let mut written = &written[..];
    let mut next = || {
        let answer: Option<Result<String, String>> = frame::receive(&mut written, 1 << 20).unwrap();
        answer.expect("an answer to each request")
    };
    let refusal = next().unwrap_err();
    assert!(refusal.contains("more than the limit"), "{refusal}");
    assert_eq!(next(), Ok("xxx".to_string()));
}

// ---- Workers that fail ------------------------------------------------------------------------

#[test]
fn a_worker_that_does_not_start_is_reported_and_the_others_complete() -> io::Result<()> {
    let missing = Command::new("/no/such/program");
    let state = run(vec![worker("add 100"), missing, worker("add 100")])?;
    let [failure] = &state.failures[..] else {
        panic!("{:?}", state.failures);
    };
    let expected = "worker 2, it does not start: ";
    assert!(failure.starts_with(expected), "{failure}");
    assert_eq!(state.counter, 200);
    Ok(())
}

/// With the system's shell as the worker that fails.
#[cfg(unix)]
mod shells {
    use std::io::Read;
    use std::panic::{self, AssertUnwindSafe};
    use std::time::{Duration, Instant};

    use super::state::Request;
    use super::*;

    /// Each shell sends a request, or a part of one, and then goes its own way.
    #[test]
    fn a_worker_that_dies_or_talks_nonsense_is_reported_and_the_others_complete() -> io::Result<()>
    {
        let add = r#"printf '\001\012\000\000\000{"Add":10'; "#; // lacks its last byte
        let cases = [
            ("printf '}'; kill -9 $$", 10, "ended: signal 9 (SIGKILL)"),
            ("printf '}'; exit 3", 10, "ended: exit code 3"),
            ("exec 1>&-; read line; exit 4", 0, "ended: exit code 4"),
            ("kill -9 $$", 0, "ended: signal 9 (SIGKILL)"),
            (
                "printf '}'; echo done; exec sleep 100",
                10,
                "a frame of version 100, but known is 1",
            ),
        ];
        for (end, added, how) in cases {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{add}{end}")]);
            let state = run(vec![worker("add 100"), shell, worker("add 100")])?;
            let [failure] = &state.failures[..] else {
                panic!("{end}: {:?}", state.failures);
            };
            assert!(failure.starts_with("worker 2, process "), "{failure}");
            assert!(failure.ends_with(how), "{end}: {failure}");
            assert_eq!(state.counter, 200 + added, "{end}");
        }
        Ok(())
    }

    /// Its one answer is larger than a pipe, and it reads none of it: only its own thread waits. The
    /// others do their work after that.
    #[test]
    fn a_worker_that_does_not_read_its_answers_holds_nobody_up() {
        struct Watched {
            state: State,
            others_ended: usize,
        }

        impl Owner for Watched {
            type Request = Request;
            type Answer = Answer;

            fn answer(&mut self, worker: usize, request: Request) -> Result<Answer, String> {
                if worker == 1 {
                    self.state.progress.insert(worker, 50);
                    let large = (0..50_000).map(|number| (number, 0)).collect();
                    return Ok(Answer::Everyone(large));
                }
                self.state.answer(worker, request)
            }

            fn ended(&mut self, worker: usize, how: Result<(), String>) {
                self.state.ended(worker, how);
                self.others_ended += 1;
                // Which is how the rude one is ended as well.
                assert!(self.others_ended < 2, "the others have ended");
            }
        }

        let _watchdog = Watchdog::new();
        let mut rude = Command::new("sh");
        let ask = r#"printf '\001\005\000\000\000"Get"'; exec sleep 60"#;
        rude.args(["-c", ask]);
        let mut watched = Watched {
            state: State::new(3),
            others_ended: 0,
        };
        let workers = vec![rude, worker("two requests"), worker("two requests")];
        let start = Instant::now();
        let run = AssertUnwindSafe(|| manager::run(&mut watched, workers));
        let message = panic::catch_unwind(run).expect_err("it panics when the others have ended");
        let message = message.downcast_ref::<&str>();
        assert_eq!(message, Some(&"the others have ended"));
        assert!(
            start.elapsed() < Duration::from_secs(50),
            "they waited for the rude one"
        );
        assert_eq!((watched.state.failures, watched.state.counter), (vec![], 1));
    }

    /// The panic goes to the caller of `run`, and the workers are ended, not waited for: one of them
    /// works, the other would be silent for a minute.
    #[test]
    fn a_panic_in_the_owner_leaves_no_worker_behind() -> io::Result<()> {
        struct Panics;

        impl Owner for Panics {
            type Request = Request;
            type Answer = Answer;

            fn answer(&mut self, _: usize, _: Request) -> Result<Answer, String> {
                panic!("on purpose");
            }

            fn ended(&mut self, _: usize, _: Result<(), String>) {}
        }

        let _watchdog = Watchdog::new();
        let (mut alive, held) = io::pipe()?;
        let mut silent = Command::new("sleep");
        silent.arg("60").stderr(held.try_clone()?);
        let mut works = worker("add 4000000000");
        works.stderr(held);
        let run = AssertUnwindSafe(|| manager::run(&mut Panics, vec![silent, works]));
        let start = Instant::now();
        assert!(panic::catch_unwind(run).is_err());
        // Ends when nobody holds the other end any more.
        alive.read_to_end(&mut Vec::new())?;
        assert!(
            start.elapsed() < Duration::from_secs(50),
            "it was waited for"
        );
        Ok(())
    }
}
