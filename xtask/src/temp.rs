//! A folder in the system's temporary one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{env, process};

use crate::error::{Result, failed};

/// A new, empty folder, removed with all that is in it when dropped.
pub struct TempFolder(PathBuf);

impl TempFolder {
    pub fn new(purpose: &str) -> Result<TempFolder> {
        for n in 0.. {
            let path = env::temp_dir().join(format!("xtask-{purpose}-{}-{n}", process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(TempFolder(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(failed(format!("cannot make {}: {error}", path.display())));
                }
            }
        }
        unreachable!("some number is free")
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
