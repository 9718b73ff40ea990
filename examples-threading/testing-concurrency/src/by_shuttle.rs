//! Shuttle runs the test under some of the many orders in which the threads can take turns, chosen
//! at random. It proves nothing, but the test may be as large as it likes; and what it finds, it
//! finds again: by the seed, or by the schedule that it prints.

use shuttle::sync::Arc;
use shuttle::thread;

pub use seats::Seats;

#[path = "seats.rs"]
mod seats;

mod sync {
    pub use shuttle::sync::Mutex;
}

pub const SEED: u64 = 20_260_101;
pub const SCHEDULES: usize = 500;
const THREADS: u32 = 3;
const SEATS_EACH: u32 = 2;

/// Panics in the first schedule in which a seat is sold twice.
pub fn check(sell: fn(&Seats) -> Option<u32>) {
    shuttle::check_random_with_seed(move || each_seat_is_sold_once(sell), SEED, SCHEDULES);
}

/// The same under one schedule, as `check` has printed it.
pub fn replay(sell: fn(&Seats) -> Option<u32>, schedule: &str) {
    shuttle::replay(move || each_seat_is_sold_once(sell), schedule);
}

fn each_seat_is_sold_once(sell: fn(&Seats) -> Option<u32>) {
    let all = THREADS * SEATS_EACH;
    let seats = Arc::new(Seats::new(all));
    let sellers: Vec<_> = (0..THREADS)
        .map(|_| {
            let seats = Arc::clone(&seats);
            thread::spawn(move || -> Vec<u32> {
                (0..SEATS_EACH).filter_map(|_| sell(&seats)).collect()
            })
        })
        .collect();
    let join = |seller: thread::JoinHandle<_>| seller.join().unwrap();
    let mut sold: Vec<u32> = sellers.into_iter().flat_map(join).collect();
    sold.sort();
    assert!(sold.iter().copied().eq(1..=all), "sold twice: {sold:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_seat_is_sold_twice_in_many_schedules() {
        check(Seats::sell);
    }

    #[test]
    #[should_panic(expected = "sold twice")]
    fn two_steps_instead_of_one_are_found() {
        check(Seats::sell_in_two_steps);
    }
}
