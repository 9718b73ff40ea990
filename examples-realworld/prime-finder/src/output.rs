//! Where results go: stdout, or a file that is there in full or not at all.
//!
//! Until it is complete it stands beside its place as `.NAME.PID.unfinished`, locked by its
//! writer. Nobody tidies up after SIGKILL or a power cut, so the next run that writes the same
//! file removes what nobody holds a lock on any more.

use std::ffi::{OsStr, OsString};
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
        #[cfg(unix)]
        survive_the_size_limit()?;
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

/// Beyond the allowed file size a write fails, as on a full disk, if the signal is listened to.
#[cfg(unix)]
fn survive_the_size_limit() -> io::Result<()> {
    let noticed = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, noticed)?;
    Ok(())
}

fn named(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {name}: {error}"))
}

impl Target {
    fn open(path: &Path) -> io::Result<Target> {
        let target = follow(path)?;
        let old = fs::metadata(&target).ok();
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            return Ok(Target::Direct(OpenOptions::new().write(true).open(target)?));
        }
        let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".");
        remove_abandoned(&target, &hidden);
        hidden.push(process::id().to_string());
        hidden.push(UNFINISHED_ENDING);
        let path = target.with_file_name(hidden);
        let (file, unfinished) = loop {
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            let unfinished = Unfinished::new(path.clone());
            // Where files cannot be locked, nobody takes this one for abandoned either.
            let _ = file.lock();
            // Another run may have been faster, before it was locked.
            if path.exists() {
                break (file, unfinished);
            }
        };
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

/// A link stays a link: what it points to is replaced, or made if it is not there yet.
fn follow(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(next) => follow(&path.parent().unwrap_or(Path::new("")).join(next)),
            Err(_) => Ok(path.to_path_buf()),
        },
        found => found,
    }
}

const UNFINISHED_ENDING: &str = ".unfinished";

/// Removes what killed runs left of the same file: the lock of a dead process is gone.
fn remove_abandoned(target: &Path, beginning: &OsStr) {
    let folder = target.parent().filter(|folder| *folder != Path::new(""));
    let entries = fs::read_dir(folder.unwrap_or(Path::new(".")));
    for entry in entries.into_iter().flatten().flatten() {
        if is_unfinished(&entry.file_name(), beginning)
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            // Whoever may not remove it can write the file all the same.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_unfinished(name: &OsStr, beginning: &OsStr) -> bool {
    let rest = name
        .as_encoded_bytes()
        .strip_prefix(beginning.as_encoded_bytes());
    let id = rest.and_then(|rest| rest.strip_suffix(UNFINISHED_ENDING.as_bytes()));
    let id = id.and_then(|id| str::from_utf8(id).ok());
    id.is_some_and(|id| id.parse::<u32>().is_ok())
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
