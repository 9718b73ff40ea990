// error[E0382]: what was sent belongs to the receiver
//
// In Python the producer can change an object that a consumer is already reading.

use std::sync::mpsc::Sender;

pub fn produce(jobs: &Sender<Vec<u32>>) {
    let mut job = vec![1, 2, 3];
    let _ = jobs.send(job);
    job.push(4);
}
