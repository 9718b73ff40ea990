// error[E0614]: the number is inside the `Mutex`; only the guard that `lock` returns leads to it

use std::sync::Mutex;

pub struct Counter {
    value: Mutex<u64>,
}

impl Counter {
    pub fn value(&self) -> u64 {
        *self.value
    }
}
