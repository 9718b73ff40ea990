// error[E0382]: `shut_down` takes the pool, so that nothing can be submitted to what has ended.

#[path = "../../src/sync.rs"]
pub mod sync;
#[path = "../../src/thread_pool.rs"]
pub mod thread_pool;

pub fn too_late(pool: thread_pool::Pool) {
    pool.shut_down();
    let _ = pool.execute(|| ());
}
