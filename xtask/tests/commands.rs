//! `list`, `copy`, `readme`, `bench` and `ci --step manifests` over small workspaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;

/// A workspace of its own for each test, with two sound examples.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let folder = Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(test));
        let _ = fs::remove_dir_all(&folder.0);
        // As in the real one, values that could be inherited by mistake are there.
        folder.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"examples-*/*\"]\n\
             [workspace.package]\nedition = \"2024\"\n",
        );
        folder.write(
            "README.md",
            "# t\n<!-- index -->\n<!-- /index -->\n<!-- figures -->\n<!-- /figures -->\n",
        );
        folder.example(
            "threading",
            "bounded-buffer",
            20,
            "\"queue.Queue(maxsize)\", \"Queue.join\"",
            "",
        );
        folder.example(
            "threading",
            "first-thread",
            10,
            "\"Thread.join\"",
            "pitfalls = [\"deadlock\"]\n",
        );
        folder
    }

    fn example(&self, chapter: &str, name: &str, order: u32, python: &str, more: &str) {
        let manifest = format!(
            "[package]\nname = \"{name}\"\ndescription = \"shows {name}\"\nversion = \"0.1.0\"\n\
             edition = \"2024\"\npublish = false\n\
             [package.metadata.example]\norder = {order}\npython = [{python}]\n{more}"
        );
        let dir = format!("examples-{chapter}/{name}");
        self.write(&format!("{dir}/Cargo.toml"), &manifest);
        let main =
            "//! A fixture.\n\n#![forbid(unsafe_code)]\n\nfn main() {\n    println!(\"42\");\n}\n";
        self.write(&format!("{dir}/src/main.rs"), main);
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.0.join(file)).unwrap();
        assert!(text.contains(from), "{text}");
        self.write(file, &text.replace(from, to));
    }

    fn xtask(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(args)
            .current_dir(self.0.join("examples-threading"))
            .env_remove("CARGO_TARGET_DIR")
            .env("CARGO_NET_OFFLINE", "true")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn list_shows_the_examples_in_reading_order() {
    let output = Folder::new("list-order").xtask(&["list"]);
    let text = stdout(&output);
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .collect();
    assert!(names[0].starts_with("first-thread"), "{text}");
    assert!(names[1].starts_with("bounded-buffer"), "{text}");
}

#[test]
fn list_finds_python_names_and_pitfalls_in_upper_and_lower_case() {
    let folder = Folder::new("list-text");
    let found = |text: &str| {
        let json: Json =
            serde_json::from_slice(&folder.xtask(&["list", "--json", text]).stdout).unwrap();
        let names = json
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["name"].as_str().unwrap().to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(found("queue.JOIN"), ["bounded-buffer"]);
    assert_eq!(found("Deadlock"), ["first-thread"]);
    assert_eq!(found("join"), ["first-thread", "bounded-buffer"]);
    // What is nowhere written so: words that are not side by side, and the full path of a method.
    assert_eq!(found("join queue"), ["bounded-buffer"]);
    assert_eq!(
        found("multiprocessing.queues.Queue.join()"),
        ["bounded-buffer"]
    );
    assert_eq!(found("no.such.name."), [""; 0]);
}

#[test]
fn list_suggests_what_comes_near_when_nothing_matches() {
    let output = Folder::new("list-nothing").xtask(&["list", "Queue.joyn"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("Queue.join"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_unknown_command_or_name_is_a_usage_error_with_the_nearest() {
    let folder = Folder::new("unknown");
    for (args, near) in [
        (&["lst"][..], "list"),
        (&["copy", "frist-thread", "x"], "first-thread"),
    ] {
        let output = folder.xtask(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&output).contains(near),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_copy_runs_alone_and_is_never_overwritten() {
    let folder = Folder::new("copy");
    folder.write("Cargo.lock", "version = 4\n");
    folder.write("examples-threading/first-thread/target/junk", "");
    let home = std::env::temp_dir().join(format!("xtask-copy-test-{}", std::process::id()));
    let to = home.to_str().unwrap();
    assert!(folder.xtask(&["copy", "first-thread", to]).status.success());
    assert!(!home.join("target").exists());
    let run = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline"])
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(&home)
        .output()
        .unwrap();
    assert_eq!(stdout(&run), "42\n", "{}", stderr(&run));

    let again = folder.xtask(&["copy", "bounded-buffer", to]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        fs::read_to_string(home.join("Cargo.toml"))
            .unwrap()
            .contains("first-thread")
    );
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn the_readme_is_written_from_the_manifests_and_checked() {
    let folder = Folder::new("readme");
    assert_eq!(folder.xtask(&["readme", "--check"]).status.code(), Some(1));
    assert!(folder.xtask(&["readme"]).status.success());
    assert!(folder.xtask(&["readme", "--check"]).status.success());
    let text = fs::read_to_string(folder.0.join("README.md")).unwrap();
    assert!(
        text.find("shows first-thread") < text.find("shows bounded-buffer"),
        "{text}"
    );
    folder.example("realworld", "newcomer", 30, "\"x\"", "");
    assert_eq!(folder.xtask(&["readme", "--check"]).status.code(), Some(1));
}

/// What `ci --step manifests` says of the workspace.
fn complaints(folder: &Folder) -> String {
    let output = folder.xtask(&["ci", "--step", "manifests"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    stderr(&output)
}

const MANIFEST: &str = "examples-threading/bounded-buffer/Cargo.toml";

#[test]
fn sound_manifests_pass() {
    let output = Folder::new("ci-sound").xtask(&["ci", "--step", "manifests"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_missing_description_is_refused() {
    let folder = Folder::new("ci-description");
    folder.replace(MANIFEST, "description = \"shows bounded-buffer\"\n", "");
    assert!(complaints(&folder).contains("bounded-buffer: no description; add"));
}

#[test]
fn the_same_order_twice_is_refused() {
    let folder = Folder::new("ci-order");
    folder.replace(MANIFEST, "order = 20", "order = 10");
    let text = complaints(&folder);
    assert!(
        text.contains("bounded-buffer, first-thread have the same order, 10; give each"),
        "{text}"
    );
}

#[test]
fn an_inherited_value_is_refused() {
    let folder = Folder::new("ci-inherited");
    folder.replace(MANIFEST, "edition = \"2024\"", "edition.workspace = true");
    assert!(complaints(&folder).contains("write the value itself"));
}

#[test]
fn a_path_dependency_is_refused() {
    let folder = Folder::new("ci-path");
    folder.replace(
        MANIFEST,
        "[package.metadata",
        "[dependencies]\nfirst-thread = { path = \"../first-thread\" }\n[package.metadata",
    );
    assert!(complaints(&folder).contains("`first-thread` is a path dependency"));
}

#[test]
fn copies_of_a_shared_file_that_differ_are_refused() {
    let folder = Folder::new("ci-shared");
    for (name, text) in [
        ("first-thread", "//! Shared file: x\n"),
        ("bounded-buffer", "//! Shared file: y\n"),
    ] {
        folder.write(&format!("examples-threading/{name}/src/piece.rs"), text);
    }
    let output = folder.xtask(&["ci", "--step", "shared"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("differ"), "{}", stderr(&output));
}

#[test]
fn ci_leaves_out_what_is_to_be_skipped() {
    let folder = Folder::new("ci-skip");
    let steps = ["--step", "manifests", "--step", "shared"];
    let output = folder.xtask(&[&["ci", "--skip", "shared"], &steps[..]].concat());
    let text = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(text.contains("=== manifests: ok"), "{text}");
    assert!(!text.contains("=== shared"), "{text}");
}

#[test]
fn ci_goes_on_after_a_failure_and_lists_what_failed() {
    let folder = Folder::new("ci-goes-on");
    folder.replace(MANIFEST, "order = 20", "order = 10");
    let output = folder.xtask(&[
        "ci",
        "--step",
        "manifests",
        "--step",
        "shared",
        "--step",
        "readme",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("=== shared: ok"),
        "{}",
        stdout(&output)
    );
    assert!(
        stdout(&output).contains("failed: manifests, readme"),
        "{}",
        stdout(&output)
    );
}

/// A workspace with one example that is compared with programs of the shell.
#[cfg(unix)]
fn bench(test: &str, sides: &str) -> (Folder, Output) {
    let folder = Folder::new(test);
    let bench = format!(
        "[[package.metadata.bench]]\nname = \"say it\"\nsizes = [\"42\"]\nsides = [{sides}]\n"
    );
    folder.example("realworld", "compared", 30, "\"x\"", &bench);
    let output = folder.xtask(&[
        "bench", "compared", "--rounds", "3", "--json", "-", "--save",
    ]);
    (folder, output)
}

#[test]
#[cfg(unix)]
fn a_bench_compares_equal_answers_and_skips_what_is_missing() {
    let (folder, output) = bench(
        "bench-equal",
        "{ name = \"rust\", run = [\"{bin}\"] },
         { name = \"shell\", run = [\"sh\", \"-c\", \"echo '# seconds 0.5'; echo {size}\"] },
         { name = \"absent\", run = [\"no-such-program-at-all\"] },
         { name = \"unable\", run = [\"sh\", \"-c\", \"echo no module >&2; exit 77\"] },",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let json: Json = serde_json::from_slice(&output.stdout).unwrap();
    let sides = json["results"][0]["sides"].as_array().unwrap();
    assert!(sides[0]["wall_s"]["median"].as_f64().unwrap() > 0.0);
    assert_eq!(sides[0]["wall_s"]["ratio"], 1.0);
    assert_eq!(sides[1]["work_s"]["median"], 0.5);
    assert_eq!(
        sides[2]["skipped"],
        "`no-such-program-at-all` is not installed"
    );
    assert_eq!(sides[3]["skipped"], "no module");

    assert!(folder.xtask(&["readme"]).status.success());
    let readme = fs::read_to_string(folder.0.join("README.md")).unwrap();
    assert!(readme.contains("| compared | say it, 42 |"), "{readme}");
}

#[test]
#[cfg(unix)]
fn a_bench_prints_no_time_when_the_answers_differ() {
    let sides =
        "{ name = \"rust\", run = [\"{bin}\"] }, { name = \"liar\", run = [\"echo\", \"43\"] }";
    let (_, output) = bench("bench-differ", sides);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("rust says \"42\", liar says \"43\""),
        "{}",
        stderr(&output)
    );
    assert!(!stderr(&output).contains("ratio"), "{}", stderr(&output));
}
