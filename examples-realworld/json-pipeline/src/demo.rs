//! The demonstration: a small tree with everything that goes wrong, processed in all three ways.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::files::{self, ResultFile};
use crate::shared::Shared;
use crate::work::Outcome;
use crate::{Mode, do_all};

const WORKERS: usize = 2;

/// How many records a file has, or line and column of its fault.
type Records = Result<u64, (u64, u64)>;
type Found = BTreeMap<String, Records>;

/// Each file with its text and what is to be found: records, or line and column of the fault.
fn samples() -> Vec<(String, Vec<u8>, Records)> {
    let records = |count: u64| {
        let record = |id| format!("{{\"id\": {id}, \"value\": {}}}", id * 10);
        format!(
            "[{}]",
            (0..count).map(record).collect::<Vec<_>>().join(", ")
        )
    };
    let mut samples: Vec<(String, Vec<u8>, _)> = Vec::new();
    let mut add =
        |name: &str, text: &[u8], expected| samples.push((name.into(), text.into(), expected));
    for number in 0..5 {
        add(
            &format!("sample_{number}.json"),
            records(100).as_bytes(),
            Ok(100),
        );
    }
    add("north/report.json", records(3).as_bytes(), Ok(3));
    add("south/report.json", records(4).as_bytes(), Ok(4));
    add(
        "north/UPPER.JSON",
        "{\"name\": \"Jürgen\", \"tags\": []}".as_bytes(),
        Ok(1),
    );
    add("north/empty_list.json", b" [ ] ", Ok(0));
    add(
        "deep.json",
        ["[".repeat(10_000), "]".repeat(10_000)].concat().as_bytes(),
        Ok(1),
    );
    add("broken/comma.json", b"[\n  {\"id\": 1},\n]\n", Err((3, 1)));
    add("broken/cut.json", b"[{\"id\": 1}, {\"id\"", Err((1, 18)));
    add("broken/empty.json", b"", Err((1, 1)));
    add("broken/latin1.json", b"[\"J\xfcrgen\"]", Err((1, 4)));
    add("broken/mark.json", b"\xef\xbb\xbf[1]", Err((1, 1)));
    samples
}

pub fn run() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let folder = tempfile::Builder::new()
        .prefix("json-pipeline-")
        .tempdir()?;
    let input = folder.path().join("input");
    let samples = samples();
    let mut expected = BTreeMap::new();
    for (name, text, found) in samples {
        let path = input.join(&name);
        fs::create_dir_all(path.parent().unwrap_or(&input))?;
        fs::write(path, text)?;
        expected.insert(name, found);
    }
    writeln!(
        out,
        "{} files in a temp folder, {WORKERS} workers",
        expected.len()
    )?;

    for mode in [Mode::Sequential, Mode::Threads, Mode::Processes] {
        // The results go into a folder within the input, where they could be taken as input.
        let output = input.join("results");
        writeln!(out, "\n{}:", mode.name())?;
        let found = process(&input, &output, mode, &mut out)?;
        let results = check_results(&input, &output, &found)?;
        if found != expected {
            return Err(io::Error::other(format!(
                "{mode:?} found {found:?}, not {expected:?}"
            )));
        }
        writeln!(
            out,
            "  {results} results written, both report.json among them; none was taken as input"
        )?;
    }
    let broken = expected.values().filter(|found| found.is_err()).count();
    writeln!(
        out,
        "\nok: three modes agree on {} files, {broken} of them broken as expected",
        expected.len()
    )
}

/// Processes the folder and tells the story; what was found is listed by name.
fn process(input: &Path, output: &Path, mode: Mode, out: &mut impl Write) -> io::Result<Found> {
    let plan = files::plan(input, Some(output), false)?;
    let mut found = BTreeMap::new();
    let mut written = Ok(());
    do_all(
        &plan.jobs,
        mode,
        WORKERS,
        &Shared::default(),
        |job, outcome| {
            let name = job.input.strip_prefix(input).unwrap_or(&job.input);
            let name = name.to_string_lossy().replace('\\', "/");
            let result = match outcome {
                Outcome::Done { records, .. } => Ok(records),
                Outcome::Failed { error, place } => {
                    let (line, column) = place.unwrap_or_default();
                    let told = writeln!(out, "  {name}:{line}:{column}: {error}");
                    written = std::mem::replace(&mut written, Ok(())).and(told);
                    Err((line, column))
                }
                Outcome::NotDone => Err((0, 0)),
            };
            found.insert(name, result);
        },
    );
    written.map(|()| found)
}

/// Each good file has its result and each broken one has none.
fn check_results(input: &Path, output: &Path, found: &Found) -> io::Result<usize> {
    let mut results = 0;
    for (name, records) in found {
        let path = input.join(name);
        let result = output.join(name).with_file_name(format!(
            "processed_{}",
            path.file_name().unwrap_or_default().to_string_lossy()
        ));
        match (records, fs::read(&result)) {
            (Ok(records), Ok(text)) => {
                let file: ResultFile = serde_json::from_slice(&text)?;
                if (file.records, file.bytes) != (*records, fs::metadata(&path)?.len()) {
                    return Err(io::Error::other(format!(
                        "{} holds {file:?}",
                        result.display()
                    )));
                }
                results += 1;
            }
            (Err(_), Err(_)) => {}
            _ => {
                return Err(io::Error::other(format!(
                    "{name}: a result too many or too few"
                )));
            }
        }
    }
    Ok(results)
}
