//! What the user sees: one line per URL on stdout, progress and summary on stderr.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::fetch::{Kind, Outcome, is_place_of};
use crate::shown::Shown;

/// No progress line for what is over sooner.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many URLs that were not done are named in text; JSON has them all.
const NAMED: usize = 10;

static TOLD: AtomicUsize = AtomicUsize::new(0);

/// How many outcomes this program has told by now.
pub fn told() -> usize {
    TOLD.load(Relaxed)
}

pub struct Report {
    out: BufWriter<Box<dyn Write>>,
    json: bool,
    begin: Instant,
    total: usize,
    pub workers: usize,
    done: usize,
    bytes: u64,
    /// How often each status from 400 and each kind of error came.
    failures: BTreeMap<String, usize>,
    undone: usize,
    on_terminal: bool,
    /// Whether a progress line stands there now.
    progress: bool,
}

impl Report {
    pub fn new(json: bool, total: usize) -> Self {
        Report::to(Box::new(io::stdout()), json, total)
    }

    pub fn to(out: Box<dyn Write>, json: bool, total: usize) -> Self {
        Report {
            out: BufWriter::new(out),
            json,
            begin: Instant::now(),
            total,
            workers: 0,
            done: 0,
            bytes: 0,
            failures: BTreeMap::new(),
            undone: 0,
            on_terminal: io::stderr().is_terminal(),
            progress: false,
        }
    }

    pub fn failures(&self) -> usize {
        self.failures.values().sum()
    }

    pub fn outcome(&mut self, outcome: &Outcome) {
        self.clear_progress();
        let undone = outcome
            .error
            .as_ref()
            .is_some_and(|error| error.kind == Kind::NotDone);
        if undone {
            self.undone += 1;
            if !self.json {
                if self.undone <= NAMED {
                    warn(format_args!("not done: {}", Shown(&outcome.url)));
                }
                return;
            }
        } else {
            self.done += 1;
            self.bytes += outcome.bytes;
            if outcome.is_failure() {
                *self.failures.entry(result_of(outcome)).or_default() += 1;
            }
        }
        let written = if self.json {
            serde_json::to_writer(&mut self.out, outcome)
                .map_err(io::Error::from)
                .and_then(|()| self.out.write_all(b"\n"))
        } else {
            writeln!(self.out, "{}", Row(outcome))
        };
        or_end(written);
        TOLD.fetch_add(1, Relaxed);
    }

    /// A line of text beside the outcomes; JSON is for machines, so there it goes to stderr.
    pub fn say(&mut self, text: fmt::Arguments) {
        self.clear_progress();
        if self.json {
            warn(text);
        } else {
            or_end(writeln!(self.out, "{text}"));
        }
    }

    /// Nothing to print just now: shows what there is.
    pub fn pause(&mut self) {
        or_end(self.out.flush());
        if self.on_terminal && self.begin.elapsed() > PATIENCE {
            self.progress = true;
            let (done, total, failed) = (self.done, self.total, self.failures());
            let seconds = self.begin.elapsed().as_secs();
            let mut stderr = io::stderr().lock();
            let _ = write!(
                stderr,
                "\r\x1b[K{done} of {total}, {failed} failed, {seconds} s"
            );
        }
    }

    pub fn summary(&mut self) {
        self.clear_progress();
        or_end(self.out.flush());
        let Report {
            done,
            total,
            workers,
            bytes,
            undone,
            ..
        } = *self;
        let seconds = self.begin.elapsed().as_secs_f64();
        let failed = match self.failures() {
            0 => String::new(),
            n => {
                let kinds = self.failures.iter().map(|(kind, n)| format!("{n} {kind}"));
                format!(", {n} failed ({})", kinds.collect::<Vec<_>>().join(", "))
            }
        };
        if undone > NAMED && !self.json {
            warn(format_args!("not done: {} more", undone - NAMED));
        }
        let not_done = match undone {
            0 => String::new(),
            n => format!(", {n} not done"),
        };
        let rate = done as f64 / seconds.max(1e-6);
        warn(format_args!(
            "{done} of {total} by {workers} worker{}{failed}{not_done}: \
             {} in {seconds:.2} s, {rate:.0} per second",
            if workers == 1 { "" } else { "s" },
            Bytes(bytes)
        ));
    }

