//! The program as its user meets it.

#[path = "shared/bounded.rs"]
mod bounded;

use bounded::OutputInTime;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

fn output() -> Result<String, Box<dyn Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_race-condition")).output_in_time()?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn it_loses_what_it_has_to_and_ends_with_its_verdict() -> Result<(), Box<dyn Error>> {
    let text = output()?;
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("ok: the forced race lost"), "{text}");
    assert!(
        text.contains("2000 increments, 1000 lost, as expected"),
        "{text}"
    );
    assert_eq!(text.matches("  2000000, none lost").count(), 3, "{text}");
    Ok(())
}

/// What the program says of the compiler is what `tests/refused.rs` checks.
#[test]
fn each_error_that_it_names_stands_in_a_file() -> Result<(), Box<dyn Error>> {
    let text = output()?;
    let mut files = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refused"))? {
        let source = fs::read_to_string(entry?.path())?;
        let code = &source["// error[".len()..][..5];
        assert!(text.contains(&format!("  {code}: ")), "{code}");
        files += 1;
    }
    assert_eq!((files, text.matches("  E0").count()), (4, 4), "{text}");
    Ok(())
}
