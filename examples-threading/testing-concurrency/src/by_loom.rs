//! Loom runs the test once for each order in which the threads can take turns: when it passes,
//! there is no other. So the test has to be tiny: two threads, one operation each.

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::Arc;
use loom::thread;

pub use seats::Seats;

#[path = "seats.rs"]
mod seats;

mod sync {
    use std::fmt::Display;
    use std::sync::LockResult;

    use loom::sync::MutexGuard;
    use loom::thread;

    /// loom's, with one addition: it says who gets the lock, and what is inside.
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T: Display> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            let guard = self.0.lock()?;
            let thread = thread::current();
            let name = thread.name().unwrap_or("main");
            eprintln!("{name:<5}  gets the lock and sees {} sold", *guard);
            Ok(guard)
        }
    }
}

/// Returns how many schedules there are; panics in the first one in which a seat is sold twice.
pub fn check(sell: fn(&Seats) -> Option<u32>) -> usize {
    let schedules = std::sync::Arc::new(AtomicUsize::new(0));
    let number = std::sync::Arc::clone(&schedules);
    loom::model(move || {
        let number = number.fetch_add(1, Ordering::Relaxed) + 1;
        eprintln!("schedule {number}");
        let seats = Arc::new(Seats::new(2));
        let other = {
            let seats = Arc::clone(&seats);
            let thread = thread::Builder::new().name("other".to_string());
            thread.spawn(move || sell(&seats)).unwrap()
        };
        let here = sell(&seats);
        assert_ne!(here, other.join().unwrap(), "sold twice");
    });
    schedules.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_seat_is_sold_twice_in_any_schedule() {
        assert!(check(Seats::sell) > 1);
    }

    #[test]
    #[should_panic(expected = "sold twice")]
    fn two_steps_instead_of_one_are_found() {
        check(Seats::sell_in_two_steps);
    }
}
