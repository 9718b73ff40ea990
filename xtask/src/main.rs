//! `cargo xtask`: everything that concerns all examples at once. One module per command.

mod bench;
mod ci;
mod copy;
mod error;
mod lanes;
mod launch;
mod list;
#[cfg_attr(not(unix), path = "os_other.rs")]
mod os;
mod outcome;
mod output;
mod process;
mod procfs;
mod readme;
mod report;
mod rules;
mod run_all;
mod sample;
mod screen;
mod suggest;
mod svg;
mod temp;
mod text;
mod trace;
mod workspace;

use std::process::ExitCode;

use error::{Result, usage};
use lexopt::prelude::*;

const HELP: &str = "\
Usage: cargo xtask COMMAND [OPTIONS]

  list [TEXT...]     the examples in reading order, or those that match TEXT
  run-all [NAME...]  build, run, check and time the examples
  trace NAME         draw every thread of an example as a lane over time
  copy NAME DIR      copy an example out of the workspace, ready to build
  bench [NAME...]    measure examples side by side with other programs
  readme             write the README's index and its table of figures
  ci                 everything that has to hold before a change goes in

`cargo xtask COMMAND --help` tells more of each.";

fn main() -> ExitCode {
    if let Some(code) = launch::launcher() {
        return code;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn run() -> Result {
    let mut args = lexopt::Parser::from_env();
    match args.next()? {
        Some(Value(command)) => match command.to_str().unwrap_or_default() {
            "list" => list::main(args),
            "run-all" => run_all::main(args),
            "trace" => trace::main(args),
            "copy" => copy::main(args),
            "bench" => bench::main(args),
            "readme" => readme::main(args),
            "ci" => ci::main(args),
            "help" => print_help(),
            unknown => Err(usage(format!(
                "there is no command `{unknown}`{}",
                suggest::nearest_names(
                    unknown,
                    ["list", "run-all", "trace", "copy", "bench", "readme", "ci"]
                )
            ))),
        },
        Some(Short('h') | Long("help")) => print_help(),
        Some(other) => Err(other.unexpected().into()),
        None => {
            eprintln!("{HELP}");
            Err(error::Error::Code(2))
        }
    }
}

fn print_help() -> Result {
    help(HELP)
}

/// Prints a help text. Like all output it goes through `writeln!`, since `println!` panics when
/// the reader has gone.
pub fn help(text: &str) -> Result {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
