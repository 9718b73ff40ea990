//! `cargo xtask trace` over programs that say themselves what the system has booked for them.

#![cfg(target_os = "linux")]

mod fixture;

use std::fs;
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{fixture, stderr, stdout};
use serde_json::Value as Json;

fn traced(name: &str, file: &str) -> (Output, Json) {
    let file = fixture().root.join(file);
    let output = fixture().output(&["trace", name, "--json", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    (output, json)
}

fn lanes(json: &Json) -> &[Json] {
    json["lanes"].as_array().unwrap()
}

/// A figure that the program has printed, such as `busy 0.3`.
fn printed(output: &Output, what: &str) -> f64 {
    let text = stdout(output);
    let line = text.lines().find_map(|line| line.strip_prefix(what));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn lanes_agree_with_the_systems_accounting() {
    let (output, json) = traced("lanes", "lanes.json");
    let lane = |wanted: &dyn Fn(&Json) -> bool| {
        lanes(&json)
            .iter()
            .find(|lane| wanted(lane))
            .expect("a lane")
    };
    let busy = lane(&|lane| lane["name"] == "busy");
    let sleepy = lane(&|lane| lane["name"] == "sleepy");
    let child = lane(&|lane| lane["pid"] != busy["pid"]);
    assert_eq!(lanes(&json).len(), 4, "{}", stdout(&output));
    for (lane, what) in [(busy, "busy"), (child, "child")] {
        let (seen, booked) = (lane["cpu_s"].as_f64().unwrap(), printed(&output, what));
        assert!(
            (seen / booked - 1.0).abs() < 0.05,
            "{what}: seen {seen}, booked {booked}"
        );
    }
    // So small a figure is compared with what a whole lane could hold.
    let (seen, booked) = (
        sleepy["cpu_s"].as_f64().unwrap(),
        printed(&output, "sleepy"),
    );
    assert!(
        (seen - booked).abs() < 0.05 * 0.3,
        "sleepy: seen {seen}, booked {booked}"
    );
    let sum: f64 = lanes(&json)
        .iter()
        .map(|lane| lane["cpu_s"].as_f64().unwrap())
        .sum();
    let booked = json["cpu_s"].as_f64().unwrap();
    assert!(
        (sum / booked - 1.0).abs() < 0.05,
        "all: seen {sum}, booked {booked}"
    );
    assert!(stdout(&output).contains("4 threads in 2 processes"));
}

/// What the system books for xtask over a second in the middle of a program of two seconds.
#[test]
fn sampling_ten_threads_costs_less_than_a_twentieth_of_a_core() {
    let program = fixture().root.join("target/release/lanes-ten");
    let mut command = fixture().xtask(&["trace", "--exec", program.to_str().unwrap()]);
    let mut xtask = command.stdout(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(600));
    let (start, used_before) = (Instant::now(), used(xtask.id()));
    thread::sleep(Duration::from_millis(1000));
    let (wall, used) = (start.elapsed(), used(xtask.id()) - used_before);
    assert_eq!(xtask.wait().unwrap().code(), Some(0));
    let share = used / wall.as_secs_f64();
    assert!(
        share > 0.001,
        "it sampled at all: {:.2} % of a core",
        share * 100.0
    );
    assert!(share < 0.05, "{:.1} % of a core", share * 100.0);
}

/// The CPU time of all threads of a process, in seconds.
fn used(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let used = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    };
    threads.map(|thread| used(thread.unwrap())).sum()
}

#[test]
fn the_picture_fits_eighty_columns_and_merges_many_lanes() {
    let (output, json) = traced("lanes-many", "many.json");
    assert_eq!(lanes(&json).len(), 100);
    let text = stdout(&output);
    assert!(
        text.starts_with("all joined\n"),
        "the program's own output comes first:\n{text}"
    );
    assert!(text.contains("41 more threads"), "{text}");
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest.unwrap() <= 80, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn any_program_can_be_traced_and_the_svg_goes_to_stdout() {
    let output = fixture().output(&[
        "trace",
        "--svg",
        "-",
        "--exec",
        "sh",
        "-c",
        "echo \"$0\"",
        "--x",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let svg = stdout(&output);
    assert!(
        svg.starts_with("<svg") && svg.ends_with("</svg>\n"),
        "{svg}"
    );
    assert!(
        stderr(&output).contains("--x\n"),
        "the program's output is not lost"
    );
}

#[test]
fn a_program_that_fails_is_drawn_all_the_same() {
    let output = fixture().output(&["trace", "--exec", "sh", "-c", "exit 5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("1 thread in 1 process"));
    assert_eq!(stderr(&output), "error: sh: exit code 5\n");
}

#[test]
fn a_wrong_call_is_a_usage_error() {
    for (args, wanted) in [
        (&[] as &[&str], "trace what?"),
        (
            &["lnaes"],
            "there is no example `lnaes`; the nearest: lanes",
        ),
        (&["lanes", "--exec", "true"], "not both"),
        (&["--exec", "/no/such/program"], "No such file"),
        (&["--colour"], "invalid option '--colour'"),
    ] {
        let output = fixture().output(&[&["trace"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&output).contains(wanted),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}
