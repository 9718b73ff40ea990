//! The type under test: numbered seats, each of which may be sold once.
//!
//! Its lock comes from `super::sync`. Each of the three tests includes this very file, and puts its
//! own lock there.

use super::sync::Mutex;

pub struct Seats {
    sold: Mutex<u32>,
    all: u32,
}

impl Seats {
    pub fn new(all: u32) -> Self {
        let sold = Mutex::new(0);
        Self { sold, all }
    }

    /// Sells the next seat, if there is one left.
    pub fn sell(&self) -> Option<u32> {
        let mut sold = self.sold.lock().unwrap();
        if *sold == self.all {
            return None;
        }
        *sold += 1;
        Some(*sold)
    }

    /// This version is wrong. Each of its steps takes the lock, so the compiler has nothing to say;
    /// but between the two, another thread can sell the same seat.
    pub fn sell_in_two_steps(&self) -> Option<u32> {
        let sold = *self.sold.lock().unwrap();
        if sold == self.all {
            return None;
        }
        *self.sold.lock().unwrap() = sold + 1;
        Some(sold + 1)
    }
}
