// error[E0499]: one thread may change the counter or many may read it, but not two change it

use std::thread;

pub fn count() -> u64 {
    let mut counter = 0;
    thread::scope(|scope| {
        scope.spawn(|| counter += 1);
        scope.spawn(|| counter += 1);
    });
    counter
}
