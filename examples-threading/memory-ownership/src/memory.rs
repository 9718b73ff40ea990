//! The memory that this process has in use, where the system is Linux.
//!
//! To take it along, copy this file.

use std::fmt;
use std::fs;

/// What was in use when this was made, to compare it with later. It prints what is in use now.
#[derive(Clone, Copy)]
pub struct Memory {
    begin: Option<f64>,
}

impl Memory {
    pub fn now() -> Memory {
        Memory { begin: in_use() }
    }

    /// How many MiB more are in use now. `None` where the system does not tell.
    pub fn grown(&self) -> Option<f64> {
        Some(in_use()? - self.begin?)
    }

    /// How many MiB more there ever were at a time.
    pub fn most_grown(&self) -> Option<f64> {
        Some(in_mib("VmHWM:")? - self.begin?)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match in_use() {
            Some(mib) => write!(f, "{mib:3.0} MiB in use"),
            None => write!(f, "(this system does not tell what is in use)"),
        }
    }
}

/// In memory, or moved out to the disk for a while.
fn in_use() -> Option<f64> {
    Some(in_mib("VmRSS:")? + in_mib("VmSwap:").unwrap_or(0.0))
}

fn in_mib(figure: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(figure))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Whether memory goes back is a question to a process as a whole: see `tests/program.rs`.
    #[test]
    fn the_system_tells_what_is_in_use_and_what_there_ever_was() {
        let memory = Memory::now();
        let buffer = vec![1_u8; 100 << 20];
        // The other test may free its buffer of 40 MiB in between.
        assert!(memory.grown().unwrap() > 50.0);
        drop(buffer);
        assert!(memory.most_grown().unwrap() > 50.0);
        assert_eq!(in_mib("Vm"), None);
    }
}
