//! `cargo xtask trace`: runs a program and draws each of its threads as a lane over time.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lexopt::prelude::*;
use serde_json::{Value as Json, json};

use crate::error::{Error, Result, usage};
use crate::lanes::{self, Chart};
use crate::launch::Job;
use crate::output::{machine, writable, write_file};
use crate::process::{self, Ending, Run};
use crate::run_all::{binary, build};
use crate::sample::{Lane, Sampler};
use crate::workspace::Workspace;
use crate::{os, procfs, svg};

const HELP: &str = "\
Usage: cargo xtask trace NAME [OPTIONS] [-- ARGS...]
       cargo xtask trace [OPTIONS] --exec PROGRAM [ARGS...]

Runs an example, built in release, or any program, and then draws each thread of each process that
took part as a lane over time: when it was alive, when it waited, when it was on a CPU. Nothing is
needed in the program: about every millisecond its threads are read from /proc.

  --svg FILE    also write the picture as SVG, to stdout if FILE is -
  --json FILE   also write the samples as JSON, to stdout if FILE is -

How to read it: a row is a thread, labelled `name pid/tid`; the threads of a process stand together,
in order of birth. A cell is a span of time; the darker, the larger the part of it that the thread
was on a CPU. The line on top adds all threads up. Beside each lane: its CPU time, the share of its
life that this was, and how long it lived. Lanes beyond 60 are merged into a last one. What a thread
does in its last few milliseconds, and one that lives for less than one, can escape the samples.

The JSON is one object: `os`, `arch`, `cores`, `cpu`, `date`, `command` (an array), `result` (\"ok\"
or what went wrong), `wall_s`, `cpu_s`, `peak_kb` (of the whole program, as the system tells), and
`lanes`, an array of objects with
  name, pid, tid      of the thread
  start_s, end_s      its life, in seconds since the program's start
  cpu_s               its CPU time
  samples             an array of [time_s, cpu_s], CPU time used until then; in between it is a line

The program reads nothing on stdin and writes to where you see it. Ctrl-C ends it and draws the
picture so far. Exit code: 0 when the program ended well, 1 when not, 2 for a wrong call or where
there is no /proc.

  cargo xtask trace process-pool --svg pool.svg
  cargo xtask trace --exec python3 -c 'import time; time.sleep(0.1)'";

#[derive(Default)]
struct Options {
    name: Option<String>,
    exec: Option<OsString>,
    args: Vec<OsString>,
    svg: Option<PathBuf>,
    json: Option<PathBuf>,
}

pub fn main(args: lexopt::Parser) -> Result {
    let Some(options) = Options::parse(args)? else {
        return crate::help(HELP);
    };
    if !procfs::is_there() {
        return Err(usage(
            "trace reads /proc, which this system does not have; \
             `cargo xtask run-all NAME` works here and tells time and memory",
        ));
    }
    let program = options.program()?;
    let mut sampler = Sampler::new();
    let job = Job {
        program: program.clone(),
        args: options.args.clone(),
        stdout: options
            .is_stdout_taken()
            .then(os::stderr_as_file)
            .transpose()?,
        ..Job::default()
    };
    let run = process::run(job, &mut sampler);
    let name = Path::new(&program)
        .file_name()
        .unwrap_or(&program)
        .to_string_lossy();
    if let Ending::NotStarted(error) = &run.ending {
        return Err(usage(format!("cannot start {name}: {error}")));
    }
    let lanes = sampler.into_lanes();
    options.show(&name, &run, &lanes)?;
    if let Some(code) = process::interrupted() {
        return Err(Error::Code(code));
    }
    match run.is_ok() {
        true => Ok(()),
        false => Err(crate::error::failed(format!("{name}: {run}"))),
    }
}

impl Options {
    /// None when help is asked for.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Options>> {
        let mut options = Options::default();
        while let Some(arg) = args.next()? {
            match arg {
                Value(name) if options.name.is_none() => options.name = Some(name.string()?),
                Value(arg) => options.args.push(arg),
                Long("exec") => {
                    options.exec = Some(args.value()?);
                    options.args.extend(args.raw_args()?);
                }
                Long("svg") => options.svg = Some(writable(args.value()?)?),
                Long("json") => options.json = Some(writable(args.value()?)?),
                Short('h') | Long("help") => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        match (&options.name, &options.exec) {
            (Some(_), Some(_)) => Err(usage(
                "trace takes the NAME of an example or --exec, not both",
            )),
            (None, None) => Err(usage(
                "trace what? Say the NAME of an example or --exec PROGRAM",
            )),
            _ => Ok(Some(options)),
        }
    }

    /// The program to run; an example is built first.
    fn program(&self) -> Result<OsString> {
        if let Some(program) = &self.exec {
            return Ok(program.clone());
        }
        let workspace = Workspace::load()?;
        let name = self.name.as_deref().unwrap_or_default();
        build(&workspace, &[workspace.find(name)?.clone()], &[])?;
        Ok(binary(&workspace, name).into())
    }

    fn is_stdout_taken(&self) -> bool {
        let taken = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
        taken(&self.svg) || taken(&self.json)
    }

    /// Draws on the terminal and writes the files.
    fn show(&self, name: &str, run: &Run, lanes: &[Lane]) -> Result {
        let chart = Chart::new(lanes, run.wall, run.usage.as_ref().map(|usage| usage.cpu));
        let width = os::terminal_width().unwrap_or(80);
        let text = format!("\n{}", lanes::to_text(&chart, name, width));
        match self.is_stdout_taken() {
            true => io::stderr().write_all(text.as_bytes())?,
            false => io::stdout().write_all(text.as_bytes())?,
        }
        if let Some(file) = &self.svg {
            write_file(file, &svg::document(&chart, name))?;
        }
        if let Some(file) = &self.json {
            let mut command = vec![name.to_string()];
            command.extend(
                self.args
                    .iter()
                    .map(|arg| arg.to_string_lossy().into_owned()),
            );
            write_file(file, &format!("{}\n", to_json(&command, run, lanes)))?;
        }
        Ok(())
    }
}

fn to_json(command: &[String], run: &Run, lanes: &[Lane]) -> Json {
    let mut object = machine();
    object["command"] = json!(command);
    object["result"] = json!(run.to_string());
    object["wall_s"] = json!(run.wall.as_secs_f64());
    object["cpu_s"] = json!(run.usage.as_ref().map(|usage| usage.cpu.as_secs_f64()));
    object["peak_kb"] = json!(run.usage.as_ref().map(|usage| usage.peak_kb));
    object["lanes"] = lanes.iter().map(lane_to_json).collect();
    object
}

fn lane_to_json(lane: &Lane) -> Json {
    let samples = lane.points.iter();
    let samples = samples.map(|point| json!([point.at.as_secs_f64(), point.cpu.as_secs_f64()]));
    json!({
        "name": lane.name,
        "pid": lane.pid,
        "tid": lane.tid,
        "start_s": lane.start().as_secs_f64(),
        "end_s": lane.end().as_secs_f64(),
        "cpu_s": lane.cpu().as_secs_f64(),
        "samples": samples.collect::<Vec<Json>>(),
    })
}
