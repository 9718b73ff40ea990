//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;
#[path = "shared/orphans.rs"]
mod orphans;

use bounded::OutputInTime;
use std::collections::HashSet;
use std::error::Error;
use std::process::Command;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_process-errors"))
}

/// The end of the last line, such as `completed 5 + failed 5 = 10`.
fn verdict(text: &str) -> &str {
    let verdict = text.lines().last().unwrap_or_default();
    let sum = verdict
        .strip_prefix("ok: ")
        .and_then(|rest| rest.split(',').next());
    sum.unwrap_or_default()
}

#[test]
fn it_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let output = program().output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"");
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(verdict(&text), "completed 5 + failed 5 = 10", "{text}");
    for failure in [
        "is beyond",
        "is no number: invalid digit found in string",
        "it panicked: there is no prime between",
        "ended: exit code 3",
    ] {
        assert!(text.contains(failure), "{failure}\n{text}");
    }
    #[cfg(unix)]
    assert!(text.contains("ended: signal 6"), "{text}");
    Ok(())
}

/// Python's were 5 and 5 by chance, and never again the same.
#[test]
fn completed_and_failed_make_ten_with_every_seed() -> Result<(), Box<dyn Error>> {
    let mut sums = HashSet::new();
    for seed in 0..6 {
        let output = program().arg(seed.to_string()).output_in_time()?;
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout)?;
        assert!(text.contains(&format!("from seed {seed}\n")), "{text}");
        let numbers = verdict(&text).split_whitespace().flat_map(str::parse);
        let numbers: Vec<u32> = numbers.collect();
        let [completed, failed, 10] = numbers[..] else {
            panic!("{text}");
        };
        assert_eq!(completed + failed, 10, "{text}");
        let lines = |what: &str| text.matches(&format!("  {what}: ")).count() as u32;
        let counted = (lines("completed"), lines("failed"));
        assert_eq!(counted, (completed, failed), "{text}");
        sums.insert(completed);
    }
    assert!(sums.len() > 1, "all seeds gave the same: {sums:?}");
    Ok(())
}

#[test]
fn a_seed_repeats_its_failures() -> Result<(), Box<dyn Error>> {
    // Without the numbers of the processes.
    let story = || -> Result<String, Box<dyn Error>> {
        let text = String::from_utf8(program().arg("17").output_in_time()?.stdout)?;
        let words = text.split(' ').filter(|word| word.parse::<u32>().is_err());
        Ok(words.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(story()?, story()?);
    Ok(())
}

#[test]
fn what_is_no_seed_is_a_usage_error() -> Result<(), Box<dyn Error>> {
    for arguments in [&["x"][..], &["-1"], &[""], &["1", "2"], &["--help"]] {
        let output = program().args(arguments).output_in_time()?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stderr.starts_with(b"usage: "), "{output:?}");
    }
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn the_workers_of_a_parent_that_is_ended_by_a_signal_end_within_a_second() {
    orphans::workers_end_with_their_parent(4, || orphans::silent(program()));
}
