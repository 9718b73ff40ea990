// error[E0382]: while the worker works, its fields belong to its thread; what both sides are to
// see meanwhile has to be shared on purpose, as an `Arc` of an atomic or a `Mutex`
use std::thread;

pub struct Worker {
    pub counts: Vec<usize>,
}

pub fn too_early(mut worker: Worker) -> usize {
    let handle = thread::spawn(move || worker.counts.push(1));
    let seen = worker.counts.len(); // Python: 0 or 1, whichever thread is faster
    handle.join().unwrap();
    seen
}
