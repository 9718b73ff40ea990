//! Which files are taken, where each result goes, and how it gets there in one step.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

/// One file to be processed. Without an output nothing is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub input: PathBuf,
    pub output: Option<PathBuf>,
}

/// What a walk over the input folder found.
#[derive(Debug, Default)]
pub struct Plan {
    pub jobs: Vec<Job>,
    /// Files and folders that cannot be processed, each with the reason.
    pub refused: Vec<(PathBuf, String)>,
    /// Results of this program, which are never input.
    pub own_results: usize,
}

/// The file that is written for each input. The first key tells whose it is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultFile {
    pub made_by: String,
    pub input: String,
    pub records: u64,
    pub bytes: u64,
    /// How long the processing took, and when it ended, in seconds since 1970.
    pub seconds: f64,
    pub processed_at: f64,
}

pub const MADE_BY: &str = "json-pipeline";
const OWN_BEGIN: &[u8] = b"{\n  \"made_by\": \"json-pipeline\"";
const PREFIX: &str = "processed_";

/// Walks `input`, a folder or a single file, and plans a result below `output` for each file.
pub fn plan(input: &Path, output: Option<&Path>, dry_run: bool) -> io::Result<Plan> {
    let about = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    // Compared as real places, it does not matter by which links the folders were named.
    let root = input.canonicalize().map_err(|error| about(input, error))?;
    let target = match output {
        Some(folder) if !dry_run => {
            fs::create_dir_all(folder).map_err(|error| about(folder, error))?;
            Some(folder.canonicalize()?)
        }
        other => other.map(real_place),
    };
    let mut plan = Plan::default();
    // The output folder is left out, unless it is the input folder itself.
    let taken = |path: &Path| path == root || Some(path) != target.as_deref();
    let walk = WalkDir::new(&root).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| taken(entry.path())) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(&root).to_path_buf();
                plan.refused.push((path, error.to_string()));
                continue;
            }
        };
        let named = entry.depth() == 0;
        // What the user names is taken whatever it is, a pipe as well.
        let wanted = match named {
            true => !entry.file_type().is_dir(),
            false => entry.file_type().is_file() && is_json(entry.path()),
        };
        if !wanted {
            continue;
        }
        if !named && is_own_result(entry.path()) {
            plan.own_results += 1;
            continue;
        }
        let inside = match entry.path().strip_prefix(&root) {
            Ok(inside) if !named => inside,
            _ => Path::new(entry.file_name()),
        };
        plan.jobs.push(Job {
            input: if named {
                input.to_path_buf()
            } else {
                input.join(inside)
            },
            output: output.map(|folder| result_path(folder, inside)),
        });
    }
    if let (Some(folder), Some(target)) = (output, &target) {
        let ignores_case = || folder_ignores_case(target);
        refuse_overwriting(&mut plan, (input, &root), (folder, target), ignores_case);
    }
    if dry_run {
        plan.jobs.iter_mut().for_each(|job| job.output = None);
    }
    deal(&mut plan.jobs);
    Ok(plan)
}

/// The first file of each folder, then the second of each, and so on. Making a file locks its
/// folder, so workers with neighbours from this list do not wait for each other.
fn deal(jobs: &mut [Job]) {
    let mut counts: HashMap<PathBuf, usize> = HashMap::new();
    jobs.sort_by_cached_key(|job| {
        let folder = job.input.parent().unwrap_or(Path::new(""));
        let count = counts.entry(folder.to_path_buf()).or_default();
        *count += 1;
        *count
    });
}

/// `sub/NAME` becomes `OUTPUT/sub/processed_NAME`: equal names in different folders stay apart.
fn result_path(folder: &Path, inside: &Path) -> PathBuf {
    let mut name = OsString::from(PREFIX);
    name.push(inside.file_name().unwrap_or_default());
    folder.join(inside).with_file_name(name)
}

fn is_json(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let end = name.last_chunk::<5>();
    end.is_some_and(|end| end.eq_ignore_ascii_case(b".json"))
}

/// A result of an earlier run, whatever folder it went to. A name alone does not make one: a
/// `processed_orders.json` of someone else is input like any other file.
fn is_own_result(path: &Path) -> bool {
    let begin = || {
        let mut begin = [0; OWN_BEGIN.len()];
        File::open(path)?.read_exact(&mut begin).map(|()| begin)
    };
    let named = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    named && begin().is_ok_and(|begin| begin == *OWN_BEGIN)
}

