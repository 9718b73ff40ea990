// error[E0425]: a thread cannot wait for itself: its handle comes to be after its work is given
// That is all it shows: sent in through a channel, the handle gets there. The join then panics on
// Linux; a test in `src/main.rs` does that.
use std::thread;

pub fn itself() {
    let handle = thread::spawn(move || handle.join()); // Python: a RuntimeError, at run time
}
