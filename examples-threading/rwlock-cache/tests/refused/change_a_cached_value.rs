// error[E0596]: who reads a value from the cache cannot change it for all others
//
// In Python a list from `functools.cache` is the very list in the cache: `.append` and everyone who
// asks later gets one more.

pub fn read_or_compute<V>(value: V, read: impl FnOnce(&V)) {
    read(&value);
}

pub fn caller() {
    read_or_compute(vec![1, 2, 3], |value| value.push(4));
}
