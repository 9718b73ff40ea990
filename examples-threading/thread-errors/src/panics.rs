//! Collects each panic of the program with the name of its thread, also when nobody joins it.

use std::fmt::{self, Display};
use std::mem;
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What one panic had to say.
#[derive(Debug)]
pub struct PanicReport {
    pub thread: String,
    pub place: String,
    pub message: String,
}

impl PanicReport {
    fn new(info: &PanicHookInfo) -> Self {
        // The hook runs on the thread that panics, before its stack is unwound.
        let thread = thread::current().name().unwrap_or("unnamed").to_string();
        let place = info.location().map(|place| place.to_string());
        let message = info.payload_as_str().unwrap_or("no message").to_string();
        PanicReport {
            thread,
            place: place.unwrap_or_default(),
            message,
        }
    }
}

impl Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let PanicReport {
            thread,
            place,
            message,
        } = self;
        write!(f, "thread {thread} panicked at {place}: {message}")
    }
}

/// The panics so far.
#[derive(Debug, Default)]
pub struct PanicLog {
    reports: Arc<Mutex<Vec<PanicReport>>>,
}

impl PanicLog {
    /// Call it once, first thing in `main`.
    ///
    /// `tell` is called on the thread that panics, at once, and stands for the usual message: some
    /// programs log it, others write it to stderr. If it panics itself, the program is aborted.
    pub fn install(tell: impl Fn(&PanicReport) + Send + Sync + 'static) -> Self {
        let log = PanicLog::default();
        let reports = Arc::clone(&log.reports);
        panic::set_hook(Box::new(move |info| {
            let report = PanicReport::new(info);
            tell(&report);
            lock(&reports).push(report);
        }));
        log
    }

    /// Hands over the panics so far and starts afresh.
    pub fn take(&self) -> Vec<PanicReport> {
        mem::take(&mut lock(&self.reports))
    }
}

/// A poisoned lock is no reason to panic, least of all in the hook, where it would end the program:
/// the list is whole before and after each push.
fn lock(reports: &Mutex<Vec<PanicReport>>) -> MutexGuard<'_, Vec<PanicReport>> {
    reports.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{OnceLock, mpsc};

    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// One hook for all tests of this process, and what it has seen of the thread of this name.
    fn seen(thread: &str) -> Vec<PanicReport> {
        let tell = |report: &PanicReport| TOLD.lock().unwrap().push(report.to_string());
        static LOG: OnceLock<PanicLog> = OnceLock::new();
        let log = LOG.get_or_init(|| PanicLog::install(tell));
        let mut reports = lock(&log.reports);
        reports
            .extract_if(.., |report| report.thread == thread)
            .collect()
    }

    fn panic_in(thread: &str, work: impl FnOnce() + Send + 'static) -> Vec<PanicReport> {
        assert!(seen(thread).is_empty());
        let named = thread::Builder::new().name(thread.to_string());
        assert!(named.spawn(work).unwrap().join().is_err());
        seen(thread)
    }

    #[test]
    fn a_panic_is_collected_with_its_threads_name_its_place_and_its_message() {
        let reports = panic_in("careless", || panic!("there is no task {}", 11));
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].message, "there is no task 11");
        assert!(reports[0].place.contains("panics.rs:"), "{reports:?}");
        assert!(TOLD.lock().unwrap().contains(&reports[0].to_string()));
    }

    #[test]
    fn a_panic_of_something_else_than_text_is_collected_too() {
        let reports = panic_in("odd", || panic::panic_any(7));
        assert_eq!(reports[0].message, "no message");
    }

    /// In Python, such a thread leaves a message on stderr and nothing that the program could ask.
    #[test]
    fn a_panic_that_nobody_joins_is_collected() {
        assert!(seen("forgotten").is_empty());
        let (alive, end) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("forgotten".to_string());
        let handle = thread.spawn(move || {
            let _alive = alive;
            panic!("nobody hears me");
        });
        drop(handle.unwrap());
        // The other end is dropped while the stack is unwound, which is after the hook.
        assert!(end.recv().is_err());
        assert_eq!(seen("forgotten").len(), 1);
    }

    #[test]
    fn a_log_whose_lock_is_poisoned_still_works() {
        let log = PanicLog::default();
        let reports = Arc::clone(&log.reports);
        let poison = thread::spawn(move || {
            let _guard = reports.lock().unwrap();
            panic!("with the lock held");
        });
        assert!(poison.join().is_err() && log.reports.is_poisoned());
        assert!(log.take().is_empty());
    }
}
