// error[E0382]: the token of an item is gone with its first drop
//
// In Python one `task_done()` too many is a ValueError at run time, one too few is a hang. A token
// is dropped once, by whoever has it last, and there is no way to drop it again.

pub fn handle<Token>(token: Token) {
    drop(token);
    drop(token);
}
