//! The workspace as cargo sees it: `cargo metadata` is the only list of examples there is.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::error::{Result, failed, usage};
use crate::suggest;

/// The folders of examples, in reading order.
pub const CHAPTERS: [&str; 3] = ["threading", "multiprocessing", "realworld"];

pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
    /// In reading order.
    pub examples: Vec<Example>,
    /// Every member's package as `cargo metadata` gives it, also those that are no examples.
    pub packages: Vec<Value>,
}

#[derive(Clone)]
pub struct Example {
    pub name: String,
    /// `threading`, `multiprocessing` or `realworld`.
    pub chapter: String,
    pub description: String,
    pub dir: PathBuf,
    pub order: Option<u64>,
    /// The Python names that lead to it.
    pub python: Vec<String>,
    pub pitfalls: Vec<String>,
    /// The whole entry of `cargo metadata`.
    pub package: Value,
}

impl Workspace {
    /// The workspace that the current folder belongs to.
    pub fn load() -> Result<Workspace> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .map_err(|error| failed(format!("cannot run cargo: {error}")))?;
        if !output.status.success() {
            return Err(failed(format!(
                "cargo metadata: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("cargo metadata: {error}")))?;
        let root = PathBuf::from(text(&metadata["workspace_root"]));
        let packages = array(&metadata["packages"]).to_vec();
        let mut examples: Vec<Example> = packages
            .iter()
            .filter_map(|package| Example::from_package(package, &root))
            .collect();
        examples.sort_by_key(|example| {
            let chapter = CHAPTERS.iter().position(|name| *name == example.chapter);
            (
                chapter,
                example.order.unwrap_or(u64::MAX),
                example.name.clone(),
            )
        });
        Ok(Workspace {
            target: PathBuf::from(text(&metadata["target_directory"])),
            root,
            examples,
            packages,
        })
    }

    /// The examples of these names, in reading order; all when there are none. A name that does
    /// not exist is a usage error with the nearest ones.
    pub fn select(&self, names: &[String]) -> Result<Vec<Example>> {
        for name in names {
            self.find(name)?;
        }
        Ok(self
            .examples
            .iter()
            .filter(|example| names.is_empty() || names.contains(&example.name))
            .cloned()
            .collect())
    }

    pub fn find(&self, name: &str) -> Result<&Example> {
        self.examples
            .iter()
            .find(|example| example.name == name)
            .ok_or_else(|| {
                usage(format!(
                    "there is no example `{name}`{}",
                    suggest::nearest_names(name, self.examples.iter().map(|e| e.name.as_str()))
                ))
            })
    }
}

impl Example {
    fn from_package(package: &Value, root: &Path) -> Option<Example> {
        let dir = Path::new(package["manifest_path"].as_str()?).parent()?;
        let chapter = dir.parent()?.strip_prefix(root).ok()?.to_str()?;
        let metadata = &package["metadata"]["example"];
        Some(Example {
            name: text(&package["name"]),
            chapter: chapter.strip_prefix("examples-")?.to_string(),
            description: text(&package["description"]),
            dir: dir.to_path_buf(),
            order: metadata["order"].as_u64(),
            python: texts(&metadata["python"]),
            pitfalls: texts(&metadata["pitfalls"]),
            package: package.clone(),
        })
    }
}

/// The cargo that runs us, so that the toolchain stays the same.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A JSON string, or the empty one.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

/// A JSON array, or the empty one.
pub fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn texts(value: &Value) -> Vec<String> {
    array(value).iter().map(text).collect()
}
