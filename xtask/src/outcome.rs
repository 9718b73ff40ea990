//! What is known of an example after it has been run, once or several times.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::output::ends_of;
use crate::process::{Ending, Run};
use crate::sample::{Lane, Sampler};
use crate::workspace::Example;
use crate::{procfs, text};

/// What is known of an example after its runs.
pub struct Outcome {
    pub example: Example,
    pub result: String,
    /// The same in one or two words.
    pub short: String,
    pub ok: bool,
    /// By Ctrl-C, which is not its fault.
    pub interrupted: bool,
    /// In ascending order, one per run; empty when it could not be started.
    pub walls: Vec<Duration>,
    pub cpu: Option<Duration>,
    pub peak_kb: Option<u64>,
    pub threads: Option<usize>,
    pub processes: Option<usize>,
    pub log: PathBuf,
    /// Of the last run, and so are its wall and CPU time.
    pub lanes: Vec<Lane>,
    pub lanes_wall: Duration,
    pub lanes_cpu: Option<Duration>,
}

impl Outcome {
    pub fn of(example: &Example, mut runs: Vec<(Run, Sampler)>, log: PathBuf) -> Outcome {
        let started = |run: &&(Run, Sampler)| !matches!(run.0.ending, Ending::NotStarted(_));
        let mut walls: Vec<Duration> = runs.iter().filter(started).map(|r| r.0.wall).collect();
        walls.sort();
        let usage = |(run, _): &(Run, Sampler)| run.usage.as_ref().map(|u| (u.cpu, u.peak_kb));
        let mut usages: Vec<(Duration, u64)> = runs.iter().filter_map(usage).collect();
        usages.sort();
        let sampled = procfs::is_there() && !walls.is_empty();
        let most = |count: fn(&Sampler) -> usize| {
            let most = runs.iter().map(|(_, sampler)| count(sampler)).max();
            most.filter(|_| sampled)
        };
        let (threads, processes) = (most(|s| s.peak_threads), most(|s| s.peak_processes));
        let (last, sampler) = runs.pop().expect("it was run at least once");
        Outcome {
            example: example.clone(),
            result: last.to_string(),
            short: last.short(),
            ok: last.is_ok(),
            interrupted: matches!(last.ending, Ending::Interrupted),
            cpu: median(&usages).map(|(cpu, _)| *cpu),
            peak_kb: usages.iter().map(|(_, peak)| *peak).max(),
            threads,
            processes,
            walls,
            log,
            lanes: sampler.into_lanes(),
            lanes_wall: last.wall,
            lanes_cpu: last.usage.map(|usage| usage.cpu),
        }
    }

    pub fn wall(&self) -> Option<Duration> {
        median(&self.walls).copied()
    }

    /// Through a fault of its own.
    pub fn has_failed(&self) -> bool {
        !self.ok && !self.interrupted
    }

    /// CPU / wall.
    pub fn cores(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() / self.wall()?.as_secs_f64())
    }

    /// The last lines of its log.
    pub fn last_lines(&self) -> Vec<String> {
        let (_, tail) = ends_of(&self.log, 0, 4096);
        let text = text::harmless(&tail);
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(8);
        lines[first..]
            .iter()
            .map(|line| line.chars().take(200).collect())
            .collect()
    }

    /// `spread` adds the shortest and the longest wall time.
    pub fn to_json(&self, spread: bool) -> Value {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let mut json = json!({
            "name": self.example.name,
            "chapter": self.example.chapter,
            "result": self.result,
            "wall_s": seconds(self.wall()),
            "cpu_s": seconds(self.cpu),
            "peak_kb": self.peak_kb,
            "threads": self.threads,
            "processes": self.processes,
        });
        if spread {
            json["wall_min_s"] = json!(seconds(self.walls.first().copied()));
            json["wall_max_s"] = json!(seconds(self.walls.last().copied()));
        }
        json
    }
}

fn median<T>(sorted: &[T]) -> Option<&T> {
    sorted.get(sorted.len() / 2)
}
