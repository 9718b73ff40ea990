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
//! is here a crew of named threads that take the next URL whenever they are free; the outcomes come
//! back as they complete. `timeout=10` in Python bounds each read: a server that sends a byte every
//! nine seconds is waited for until it is done. Here one deadline covers all that happens for a URL.
//!
//! Run it with `cargo run -p web-scraper`: without URLs it serves itself some pages on 127.0.0.1,
//! several of which misbehave, and checks what comes of each. `--help` tells the rest.
//!
//! To take: `crew.rs` (numbered tasks for n threads), `title.rs` (the title of a page that streams
//! by), `unpack.rs`, `dns.rs`, `fetch.rs`, and `server.rs`, a web server that misbehaves on demand.

#![forbid(unsafe_code)]

mod crew;
mod demo;
mod dns;
mod fetch;
mod list;
mod options;
mod report;
mod server;
mod shown;
mod signals;
mod title;
mod transport;
mod unpack;

use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::fetch::{Fetcher, Kind, Network, Outcome, Settings};
use crate::list::Job;
use crate::options::Args;
use crate::report::Report;
use crate::signals::Signal;

/// How soon a signal is noticed and the progress line renewed.
const TICK: Duration = Duration::from_millis(50);

/// Results that come within this time are printed together.
const BATCH: Duration = Duration::from_millis(1);

/// After a signal, an output that does not move for so long is given up.
const GRACE: Duration = Duration::from_secs(5);

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
    signals::listen(bound_the_end, || ())
        .map_err(|error| format!("cannot listen to signals: {error}"))?;
    if args.urls.is_empty() && args.from_file.is_none() {
        demo::run(args)
    } else {
        scrape_given(args)
    }
}

/// An orderly end tells what was not done, and whoever should read that may have stopped to.
fn bound_the_end(signal: Signal) {
    let watch = move || {
        let mut moved = (report::told(), Instant::now());
        while moved.1.elapsed() < GRACE {
            thread::sleep(TICK);
            if report::told() != moved.0 {
                moved = (report::told(), Instant::now());
            }
        }
        let (seconds, name) = (GRACE.as_secs(), signal.name);
        report::warn(format_args!(
            "error: nothing has moved for {seconds} s after {name}: the rest is not told"
        ));
        process::exit(signal.exit_code.into())
    };
    // Without it, the second signal still ends everything.
    let _ = thread::Builder::new().name("grace".into()).spawn(watch);
}

fn scrape_given(args: &Args) -> Result<ExitCode, String> {
    let settings = args.settings()?;
    fetch::check_proxies()?;
    let mut jobs: Vec<Job> = args.urls.iter().map(Job::new).collect();
    if let Some(path) = &args.from_file {
        jobs.extend(list::read(path)?);
    }
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

/// Many systems allow 1024 open files at first, and more to whoever asks.
#[cfg(unix)]
fn raise_file_limit(workers: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = 2 * (workers + options::IDLE_CONNECTIONS) as u64;
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
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc::channel;

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
}
