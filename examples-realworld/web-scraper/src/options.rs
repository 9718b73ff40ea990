//! What can be asked for on the command line.

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use ureq::tls::{Certificate, PemItem, parse_pem};

use crate::fetch::Settings;

/// Idle connections in the whole program; each worker keeps its share, at least one.
pub const IDLE_CONNECTIONS: usize = 256;

/// All authorities of the world take a quarter of a megabyte.
const LONGEST_PEM: u64 = 16 * 1024 * 1024;

/// Fetch web pages and tell status, size and title of each.
///
/// One line per URL on stdout, in the order of completion; the summary goes to stderr. Without
/// any URL a demonstration runs against a server of its own.
///
/// A URL has failed when no complete answer came, or when the status is 400 or above: a page that
/// is not there (404) counts as failed, with its status, size and title told all the same.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
pub struct Args {
    /// The pages, each with http:// or https:// in front
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,

    /// Read more URLs from a file, one per line ("-": stdin), to its end, before the first page is
    /// fetched; blank lines and # comments are skipped
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,

    /// How many pages to fetch at the same time; never more threads than there are URLs
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = worker_count, allow_negative_numbers = true)]
    pub workers: usize,

    /// The deadline for each URL: look-up, redirects, retries and the whole body [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,

    /// The longest body, unpacked, as in 500000, 64K, 10M; more is an error [default: 10M]
    #[arg(long, value_name = "N", value_parser = byte_count, allow_negative_numbers = true)]
    pub max_bytes: Option<u64>,

    /// How often to try again after a refused or broken connection, or status 429, 500, 502-504
    #[arg(long, value_name = "N", value_parser = retry_count, allow_negative_numbers = true)]
    pub retries: Option<u32>,

    /// One JSON object per line instead of text
    #[arg(long)]
    pub json: bool,

    /// Trust the certificates in this PEM file instead of the usual authorities
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
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

impl Args {
    /// The settings as given, or the usual ones.
    pub fn settings(&self) -> Result<Settings, String> {
        Ok(Settings {
            timeout: self.timeout.unwrap_or(Duration::from_secs(10)),
            max_bytes: self.max_bytes.unwrap_or(10_000_000),
            retries: self.retries.unwrap_or(0),
            idle: (IDLE_CONNECTIONS / self.workers).max(1),
            proxies: true,
            roots: self.ca_file.as_deref().map(read_certificates).transpose()?,
        })
    }
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_PEM).read_to_end(&mut pem))
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    let fault = match pem.len() as u64 {
        LONGEST_PEM => "is too long for a file of certificates",
        _ if certificates.is_empty() => "holds no certificate",
        _ => return Ok(certificates),
    };
    Err(format!("{} {fault}", path.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
