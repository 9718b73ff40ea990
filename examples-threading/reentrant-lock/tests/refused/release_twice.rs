// error[E0382]: the guard is gone after the first release; Python's RLock raises at run time

use std::sync::Mutex;

pub fn release_twice(lock: &Mutex<u64>) {
    let guard = lock.lock().unwrap();
    drop(guard);
    drop(guard);
}
