//! Where results go besides the terminal, and what the machine is that they were measured on.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::{Value, json};

use crate::error::{Result, failed, usage};
use crate::{procfs, text};

/// What the figures were measured on, and when.
pub fn machine() -> Value {
    json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "cores": thread::available_parallelism().map_or(1, |cores| cores.get()),
        "cpu": procfs::cpu_model(),
        "date": text::date(),
    })
}

/// A file that is to be written at the end of a long run: better to know at once that it cannot.
pub fn writable(file: OsString) -> Result<PathBuf> {
    let file = PathBuf::from(file);
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    match folder {
        Some(folder) if !folder.is_dir() => Err(usage(format!(
            "cannot write {}: no such folder",
            file.display()
        ))),
        _ => Ok(file),
    }
}

/// Writes JSON for people to read, too.
pub fn write_json(file: &Path, json: &Value) -> Result {
    write_file(file, &format!("{json:#}\n"))
}

/// Writes a file, or to stdout if its name is `-`.
pub fn write_file(file: &Path, text: &str) -> Result {
    if file == Path::new("-") {
        return Ok(io::stdout().write_all(text.as_bytes())?);
    }
    fs::write(file, text)
        .map_err(|error| failed(format!("cannot write {}: {error}", file.display())))
}
