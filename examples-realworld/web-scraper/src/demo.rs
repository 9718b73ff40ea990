//! The demonstration: pages of our own, some of which misbehave, and what must come of each.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::fetch::{Kind, Outcome};
use crate::list::Job;
use crate::options::Args;
use crate::report::Report;
use crate::server::{Reply, Request, Server};
use crate::{Ending, scrape};

enum Expected {
    Page(u16, Option<&'static str>),
    Error(Kind),
}

use Expected::{Error, Page};

/// What stands at each path, and what a scraper has to make of it.
const SITE: [(&str, Expected); 14] = [
    ("/delay/1", Page(200, Some("A page that takes its time"))),
    ("/delay/2", Page(200, Some("A page that takes its time"))),
    ("/status/200", Page(200, Some("Tom & Jerry"))),
    ("/status/404", Page(404, Some("404 Not Found"))),
    ("/drawing", Page(200, None)),
    ("/moved", Page(200, Some("Tom & Jerry"))),
    ("/busy", Page(200, Some("At the second attempt"))),
    ("/loop", Error(Kind::TooManyRedirects)),
    ("/never", Error(Kind::Timeout)),
    ("/drip", Error(Kind::Timeout)),
    ("/endless", Error(Kind::TooLarge)),
    ("/bomb", Error(Kind::TooLarge)),
    ("/cut", Error(Kind::Closed)),
    ("/garbage", Error(Kind::Protocol)),
];

/// Nobody listens on port 1.
const NOBODY: &str = "http://127.0.0.1:1/";

fn site() -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let busy = AtomicUsize::new(0);
    move |request: &Request| match request.target.as_str() {
        "/delay/1" => slow_page(60),
        "/delay/2" => slow_page(120),
        "/status/200" => Reply::html("<TITLE lang=en>\n Tom &amp; Jerry </TITLE>"),
        "/drawing" => Reply::html("<!-- <title>no</title> --><svg><title>nor this</title></svg>"),
        "/moved" => Reply::redirect("/status/200"),
        "/busy" if busy.fetch_add(1, Relaxed) == 0 => Reply::status(503),
        "/busy" => Reply::html("<title>At the second attempt</title>"),
        "/loop" => Reply::redirect("/loop"),
        "/never" => Reply::never(),
        "/drip" => Reply::drip("<title>slow</title>", Duration::from_millis(100)),
        "/endless" => Reply::endless(),
        "/bomb" => Reply::gzip_bomb(),
        "/cut" => Reply::wrong_length("<p>half a page", 1000),
        "/garbage" => Reply::garbage(),
        _ => Reply::status(404),
    }
}

fn slow_page(milliseconds: u64) -> Reply {
    Reply::html("<title>A page that takes its time</title>")
        .after(Duration::from_millis(milliseconds))
}

/// Serves, scrapes and compares.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let server = Server::start(site()).map_err(|error| format!("cannot serve: {error}"))?;
    let mut expected: Vec<(String, Expected)> = Vec::new();
    expected.extend(SITE.map(|(path, expected)| (server.url(path), expected)));
    expected.push((NOBODY.into(), Error(Kind::Refused)));
    expected.push(("www.example.com".into(), Error(Kind::BadUrl)));

    let mut settings = args.settings()?;
    settings.timeout = args.timeout.unwrap_or(Duration::from_secs(1));
    settings.max_bytes = args.max_bytes.unwrap_or(100_000);
    settings.retries = args.retries.unwrap_or(1);
    settings.proxies = false; // what stands in the environment does not lead to this machine
    let jobs: Vec<Job> = expected.iter().map(|(url, _)| Job::new(url)).collect();
    let workers = args.workers;

    let mut report = Report::new(args.json, jobs.len());
    report.say(format_args!(
        "{} pages of a server of our own, {} at a time, one second each at most:\n",
        jobs.len(),
        workers.min(jobs.len())
    ));
    let mut outcomes = Vec::new();
    let look = |outcome: &Outcome| outcomes.push(judge(outcome, &expected));
    let ending = scrape(jobs, workers, settings, &mut report, look)?;
    report.summary();
    if let Ending::Signal(code) = ending {
        return Ok(ExitCode::from(code));
    }

    let wrong: Vec<String> = outcomes.into_iter().flatten().collect();
    if !wrong.is_empty() {
        return Err(format!("not as expected: {}", wrong.join("; ")));
    }
    if server.peak() > workers + 1 {
        // One more while a connection that was given up is still being closed.
        return Err(format!(
            "{workers} workers, but {} connections",
            server.peak()
        ));
    }
    report.say(format_args!(
        "\nok: each of the {} pages came out as it should, and none held up another",
        expected.len()
    ));
    report.pause();
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with an outcome, if anything.
fn judge(outcome: &Outcome, expected: &[(String, Expected)]) -> Option<String> {
    let (_, expected) = expected.iter().find(|(url, _)| *url == outcome.url)?;
    let right = match expected {
        Page(status, title) => {
            outcome.error.is_none()
                && outcome.status == Some(*status)
                && outcome.title.as_deref() == *title
        }
        Error(kind) => outcome.error.as_ref().is_some_and(|error| {
            // Windows may try for two seconds before it believes that nobody is there.
            let late = cfg!(windows) && (*kind, error.kind) == (Kind::Refused, Kind::Timeout);
            error.kind == *kind || late
        }),
    };
    (!right).then(|| format!("{outcome:?}"))
}
