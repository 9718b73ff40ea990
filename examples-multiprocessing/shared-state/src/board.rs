//! Live progress of several tasks: bars on a terminal, plain lines anywhere else.
//!
//! Escape codes in a log file are a nuisance, and a bar that nobody watches costs time. So in a
//! pipe, in a file, and on a terminal without cursor movement (`TERM=dumb`), there is one line for
//! every step of 20 %.
//!
//! It needs `say.rs` and the crate `indicatif`, which draws the bars.

use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

const STEP: u64 = 20;

pub struct Board {
    start: Instant,
    bars: MultiProgress,
    tasks: Vec<ProgressBar>,
}

impl Board {
    pub fn new(names: impl IntoIterator<Item = String>) -> Board {
        // It draws at most so many times in a second, however often the progress changes.
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout_with_hz(30));
        let style = ProgressStyle::with_template("   {prefix} [{bar:20}] {pos:>3} % {wide_msg}")
            .expect("the template is right")
            .progress_chars("=> ");
        let task = |name| {
            let bar = ProgressBar::new(100).with_style(style.clone());
            bars.add(bar.with_prefix(name))
        };
        Board {
            start: Instant::now(),
            tasks: names.into_iter().map(task).collect(),
            bars,
        }
    }

    pub fn set(&self, task: usize, percent: u64) {
        let bar = &self.tasks[task];
        let before = bar.position();
        bar.set_position(percent);
        if self.bars.is_hidden() && percent / STEP > before / STEP {
            self.line(task, &format!("{percent:3} %"));
        }
    }

    /// The last word on a task: its bar stays where it is.
    pub fn end(&self, task: usize, word: &str) {
        self.tasks[task].abandon_with_message(word.to_string());
        if self.bars.is_hidden() {
            self.line(task, word);
        }
    }

    fn line(&self, task: usize, text: &str) {
        let ms = self.start.elapsed().as_millis();
        say!("{ms:6} ms  {}  {text}", self.tasks[task].prefix());
    }
}
