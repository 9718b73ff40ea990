// error[E0373]: a thread outside of a scope may outlive the list it borrows
use std::thread;

pub fn too_short_a_life() -> u64 {
    let numbers = vec![1, 2, 3];
    let sum = thread::spawn(|| numbers.iter().sum());
    sum.join().unwrap()
}
