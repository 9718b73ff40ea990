// error[E0308]: what `join` gives is a result or a panic, and has to be asked which
use std::thread;

pub fn answer() -> u64 {
    let thread = thread::spawn(|| 6 * 7);
    thread.join()
}
