//! Fetch many web pages at once and tell status, size and title of each: a finished tool.
//!
//! What a Python developer writes as
//!
//! ```python
//! with ThreadPoolExecutor(max_workers=16) as pool:
//!     futures = [pool.submit(requests.get, url, timeout=10) for url in urls]
//!     for future in as_completed(futures):
//!         print(future.result().status_code)      # the first failure ends it all
//! ```
//!
//! is here a crew of named threads that take the next URL whenever they are free, and one channel
//! on which the outcomes come back in the order of completion. `timeout=10` in Python bounds each
//! read: a server that sends a byte every nine seconds is waited for until it is done. Here one
//! deadline covers everything that happens for a URL, and no body is stored, however long.
//!
//! Run it with `cargo run -p web-scraper`: without URLs it serves itself some pages on 127.0.0.1,
//! several of which misbehave, and checks what comes of each. `--help` tells the rest.
//!
//! To take: `crew.rs` (numbered tasks for n threads, results as they complete), `title.rs` (the
//! title of a page that streams by), `dns.rs` (names under a deadline), `fetch.rs`, and
//! `server.rs`, the web server for tests that misbehaves on demand.

#![forbid(unsafe_code)]

mod crew;
mod demo;
mod dns;
mod fetch;
mod report;
mod server;
mod signals;
mod title;
mod transport;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use ureq::tls::{Certificate, PemItem, parse_pem};

use crate::fetch::{Fetcher, Kind, Network, Outcome, Settings};
use crate::report::Report;

/// How soon a signal is noticed and the progress line renewed.
const TICK: Duration = Duration::from_millis(50);

/// Results that come within this time are printed together.
const BATCH: Duration = Duration::from_millis(1);

/// A longer line is not a URL.
const LONGEST_LINE: u64 = 64 * 1024;

/// What does not end within this is not a line, and whatever it is read from is not a list.
const ENDLESS_LINE: u64 = 16 * 1024 * 1024;

/// URLs of a list that may wait to be taken over.
const LIST_AHEAD: usize = 1024;

/// Idle connections in the whole program; each worker keeps its share, at least one.
const IDLE_CONNECTIONS: usize = 256;

fn main() -> ExitCode {
    run(&arguments()).unwrap_or_else(|message| {
        report::warn(format_args!("error: {message}"));
        ExitCode::FAILURE
    })
}

/// Help and version go through our own output, so that a full disk is an error there, too.
fn arguments() -> Args {
    Args::try_parse().unwrap_or_else(|error| {
        if error.use_stderr() {
            error.exit();
        }
        report::print(format_args!("{error}"));
        process::exit(0)
    })
}

fn run(args: &Args) -> Result<ExitCode, String> {
    // Before anything else: a list on stdin may be long in coming.
    signals::listen(|_| (), || ()).map_err(|error| format!("cannot listen to signals: {error}"))?;
    if args.urls.is_empty() && args.from_file.is_none() {
        demo::run(args)
    } else {
        scrape_given(args)
    }
}

