// error[E0382]: a task is in a list once.
//
// In Python `as_completed([future, future])` takes it and gives it once: two in, one out.

#[path = "../../src/sync.rs"]
pub mod sync;
#[path = "../../src/task.rs"]
pub mod task;

pub fn twice(task: task::Task<u64>) -> task::AsCompleted<u64> {
    task::as_completed(vec![task, task])
}
