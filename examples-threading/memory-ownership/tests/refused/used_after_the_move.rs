// error[E0382]: the buffer belongs to the thread now, which may have freed it already.

use std::thread;

pub fn sum(buffer: Vec<u32>) -> usize {
    let thread = thread::spawn(move || buffer.iter().sum::<u32>());
    let _ = thread.join();
    buffer.len()
}
