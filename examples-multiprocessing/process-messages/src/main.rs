//! What may cross the boundary between two processes, and what happens to the rest.
//!
//! What a Python developer knows as
//!
//! ```python
//! class Multiplier:
//!     def __init__(self): self.by = lambda x: x * 2          # or an open file
//! with Pool(4) as pool: pool.starmap(multiply, [(Multiplier(), x) for x in range(1, 6)])
//! # PicklingError: Can't pickle <function <lambda>>, and only now, at run time
//! ```
//!
//! is decided by the compiler here: a closure, a file or a thread has no `Serialize`, and to send
//! one is error E0277, "the trait bound `File: Serialize` is not satisfied". So one sends *what* to
//! do, a variant of an enum, not a function, and no `dill` is missed. Nor can a message run code
//! when it is read, as a pickle can.
//!
//! Run it with `cargo run -p process-messages`. Look at part 3: each peer that breaks the rules
//! gets an error that names what is wrong, and none makes the parent wait or take 4 GB of memory.
//! To take: `src/frame.rs`, messages in frames over any stream; `src/owned.rs`, the child's owner.
//! Before this: `process-basics`; after it: `process-pipe`.

#![forbid(unsafe_code)]

mod frame;
mod owned;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use frame::FrameError;
use owned::Owned;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Set in workers only, to what the worker is to do.
const ROLE: &str = "PROCESS_MESSAGES_ROLE";
/// The largest message that either side takes.
const LIMIT: usize = 64 * 1024;

/// What a worker can be asked for. Its operations are data: this is what crosses instead of a
/// function.
#[derive(Serialize, Deserialize)]
enum Request {
    Multiply { values: Vec<i64>, by: i64 },
    CountPrimes { below: u32 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Answer {
    Values(Vec<i64>),
    Primes(u32),
    Refused(String),
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(role) = env::var_os(ROLE) {
        return match work(&role.to_string_lossy()) {
            // Nobody reads what this worker says: its parent is gone, and with it the work.
            Err(error) if error.downcast_ref().is_some_and(FrameError::is_broken_pipe) => Ok(()),
            done => done,
        };
    }
    say!("1. What may cross, by the compiler's own judgement");
    what_may_cross()?;

    say!("\n2. A worker answers requests, and refuses one that it does not know");
    requests_and_answers()?;

    say!("\n3. Peers that break the rules");
    let named = rule_breakers()?;

    say!("\nok: every answer as expected, and {named} broken rules each named by its error");
    Ok(())
}

/// Asks the compiler whether a type may be a message, without failing to compile where not. The
/// constant of the type itself wins over the trait's, but exists only where its bounds hold.
struct Ask<T>(PhantomData<T>);

trait Refused {
    const MAY_CROSS: bool = false;
}

impl<T> Refused for Ask<T> {}

impl<T: Serialize + DeserializeOwned> Ask<T> {
    const MAY_CROSS: bool = true;
}

macro_rules! verdicts {
    ($($message:ty: $remark:expr,)*) => {
        [$((stringify!($message), Ask::<$message>::MAY_CROSS, $remark),)*]
    };
}

fn what_may_cross() -> Result<(), String> {
    let allowed = verdicts![
        u64: "numbers and text, and what is made of them",
        Vec<(String, f64)>: "but NaN becomes null, JSON has no NaN",
        HashMap<u32, Option<Duration>>: "with keys that can be written as text",
        Request: "our own type, by derive",
        SystemTime: "means the same everywhere",
        Mutex<u64>: "a copy of what is inside, not the lock",
    ];
    let refused = verdicts![
        fn(u64) -> u64: "an address in this process",
        Box<dyn Fn(u64) -> u64>: "a closure",
        File: "a number that means another file elsewhere",
        TcpStream: "another such number",
        Child: "only its parent can wait for it",
        JoinHandle<u64>: "its thread is in this process",
        MutexGuard<'static, u64>: "and so is its lock",
        Instant: "this machine's clock since it started",
    ];
    for (expected, types) in [(true, &allowed[..]), (false, &refused[..])] {
        for (name, may_cross, remark) in types {
            let verdict = if *may_cross { "yes" } else { "no " };
            say!("   {verdict}  {name:31} {remark}");
            check(*may_cross == expected, &format!("{name}: {verdict}"))?;
        }
    }
    Ok(())
}

/// Starts this program once more, as a worker.
fn start(role: &str) -> io::Result<Owned> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, role);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Owned::spawn(command)
}

