// error[E0382]: `wait` takes the task and gives the result away; nobody can ask for it again.

pub struct Task<T>(T);

impl<T> Task<T> {
    pub fn wait(self) -> Result<T, String> {
        Ok(self.0)
    }
}

pub fn twice(task: Task<u64>) -> Result<u64, String> {
    Ok(task.wait()? + task.wait()?)
}
