// error[E0133]: two threads could use the global at once, so to use it at all needs `unsafe`

static mut COUNTER: u64 = 0;

pub fn increment() {
    COUNTER += 1;
}
