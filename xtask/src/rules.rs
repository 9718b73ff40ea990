//! What inheritance would give and copying forbids: the manifests stand alone, and these checks
//! keep them alike. The same holds for the files that several examples carry.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Result, failed};
use crate::workspace::{Example, Workspace, array, text};

/// The first line of a file that has the same text in every example that carries it.
pub const SHARED_MARK: &str = "//! Shared file:";

/// Keys that have the same value in every manifest, as `cargo metadata` names them.
const UNIFORM: [&str; 5] = ["edition", "rust_version", "license", "version", "publish"];

pub fn manifests(workspace: &Workspace) -> Result {
    let mut complaints = Vec::new();
    for package in &workspace.packages {
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let source = fs::read_to_string(&manifest)?;
        let shown = manifest
            .strip_prefix(&workspace.root)
            .unwrap_or(&manifest)
            .display();
        let found = standalone(&source).into_iter().chain(dependencies(package));
        complaints.extend(found.map(|complaint| format!("{shown}: {complaint}")));
    }
    for example in &workspace.examples {
        let found = metadata(example).into_iter().chain(sources(example)?);
        let (chapter, name) = (&example.chapter, &example.name);
        complaints.extend(found.map(|complaint| format!("examples-{chapter}/{name}: {complaint}")));
    }
    complaints.extend(same_order(&workspace.examples));
    complaints.extend(uniform(&workspace.packages));
    conclude(complaints)
}

/// Prints each complaint, and fails if there is any.
fn conclude(complaints: Vec<String>) -> Result {
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    match complaints.len() {
        0 => Ok(()),
        1 => Err(failed("1 complaint")),
        n => Err(failed(format!("{n} complaints"))),
    }
}

/// What would not parse, or not count, once the folder lies somewhere else; and the order of the
/// dependencies, which only the text shows.
fn standalone(source: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let (mut table, mut last_key) = (String::new(), String::new());
    for line in source.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let packed = line.replace(' ', "");
        if packed.contains("workspace=true") {
            complaints.push(format!(
                "`{line}` does not parse in a copy; write the value itself"
            ));
        }
        if let Some(header) = line.strip_prefix('[') {
            (table, last_key) = (header.trim_matches(['[', ']']).to_string(), String::new());
            if table.starts_with("profile") {
                complaints.push(format!("`{line}` is ignored in a workspace; take it out"));
            }
        } else if let Some((key, _)) = line.split_once('=')
            && table.ends_with("dependencies")
        {
            let key = key.trim().to_string();
            if key < last_key {
                complaints.push(format!("`{key}` stands after `{last_key}`; sort [{table}]"));
            }
            last_key = key;
        }
    }
    complaints
}

fn dependencies(package: &Value) -> Vec<String> {
    let complaint = |dependency: &Value| {
        let name = text(&dependency["name"]);
        if dependency["path"].is_string() {
            let cure = "use a released crate, or carry the file itself";
            Some(format!(
                "`{name}` is a path dependency, which a copy lacks; {cure}"
            ))
        } else if text(&dependency["source"]).starts_with("git") {
            Some(format!(
                "`{name}` comes from a git repository; use a released version"
            ))
        } else {
            None
        }
    };
    array(&package["dependencies"])
        .iter()
        .filter_map(complaint)
        .collect()
}

/// What the index, the order of reading and the search need.
fn metadata(example: &Example) -> Vec<String> {
    let mut complaints = Vec::new();
    let folder = example.dir.file_name().unwrap_or_default();
    if folder != example.name.as_str() {
        complaints.push(format!(
            "the package is named `{}`; name both alike",
            example.name
        ));
    }
    if example.description.trim().is_empty() {
        complaints.push("no description; add `description = \"what it shows\"`".to_string());
    }
    if example.order.is_none() {
        let cure =
            "add [package.metadata.example] with `order = …`, its place in the reading order";
        complaints.push(format!("no order; {cure}"));
    }
    if example.python.is_empty() {
        let cure = "add `python = [\"…\"]` under [package.metadata.example]: the names it answers";
        complaints.push(format!("no Python names; {cure}"));
    }
    complaints
}

/// What every program opens with.
fn sources(example: &Example) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let files = rust_files(&example.dir.join("src"))?;
    let Some((_, main)) = files.iter().find(|(path, _)| path.ends_with("src/main.rs")) else {
        return Ok(vec!["no src/main.rs".to_string()]);
    };
    if !main.starts_with("//!") {
        let cure = "open it with `//!` lines: what it shows, how to run it, what to take";
        complaints.push(format!("src/main.rs has no header; {cure}"));
    }
    let is_unsafe = |(_, text): &(PathBuf, String)| {
        text.lines()
            .any(|line| line.contains("unsafe ") && !line.trim_start().starts_with("//"))
    };
    if !main.contains("#![forbid(unsafe_code)]") && !files.iter().any(is_unsafe) {
        let cure = "write `#![forbid(unsafe_code)]` under the header of src/main.rs";
        complaints.push(format!("no unsafe code and no promise of that; {cure}"));
    }
    Ok(complaints)
}