/// The result of an earlier run does not hold any more when the file has become broken.
pub fn remove_result(path: &Path) {
    if is_own_result(path) {
        // If it cannot be removed, the failure of the file is reported all the same.
        let _ = fs::remove_file(path);
    }
}

/// Where a folder is, or would be if it existed.
fn real_place(path: &Path) -> PathBuf {
    path.canonicalize()
        .unwrap_or_else(|_| match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if parent.as_os_str().is_empty() => {
                real_place(Path::new(".")).join(name)
            }
            (Some(parent), Some(name)) => real_place(parent).join(name),
            _ => path.to_path_buf(),
        })
}

/// Takes out the files whose result would replace an input, or the result of another input.
fn refuse_overwriting(
    plan: &mut Plan,
    input: (&Path, &Path),
    output: (&Path, &Path),
    ignores_case: impl Fn() -> bool,
) {
    let real = |path: &Path, (named, real): (&Path, &Path)| match path.strip_prefix(named) {
        Ok(inside) => real.join(inside),
        Err(_) => path.to_path_buf(),
    };
    // `a.json` and `A.JSON` are two files, unless the output folder sees no difference.
    let folded = |path: &Path| path.as_os_str().to_ascii_lowercase();
    let mut inputs = HashSet::new();
    if input.1.starts_with(output.1) || output.1.starts_with(input.1) {
        inputs.extend(plan.jobs.iter().map(|job| real(&job.input, input)));
    }
    let folded_inputs: HashSet<_> = inputs.iter().map(|path| folded(path)).collect();
    let mut results = HashSet::new();
    let refused = &mut plan.refused;
    plan.jobs.retain(|job| {
        let result = job.output.as_deref().unwrap_or(&job.input);
        let place = real(result, output);
        let reason = if inputs.contains(&place)
            || folded_inputs.contains(&folded(&place)) && ignores_case()
        {
            "its result would replace the input file"
        } else if !results.insert(folded(result)) && ignores_case() {
            "another file of the same name, but for upper and lower case, has the result"
        } else {
            return true;
        };
        refused.push((job.input.clone(), format!("{reason} {}", result.display())));
        false
    });
}

fn folder_ignores_case(folder: &Path) -> bool {
    let probe = tempfile::Builder::new()
        .prefix(".json-pipeline-CASE-")
        .tempfile_in(folder);
    probe.is_ok_and(|probe| {
        let name = probe
            .path()
            .file_name()
            .unwrap_or_default()
            .to_ascii_lowercase();
        folder.join(name).exists()
    })
}

/// Read-locked while a temporary file lies in an output folder.
static WRITING: RwLock<()> = RwLock::new(());

