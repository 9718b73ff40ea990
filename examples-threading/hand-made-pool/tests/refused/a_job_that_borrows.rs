// error[E0373]: a job may run after this function has returned, so it owns what it uses.

#[path = "../../src/sync.rs"]
pub mod sync;
#[path = "../../src/thread_pool.rs"]
pub mod thread_pool;

pub fn count(pool: &thread_pool::Pool, words: Vec<String>) {
    let _ = pool.execute(|| println!("{} words", words.len()));
}
