//! What the user sees: a line per failure, a progress line on a terminal, and the summary.

use std::io::{self, ErrorKind, IsTerminal, StdoutLock, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{mem, thread};

use serde_json::json;

use crate::files::Job;
use crate::shared::{Counters, Shared};
use crate::shown::Shown;
use crate::work::Outcome;

/// So many files that were not done are named; the others are counted.
const NAMED: usize = 10;

/// Collects outcomes. Failures go to stderr at once, or with `json` as lines to stdout.
pub struct Report<'a> {
    out: io::BufWriter<StdoutLock<'a>>,
    json: bool,
    written: io::Result<()>,
    processed: u64,
    failed: u64,
    not_done: u64,
    not_done_names: Vec<String>,
    own_results: usize,
    records: u64,
    bytes: u64,
}

impl<'a> Report<'a> {
    pub fn new(out: StdoutLock<'a>, json: bool) -> Self {
        Self {
            out: io::BufWriter::new(out),
            json,
            written: Ok(()),
            processed: 0,
            failed: 0,
            not_done: 0,
            not_done_names: Vec::new(),
            own_results: 0,
            records: 0,
            bytes: 0,
        }
    }

    pub fn own_results(&mut self, count: usize) {
        self.own_results = count;
    }

    pub fn add(&mut self, job: &Job, outcome: Outcome, progress: &Progress) {
        let input = job.input.display();
        let line = match outcome {
            Outcome::Done {
                records,
                bytes,
                seconds,
            } => {
                self.processed += 1;
                self.records += records;
                self.bytes += bytes;
                let output = job
                    .output
                    .as_ref()
                    .map(|output| output.display().to_string());
                self.json.then(|| {
                    json!({"status": "processed", "input": input.to_string(), "output": output,
                           "records": records, "bytes": bytes, "seconds": seconds})
                })
            }
            Outcome::Failed { error, place } => {
                self.failed += 1;
                let (line, column) = place.unzip();
                if !self.json {
                    let place =
                        place.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
                    progress.message(&format!("failed: {input}{place}: {error}"));
                }
                self.json.then(|| {
                    json!({"status": "failed", "input": input.to_string(), "error": error,
                           "line": line, "column": column})
                })
            }
            Outcome::NotDone => {
                self.not_done += 1;
                if self.not_done_names.len() < NAMED {
                    self.not_done_names.push(input.to_string());
                }
                self.json
                    .then(|| json!({"status": "not done", "input": input.to_string()}))
            }
        };
        if let Some(line) = line {
            self.print(format_args!("{line}"));
            // A reader of the lines wants each one when its file ends, not when a buffer is full.
            if self.written.is_ok() {
                self.written = self.out.flush();
            }
        }
    }

    fn print(&mut self, line: std::fmt::Arguments) {
        if self.written.is_ok() {
            self.written = writeln!(self.out, "{line}");
        }
    }

    /// Stdout takes no more lines.
    pub fn broken(&self) -> bool {
        self.written.is_err()
    }

    /// Prints the summary: what was counted on stdout, how it went on stderr. Did any file fail?
    pub fn finish(mut self, elapsed: Duration, mode: &str, workers: usize) -> io::Result<bool> {
        let Self {
            processed,
            failed,
            not_done,
            own_results,
            records,
            bytes,
            ..
        } = self;
        let files = processed + failed + not_done;
        let seconds = elapsed.as_secs_f64();
        if self.json {
            let summary = json!({"summary": {
                "files": files, "processed": processed, "failed": failed, "not_done": not_done,
                "own_results": own_results, "records": records, "bytes": bytes,
                "seconds": seconds, "mode": mode, "workers": workers,
            }});
            self.print(format_args!("{summary}"));
        } else {
            let stopped = if not_done > 0 {
                format!(", {not_done} not done")
            } else {
                String::new()
            };
            self.print(format_args!(
                "{files} files: {processed} processed, {failed} failed{stopped}; {records} records, {bytes} bytes"
            ));
        }
        let flushed = mem::replace(&mut self.written, Ok(())).and_then(|()| self.out.flush());
        if let Err(error) = flushed {
            // Dropping the buffer would try again.
            let _ = self.out.into_parts();
            return match error.kind() {
                ErrorKind::BrokenPipe => Err(error),
                kind => Err(io::Error::new(
                    kind,
                    format!("cannot write to stdout: {error}"),
                )),
            };
        }
        if !self.json {
            let mut err = io::stderr().lock();
            let more = not_done as usize - self.not_done_names.len();
            for name in &self.not_done_names {
                let _ = writeln!(err, "not done: {}", Shown(name));
            }
            if more > 0 {
                let _ = writeln!(err, "not done: {more} more");
            }
            if own_results > 0 {
                let _ = writeln!(err, "left alone: {own_results} results of this program");
            }
            let rate = bytes as f64 / 1e6 / seconds.max(1e-9);
            let _ = writeln!(
                err,
                "{seconds:.2} s, {rate:.0} MB/s, {mode}, workers: {workers}"
            );
        }
        Ok(failed > 0)
    }
}

/// A line on the terminal that shows how far the work is, from its second second on.
pub struct Progress {
    shown: Arc<Mutex<bool>>,
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    pub fn start(shared: &Shared, files: usize) -> Self {
        let shown = Arc::new(Mutex::new(false));
        if !io::stderr().is_terminal() {
            return Self {
                shown,
                thread: None,
            };
        }
        let (done, waiting) = mpsc::channel();
        let (counters, showing) = (shared.counters.clone(), shown.clone());
        let body = move || {
            let begin = Instant::now();
            let mut pause = Duration::from_secs(1);
            while let Err(RecvTimeoutError::Timeout) = waiting.recv_timeout(pause) {
                pause = Duration::from_millis(200);
                draw(&counters, files, begin.elapsed(), &showing);
            }
        };
        let thread = thread::Builder::new().name("progress".into()).spawn(body);
        Self {
            shown,
            thread: thread.ok().map(|thread| (done, thread)),
        }
    }

    /// A line of its own, above the progress line.
    pub fn message(&self, line: &str) {
        let mut shown = self.shown.lock().unwrap();
        let clear = if mem::take(&mut *shown) {
            "\r\x1b[K"
        } else {
            ""
        };
        let _ = writeln!(io::stderr(), "{clear}{}", Shown(line));
    }
}

fn draw(counters: &Counters, files: usize, elapsed: Duration, shown: &Mutex<bool>) {
    let (done, bytes) = counters.read();
    let megabytes = bytes as f64 / 1e6;
    let rate = megabytes / elapsed.as_secs_f64();
    let mut shown = shown.lock().unwrap();
    *shown = true;
    let _ = write!(
        io::stderr(),
        "\r\x1b[K{done} of {files} files, {megabytes:.0} MB, {rate:.0} MB/s"
    );
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.thread.take() {
            drop(done);
            let _ = thread.join();
        }
        if *self.shown.lock().unwrap() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