/// For the end of the process in the midst of work: waits, but not long, until no temporary file
/// is left, and lets none begin.
pub fn end_writing() {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(500) {
        if let Ok(lock) = WRITING.try_write() {
            return std::mem::forget(lock);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Writes a result so that a reader sees the old file or the new one, never half of it: it is
/// written beside its place under another name and then moved there. On an error nothing is left.
///
/// Moving is what readers need. To survive a power cut a result has to be on the disk before it is
/// moved, and waiting for the disk made 1,250 small files take 7 to 9 times as long when measured.
/// A result can be made again, so that is the user's choice: `sync`.
pub fn write_result(path: &Path, result: &ResultFile, sync: bool) -> io::Result<()> {
    let _writing = WRITING.read();
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".json-pipeline-").suffix(".tmp");
    #[cfg(unix)]
    {
        // As any new file: what the umask allows. The default of a temporary file is stricter.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = match builder.tempfile_in(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            builder.tempfile_in(folder)?
        }
        other => other?,
    };
    let mut text = serde_json::to_vec_pretty(result)?;
    text.push(b'\n');
    file.write_all(&text)?;
    if sync {
        file.as_file().sync_all()?;
    }
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "[]").unwrap();
        }
        folder
    }

    fn result() -> ResultFile {
        ResultFile {
            made_by: MADE_BY.into(),
            input: "a.json".into(),
            records: 3,
            bytes: 9,
            seconds: 0.5,
            processed_at: 1.5,
        }
    }

    #[test]
    fn the_place_of_a_result_mirrors_the_place_of_its_input() {
        let place = |inside: &str| result_path(Path::new("out"), Path::new(inside));
        assert_eq!(place("a.json"), Path::new("out/processed_a.json"));
        assert_eq!(place("x/y/A.JSON"), Path::new("out/x/y/processed_A.JSON"));
    }

    #[test]
    fn json_is_json_in_upper_and_lower_case() {
        let yes = ["a.json", "a.JSON", "a.Json", "a.b.jSoN", "ä.json", ".json"];
        let no = ["json", "a.json5", "a.jsonl", "a.json.bak", "a", "ajson"];
        assert!(yes.iter().all(|name| is_json(Path::new(name))));
        assert!(!no.iter().any(|name| is_json(Path::new(name))));
    }

    #[test]
    fn a_result_is_known_by_its_begin() {
        let folder = tree(&["processed_theirs.json"]);
        let ours = folder.path().join("processed_ours.json");
        write_result(&ours, &result(), false).unwrap();
        assert!(fs::read(&ours).unwrap().starts_with(OWN_BEGIN));
        assert!(is_own_result(&ours));
        assert!(!is_own_result(&folder.path().join("processed_theirs.json")));
    }

    #[test]
    fn a_result_is_replaced_and_nothing_else_is_left() {
        let folder = tree(&[]);
        let path = folder.path().join("new/folder/processed_a.json");
        for records in [1, 2] {
            write_result(
                &path,
                &ResultFile {
                    records,
                    ..result()
                },
                records == 2,
            )
            .unwrap();
            let text = fs::read(&path).unwrap();
            assert_eq!(
                serde_json::from_slice::<ResultFile>(&text).unwrap().records,
                records
            );
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tree(&["taken/processed_a.json/inside.txt"]);
        let path = folder.path().join("taken/processed_a.json");
        assert!(
            write_result(&path, &result(), false).is_err(),
            "a folder has the name"
        );
        assert_eq!(
            fs::read_dir(folder.path().join("taken")).unwrap().count(),
            1
        );
    }

    #[test]
    fn of_two_files_for_one_result_the_second_is_refused() {
        let job = |name: &str| Job {
            input: format!("in/{name}").into(),
            output: Some(format!("out/processed_{name}").into()),
        };
        let places = |name: &'static str| (Path::new(name), Path::new(name));
        for (ignores_case, refused) in [(false, 0), (true, 1)] {
            let jobs = ["a.json", "b.json", "A.JSON", "sub/a.json"]
                .map(job)
                .to_vec();
            let mut plan = Plan {
                jobs,
                ..Plan::default()
            };
            refuse_overwriting(&mut plan, places("in"), places("out"), || ignores_case);
            let names: Vec<_> = plan
                .refused
                .iter()
                .map(|(path, _)| path.as_path())
                .collect();
            assert_eq!(names, [Path::new("in/A.JSON")][..refused]);
            assert_eq!(plan.jobs.len(), 4 - refused);
        }
    }

    #[test]
    fn no_input_is_replaced_where_upper_and_lower_case_are_the_same() {
        let place = Path::new("in");
        for (ignores_case, refused) in [(false, 0), (true, 1)] {
            let jobs = ["a.json", "PROCESSED_A.JSON"].map(|name| Job {
                input: place.join(name),
                output: Some(result_path(place, Path::new(name))),
            });
            let mut plan = Plan {
                jobs: jobs.to_vec(),
                ..Plan::default()
            };
            refuse_overwriting(&mut plan, (place, place), (place, place), || ignores_case);
            let names = plan.refused.iter().map(|(path, _)| path.as_path());
            assert_eq!(names.collect::<Vec<_>>(), [place.join("a.json")][..refused]);
            assert_eq!(plan.jobs.len(), 2 - refused);
        }
    }

    #[test]
    fn the_real_place_of_a_folder_that_is_not_there_yet() {
        let folder = tree(&[]);
        let real = folder.path().canonicalize().unwrap();
        assert_eq!(real_place(&folder.path().join("a/b")), real.join("a/b"));
        let here = Path::new(".").canonicalize().unwrap();
        assert_eq!(real_place(Path::new("not-there")), here.join("not-there"));
    }
}
