//! What is true while a request is handled, for every function that it calls, without being passed
//! along: who asks, and for what.
//!
//! To take it along, copy this file and put your own fields into `Context`.

use std::cell::RefCell;

#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    pub request: u32,
    pub user: String,
}

thread_local! {
    // Each thread has its own, so nothing is locked. A `RefCell` lets one replace what is inside.
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// Runs `work` within a context and then restores what was there before, however `work` ends.
///
/// The guard that restores stays in here. In the caller's hands it could be dropped too early, in
/// the wrong order, on another thread, or never.
pub fn within<R>(context: Context, work: impl FnOnce() -> R) -> R {
    let _restore = Restore(CURRENT.replace(Some(context)));
    work()
}

/// The context of this thread. A new thread has none, even if a request has started it: it is given
/// a copy, and sets it by `within`.
pub fn current() -> Option<Context> {
    // Other thread-local values may ask while the thread ends and this one is gone already.
    CURRENT.try_with(|current| current.borrow().clone()).ok()?
}

struct Restore(Option<Context>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    fn context(request: u32) -> Context {
        Context {
            request,
            user: format!("user-{request}"),
        }
    }

    #[test]
    fn each_thread_sees_its_own_context_while_all_others_have_theirs() {
        const THREADS: u32 = 5;
        let all_inside = Barrier::new(THREADS as usize);
        let seen = thread::scope(|scope| {
            let see = |request| {
                let all_inside = &all_inside;
                scope.spawn(move || {
                    within(context(request), || {
                        all_inside.wait();
                        let seen = current();
                        all_inside.wait();
                        seen
                    })
                })
            };
            let threads: Vec<_> = (1..=THREADS).map(see).collect();
            let join = |thread: thread::ScopedJoinHandle<_>| thread.join().unwrap();
            threads.into_iter().map(join).collect::<Vec<_>>()
        });
        let own: Vec<_> = (1..=THREADS).map(context).map(Some).collect();
        assert_eq!(seen, own);
        assert_eq!(current(), None);
    }

    #[test]
    fn what_was_there_before_is_restored() {
        within(context(1), || {
            within(context(2), || assert_eq!(current(), Some(context(2))));
            assert_eq!(current(), Some(context(1)));
        });
        assert_eq!(current(), None);
    }

    #[test]
    fn it_is_restored_after_a_panic_and_after_an_early_return() {
        let panics = AssertUnwindSafe(|| within(context(1), || panic!("on purpose")));
        assert!(panic::catch_unwind(panics).is_err());
        assert_eq!(current(), None);

        let parse = |text: &str| within(context(2), || Ok::<u8, Box<_>>(text.parse::<u8>()?));
        let error: Result<u8, Box<std::num::ParseIntError>> = parse("many");
        assert!(error.is_err());
        assert_eq!(current(), None);
    }

    #[test]
    fn a_thread_that_a_request_starts_has_no_context_until_it_is_given_a_copy() {
        within(context(1), || {
            let copy = current().unwrap();
            thread::scope(|scope| {
                let bare = scope.spawn(current);
                assert_eq!(bare.join().unwrap(), None);
                let given = scope.spawn(|| within(copy, current));
                assert_eq!(given.join().unwrap(), Some(context(1)));
            });
        });
    }

    /// The end of a scope would wait for its threads' work alone. `join` also waits until their
    /// thread-local values have been dropped.
    #[test]
    fn thread_local_values_are_separate_and_dropped_at_the_threads_end() {
        static DROPPED: AtomicU32 = AtomicU32::new(0);
        struct Counter(AtomicU32);
        impl Drop for Counter {
            fn drop(&mut self) {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread_local! { static MINE: Counter = const { Counter(AtomicU32::new(0)) }; }

        let dropped = || DROPPED.load(Ordering::Relaxed);
        let count = || MINE.with(|mine| mine.0.fetch_add(1, Ordering::Relaxed) + 1);
        let counted = thread::spawn(move || [count(), count(), dropped()]);
        assert_eq!(counted.join().unwrap(), [1, 2, 0]);
        assert_eq!([count(), dropped()], [1, 1]);
    }

    /// A panic in a thread-local value's `drop` would abort the whole program.
    #[test]
    fn a_value_that_is_dropped_at_the_threads_end_may_still_ask() {
        static ANSWERED: AtomicU32 = AtomicU32::new(0);
        struct AsksAtTheEnd;
        impl Drop for AsksAtTheEnd {
            fn drop(&mut self) {
                assert_eq!(current(), None);
                ANSWERED.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread_local! { static ASKS: AsksAtTheEnd = const { AsksAtTheEnd }; }

        // The values are dropped in an order that depends on which was used first.
        let context_first = || {
            within(context(1), || ASKS.with(|_| ()));
        };
        let context_last = || {
            ASKS.with(|_| ());
            within(context(1), || ());
        };
        thread::spawn(context_first).join().unwrap();
        thread::spawn(context_last).join().unwrap();
        assert_eq!(ANSWERED.load(Ordering::Relaxed), 2);
    }
}
