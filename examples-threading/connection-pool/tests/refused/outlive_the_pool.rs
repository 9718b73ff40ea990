// error[E0505]: a connection in use keeps its pool alive
//
// The guard borrows the pool: nobody can close the pool under a user.

pub struct Pool;

pub struct Pooled<'a>(pub &'a Pool);

pub fn user(pool: Pool) {
    let connection = Pooled(&pool);
    drop(pool);
    let _still_used = connection.0;
}
