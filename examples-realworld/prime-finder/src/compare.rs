//! The three modes side by side: equal answers first, then times, then what to make of them.

use crate::job::{Algorithm, Job};
use crate::output::Output;
use crate::run::{self, Mode};
use crate::{grouped, report_undone};
use serde_json::{Value, json};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const MODES: [Mode; 3] = [Mode::Sequential, Mode::Threads, Mode::Processes];

/// Trial division beyond this limit would keep everybody waiting.
const PATIENCE_FOR_TRIAL: u64 = 5_000_000;

/// Short runs are repeated, because the first one pays for cold caches.
const SHORT: Duration = Duration::from_millis(100);
const REPETITIONS: usize = 3;

/// What to compare when nothing or not everything is asked for.
pub fn cases(algorithm: Option<Algorithm>, from: u64, limit: Option<u64>) -> Vec<Job> {
    let job = |algorithm, limit| Job::new(algorithm, from..limit, false);
    let both = match limit {
        Some(limit) => vec![job(Algorithm::Trial, limit), job(Algorithm::Sieve, limit)],
        None => vec![
            job(Algorithm::Trial, 10_000),
            job(Algorithm::Trial, 400_000),
            job(Algorithm::Sieve, 400_000),
            job(Algorithm::Sieve, 20_000_000),
        ],
    };
    let wanted = |job: &Job| match algorithm {
        Some(algorithm) => job.algorithm == algorithm,
        None => job.algorithm == Algorithm::Sieve || job.range.end <= PATIENCE_FOR_TRIAL,
    };
    both.into_iter().filter(wanted).collect()
}

/// One mode's answer and the seconds it took.
struct Row {
    mode: Mode,
    workers: usize,
    count: u64,
    seconds: f64,
}

pub fn compare(
    jobs: &[Job],
    workers: usize,
    as_json: bool,
    output: &mut Output,
) -> Result<ExitCode, Box<dyn Error>> {
    let mut comparisons = Vec::new();
    for job in jobs {
        let mut rows = Vec::new();
        for mode in MODES {
            match measure(job, mode, workers)? {
                Ok(row) => rows.push(row),
                Err(code) => return Ok(code),
            }
        }
        let count = rows[0].count;
        if let Some(other) = rows.iter().find(|row| row.count != count) {
            let (mode, wrong) = (other.mode, other.count);
            return Err(format!("sequential counts {count} primes, {mode} counts {wrong}").into());
        }
        if as_json {
            comparisons.push(as_value(job, &rows));
        } else {
            write_table(job, &rows, output)?;
        }
    }
    if as_json {
        writeln!(
            output,
            "{}",
            json!({"workers": workers, "comparisons": comparisons})
        )?;
    } else {
        writeln!(
            output,
            "ok: equal answers in all modes. Workers pay when each has much more to do than its \
             start costs:\na thread some 50 microseconds, a process a millisecond or more."
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a job in a mode, several times if it is short, and takes the shortest time.
fn measure(job: &Job, mode: Mode, workers: usize) -> Result<Result<Row, ExitCode>, Box<dyn Error>> {
    let mut seconds = f64::INFINITY;
    let begin_all = Instant::now();
    for repetition in 1.. {
        let begin = Instant::now();
        let outcome = run::run(job, mode, workers, |_| Ok(()))?;
        if let Some(code) = report_undone(job, &outcome) {
            return Ok(Err(code));
        }
        seconds = seconds.min(begin.elapsed().as_secs_f64());
        if repetition == REPETITIONS || begin_all.elapsed() > SHORT {
            let workers = run::useful_workers(job, mode, workers);
            return Ok(Ok(Row {
                mode,
                workers,
                count: outcome.count,
                seconds,
            }));
        }
    }
    unreachable!("the last repetition returns")
}

fn as_value(job: &Job, rows: &[Row]) -> Value {
    let mode = |row: &Row| {
        json!({
            "mode": row.mode.to_string(),
            "workers": row.workers,
            "seconds": row.seconds,
            "speedup": rows[0].seconds / row.seconds,
        })
    };
    json!({
        "algorithm": job.algorithm.to_string(),
        "from": job.range.start,
        "limit": job.range.end,
        "count": rows[0].count,
        "modes": rows.iter().map(mode).collect::<Vec<_>>(),
    })
}

fn write_table(job: &Job, rows: &[Row], output: &mut Output) -> Result<(), Box<dyn Error>> {
    let name = match job.algorithm {
        Algorithm::Trial => "Trial division",
        Algorithm::Sieve => "Sieve",
    };
    let from = match job.range.start {
        0 => String::new(),
        from => format!(" from {}", grouped(from)),
    };
    let (limit, count) = (grouped(job.range.end), grouped(rows[0].count));
    writeln!(
        output,
        "{name}{from} below {limit}: {count} primes, the same in all modes"
    )?;
    for row in rows {
        let speedup = rows[0].seconds / row.seconds;
        let workers = match (row.mode, row.workers) {
            (Mode::Sequential, _) => "1 thread".into(),
            (Mode::Threads, 1) => "too little to share".into(),
            (Mode::Threads, workers) => format!("{workers} threads"),
            (Mode::Processes, 1) => "1 process".into(),
            (Mode::Processes, workers) => format!("{workers} processes"),
        };
        let time = milliseconds(row.seconds);
        writeln!(
            output,
            "  {:12}{workers:21}{time:>12}{speedup:8.2} times as fast",
            row.mode
        )?;
    }
    writeln!(output, "  {}\n", verdict(rows))?;
    Ok(())
}

fn milliseconds(seconds: f64) -> String {
    let milliseconds = seconds * 1e3;
    if milliseconds < 10.0 {
        format!("{milliseconds:.2} ms")
    } else {
        format!("{milliseconds:.0} ms")
    }
}

/// When workers pay, as these rows show it.
fn verdict(rows: &[Row]) -> String {
    let [alone, threads, processes] = rows else {
        unreachable!("one row for each mode");
    };
    let pays = |row: &Row| row.workers > 1 && alone.seconds / row.seconds > 1.1;
    match (pays(threads), pays(processes)) {
        (true, true) => "Workers pay here, threads and processes.".into(),
        (true, false) => "Threads pay here; processes cost more to start than they save.".into(),
        (false, true) => "Processes pay here; threads did not in this run.".into(),
        (false, false) if threads.workers == 1 && processes.workers == 1 => {
            "Workers do not pay here: there is too little work to share.".into()
        }
        (false, false) => "Workers do not pay here: they cost as much as they save.".into(),
    }
}
