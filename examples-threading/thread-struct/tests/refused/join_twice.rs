// error[E0382]: `join` takes the handle and gives the one report there is
use std::thread::{JoinHandle, Result};

pub fn twice(handle: JoinHandle<u32>) -> [Result<u32>; 2] {
    [handle.join(), handle.join()]
}
