// error[E0499]: two threads would write to one list at the same time
use std::thread;

pub fn both_push() -> Vec<u64> {
    let mut results = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| results.push(1));
        scope.spawn(|| results.push(2));
    });
    results
}
