//! A URL to fetch, and the list of such that may be long in coming, or without end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;

use crate::TICK;
use crate::fetch::{Fetcher, Kind, Outcome};
use crate::{report, signals};

/// A longer line is not a URL.
const LONGEST_LINE: u64 = 64 * 1024;

/// Whatever goes on beyond these is not a list: a device, or a program that repeats itself.
const LONGEST_LIST: u64 = if cfg!(test) { 1 << 20 } else { 1 << 30 };
const MOST_LINES: usize = if cfg!(test) { 1000 } else { 4_000_000 };

/// URLs of a list that may wait to be taken over.
const AHEAD: usize = 1024;

/// A URL and where it came from.
pub struct Job {
    pub url: String,
    line: Option<usize>,
    /// What is wrong with it, if that was seen already.
    fault: Option<&'static str>,
}

impl Job {
    pub fn new(url: impl Into<String>) -> Self {
        Job {
            url: url.into(),
            line: None,
            fault: None,
        }
    }

    pub fn run(&self, fetcher: &mut Fetcher) -> Outcome {
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

/// The URLs of a list ("-": stdin), or those that were read when a signal came.
pub fn read(path: &Path) -> Result<Vec<Job>, String> {
    let name = match path.as_os_str() == "-" {
        true => "stdin".into(),
        false => path.display().to_string(),
    };
    let cannot_read = |error| format!("cannot read {name}: {error}");
    let list = start_to_read(path.into()).map_err(cannot_read)?;
    let mut jobs = Vec::new();
    while signals::received().is_none() {
        match list.recv_timeout(TICK) {
            Ok(job) => jobs.push(job.map_err(cannot_read)?),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(jobs),
        }
    }
    // What was read and not yet taken; a source that never ends is not read for ever.
    jobs.extend(list.try_iter().flatten().take(AHEAD));
    report::warn(format_args!("not done: the rest of {name}"));
    Ok(jobs)
}

/// Reads in a thread of its own: a read cannot be interrupted, so nobody must wait for one.
fn start_to_read(path: PathBuf) -> io::Result<Receiver<io::Result<Job>>> {
    let (sender, jobs) = sync_channel(AHEAD);
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
fn read_jobs(input: impl BufRead, mut take: impl FnMut(Job)) -> io::Result<()> {
    let mut input = input.take(LONGEST_LIST);
    let mut line = Vec::new();
    for number in 1..=MOST_LINES {
        line.clear();
        let n = (&mut input)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?;
        let mut fault = None;
        if n as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            input.skip_until(b'\n')?;
            line.truncate(100);
            fault = Some("the line is too long");
        } else if std::str::from_utf8(&line).is_err() {
            fault = Some("the line is not UTF-8");
        }
        if input.limit() == 0 {
            let message = format!("more than {LONGEST_LIST} bytes are no list of URLs");
            return Err(io::Error::other(message));
        }
        if n == 0 {
            return Ok(());
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
    let message = format!("more than {MOST_LINES} lines are no list of URLs");
    Err(io::Error::other(message))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn a_list_without_end_is_an_error() {
        let endless = BufReader::new(io::repeat(0));
        let error = read_jobs(endless, |_| panic!("a job of zeros")).unwrap_err();
        let expected = "more than 1048576 bytes are no list of URLs";
        assert_eq!(error.to_string(), expected);
        let endless = BufReader::new(io::repeat(b'\n'));
        let error = read_jobs(endless, |_| panic!("a job of nothing")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "more than 1000 lines are no list of URLs"
        );
    }
}
