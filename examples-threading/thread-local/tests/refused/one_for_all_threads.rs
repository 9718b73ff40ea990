// error[E0277]: a plain `static` is one for all threads, and a `RefCell` cannot be shared by them.

use std::cell::RefCell;

pub static USER: RefCell<Option<String>> = RefCell::new(None);