/// Fetch web pages and tell status, size and title of each.
///
/// One line per URL on stdout, in the order of completion; the summary goes to stderr. Without
/// any URL a demonstration runs against a server of its own.
///
/// A URL has failed when no complete answer came, or when the status is 400 or above: a page that
/// is not there (404) counts as failed, with its status, size and title told all the same.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    /// The pages, each with http:// or https:// in front
    #[arg(value_name = "URL")]
    urls: Vec<String>,

    /// Read more URLs from a file, one per line ("-": stdin), to its end, before the first page is
    /// fetched; blank lines and # comments are skipped
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    /// How many pages to fetch at the same time; never more threads than there are URLs
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = worker_count, allow_negative_numbers = true)]
    workers: usize,

    /// The deadline for each URL: look-up, redirects, retries and the whole body [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    timeout: Option<Duration>,

    /// The longest body, unpacked, as in 500000, 64K, 10M; more is an error [default: 10M]
    #[arg(long, value_name = "N", value_parser = byte_count, allow_negative_numbers = true)]
    max_bytes: Option<u64>,

    /// How often to try again after a refused or broken connection, or status 429, 500, 502-504
    #[arg(long, value_name = "N", value_parser = retry_count, allow_negative_numbers = true)]
    retries: Option<u32>,

    /// One JSON object per line instead of text
    #[arg(long)]
    json: bool,

    /// Trust the certificates in this PEM file instead of the usual authorities
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
With --json, each line is an object with these keys:
  url           as given, a password in it as ***, here and everywhere
  final_url     where the redirects led, or null
  status        200, 404, ..., or null when no answer came
  bytes         of the body, unpacked
  title         of the page, or null
  milliseconds  from the start to the end, pauses and retries included
  attempts      1 and the retries
  error         null, or {\"kind\": ..., \"message\": ...}
The kinds of errors: bad-url, dns, refused, unreachable, timeout, tls, too-many-redirects,
too-large, closed, protocol, io, internal (a bug), not-done (ended by a signal before).

Exit codes: 0 all went well, 1 some URL failed, 2 wrong usage, 130 and 143 ended by Ctrl-C or
SIGTERM, after a summary of what was not done. A second Ctrl-C ends at once.

The first of all_proxy, https_proxy and http_proxy that is set names a proxy for all URLs, except
for the hosts in no_proxy. http:// goes by CONNECT, too, so the proxy must allow it to port 80.";

fn scrape_given(args: &Args) -> Result<ExitCode, String> {
    let settings = args.settings()?;
    fetch::check_proxies()?;
    let jobs = args.jobs()?;
    let mut report = Report::new(args.json, jobs.len());
    let ending = scrape(jobs, args.workers, settings, &mut report, |_| ())?;
    report.summary();
    Ok(match ending {
        Ending::Signal(code) => ExitCode::from(code),
        Ending::Complete if report.failures() > 0 => ExitCode::FAILURE,
        Ending::Complete => ExitCode::SUCCESS,
    })
}

enum Ending {
    Complete,
    Signal(u8),
}

/// Fetches all jobs and reports each outcome as it comes, until done or until a signal comes.
fn scrape(
    jobs: Vec<Job>,
    workers: usize,
    settings: Settings,
    report: &mut Report,
    mut look: impl FnMut(&Outcome),
) -> Result<Ending, String> {
    // A signal that came before has ended it all: everything is not done.
    let workers = signals::received().map_or(workers, |_| 0);
    raise_file_limit(workers);
    let jobs: Arc<[Job]> = jobs.into();
    let network = Network::new(settings);
    let make = {
        let jobs = Arc::clone(&jobs);
        move || {
            let (jobs, mut fetcher) = (Arc::clone(&jobs), Fetcher::new(&network));
            move |n: usize| jobs[n].run(&mut fetcher)
        }
    };
    let panicked = |_, words| Outcome::failed("", Kind::Internal, words);
    let crew = crew::start(jobs.len(), workers, make, panicked)
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    report.workers = crew.workers;

    let mut done = vec![false; jobs.len()];
    let mut take = |(n, mut outcome): (usize, Outcome), report: &mut Report| {
        done[n] = true;
        outcome.url = fetch::masked(&jobs[n].url);
        look(&outcome);
        report.outcome(&outcome);
    };
    let code = loop {
        if let Some(signal) = signals::received() {
            break signal.exit_code;
        }
        // Whatever is there already is printed in one go.
        if let Ok(result) = crew.results.try_recv() {
            take(result, report);
            continue;
        }
        report.pause();
        match crew.results.recv_timeout(TICK) {
            Ok(result) => {
                take(result, report);
                report.pause();
                // To wake up for each of thousands would cost more than to print them.
                thread::sleep(BATCH);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(Ending::Complete),
        }
    };
    // A worker may hang in a read until its deadline: nobody waits for it.
    crew.stop();
    while let Ok(result) = crew.results.try_recv() {
        take(result, report);
    }
    let undone = jobs.iter().zip(&done).filter(|(_, done)| !**done);
    for (job, _) in undone {
        report.outcome(&Outcome::failed(
            &fetch::masked(&job.url),
            Kind::NotDone,
            "ended by a signal",
        ));
    }
    report.pause();
    Ok(Ending::Signal(code))
}

/// A URL and where it came from.
struct Job {
    url: String,
    line: Option<usize>,
    /// What is wrong with it, if that was seen already.
    fault: Option<&'static str>,
}

impl Job {
    fn new(url: impl Into<String>) -> Self {
        Job {
            url: url.into(),
            line: None,
            fault: None,
        }
    }

    fn run(&self, fetcher: &mut Fetcher) -> Outcome {
        let mut outcome = match self.fault {
            Some(fault) => Outcome::failed(&self.url, Kind::BadUrl, fault),
            None => fetcher.fetch(&self.url),
        };
        if let (Some(error), Some(line)) = (&mut outcome.error, self.line)
            && error.kind == Kind::BadUrl
        {
            error.message += &format!(" (line {line})");
        }
        outcome
    }
}

/// Reads a list in a thread of its own: a read cannot be interrupted, so nobody must wait for one.
fn read_list(path: PathBuf) -> io::Result<Receiver<io::Result<Job>>> {
    let (sender, jobs) = sync_channel(LIST_AHEAD);
    let read = move || {
        // When nobody takes the jobs any more, the program is about to end.
        let take = |job| drop(sender.send(Ok(job)));
        let end = if path.as_os_str() == "-" {
            read_jobs(io::stdin().lock(), take)
        } else {
            File::open(path).and_then(|file| read_jobs(BufReader::new(file), take))
        };
        if let Err(error) = end {
            let _ = sender.send(Err(error));
        }
    };
    thread::Builder::new().name("list".into()).spawn(read)?;
    Ok(jobs)
}

/// One job per line; blank lines and comments are none. A bad line is a job that fails.
fn read_jobs(mut input: impl BufRead, mut take: impl FnMut(Job)) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let n = input
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?;
        if n == 0 {
            break;
        }
        let mut fault = None;
        if n as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            if input.by_ref().take(ENDLESS_LINE).skip_until(b'\n')? as u64 == ENDLESS_LINE {
                return Err(io::Error::other(format!("line {number} does not end")));
            }
            line.truncate(100);
            fault = Some("the line is too long");
        } else if std::str::from_utf8(&line).is_err() {
            fault = Some("the line is not UTF-8");
        }
        let text = String::from_utf8_lossy(&line);
        // Some editors put a byte order mark in front.
        let text = text.trim_start_matches('\u{feff}').trim();
        if !text.is_empty() && !text.starts_with('#') {
            take(Job {
                url: text.to_string(),
                line: Some(number),
                fault,
            });
        }
    }
    Ok(())
}

