// error[E0596]: who reads a value from the cache cannot change it for all others
//
// In Python a list from `functools.cache` is the very list in the cache: `.append` and everyone who
// asks later gets one more.

#[path = "../../src/cache.rs"]
pub mod cache;
#[path = "../../src/sync.rs"]
pub mod sync;

pub fn caller(cache: &cache::Cache<&str, Vec<u32>>) -> Result<(), String> {
    cache.read_or_compute(&"key", || Ok(vec![1, 2, 3]), |value| value.push(4))
}
