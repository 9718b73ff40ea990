// error[E0382]: what is in the heap cannot be changed behind its back
//
// In Python whoever keeps a job can set its priority while the heap holds it, and the order is gone.

#[path = "../../src/queue.rs"]
pub mod queue;
#[path = "../../src/sync.rs"]
pub mod sync;

pub fn promote(jobs: &queue::PriorityQueue<u32, String>) {
    let mut job = (2, String::from("backup"));
    let _ = jobs.put(job);
    job.0 = 0;
}
