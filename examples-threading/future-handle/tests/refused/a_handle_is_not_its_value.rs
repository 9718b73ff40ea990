// error[E0369]: a map that gives handles instead of values is noticed where the values are used.

pub struct Task<T>(pub T);

pub fn sum(task: Task<u64>) -> u64 {
    task + 1
}
