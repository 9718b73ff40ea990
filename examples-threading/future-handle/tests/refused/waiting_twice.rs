// error[E0382]: `wait` takes the task and gives the result away; nobody can ask for it again.

#[path = "../../src/sync.rs"]
pub mod sync;
#[path = "../../src/task.rs"]
pub mod task;

pub fn twice(task: task::Task<u64>) -> task::Outcome<u64> {
    Ok(task.wait()? + task.wait()?)
}