impl Args {
    /// The URLs that were given, and those of the list as far as it was read when a signal came.
    fn jobs(&self) -> Result<Vec<Job>, String> {
        let mut jobs: Vec<Job> = self.urls.iter().map(Job::new).collect();
        let Some(path) = &self.from_file else {
            return Ok(jobs);
        };
        let cannot_read = |error| format!("cannot read {}: {error}", path.display());
        let list = read_list(path.clone()).map_err(cannot_read)?;
        while signals::received().is_none() {
            match list.recv_timeout(TICK) {
                Ok(job) => jobs.push(job.map_err(cannot_read)?),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(jobs),
            }
        }
        // What was read and not yet taken; a source that never ends is not read for ever.
        jobs.extend(list.try_iter().flatten().take(LIST_AHEAD));
        let name = path.display();
        report::warn(format_args!("not done: the rest of {name}"));
        Ok(jobs)
    }

    fn settings(&self) -> Result<Settings, String> {
        Ok(Settings {
            timeout: self.timeout.unwrap_or(Duration::from_secs(10)),
            max_bytes: self.max_bytes.unwrap_or(10_000_000),
            retries: self.retries.unwrap_or(0),
            idle: (IDLE_CONNECTIONS / self.workers).max(1),
            proxies: true,
            roots: self.ca_file.as_ref().map(read_certificates).transpose()?,
        })
    }
}

fn read_certificates(path: &PathBuf) -> Result<Vec<Certificate<'static>>, String> {
    let pem =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(format!("{} holds no certificate", path.display())),
        false => Ok(certificates),
    }
}

fn worker_count(text: &str) -> Result<usize, String> {
    Ok(number_in(text, 1..=4096)? as usize)
}

fn retry_count(text: &str) -> Result<u32, String> {
    number_in(text, 0..=100)
}

fn number_in(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = whole_number(text).and_then(|number| u32::try_from(number).ok());
    let (start, end) = (range.start(), range.end());
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("not a whole number from {start} to {end}"))
}

/// `100000`, `100_000` or `1e5`.
fn whole_number(text: &str) -> Option<u64> {
    let (digits, zeros) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let digits: u64 = digits.replace('_', "").parse().ok()?;
    digits.checked_mul(10u64.checked_pow(zeros.parse().ok()?)?)
}

/// `0.5` or `30`, up to a day.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => {
            Ok(Duration::from_secs_f64(seconds).max(Duration::from_millis(1)))
        }
        _ => Err("not a number of seconds above 0 and up to 86400".into()),
    }
}

