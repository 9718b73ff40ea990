// error[E0277]: a `Cell` can be changed though it is shared, but an `Rc` stays within its thread

use std::cell::Cell;
use std::rc::Rc;
use std::thread;

pub fn count() -> u64 {
    let counter = Rc::new(Cell::new(0));
    let thread = thread::spawn({
        let counter = Rc::clone(&counter);
        move || counter.set(counter.get() + 1)
    });
    thread.join().unwrap();
    counter.get()
}
