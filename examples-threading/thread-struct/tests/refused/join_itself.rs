// error[E0425]: a thread cannot wait for itself: its handle comes to be after its work is given
use std::thread;

pub fn itself() {
    let handle = thread::spawn(move || handle.join()); // Python: a RuntimeError, at run time
}
