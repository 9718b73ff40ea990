// error[E0505]: a connection in use keeps its pool alive
//
// The guard borrows the pool: nobody can close the pool under a user.

#[path = "../../src/connections.rs"]
pub mod connections;
#[path = "../../src/sync.rs"]
pub mod sync;

use connections::{AcquireError, Pool};

pub fn user(pool: Pool<String, String>) -> Result<usize, AcquireError<String>> {
    let connection = pool.acquire()?;
    drop(pool);
    Ok(connection.len())
}
