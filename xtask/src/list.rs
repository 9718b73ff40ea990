//! `cargo xtask list`: the index of examples, or those that match a text.

use std::io::{self, Write};

use lexopt::prelude::*;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::workspace::{CHAPTERS, Example, Workspace};
use crate::{help, suggest};

const HELP: &str = "\
Usage: cargo xtask list [--json] [TEXT...]

Lists the examples, chapter by chapter, in reading order. With TEXT only those whose name,
description, Python names or pitfalls contain every TEXT, in upper or lower case. If none does,
the words of each TEXT count one by one; then names lose what stands before a dot, step by step,
until threading.Lock.acquire() finds Lock.acquire:

  cargo xtask list queue.join
  cargo xtask list deadlock

  --json   an array of objects with the keys name, chapter, order, description, python,
           pitfalls and path

Exit code 1 if nothing matches.";

pub fn main(mut args: lexopt::Parser) -> Result {
    let (mut json, mut texts) = (false, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("json") => json = true,
            Short('h') | Long("help") => return help(HELP),
            Value(text) => texts.push(text.string()?.to_lowercase()),
            other => return Err(other.unexpected().into()),
        }
    }
    let workspace = Workspace::load()?;
    let asked = texts.join(" ");
    let mut matches = find(&workspace.examples, &texts);
    if matches.is_empty() {
        texts = into_words(&texts);
        matches = find(&workspace.examples, &texts);
    }
    while matches.is_empty()
        && texts
            .iter()
            .any(|text| text.trim_end_matches('.').contains('.'))
    {
        texts = texts.iter().map(|text| without_first_part(text)).collect();
        matches = find(&workspace.examples, &texts);
    }
    if json {
        let objects: Vec<Value> = matches.iter().map(|example| to_json(example)).collect();
        writeln!(io::stdout(), "{:#}", Value::from(objects))?;
    } else if !matches.is_empty() {
        print(&matches, &texts)?;
    }
    if matches.is_empty() && !texts.is_empty() {
        let near = suggest::nearest_names(&asked, words(&workspace.examples));
        eprintln!("no example mentions `{asked}`{near}; `cargo xtask list` shows all");
        return Err(Error::Code(1));
    }
    Ok(())
}

fn print(examples: &[&Example], texts: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let width = examples
        .iter()
        .map(|example| example.name.len())
        .max()
        .unwrap_or(0);
    for chapter in CHAPTERS {
        let mut of_chapter = examples
            .iter()
            .filter(|example| example.chapter == chapter)
            .peekable();
        if of_chapter.peek().is_some() {
            writeln!(out, "{chapter}")?;
        }
        for example in of_chapter {
            writeln!(out, "  {:width$}  {}", example.name, example.description)?;
            // Why it is listed, where name and description do not show it.
            let reasons: Vec<&str> = notes(example)
                .filter(|note| texts.iter().any(|text| note.to_lowercase().contains(text)))
                .collect();
            if !reasons.is_empty() {
                writeln!(out, "  {:width$}    {}", "", reasons.join(" · "))?;
            }
        }
    }
    writeln!(
        out,
        "\nRun one with `cargo run -p NAME`, copy it with `cargo xtask copy NAME DIR`."
    )
}

fn find<'a>(examples: &'a [Example], texts: &[String]) -> Vec<&'a Example> {
    examples
        .iter()
        .filter(|example| matches(example, texts))
        .collect()
}

/// Without the brackets of a call, which no example quotes.
fn into_words(texts: &[String]) -> Vec<String> {
    let words = texts.iter().flat_map(|text| text.split_whitespace());
    words
        .map(|word| word.trim_end_matches("()").to_string())
        .collect()
}

/// `threading.lock.acquire` becomes `lock.acquire`, which becomes `acquire`.
fn without_first_part(word: &str) -> String {
    let rest = word.split_once('.').map_or(word, |(_, rest)| rest);
    rest.to_string()
}

fn matches(example: &Example, texts: &[String]) -> bool {
    let fields: Vec<String> = [example.name.as_str(), &example.description]
        .into_iter()
        .chain(notes(example))
        .map(str::to_lowercase)
        .collect();
    texts
        .iter()
        .all(|text| fields.iter().any(|field| field.contains(text)))
}

fn notes(example: &Example) -> impl Iterator<Item = &str> {
    example
        .python
        .iter()
        .chain(&example.pitfalls)
        .map(String::as_str)
}

/// Everything that one might have meant: names, and the Python names whole and in their parts.
fn words(examples: &[Example]) -> impl Iterator<Item = &str> {
    examples.iter().flat_map(|example| {
        let python = example.python.iter().flat_map(|name| {
            let whole = name.split('(').next().unwrap_or(name);
            std::iter::once(whole).chain(whole.split('.'))
        });
        std::iter::once(example.name.as_str()).chain(python)
    })
}

fn to_json(example: &Example) -> Value {
    json!({
        "name": example.name,
        "chapter": example.chapter,
        "order": example.order,
        "description": example.description,
        "python": example.python,
        "pitfalls": example.pitfalls,
        "path": example.dir,
    })
}
