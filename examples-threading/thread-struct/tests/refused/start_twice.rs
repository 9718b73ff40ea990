// error[E0382]: `start` takes the worker whole, so after the first start there is none to start
use std::thread::{self, JoinHandle};

pub struct Worker {
    pub steps: u32,
}

impl Worker {
    pub fn start(self) -> JoinHandle<u32> {
        thread::spawn(move || self.steps)
    }
}

pub fn twice(worker: Worker) -> [JoinHandle<u32>; 2] {
    [worker.start(), worker.start()] // Python: a RuntimeError, at run time
}
