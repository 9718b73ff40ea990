//! Files beside the terminal: results that are written, logs that are read; and what the machine is.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
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

/// At most `first` bytes from a file's beginning and `last` from the rest; together they are all
/// of it when it is short. Empty if it cannot be read.
pub fn ends_of(path: &Path, first: u64, last: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    // A log that is gone shows as empty.
    let _ = File::open(path).and_then(|mut file| {
        let size = file.metadata()?.len();
        (&mut file).take(first).read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(
            first.max(size.saturating_sub(last)).min(size),
        ))?;
        file.take(last).read_to_end(&mut tail)
    });
    (head, tail)
}
