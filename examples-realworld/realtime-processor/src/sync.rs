//! What `handover.rs` needs from std. The model test puts loom's versions in their place.

pub use std::sync::atomic::{AtomicU8, Ordering};
pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::thread::yield_now;

/// How often a thread lets others run and looks again before it goes to sleep.
///
/// Falling asleep and being woken cost microseconds, an item costs a tenth of one: with no
/// patience at all the program handles a quarter of the items.
pub const PATIENCE: u32 = 5;
