// error[E0594]: what is in the heap cannot be changed behind its back
//
// In Python whoever keeps a job can set its priority while the heap holds it, and the order is gone.

use std::collections::BinaryHeap;

pub fn promote(jobs: &BinaryHeap<(u32, String)>) {
    for job in jobs.iter() {
        job.0 = 100;
    }
}
