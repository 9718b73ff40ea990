//! `cargo xtask copy`: an example as a package of its own, somewhere else.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf, absolute};
use std::process::Stdio;

use lexopt::prelude::*;

use crate::error::{Result, failed, usage};
use crate::help;
use crate::workspace::{Example, Workspace, cargo};

const HELP: &str = "\
Usage: cargo xtask copy NAME DIR

Copies the example NAME into the new folder DIR, without build output and with the lock file,
so that it builds there alone with the versions it was tested with. DIR must not exist yet,
or be empty.";

/// What a build or a Python run leaves in a folder.
const LEFT_OUT: [&str; 2] = ["target", "__pycache__"];

pub fn main(mut args: lexopt::Parser) -> Result {
    let mut values = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return help(HELP),
            Value(value) => values.push(value),
            other => return Err(other.unexpected().into()),
        }
    }
    let [name, dir] = <[_; 2]>::try_from(values)
        .map_err(|_| usage("copy takes two arguments, as in `cargo xtask copy NAME DIR`"))?;
    let workspace = Workspace::load()?;
    let example = workspace.find(&name.string()?)?;
    let dir = absolute(PathBuf::from(dir))?;
    copy(&workspace, example, &dir)?;

    let mut out = io::stdout().lock();
    writeln!(out, "copied {} to {}", example.name, dir.display())?;
    if let Err(reason) = cargo_accepts(&dir) {
        writeln!(
            out,
            "\nIt does not stand alone there; cargo says:\n{reason}"
        )?;
    } else {
        writeln!(out, "next: cd {} && cargo run && cargo test", dir.display())?;
    }
    Ok(())
}

/// Copies an example into the new folder `dir`.
pub fn copy(workspace: &Workspace, example: &Example, dir: &Path) -> Result {
    let free = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !dir.exists(),
    };
    if !free {
        let (inside, dir) = (dir.join(&example.name), dir.display());
        return Err(failed(format!(
            "{dir} exists and nothing is overwritten; name a new folder, such as {}",
            inside.display()
        )));
    }
    let complain = |error: io::Error| failed(format!("cannot copy to {}: {error}", dir.display()));
    copy_folder(&example.dir, dir).map_err(complain)?;
    fs::copy(workspace.root.join("Cargo.lock"), dir.join("Cargo.lock")).map_err(complain)?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    // Read the list before the first new entry: `to` may lie inside `from`.
    let entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    fs::create_dir_all(to)?;
    for entry in entries {
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) || entry.path() == to {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &to.join(name))?,
            false => fs::copy(entry.path(), to.join(name)).map(drop)?,
        }
    }
    Ok(())
}

/// Whether cargo takes the copy for a package of its own, which it does not inside another
/// workspace. On the way it drops from the lock file what the copy does not need.
fn cargo_accepts(dir: &Path) -> std::result::Result<(), String> {
    let metadata = |args: &[&str]| {
        let mut cargo = cargo();
        cargo
            .args(["metadata", "--format-version", "1", "--offline"])
            .args(args);
        cargo.current_dir(dir).stdin(Stdio::null()).output()
    };
    // Without the network this may lack packages, which is no reason to refuse the copy.
    let _ = metadata(&[]);
    match metadata(&["--no-deps"]) {
        Ok(output) if !output.status.success() => {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_string())
        }
        _ => Ok(()),
    }
}