fn ask(worker: &mut Owned, request: &impl Serialize) -> Result<Answer, Box<dyn Error>> {
    let requests = worker.stdin.as_mut().expect("stdin is a pipe");
    frame::send(requests, request, LIMIT)?;
    let answers = worker.stdout.as_mut().expect("stdout is a pipe");
    let answer = frame::receive(answers, LIMIT)?;
    Ok(answer.ok_or("the worker ended without an answer")?)
}

fn requests_and_answers() -> Result<(), Box<dyn Error>> {
    let mut worker = start("serve")?;
    let values = vec![1, 2, 3, 4, 5];
    let products = ask(&mut worker, &Request::Multiply { values, by: 2 })?;
    say!("   multiply 1 to 5 by 2         {products:?}");
    check(
        products == Answer::Values(vec![2, 4, 6, 8, 10]),
        "the worker multiplied wrong",
    )?;

    /// As a later version of this program may have it.
    #[derive(Serialize)]
    enum NewerRequest {
        Cube(u64),
    }
    let refusal = ask(&mut worker, &NewerRequest::Cube(3))?;
    say!("   cube 3, a newer request      {refusal:?}");
    check(
        matches!(refusal, Answer::Refused(_)),
        "an unknown request was not refused",
    )?;

    let values = vec![0; LIMIT];
    let too_large = ask(&mut worker, &Request::Multiply { values, by: 2 });
    let error = too_large.expect_err("it is larger than the limit");
    say!("   {LIMIT} values at once         not sent: {error}");

    let primes = ask(&mut worker, &Request::CountPrimes { below: 300_000 })?;
    say!("   count primes below 300000    {primes:?}");
    check(primes == Answer::Primes(25_997), "the worker counted wrong")?;

    // Nothing tells the worker to stop: `wait` closes its stdin, and the end of that is the end.
    let status = worker.wait()?;
    say!(
        "   no more requests             {}",
        owned::describe(status)
    );
    check(status.success(), "the worker did not end well")?;
    Ok(())
}

/// What a peer does, what it writes, and the error that it must lead to.
const RULE_BREAKERS: [(&str, &[u8], &str); 6] = [
    ("prints on its stdout", b"ready!\n", "UnknownVersion"),
    ("is of another version", b"\x02\0\0\0\0", "UnknownVersion"),
    ("dies in mid-message", b"\x01\x0c\0\0\0{\"Pri", "Truncated"),
    ("announces 4 GB", b"\x01\xff\xff\xff\xff", "TooLarge"),
    (
        "sends an unknown kind",
        b"\x01\x0a\0\0\0{\"Cube\":9}",
        "UnknownKind",
    ),
    (
        "lets two writers write at once",
        b"\x01\x0c\0\0\0{\"Pri\x01\x0c\0\0\0{\"Primes\":1}mes\":2}",
        "Malformed",
    ),
];

fn rule_breakers() -> Result<usize, Box<dyn Error>> {
    for (number, (peer, _, expected)) in RULE_BREAKERS.iter().enumerate() {
        let mut worker = start(&format!("break {number}"))?;
        let answers = worker.stdout.as_mut().expect("stdout is a pipe");
        let error = match frame::receive::<Answer>(answers, LIMIT) {
            Err(error) => error,
            Ok(answer) => return Err(format!("a peer that {peer} passes: {answer:?}").into()),
        };
        say!("   {peer:31}{expected}: {error}");
        let named = format!("{error:?}").starts_with(expected);
        check(named, &format!("a peer that {peer} gave {error:?}"))?;
    }
    Ok(RULE_BREAKERS.len())
}

