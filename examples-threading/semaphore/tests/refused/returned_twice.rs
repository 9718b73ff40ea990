// error[E0382]: a permit that was returned is gone and cannot be returned once more.

#[path = "../../src/semaphore.rs"]
pub mod semaphore;
#[path = "../../src/sync.rs"]
pub mod sync;

pub fn release_twice(gate: &semaphore::Semaphore) {
    let permit = gate.acquire();
    drop(permit);
    drop(permit);
}
