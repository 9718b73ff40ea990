// error[E0451]: its fields are private, so only the semaphore itself can make a permit.

#[path = "../../src/semaphore.rs"]
pub mod semaphore;
#[path = "../../src/sync.rs"]
pub mod sync;

pub fn release_without_acquire(gate: &semaphore::Semaphore) {
    drop(semaphore::Permit {
        semaphore: gate,
        count: 1,
    });
}