fn same_order(examples: &[Example]) -> Vec<String> {
    let mut by_order: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for example in examples {
        by_order
            .entry(example.order.unwrap_or(0))
            .or_default()
            .push(&example.name);
    }
    by_order.remove(&0);
    let twice = by_order.into_iter().filter(|(_, names)| names.len() > 1);
    twice
        .map(|(order, names)| {
            format!(
                "{} have the same order, {order}; give each its own",
                names.join(", ")
            )
        })
        .collect()
}

/// The same edition, licence and so on everywhere, and one version requirement for each crate.
/// What most manifests say is taken to be right.
fn uniform(packages: &[Value]) -> Vec<String> {
    let mut said: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for package in packages {
        let mut note = |key: String, value: String| {
            said.entry(key)
                .or_default()
                .entry(value)
                .or_default()
                .push(text(&package["name"]));
        };
        for key in UNIFORM {
            note(key.replace('_', "-"), package[key].to_string());
        }
        for dependency in array(&package["dependencies"]) {
            note(
                format!("dependency {}", text(&dependency["name"])),
                text(&dependency["req"]),
            );
        }
    }
    let mut complaints = Vec::new();
    for (key, values) in said {
        let usual = values
            .iter()
            .max_by_key(|(_, names)| names.len())
            .map(|(value, _)| value);
        for (value, names) in values.iter().filter(|(value, _)| Some(*value) != usual) {
            let (names, usual) = (names.join(", "), usual.map_or("", String::as_str));
            complaints.push(format!(
                "{key}: {names} says {value}, the others {usual}; make it one"
            ));
        }
    }
    complaints
}

/// Files of one name in the examples' `src` or `tests`, of which any is marked as shared, all have
/// one text.
pub fn shared_files(workspace: &Workspace) -> Result {
    let mut by_name: BTreeMap<PathBuf, Vec<(PathBuf, String)>> = BTreeMap::new();
    for example in &workspace.examples {
        for folder in ["src", "tests"] {
            for (path, text) in rust_files(&example.dir.join(folder))? {
                let name = Path::new(folder).join(path.file_name().unwrap_or_default());
                by_name.entry(name).or_default().push((path, text));
            }
        }
    }
    let mut complaints = Vec::new();
    for files in by_name.values() {
        let Some((model, wanted)) = files.iter().find(|(_, text)| text.starts_with(SHARED_MARK))
        else {
            continue;
        };
        for (path, _) in files.iter().filter(|(_, text)| text != wanted) {
            let (path, model) = (path.display(), model.display());
            complaints.push(format!(
                "{path} and {model} differ; keep the better text in both, as with `cp {model} {path}`"
            ));
        }
    }
    conclude(complaints)
}

/// Every `.rs` file below `dir` with its text, without build output; none if there is no `dir`.
fn rust_files(dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(files);
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)
                .map_err(|error| failed(format!("{}: {error}", path.display())))?;
            files.push((path, text));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn inherited_values_are_refused() {
        for line in [
            "edition.workspace = true",
            "serde = { workspace = true }",
            "workspace=true",
        ] {
            assert_eq!(standalone(line).len(), 1, "{line}");
        }
        assert!(standalone("# edition.workspace = true").is_empty());
    }

    #[test]
    fn dependencies_are_sorted_within_their_table() {
        let sorted = "[dependencies]\na = \"1\"\nb = \"1\"\n[dev-dependencies]\na = \"1\"\n";
        assert!(standalone(sorted).is_empty());
        assert_eq!(
            standalone("[dependencies]\nb = \"1\"\na = \"1\"\n").len(),
            1
        );
    }

    #[test]
    fn a_path_or_a_git_repository_is_no_dependency() {
        let package = json!({"dependencies": [
            {"name": "mine", "path": "/somewhere"},
            {"name": "theirs", "source": "git+https://example.org/x"},
            {"name": "released", "source": "registry+https://example.org"},
        ]});
        assert_eq!(dependencies(&package).len(), 2);
    }

    #[test]
    fn the_one_that_differs_from_the_others_is_named() {
        let package = |name: &str, edition: &str, req: &str| {
            let dependencies = json!([{"name": "serde", "req": req}]);
            json!({"name": name, "edition": edition, "dependencies": dependencies})
        };
        let packages = [
            package("a", "2024", "^1.0"),
            package("b", "2021", "^1.0"),
            package("c", "2024", "^1"),
        ];
        let complaints = uniform(&packages);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(
            complaints[0].starts_with("dependency serde: c says ^1"),
            "{complaints:?}"
        );
        assert!(
            complaints[1].starts_with("edition: b says \"2021\""),
            "{complaints:?}"
        );
    }
}