/// What a worker does instead of the parent's part.
fn work(role: &str) -> Result<(), Box<dyn Error>> {
    if role == "serve" {
        return Ok(serve(&mut io::stdin().lock(), &mut io::stdout().lock())?);
    }
    let number = role.strip_prefix("break ").and_then(|n| n.parse().ok());
    let breaker = number.and_then(|n: usize| RULE_BREAKERS.get(n));
    // Someone else set the variable. Starting workers now could go on without end.
    let misled = || format!("{ROLE} is for this program's own workers; unset it");
    let (_, bytes, _) = breaker.ok_or_else(misled)?;
    let (mut output, broken) = (io::stdout().lock(), FrameError::Io);
    output.write_all(bytes).map_err(broken)?;
    Ok(output.flush().map_err(broken)?)
}

/// Answers requests until there are no more.
fn serve(requests: &mut impl io::Read, answers: &mut impl Write) -> Result<(), FrameError> {
    loop {
        let answer = match frame::receive(requests, LIMIT) {
            Ok(Some(request)) => perform(request).unwrap_or_else(Answer::Refused),
            Ok(None) => return Ok(()),
            Err(error) if error.is_recoverable() => Answer::Refused(error.to_string()),
            Err(error) => return Err(error),
        };
        frame::send(answers, &answer, LIMIT)?;
    }
}

fn perform(request: Request) -> Result<Answer, String> {
    match request {
        Request::Multiply { values, by } => {
            let products = values.into_iter().map(|value| value.checked_mul(by));
            let products: Option<Vec<i64>> = products.collect();
            products.map(Answer::Values).ok_or("too large".to_string())
        }
        Request::CountPrimes { below } => Ok(Answer::Primes(count_primes(below))),
    }
}

fn count_primes(limit: u32) -> u32 {
    let divides = |n: u32| {
        (2..)
            .take_while(move |d| d * d <= n)
            .any(move |d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divides(*n)).count() as u32
}

fn check(holds: bool, complaint: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(complaint.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a worker answers to these bytes, and how its service ends.
    fn answers(requests: &[u8]) -> (Vec<Answer>, Result<(), FrameError>) {
        let mut written = Vec::new();
        let end = serve(&mut &requests[..], &mut written);
        let mut written = &written[..];
        let next = || frame::receive(&mut written, LIMIT).expect("the worker's frames are right");
        (std::iter::from_fn(next).collect(), end)
    }

    #[test]
    fn a_refused_request_does_not_end_the_service() {
        let mut requests = Vec::new();
        frame::send(&mut requests, "Halt", LIMIT).unwrap();
        frame::send_bytes(&mut requests, b"{\"CountPrimes\":", LIMIT).unwrap();
        let values = vec![i64::MAX];
        frame::send(&mut requests, &Request::Multiply { values, by: 2 }, LIMIT).unwrap();
        frame::send(&mut requests, &Request::CountPrimes { below: 100 }, LIMIT).unwrap();
        let (answers, end) = answers(&requests);
        let [
            Answer::Refused(first),
            Answer::Refused(second),
            Answer::Refused(third),
            last,
        ] = &answers[..]
        else {
            panic!("{answers:?}");
        };
        assert!(first.contains("unknown kind \"Halt\""), "{first}");
        assert!(second.contains("malformed"), "{second}");
        assert_eq!(third, "too large");
        assert_eq!((last, end.is_ok()), (&Answer::Primes(25), true));
    }

    #[test]
    fn a_request_that_breaks_off_ends_the_service_with_an_error() {
        let (answers, end) = answers(b"\x01\x05\0\0");
        assert_eq!(answers, []);
        assert!(matches!(end, Err(FrameError::Truncated { .. })), "{end:?}");
    }

    /// A new version of the frames would turn all errors below into `UnknownVersion`.
    #[test]
    fn the_rule_breakers_are_what_they_are_called() {
        assert_ne!(RULE_BREAKERS[1].1[0], frame::VERSION);
        for (_, bytes, _) in &RULE_BREAKERS[2..] {
            assert_eq!(bytes[0], frame::VERSION);
        }
    }
}
