// error[E0382]: a connection that was given back is not ours any more
//
// In Python a second release puts one connection into the pool twice: two users at once, and a limit
// that is one higher from then on.

pub struct Pooled;

impl Drop for Pooled {
    fn drop(&mut self) {
        // Here it goes back into the pool.
    }
}

pub fn user(connection: Pooled) {
    drop(connection);
    drop(connection);
}
