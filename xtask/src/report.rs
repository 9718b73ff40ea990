//! `cargo xtask run-all --report`: one page with the table, the logs and the lanes, complete in
//! itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::error::{Result, failed};
use crate::lanes::Chart;
use crate::outcome::Outcome;
use crate::output::{ends_of, machine, write_file};
use crate::svg::{self, escaped};
use crate::text;
use crate::workspace::text as json_text;

/// How much of each end of a log is shown.
const LOG_END: u64 = 24 * 1024;
const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// Title and the figure to sort by: text sorts upwards first, figures downwards.
const COLUMNS: [(&str, bool); 9] = [
    ("example", false),
    ("chapter", false),
    ("result", false),
    ("wall", true),
    ("CPU", true),
    ("cores", true),
    ("memory", true),
    ("threads", true),
    ("processes", true),
];

pub fn write(dir: &Path, outcomes: &[Outcome]) -> Result {
    fs::create_dir_all(dir)
        .map_err(|error| failed(format!("cannot make {}: {error}", dir.display())))?;
    write_file(&dir.join("index.html"), &page(outcomes))
}

fn page(outcomes: &[Outcome]) -> String {
    let details: String = outcomes.iter().map(details).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>run-all: {title}</title>\n<style>\n{STYLE}{trace}</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n<p class=\"dim\">{facts}</p>\n{table}{details}\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        title = escaped(&title(outcomes)),
        trace = svg::STYLE,
        facts = escaped(&facts()),
        table = table(outcomes),
    )
}

fn title(outcomes: &[Outcome]) -> String {
    let count = text::count(outcomes.len(), "example", "examples");
    match outcomes.iter().filter(|outcome| !outcome.ok).count() {
        0 => format!("{count}, all ok"),
        bad => format!("{count}, {bad} failed"),
    }
}

fn facts() -> String {
    let machine = machine();
    let cores = machine["cores"].as_u64().unwrap_or(1) as usize;
    let facts = [
        json_text(&machine["date"]),
        format!(
            "{} {}",
            json_text(&machine["os"]),
            json_text(&machine["arch"])
        ),
        text::count(cores, "core", "cores"),
        json_text(&machine["cpu"]),
    ];
    facts
        .into_iter()
        .filter(|fact| !fact.is_empty())
        .collect::<Vec<_>>()
        .join(" · ")
}

fn table(outcomes: &[Outcome]) -> String {
    let longest = outcomes.iter().filter_map(Outcome::wall).max();
    let heads: String = COLUMNS
        .iter()
        .map(|(head, figure)| {
            let class = if *figure { " class=\"figure\"" } else { "" };
            format!("<th{class}><button>{head}</button></th>")
        })
        .collect();
    let rows: String = outcomes
        .iter()
        .map(|outcome| row(outcome, longest.unwrap_or_default()))
        .collect();
    format!(
        "<div class=\"wide\"><table>\n<thead><tr>{heads}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn row(outcome: &Outcome, longest: Duration) -> String {
    let name = escaped(&outcome.example.name);
    let class = class(outcome);
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let wall = outcome.wall();
    let part = wall.map_or(0.0, |wall| {
        wall.as_secs_f64() / longest.as_secs_f64().max(1e-9)
    });
    let bar = format!(
        "<span class=\"bar\" style=\"width:{:.1}%\"></span>",
        (part * 100.0).max(0.5)
    );
    format!(
        "<tr><td><a href=\"#{name}\">{name}</a></td><td>{}</td><td class=\"{class}\">{}</td>\
         {}{}{}{}{}{}</tr>\n",
        escaped(&outcome.example.chapter),
        escaped(&outcome.result),
        figure(seconds(wall), wall.map(text::time), &bar),
        figure(seconds(outcome.cpu), outcome.cpu.map(text::time), ""),
        figure(
            outcome.cores(),
            outcome.cores().map(|cores| format!("{cores:.2}")),
            ""
        ),
        figure(
            outcome.peak_kb.map(|kb| kb as f64),
            outcome.peak_kb.map(text::memory),
            ""
        ),
        figure(
            outcome.threads.map(|n| n as f64),
            outcome.threads.map(|n| n.to_string()),
            ""
        ),
        figure(
            outcome.processes.map(|n| n as f64),
            outcome.processes.map(|n| n.to_string()),
            ""
        ),
    )
}

/// A cell with the number to sort by, what is shown of it, and perhaps a bar.
fn figure(number: Option<f64>, shown: Option<String>, bar: &str) -> String {
    let number = number.unwrap_or(-1.0);
    let shown = shown.unwrap_or_else(|| "–".to_string());
    format!("<td class=\"figure\" data-figure=\"{number}\">{shown}{bar}</td>")
}

fn class(outcome: &Outcome) -> &'static str {
    if outcome.ok { "ok" } else { "bad" }
}

/// Lanes and log of one example, folded up unless it failed.
fn details(outcome: &Outcome) -> String {
    let name = escaped(&outcome.example.name);
    let open = if outcome.ok { "" } else { " open" };
    let lanes = match outcome.lanes.is_empty() {
        true => "<p class=\"dim\">No thread was seen.</p>\n".to_string(),
        false => {
            let chart = Chart::new(&outcome.lanes, outcome.lanes_wall, outcome.lanes_cpu);
            format!("<div class=\"wide\">{}</div>\n", svg::inline(&chart))
        }
    };
    format!(
        "<details id=\"{name}\"{open}>\n<summary><b>{name}</b> <span class=\"{}\">{}</span> \
         <span class=\"dim\">{}</span></summary>\n{lanes}<pre>{}</pre>\n</details>\n",
        class(outcome),
        escaped(&outcome.result),
        escaped(&outcome.example.description),
        log(&outcome.log)
    )
}

/// A log, with a note instead of its middle when it is long.
fn log(path: &Path) -> String {
    let (head, tail) = ends_of(path, LOG_END, LOG_END);
    let size = fs::metadata(path).map_or(0, |file| file.len());
    let shown = (head.len() + tail.len()) as u64;
    let [head, tail] = [head, tail].map(|part| escaped(&text::harmless(&part)));
    match size.saturating_sub(shown) {
        0 if shown == 0 => "<span class=\"dim\">It printed nothing.</span>".to_string(),
        0 => head + &tail,
        hidden => format!(
            "{head}\n<span class=\"cut\">… {} left out, all of it is in {} …</span>\n{tail}",
            text::memory(hidden / 1024),
            escaped(&path.display().to_string())
        ),
    }
}
