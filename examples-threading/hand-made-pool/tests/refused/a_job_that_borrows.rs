// error[E0373]: a job may run after this function has returned, so it owns what it uses.

pub struct Pool;

impl Pool {
    pub fn execute(&self, _job: impl FnOnce() + Send + 'static) {}
}

pub fn count(pool: &Pool, words: Vec<String>) {
    pool.execute(|| println!("{} words", words.len()));
}
