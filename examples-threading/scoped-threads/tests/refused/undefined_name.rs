// error[E0425]: no one has defined `items`; in Python, that is found when the line runs
use std::thread;

pub fn sum() -> u64 {
    thread::scope(|scope| scope.spawn(|| items.iter().sum()).join().unwrap())
}
