// error[E0594]: what an `Arc` points to is shared, and what is shared cannot be changed

use std::sync::Arc;
use std::thread;

pub fn count() -> u64 {
    let counter = Arc::new(0);
    let thread = thread::spawn({
        let mut counter = Arc::clone(&counter);
        move || *counter += 1
    });
    thread.join().unwrap();
    *counter
}
