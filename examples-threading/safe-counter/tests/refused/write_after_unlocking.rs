// error[E0505]: the guard cannot be given up while what it guards is still in use

use std::sync::Mutex;

pub fn increment(value: &Mutex<u64>) {
    let mut guard = value.lock().unwrap();
    let number: &mut u64 = &mut guard;
    drop(guard);
    *number += 1;
}
