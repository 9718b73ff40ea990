//! A request context for each thread, which no other thread and no later request can see.
//!
//! What a Python developer knows as
//!
//! ```python
//! context = threading.local()
//!
//! def handle(request):
//!     context.user = request.user
//!     answer()                      # and everything that it calls reads context.user
//!     del context.user              # unless answer() raised
//! ```
//!
//! is `within(context, || answer())` here, and what was there before is restored however the call
//! ends. So the thread of a pool cannot handle a request in the name of the one before. Nor can a
//! handler fail unheard: a misspelt or missing name does not compile, and `join` returns a panic.
//!
//! Run it with `cargo run -p thread-local`. Look at part 2, where two threads handle six requests,
//! one of which fails. To take: `src/context.rs`. Before this: `scoped-threads`; after it:
//! `thread-pool`.

#![forbid(unsafe_code)]

mod context;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.

use std::error::Error;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Duration;

use context::{Context, current, within};

/// As for a database's answer.
const ANSWER_TIME: Duration = Duration::from_millis(30);

fn main() -> Result<(), Box<dyn Error>> {
    tell_of_panics();
    say!("1. Five requests at the same time, a thread for each");
    let served = serve(5, 1..=5, |_| answer())?;
    check(&served, &[])?;

    say!("\n2. Two threads for six requests; request 13 fails");
    let pool = serve(2, 11..=16, |request| match request {
        13 => panic!("request {request} has no answer"),
        _ => answer(),
    })?;
    check(&pool, &[13])?;

    let requests = served.len() + pool.len();
    say!("\nok: {requests} requests saw their own context only, and left nothing behind");
    Ok(())
}

/// How a request went.
struct Served {
    request: u32,
    /// What the thread still had in mind before.
    left_behind: Option<Context>,
    /// The context in which it was answered, if it was.
    answered: thread::Result<Option<Context>>,
}

/// Deals the requests to as many threads, as to the players of a game of cards.
fn serve<R, H>(threads: usize, requests: R, handle: H) -> io::Result<Vec<Served>>
where
    R: Iterator<Item = u32> + Clone + Send,
    H: Fn(u32) -> Option<Context> + Sync,
{
    thread::scope(|scope| {
        let start = |number| {
            let (handle, requests) = (&handle, requests.clone());
            let mine = requests.skip(number).step_by(threads);
            thread::Builder::new()
                .name(format!("worker-{}", number + 1))
                .spawn_scoped(scope, move || mine.map(|n| serve_one(n, handle)).collect())
        };
        let workers: io::Result<Vec<_>> = (0..threads).map(start).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<Served>>| worker.join().unwrap();
        Ok(workers?.into_iter().flat_map(join).collect())
    })
}

fn serve_one(request: u32, handle: impl Fn(u32) -> Option<Context>) -> Served {
    let left_behind = current();
    let user = format!("user-{request}");
    let work = || within(Context { request, user }, || handle(request));
    Served {
        request,
        left_behind,
        // One failed request must not end the thread.
        answered: panic::catch_unwind(AssertUnwindSafe(work)),
    }
}

/// Far down in a request. Nobody has passed the user along, and yet it is known here.
fn answer() -> Option<Context> {
    thread::sleep(ANSWER_TIME);
    log("answered");
    current()
}

fn log(event: &str) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("?");
    match current() {
        Some(Context { request, user }) => {
            say!("   {name}  request {request:2} {event} for {user}")
        }
        None => say!("   {name}  {event} for nobody"),
    }
}

/// The panic that is part of the story is one line of it.
fn tell_of_panics() {
    panic::set_hook(Box::new(|panic| {
        log(&format!(
            "panicked, {},",
            panic.payload_as_str().unwrap_or("?")
        ));
    }));
}

/// Each request was answered in its own context, but for those that were to fail.
fn check(served: &[Served], to_fail: &[u32]) -> Result<(), String> {
    for served in served {
        let request = served.request;
        if let Some(other) = &served.left_behind {
            return Err(format!("request {request} found {other:?} left behind"));
        }
        match (&served.answered, to_fail.contains(&request)) {
            (Err(_), true) => {}
            (Ok(Some(context)), false) if context.request == request => {}
            (Err(_), false) => return Err(format!("request {request} failed")),
            (Ok(seen), _) => return Err(format!("request {request} was answered in {seen:?}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_leaks_from_one_request_to_the_next_on_the_same_thread() {
        let served = serve(1, 1..=4, |request| match request {
            2 => panic!("on purpose"),
            _ => current(),
        });
        assert_eq!(check(&served.unwrap(), &[2]), Ok(()));
    }

    /// The threads of a broken Python program all died of a `NameError`; its exit code was 0.
    #[test]
    fn a_handler_that_fails_in_every_thread_is_an_error_of_the_program() {
        let served = serve(5, 1..=5, |_| panic!("on purpose")).unwrap();
        assert_eq!(served.len(), 5);
        assert_eq!(check(&served, &[]), Err("request 1 failed".to_string()));
    }

    #[test]
    fn every_request_is_served_once_by_any_number_of_threads() {
        for threads in 1..=7 {
            let served = serve(threads, 1..=5, |_| current()).unwrap();
            let mut requests: Vec<u32> = served.iter().map(|served| served.request).collect();
            requests.sort();
            assert_eq!(requests, [1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn the_check_finds_what_is_wrong() {
        let context = |request| Context {
            request,
            user: String::new(),
        };
        let verdict = |left_behind, answered| {
            let served = Served {
                request: 2,
                left_behind,
                answered: Ok(answered),
            };
            check(&[served], &[])
        };
        assert_eq!(verdict(None, Some(context(2))), Ok(()));
        assert!(verdict(Some(context(1)), Some(context(2))).is_err());
        assert!(verdict(None, Some(context(1))).is_err());
        assert!(verdict(None, None).is_err());
    }
}
