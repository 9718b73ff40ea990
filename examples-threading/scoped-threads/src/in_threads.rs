//! Runs a function for all items at once, a thread for each, and loses neither result nor failure.

use std::any::Any;
use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::io;
use std::thread::{self, Builder};

/// Runs `work` for all items at once, a thread for each, and tells what became of each.
///
/// Every handle is joined. A panic in a thread that nobody joins would make `scope` itself panic,
/// and with it every result and every other error would be gone.
pub fn in_threads<I, T, E>(
    items: &[I],
    work: impl Fn(&I) -> Result<T, E> + Sync,
) -> Vec<Result<T, Failure<E>>>
where
    I: Sync,
    T: Send,
    E: Send,
{
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (n, item) in (1..).zip(items) {
            let thread = Builder::new().name(format!("item-{n}"));
            threads.push(thread.spawn_scoped(scope, || work(item)));
        }
        let outcomes = threads.into_iter().map(|thread| {
            let result = thread.map_err(Failure::NotStarted)?.join();
            result.map_err(Failure::panicked)?.map_err(Failure::Failed)
        });
        outcomes.collect()
    })
}

/// Why there is no result.
#[derive(Debug)]
pub enum Failure<E> {
    NotStarted(io::Error),
    Failed(E),
    Panicked(String),
}

impl<E> Failure<E> {
    /// What `panic!` was given is text, unless someone panics with another value on purpose.
    fn panicked(payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Failure::Panicked(text.unwrap_or_else(|| "no message".to_string()))
    }
}

impl<E: Display> Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::NotStarted(error) => write!(f, "was not started: {error}"),
            Failure::Failed(error) => write!(f, "failed: {error}"),
            Failure::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

impl<E: Debug + Display> Error for Failure<E> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    /// In Python, `with Pool` terminates the others then.
    #[test]
    fn results_that_are_pending_when_one_thread_fails_are_not_lost() {
        let failed = AtomicUsize::new(0);
        let work = |item: &usize| {
            if item % 2 == 1 {
                // These have no result before the two others have failed.
                return Ok(wait_until(|| failed.load(Ordering::SeqCst) == 2));
            }
            failed.fetch_add(1, Ordering::SeqCst);
            assert_ne!(*item, 4, "item 4 panicked");
            Err("item 2 failed")
        };
        let outcomes = in_threads(&[1, 2, 3, 4, 5], work);
        let [Ok(true), Err(second), Ok(true), Err(fourth), Ok(true)] = &outcomes[..] else {
            panic!("{outcomes:?}");
        };
        assert_eq!(second.to_string(), "failed: item 2 failed");
        let message = fourth.to_string();
        assert!(
            message.starts_with("panicked: ") && message.contains("item 4 panicked"),
            "{message}"
        );
    }

    fn wait_until(condition: impl Fn() -> bool) -> bool {
        let limit = Instant::now() + Duration::from_secs(10);
        while !condition() && Instant::now() < limit {
            thread::yield_now();
        }
        condition()
    }

    /// Why `in_threads` joins each handle.
    #[test]
    fn a_panic_that_nobody_joined_hides_the_error_so_each_handle_is_joined() {
        let nobody_joins = catch_unwind(|| {
            thread::scope(|scope| {
                scope.spawn(|| panic!("the thread's message"));
                Err::<(), _>("the real error")
            })
        });
        let failure = Failure::<String>::panicked(nobody_joins.unwrap_err());
        assert_eq!(failure.to_string(), "panicked: a scoped thread panicked");
    }

    #[test]
    fn a_failure_tells_what_happened_whatever_the_panic_was_given() {
        let message = |payload| Failure::<String>::panicked(payload).to_string();
        assert_eq!(message(Box::new("a text")), "panicked: a text");
        assert_eq!(
            message(Box::new("its own".to_string())),
            "panicked: its own"
        );
        assert_eq!(message(Box::new(7)), "panicked: no message");
        let refused = Failure::<String>::NotStarted(io::Error::other("too many threads"));
        assert_eq!(refused.to_string(), "was not started: too many threads");
    }

    #[test]
    fn outcomes_come_in_the_order_of_the_items_from_threads_with_their_names() {
        let name = |_: &u8| thread::current().name().map(str::to_string).ok_or(());
        let names = in_threads(&[0; 3], name).into_iter().map(Result::unwrap);
        assert!(names.eq(["item-1", "item-2", "item-3"]));
        assert!(in_threads(&[], name).is_empty());
    }
}
