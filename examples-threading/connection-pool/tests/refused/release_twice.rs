// error[E0382]: a connection that was given back is not ours any more
//
// In Python a second release puts one connection into the pool twice: two users at once, and a limit
// that is one higher from then on.

#[path = "../../src/connections.rs"]
pub mod connections;
#[path = "../../src/sync.rs"]
pub mod sync;

use connections::{AcquireError, Pool};

pub fn user(pool: &Pool<String, String>) -> Result<(), AcquireError<String>> {
    let connection = pool.acquire()?;
    drop(connection);
    drop(connection);
    Ok(())
}
