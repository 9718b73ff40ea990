// error[E0381]: when the making has failed there is nothing to close; in Python, a `finally` does
// it nevertheless, and its NameError stands before the real error
use std::fs::File;

pub fn close_in_any_case() {
    let file;
    if let Ok(made) = File::open("numbers") {
        file = made;
    }
    drop(file);
}
