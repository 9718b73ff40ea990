//! In a file of its own: other tests of the same process open files, too.
#![cfg(target_os = "linux")]

#[path = "../src/family.rs"]
mod family;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use family::Family;

#[test]
fn a_hundred_families_leave_no_open_file_no_thread_and_no_child() {
    family::adopt_orphans().unwrap();
    let count = |what: &str| fs::read_dir(what).unwrap().count();
    let counts = || (count("/proc/self/fd"), count("/proc/self/task"));
    let before = counts();
    for _ in 0..100 {
        let family = Family::new(Duration::from_secs(15));
        let mut worker = Command::new(env!("CARGO_BIN_EXE_process-cleanup"));
        let worker = worker.env("PROCESS_CLEANUP_ROLE", "plain");
        family.spawn(worker.stdout(Stdio::null())).unwrap();
        family.spawn(worker.stdout(Stdio::null())).unwrap();
    }
    assert_eq!(counts(), before);
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let children = task.unwrap().path().join("children");
        assert_eq!(fs::read_to_string(children).unwrap(), "");
    }
}