/// `500000`, `1_000_000`, `1e6`, `64K`, `10M` or `1G`.
fn byte_count(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['k', 'K', 'M', 'G']);
    let factor = match &text[digits.len()..] {
        "" => Some(1),
        "k" | "K" => Some(1000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        _ => None,
    };
    let count = whole_number(digits).zip(factor);
    match count.and_then(|(count, factor)| count.checked_mul(factor)) {
        Some(count) if count > 0 => Ok(count),
        _ => Err("not a number of bytes above 0, as in 500000, 64K, 10M or 1G".into()),
    }
}

/// Many systems allow 1024 open files at first, and more to whoever asks.
#[cfg(unix)]
fn raise_file_limit(workers: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = 2 * (workers + IDLE_CONNECTIONS) as u64;
    if limit.current.is_some_and(|current| current < wanted) {
        let most = limit.maximum.unwrap_or(wanted).min(wanted);
        // If this fails, some connections fail later and say why.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(most),
                ..limit
            },
        );
    }
}

#[cfg(not(unix))]
fn raise_file_limit(_: usize) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Reply, Server};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc::channel;

    #[test]
    fn seconds_and_byte_counts() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "nan", "inf", "1e300", "", "ten", "86401"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        for (text, count) in [
            ("1", 1),
            ("64K", 64_000),
            ("10M", 10_000_000),
            ("1_000", 1000),
            ("1e6", 1_000_000),
        ] {
            assert_eq!(byte_count(text), Ok(count));
        }
        for bad in [
            "0",
            "-1",
            "K",
            "10MM",
            "1.5",
            "",
            "99999999999G",
            "10T",
            "1e",
            "1e99",
        ] {
            assert!(byte_count(bad).is_err(), "{bad}");
        }
        assert_eq!((worker_count("1e2"), retry_count("0")), (Ok(100), Ok(0)));
    }

    /// Python's scraper kept its pool and its results: the second call hung, or gave the first ones.
    #[test]
    fn a_second_call_in_one_process_does_not_hang_and_gives_its_own_results() {
        let calls = AtomicUsize::new(0);
        let server = Server::start(move |_| {
            let call = calls.fetch_add(1, SeqCst) + 1;
            Reply::html(format!("<title>{call}</title>"))
        })
        .unwrap();
        let url = server.url("/");
        let settings = Settings {
            proxies: false,
            ..Args::parse_from(["web-scraper"]).settings().unwrap()
        };
        let (sender, results) = channel();
        thread::spawn(move || {
            for _ in 0..2 {
                let jobs = (0..3).map(|_| Job::new(&url)).collect();
                let mut report = Report::to(Box::new(io::sink()), false, 3);
                let mut titles: Vec<String> = Vec::new();
                let look = |outcome: &Outcome| titles.extend(outcome.title.clone());
                let ending = scrape(jobs, 2, settings.clone(), &mut report, look);
                assert!(matches!(ending, Ok(Ending::Complete)));
                titles.sort();
                sender.send(titles).unwrap();
            }
        });
        for expected in [["1", "2", "3"], ["4", "5", "6"]] {
            let titles = results.recv_timeout(Duration::from_secs(60));
            assert_eq!(titles.expect("it hangs"), expected);
        }
    }

    #[test]
    fn lines_of_a_file() {
        let long = "x".repeat(LONGEST_LINE as usize + 10);
        let text = format!("\u{feff}http://a/\r\n\n  # comment\n http://a/ \n{long}\nlast");
        let mut jobs = Vec::new();
        let input = [text.as_bytes(), b"\xff"].concat();
        read_jobs(input.as_slice(), |job| jobs.push(job)).unwrap();
        let seen: Vec<_> = jobs
            .iter()
            .map(|job| (job.line.unwrap(), job.fault))
            .collect();
        assert_eq!(
            seen,
            [
                (1, None),
                (4, None),
                (5, Some("the line is too long")),
                (6, Some("the line is not UTF-8"))
            ]
        );
        assert_eq!(
            (jobs[0].url.as_str(), jobs[1].url.as_str()),
            ("http://a/", "http://a/")
        );
        read_jobs(&b""[..], |_| panic!("a job of nothing")).unwrap();
        let endless = BufReader::new(io::repeat(0));
        let error = read_jobs(endless, |_| panic!("a job of zeros")).unwrap_err();
        assert_eq!(error.to_string(), "line 1 does not end");
    }
}
