//! What run-all shows while it goes on: a row per example, a line of progress, the summary.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::outcome::Outcome;
use crate::text;
use crate::workspace::Example;

/// Where rows go: stdout, or stderr when stdout is for JSON.
pub struct Screen {
    out: Box<dyn Write>,
    /// On stderr.
    aside: bool,
    terminal: bool,
    colour: bool,
    repeat: bool,
    name_width: usize,
}

impl Screen {
    /// `repeat` says whether each example runs more than once.
    pub fn new(aside: bool, repeat: bool) -> Screen {
        let (out, terminal): (Box<dyn Write>, bool) = match aside {
            true => (Box::new(io::stderr()), io::stderr().is_terminal()),
            false => (Box::new(io::stdout()), io::stdout().is_terminal()),
        };
        Screen {
            out,
            aside,
            terminal,
            colour: text::colour(terminal),
            repeat,
            name_width: 7,
        }
    }

    pub fn line(&mut self, text: &str) -> Result {
        Ok(writeln!(self.out, "{text}")?)
    }

    pub fn progress(&self, title: &str) -> Progress {
        Progress {
            title: self.terminal.then(|| title.to_string()),
            began: Instant::now(),
            shown: None,
            aside: self.aside,
        }
    }

    pub fn head(&mut self, examples: &[Example]) -> Result {
        let longest = examples.iter().map(|example| example.name.len()).max();
        self.name_width = longest.unwrap_or(0).max("example".len());
        let spread = if self.repeat {
            "  wall min–max     "
        } else {
            ""
        };
        let title = format!(
            "{:<width$} {:<13} {:>7}{spread} {:>7} {:>5} {:>7} {:>7} {:>5}",
            "example",
            "result",
            "wall",
            "CPU",
            "cores",
            "memory",
            "threads",
            "procs",
            width = self.name_width
        );
        self.line(&title)
    }

    pub fn row(&mut self, outcome: &Outcome) -> Result {
        let result = format!("{:<13}", outcome.short);
        let result = match outcome.ok {
            true => text::green(&result, self.colour),
            false => text::red(&result, self.colour),
        };
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_string());
        let spread = match (self.repeat, outcome.walls.first(), outcome.walls.last()) {
            (true, Some(min), Some(max)) => {
                format!(" {:>8} –{:>8}", text::time(*min), text::time(*max))
            }
            (true, ..) => format!("{:19}", ""),
            (false, ..) => String::new(),
        };
        let row = format!(
            "{:<width$} {result} {:>7}{spread} {:>7} {:>5} {:>7} {:>7} {:>5}",
            outcome.example.name,
            shown(outcome.wall().map(text::time)),
            shown(outcome.cpu.map(text::time)),
            shown(outcome.cores().map(|cores| format!("{cores:.2}"))),
            shown(outcome.peak_kb.map(text::memory)),
            shown(outcome.threads.map(|count| count.to_string())),
            shown(outcome.processes.map(|count| count.to_string())),
            width = self.name_width
        );
        self.line(&row)
    }

    /// `options` is what a repetition needs besides the name.
    pub fn summary(&mut self, outcomes: &[Outcome], chosen: usize, options: &str) -> Result {
        for outcome in outcomes.iter().filter(|outcome| outcome.has_failed()) {
            self.failure(outcome, options)?;
        }
        let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|o| is(o)).count();
        let mut counts = format!("{} ok", count(|outcome| outcome.ok));
        for (count, what) in [
            (count(Outcome::has_failed), "failed"),
            (count(|outcome| outcome.interrupted), "interrupted"),
            (chosen - outcomes.len(), "not run"),
        ] {
            if count > 0 {
                counts += &format!(", {count} {what}");
            }
        }
        let examples = text::count(chosen, "example", "examples");
        let wall = text::time(outcomes.iter().filter_map(Outcome::wall).sum());
        let cpu: Duration = outcomes.iter().filter_map(|outcome| outcome.cpu).sum();
        let cpu = match outcomes.iter().any(|outcome| outcome.cpu.is_some()) {
            true => format!(", CPU {}", text::time(cpu)),
            false => String::new(), // this system does not tell, or nothing could be started
        };
        self.line(&format!("\n{examples}: {counts}; wall {wall}{cpu}"))
    }

    fn failure(&mut self, outcome: &Outcome, options: &str) -> Result {
        let name = &outcome.example.name;
        let title = format!("{name}: {}", outcome.result);
        self.line(&format!("\n{}", text::red(&title, self.colour)))?;
        for line in outcome.last_lines() {
            self.line(&format!("  | {line}"))?;
        }
        self.line(&format!("  log:    {}", outcome.log.display()))?;
        self.line(&format!("  repeat: cargo xtask run-all {name}{options}"))
    }
}

/// A line that says what runs and for how long, on a terminal only. Gone when it is dropped.
pub struct Progress {
    title: Option<String>,
    began: Instant,
    shown: Option<Instant>,
    aside: bool,
}

impl Progress {
    pub fn show(&mut self) {
        let Some(title) = &self.title else { return };
        let pause = Duration::from_millis(100);
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = self.began.elapsed().as_secs_f64();
        self.write(&format!("\r\x1b[K{title} {seconds:.1} s"));
    }

    /// A terminal that has gone is noticed with the next row.
    fn write(&self, text: &str) {
        let _ = match self.aside {
            true => io::stderr().write_all(text.as_bytes()),
            false => write!(io::stdout(), "{text}").and_then(|()| io::stdout().flush()),
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            self.write("\r\x1b[K");
        }
    }
}
