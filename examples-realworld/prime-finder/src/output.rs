//! Where results go: stdout, or a file that is there in full or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Mutex;

/// `write` and `finish` fail with errors that say where.
pub struct Output {
    name: String,
    target: Target,
}

enum Target {
    Stdout,
    /// Written under another name beside it and renamed at the end.
    Atomic {
        file: File,
        target: PathBuf,
        unfinished: Unfinished,
    },
    /// A device or a pipe: there is nothing to rename.
    Direct(File),
}

impl Output {
    pub fn open(path: Option<&Path>) -> io::Result<Output> {
        let name = path.map_or("to stdout".into(), |path| path.display().to_string());
        let target = path.map_or(Ok(Target::Stdout), Target::open);
        Ok(Output {
            target: target.map_err(|error| named(&name, error))?,
            name,
        })
    }

    /// All is written: the file gets its name.
    pub fn finish(self) -> io::Result<()> {
        self.target
            .finish()
            .map_err(|error| named(&self.name, error))
    }
}

fn named(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {name}: {error}"))
}

impl Target {
    fn open(path: &Path) -> io::Result<Target> {
        // A link stays a link: what it points to is replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let old = fs::metadata(&target).ok();
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            return Ok(Target::Direct(OpenOptions::new().write(true).open(target)?));
        }
        let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.unfinished", process::id()));
        let unfinished = target.with_file_name(hidden);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&unfinished)?;
        let unfinished = Unfinished::new(unfinished);
        if let Some(old) = old {
            file.set_permissions(old.permissions())?;
        }
        Ok(Target::Atomic {
            file,
            target,
            unfinished,
        })
    }

    fn finish(self) -> io::Result<()> {
        if let Target::Atomic {
            file,
            target,
            unfinished,
        } = self
        {
            file.sync_all()?;
            fs::rename(&unfinished.0, target)
        } else {
            io::stdout().flush()
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.target {
            Target::Stdout => io::stdout().write(bytes),
            Target::Atomic { file, .. } | Target::Direct(file) => file.write(bytes),
        };
        written.map_err(|error| named(&self.name, error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match &mut self.target {
            Target::Stdout => io::stdout().flush(),
            Target::Atomic { file, .. } | Target::Direct(file) => file.flush(),
        };
        flushed.map_err(|error| named(&self.name, error))
    }
}

/// The file that has to go if it is not finished, also when a second signal ends the program.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

pub struct Unfinished(PathBuf);

impl Unfinished {
    fn new(path: PathBuf) -> Unfinished {
        *UNFINISHED.lock().unwrap() = Some(path.clone());
        Unfinished(path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        discard();
    }
}

pub fn discard() {
    if let Some(path) = UNFINISHED.lock().unwrap().take() {
        // After the rename it is not there any more, and that is right.
        let _ = fs::remove_file(path);
    }
}
