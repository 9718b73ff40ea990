//! What Linux tells about processes in `/proc`. Everything here is empty where there is no such
//! thing, and where a process has just gone.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Whether the CPU time of single threads can be read.
pub fn is_there() -> bool {
    Path::new("/proc/self/schedstat").exists() && Path::new("/proc/self/task").exists()
}

pub fn threads(pid: u32) -> Vec<u32> {
    numbers_in(&format!("/proc/{pid}/task"))
}

/// The children of a process whose threads are `tids`: a child belongs to the thread that made it.
pub fn children(pid: u32, tids: &[u32]) -> Vec<u32> {
    static LISTED: OnceLock<bool> = OnceLock::new();
    if !LISTED.get_or_init(|| Path::new("/proc/thread-self/children").exists()) {
        return children_by_search(pid);
    }
    tids.iter()
        .filter_map(|tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).ok())
        .flat_map(|list| numbers(&list))
        .collect()
}

/// For kernels that do not list children: asks every process for its parent.
fn children_by_search(parent: u32) -> Vec<u32> {
    let mut children = numbers_in("/proc");
    children.retain(|pid| {
        let fields = stat(*pid, *pid);
        fields.get(1).and_then(|ppid| ppid.parse().ok()) == Some(parent)
    });
    children
}

/// Whether a thread has ended and only waits to be reaped.
pub fn is_zombie(pid: u32, tid: u32) -> bool {
    matches!(stat(pid, tid).first().map(String::as_str), Some("Z" | "X"))
}

/// The fields of `stat` from the third, the state, on. The second, the name, is in parentheses and
/// may itself contain blanks and parentheses.
fn stat(pid: u32, tid: u32) -> Vec<String> {
    let text = fs::read(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let Some((_, rest)) = text.rsplit_once(')') else {
        return Vec::new();
    };
    rest.split_whitespace().map(str::to_string).collect()
}

/// The name of a thread, at most 15 bytes long.
pub fn name(pid: u32, tid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_string())
}

/// The processor's name, if the system tells.
pub fn cpu_model() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

fn numbers_in(folder: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn numbers(list: &str) -> Vec<u32> {
    list.split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Our own children: the running program, and what it or its descendants left behind.
pub fn own_children() -> Vec<u32> {
    let own = std::process::id();
    children(own, &threads(own))
}

/// How many processes below us are alive.
#[cfg(target_os = "linux")]
pub fn living_descendants() -> usize {
    let mut pids = own_children();
    let mut next = 0;
    while let Some(&pid) = pids.get(next) {
        pids.extend(children(pid, &threads(pid)));
        next += 1;
    }
    pids.retain(|pid| !is_zombie(*pid, *pid));
    pids.len()
}
