//! Real threads, many times, and hope. What goes wrong was wrong; what goes well proves little,
//! because the threads rarely meet at the one place that matters.

use std::thread;

pub use seats::Seats;

#[path = "seats.rs"]
mod seats;

mod sync {
    pub use std::sync::Mutex;
}

const THREADS: u32 = 5;
const SEATS_EACH: u32 = 20;

/// In how many of the runs a seat was sold twice.
pub fn failures(runs: usize, sell: fn(&Seats) -> Option<u32>) -> usize {
    (0..runs).filter(|_| !each_seat_is_sold_once(sell)).count()
}

fn each_seat_is_sold_once(sell: fn(&Seats) -> Option<u32>) -> bool {
    let all = THREADS * SEATS_EACH;
    let seats = Seats::new(all);
    let sell_some = || -> Vec<u32> { (0..SEATS_EACH).filter_map(|_| sell(&seats)).collect() };
    let mut sold: Vec<u32> = thread::scope(|scope| {
        let start = |number| {
            let seller = thread::Builder::new().name(format!("seller-{number}"));
            seller.spawn_scoped(scope, sell_some).unwrap()
        };
        let sellers: Vec<_> = (1..=THREADS).map(start).collect();
        let join = |seller: thread::ScopedJoinHandle<_>| seller.join().unwrap();
        sellers.into_iter().flat_map(join).collect()
    });
    sold.sort();
    sold.into_iter().eq(1..=all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_seat_is_sold_twice() {
        assert_eq!(failures(20, Seats::sell), 0);
    }

    /// It sees a seat that is sold twice, if only the threads would do that.
    #[test]
    fn the_test_can_fail() {
        assert_eq!(failures(3, |_| Some(1)), 3);
        assert_eq!(failures(3, |_| None), 3);
    }
}
