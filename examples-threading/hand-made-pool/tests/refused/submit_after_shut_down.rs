// error[E0382]: `shut_down` takes the pool, so that nothing can be submitted to what has ended.

pub struct Pool;

impl Pool {
    pub fn execute(&self, _job: impl FnOnce() + Send + 'static) {}
    pub fn shut_down(self) {}
}

pub fn too_late(pool: Pool) {
    pool.shut_down();
    pool.execute(|| ());
}
