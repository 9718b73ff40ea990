//! `cargo xtask readme`: the parts of the README that are made from the manifests and from the
//! saved measurements, between markers such as `<!-- index -->` and `<!-- /index -->`.

use std::fmt::Write as _;
use std::fs;

use lexopt::prelude::*;

use crate::bench;
use crate::error::{Result, failed};
use crate::help;
use crate::workspace::{CHAPTERS, Example, Workspace};

const HELP: &str = "\
Usage: cargo xtask readme [--check]

Writes the README's index from the manifests, and its table of figures from what
`cargo xtask bench --save` measured.

  --check   write nothing; exit code 1 if the README is out of date";

pub fn main(mut args: lexopt::Parser) -> Result {
    let mut check = false;
    while let Some(arg) = args.next()? {
        match arg {
            Long("check") => check = true,
            Short('h') | Long("help") => return help(HELP),
            other => return Err(other.unexpected().into()),
        }
    }
    refresh(&Workspace::load()?, check)
}

pub fn refresh(workspace: &Workspace, check: bool) -> Result {
    let path = workspace.root.join("README.md");
    let old = fs::read_to_string(&path).map_err(|error| failed(format!("README.md: {error}")))?;
    let new = replace(&old, "index", &index(&workspace.examples))?;
    let new = replace(&new, "figures", &bench::saved_figures(&workspace.examples)?)?;
    if new == old {
        return Ok(());
    }
    match check {
        true => Err(failed(
            "README.md is out of date; `cargo xtask readme` writes it anew",
        )),
        false => Ok(fs::write(path, new)?),
    }
}

/// The text with everything between the two markers of this name replaced.
fn replace(text: &str, marker: &str, content: &str) -> Result<String> {
    let (begin, end) = (
        format!("<!-- {marker} -->\n"),
        format!("<!-- /{marker} -->"),
    );
    let split = text
        .split_once(&begin)
        .and_then(|(before, rest)| rest.split_once(&end).map(|(_, after)| (before, after)));
    let (before, after) = split.ok_or_else(|| {
        failed(format!(
            "README.md lacks the lines `{}` and `{end}`",
            begin.trim()
        ))
    })?;
    Ok(format!("{before}{begin}{content}{end}{after}"))
}

fn index(examples: &[Example]) -> String {
    let mut text = String::new();
    for chapter in CHAPTERS {
        let of_chapter: Vec<_> = examples.iter().filter(|e| e.chapter == chapter).collect();
        if of_chapter.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "\n### {chapter}\n\n| example | shows | in Python |\n| --- | --- | --- |"
        );
        for Example {
            name,
            description,
            python,
            ..
        } in of_chapter
        {
            let python: Vec<String> = python.iter().map(|name| format!("`{name}`")).collect();
            let link = format!("[{name}](examples-{chapter}/{name}/src/main.rs)");
            let _ = writeln!(text, "| {link} | {description} | {} |", python.join(", "));
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let text = "a\n<!-- x -->\nold\n<!-- /x -->\nb";
        assert_eq!(
            replace(text, "x", "new\n").unwrap(),
            "a\n<!-- x -->\nnew\n<!-- /x -->\nb"
        );
        assert!(replace(text, "y", "new\n").is_err());
    }
}