    fn clear_progress(&mut self) {
        if self.progress {
            self.progress = false;
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// Text on stdout before there is a report.
pub fn print(text: fmt::Arguments) {
    let mut out = io::stdout().lock();
    or_end(out.write_fmt(text).and_then(|()| out.flush()));
}

/// A line on stderr. When even that is not possible, nobody is there to be told.
pub fn warn(text: fmt::Arguments) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Nobody reads on, as in `| head`: end quietly. A full disk: say so.
fn or_end(written: io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            warn(format_args!("error: cannot write to stdout: {error}"));
            process::exit(1);
        }
    }
}

/// The status, or the kind of the error.
fn result_of(outcome: &Outcome) -> String {
    match (&outcome.error, outcome.status) {
        (Some(error), _) => error.kind.to_string(),
        (None, Some(status)) => status.to_string(),
        (None, None) => "nothing".into(),
    }
}

struct Row<'a>(&'a Outcome);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let outcome = self.0;
        let result = result_of(outcome);
        let bytes = Bytes(outcome.bytes).to_string();
        write!(
            f,
            "{result:<18} {bytes:>9} {:>7.0} ms  ",
            outcome.milliseconds
        )?;
        write!(f, "{}", Shown(&outcome.url))?;
        let led_to = outcome.final_url.as_ref();
        if let Some(led_to) = led_to.filter(|led_to| !is_place_of(&outcome.url, led_to)) {
            write!(f, " -> {}", Shown(led_to))?;
        }
        if let Some(title) = &outcome.title {
            let title = title.replace('\\', r"\\").replace('"', r#"\""#);
            write!(f, "  \"{}\"", Shown(&title))?;
        }
        if let Some(error) = &outcome.error {
            let status = outcome.status.map(|status| format!("status {status}, "));
            write!(
                f,
                "  ({}{})",
                status.unwrap_or_default(),
                Shown(&error.message)
            )?;
        }
        if outcome.attempts > 1 {
            write!(f, "  [{} attempts]", outcome.attempts)?;
        }
        Ok(())
    }
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            n @ ..10_000 => write!(f, "{n} B"),
            n @ ..10_000_000 => write!(f, "{} kB", n / 1000),
            n => write!(f, "{} MB", n / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_all_and_steers_no_terminal() {
        let mut outcome = Outcome::failed("http://a/", Kind::Timeout, "no answer within 1 s");
        outcome.title = Some("red \u{1b}[31m alert\u{7}".into());
        outcome.attempts = 2;
        let row = Row(&outcome).to_string();
        assert_eq!(
            row,
            "timeout                  0 B       0 ms  http://a/  \"red \u{fffd}[31m alert\u{fffd}\"  \
             (no answer within 1 s)  [2 attempts]"
        );
    }

    #[test]
    fn a_title_cannot_turn_a_row_around_or_end_its_own_quotes() {
        let mut outcome = Outcome::failed("http://a/\u{202e}x", Kind::Closed, "y\u{2066}");
        outcome.title = Some("a\u{202e}b\u{200f}c\u{2029} \"d\" \\ \u{5d0} e\u{301}".into());
        let row = Row(&outcome).to_string();
        let shown = "http://a/\u{fffd}x  \"a\u{fffd}b\u{fffd}c\u{fffd} \\\"d\\\" \\\\ \u{5d0} \
                     e\u{301}\"  (y\u{fffd})";
        assert!(row.ends_with(shown), "{row}");
    }

    #[test]
    fn an_arrow_stands_for_a_redirect_and_for_nothing_else() {
        for (url, led_to, arrow) in [
            ("http://a", "http://a/", false),
            ("http://a/b#part", "http://a/b", false),
            ("HTTP://a/\u{fc} b", "http://a/%C3%BC%20b", false),
            ("http://u:***@a/", "http://u:***@a/", false),
            ("http://a/b", "http://a/b/", true),
            ("http://a/", "https://a/", true),
        ] {
            let outcome = Outcome {
                final_url: Some(led_to.into()),
                ..Outcome::failed(url, Kind::Closed, "x")
            };
            let row = Row(&outcome).to_string();
            assert_eq!(row.contains(" -> "), arrow, "{row}");
        }
    }

    #[test]
    fn sizes() {
        let shown = [0, 9_999, 10_000, 9_999_999, 10_000_000].map(|n| Bytes(n).to_string());
        assert_eq!(shown, ["0 B", "9999 B", "10 kB", "9999 kB", "10 MB"]);
    }
}
