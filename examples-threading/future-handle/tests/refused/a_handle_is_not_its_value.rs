// error[E0369]: a map that gives handles instead of values is noticed where the values are used.

#[path = "../../src/sync.rs"]
pub mod sync;
#[path = "../../src/task.rs"]
pub mod task;

pub fn sum(task: task::Task<u64>) -> u64 {
    task + 1
}
