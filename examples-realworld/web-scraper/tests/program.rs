//! The program as its user meets it, against servers that behave and servers that do not.

#[path = "../src/server.rs"]
mod server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use server::{Reply, Request, Server, Step, gzip, head};

/// Whatever takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

fn program(args: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_web-scraper"));
    program.args(args).stdin(Stdio::null());
    without_proxies(&mut program);
    program
}

fn without_proxies(program: &mut Command) {
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        program.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
}

fn finish(mut program: Command) -> Output {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(program.output()));
    receiver.recv_timeout(LIMIT).expect("it hangs").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Scrapes the URLs with `--json` and the options; exit code and outcomes in the order of the URLs.
fn scrape(urls: &[&str], options: &[&str]) -> (i32, Vec<Value>) {
    let output = finish(program(&[&["--json"], options, &["--"], urls].concat()));
    let mut outcomes: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(outcomes.len(), urls.len(), "{output:?}");
    outcomes.sort_by_key(|outcome| {
        urls.iter()
            .position(|url| outcome["url"] == *url)
            .expect("a URL that was given")
    });
    (output.status.code().unwrap(), outcomes)
}

/// The outcome of one URL.
fn one(url: &str, options: &[&str]) -> Value {
    scrape(&[url], options).1.remove(0)
}

fn kind(outcome: &Value) -> &str {
    outcome["error"]["kind"].as_str().unwrap_or("none")
}

#[test]
fn without_urls_a_demonstration_ends_with_its_verdict() {
    let output = finish(program(&[]));
    assert!(output.status.success(), "{output:?}");
    let last = text(&output.stdout).lines().last().unwrap().to_string();
    assert!(last.starts_with("ok: each of the 16 pages"), "{last}");
    let output = finish(program(&["--json", "--workers", "3"]));
    assert!(output.status.success(), "{output:?}");
    for line in text(&output.stdout).lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[test]
fn a_page_is_told_with_all_that_is_known() {
    let server = Server::start(|_| Reply::html("<title>Tom &amp; Jerry</title>")).unwrap();
    let url = server.url("/x?y=1#part");
    let (code, outcomes) = scrape(&[&url], &[]);
    let page = &outcomes[0];
    assert_eq!(code, 0);
    assert_eq!(page["final_url"], server.url("/x?y=1"));
    assert_eq!((&page["status"], &page["bytes"]), (&200.into(), &30.into()));
    assert_eq!(
        (&page["title"], &page["attempts"]),
        (&"Tom & Jerry".into(), &1.into())
    );
    assert!(
        page["error"].is_null() && page["milliseconds"].is_f64(),
        "{page}"
    );

    let output = finish(program(&[&url]));
    let row = text(&output.stdout);
    assert!(row.starts_with("200 ") && row.contains(&url) && row.contains("\"Tom & Jerry\""));
    let summary = text(&output.stderr);
    assert!(
        summary.starts_with("1 of 1 by 1 worker: 30 B in "),
        "{summary}"
    );
}

#[test]
fn a_status_from_400_is_told_and_fails() {
    for (status, failed) in [(200, 0), (204, 0), (404, 1), (500, 1)] {
        let server = Server::start(move |_| match status {
            204 => Reply::script(vec![Step::Send(head(204, &[]))]),
            _ => Reply::status(status),
        })
        .unwrap();
        let (code, outcomes) = scrape(&[&server.url("/")], &[]);
        assert_eq!((code, &outcomes[0]["status"]), (failed, &status.into()));
        assert!(outcomes[0]["error"].is_null());
        if status >= 400 {
            assert!(
                outcomes[0]["title"]
                    .as_str()
                    .unwrap()
                    .starts_with(&status.to_string())
            );
        }
    }
}

/// All the ways to misbehave at the same time, and good pages in between.
#[test]
fn nothing_that_one_server_does_harms_the_result_of_another() {
    let server = Server::start(|request| match request.target.as_str() {
        "/never" => Reply::never(),
        "/drip" => Reply::drip("<title>x</title>", Duration::from_millis(300)),
        "/cut" => Reply::wrong_length("<p>half", 1000),
        "/long" => Reply::wrong_length("<title>more than promised</title>", 14),
        "/hang-up" => Reply::hang_up(),
        "/loop" => Reply::redirect("/loop"),
        "/endless" => Reply::endless(),
        "/bomb" => Reply::gzip_bomb(),
        "/garbage" => Reply::garbage(),
        "/huge-header" => Reply::huge_header(1_000_000),
        "/bad-chunk" => Reply::bad_chunk(),
        "/bad-length" => Reply::script(vec![Step::Send(head(200, &["content-length: ten"]))]),
        "/bad-gzip" => Reply::new(200, &["content-encoding: gzip"], "this is not gzip"),
        "/cut-gzip" => Reply::new(200, &["content-encoding: gzip"], &gzip(b"hello")[..12]),
        "/no-location" => Reply::new(302, &[], ""),
        "/choices" => Reply::new(300, &[], "<title>choose</title>"),
        "/redirect-without-end" => Reply::script(vec![
            Step::Send(head(302, &["location: /fine"])),
            Step::ForEver(b"more".to_vec()),
        ]),
        "/bad-location" => Reply::redirect("ftp://127.0.0.1/"),
        _ => Reply::html("<title>fine</title>"),
    })
    .unwrap();
    let expected = [
        ("/never", "timeout"),
        ("/drip", "timeout"),
        ("/cut", "closed"),
        ("/long", "none"),
        ("/hang-up", "closed"),
        ("/loop", "too-many-redirects"),
        ("/endless", "too-large"),
        ("/bomb", "too-large"),
        ("/garbage", "protocol"),
        ("/huge-header", "protocol"),
        ("/bad-chunk", "protocol"),
        ("/bad-length", "protocol"),
        ("/bad-gzip", "protocol"),
        ("/cut-gzip", "closed"),
        ("/no-location", "protocol"),
        ("/choices", "none"),
        ("/redirect-without-end", "none"),
        ("/bad-location", "bad-url"),
    ];
    let mut urls = Vec::new();
    for (n, (path, _)) in expected.iter().enumerate() {
        urls.push(server.url(path));
        urls.push(server.url(&format!("/fine/{n}")));
    }
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    for workers in ["1", "4", "100"] {
        let options = [
            "--timeout",
            "2",
            "--max-bytes",
            "100K",
            "--workers",
            workers,
        ];
        let (code, outcomes) = scrape(&urls, &options);
        assert_eq!(code, 1);
        for (pair, (path, expected)) in outcomes.chunks(2).zip(expected) {
            assert_eq!(kind(&pair[0]), expected, "{path}: {}", pair[0]);
            assert_eq!(
                (kind(&pair[1]), &pair[1]["title"]),
                ("none", &"fine".into())
            );
        }
    }
}

/// Stage by stage each of these would be in time, or would never end.
#[test]
fn one_deadline_covers_everything() {
    let slowly = Duration::from_millis(400);
    let server = Server::start(move |request| match request.target.as_str() {
        "/hop" => Reply::redirect("/hop").after(slowly),
        "/redirect-with-endless-body" => Reply::script(vec![
            Step::Send(head(302, &["location: /fine"])),
            Step::ForEver(b"more".to_vec()),
        ]),
        "/slow-head" => Reply::drip("", slowly),
        "/slow-body" => Reply::script(vec![
            Step::Send(head(200, &["content-length: 100"])),
            Step::Drip(vec![b'x'; 100], slowly),
        ]),
        "/slow-chunks" => Reply::script(vec![
            Step::Send(head(200, &["transfer-encoding: chunked"])),
            Step::Drip(b"1\r\nx\r\n".repeat(20), slowly),
        ]),
        "/slow-gzip" => Reply::script(vec![
            Step::Send(head(
                200,
                &["content-encoding: gzip", "content-length: 1000"],
            )),
            Step::Drip(gzip(&[b'x'; 1000]), slowly),
        ]),
        "/silent-body" => Reply::script(vec![
            Step::Send(head(200, &["content-length: 100"])),
            Step::Never,
        ]),
        "/bomb" => Reply::gzip_bomb(),
        "/endless" => Reply::endless(),
        "/busy" => Reply::status(503),
        "/hang-up" => Reply::hang_up(),
        _ => Reply::never(),
    })
    .unwrap();
    // A server that takes the connection and never says a word, where TLS should begin.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut urls: Vec<String> = [
        "/hop",
        "/redirect-with-endless-body",
        "/slow-head",
        "/slow-body",
    ]
    .iter()
    .chain(&[
        "/slow-chunks",
        "/slow-gzip",
        "/bomb",
        "/endless",
        "/silent-body",
        "/never",
    ])
    .map(|path| server.url(path))
    .collect();
    urls.push(format!("https://{}/", silent.local_addr().unwrap()));
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let options = [
        "--timeout",
        "1",
        "--retries",
        "100",
        "--max-bytes",
        "1000000G",
    ];
    for outcome in scrape(&urls, &options).1 {
        assert_eq!(kind(&outcome), "timeout", "{outcome}");
        let milliseconds = outcome["milliseconds"].as_f64().unwrap();
        assert!((990.0..10_000.0).contains(&milliseconds), "{outcome}");
    }
    // Retries end when the time does, with the last answer.
    for (path, expected) in [("/busy", "none"), ("/hang-up", "closed")] {
        let outcome = one(&server.url(path), &options);
        assert_eq!(kind(&outcome), expected, "{outcome}");
        assert!(outcome["attempts"].as_u64().unwrap() > 1, "{outcome}");
        assert!(
            outcome["milliseconds"].as_f64().unwrap() < 10_000.0,
            "{outcome}"
        );
    }
}

/// A fresh time for each hop would make 9.5 seconds of 5.
#[test]
fn a_redirect_has_only_the_time_that_is_left() {
    let server = Server::start(|request| match request.target.as_str() {
        "/late" => Reply::redirect("/never").after(Duration::from_millis(4500)),
        _ => Reply::never(),
    })
    .unwrap();
    let outcome = one(&server.url("/late"), &["--timeout", "5"]);
    assert_eq!(kind(&outcome), "timeout", "{outcome}");
    let milliseconds = outcome["milliseconds"].as_f64().unwrap();
    assert!((4990.0..8000.0).contains(&milliseconds), "{outcome}");
}

#[test]
fn what_was_there_before_an_error_is_told() {
    let server =
        Server::start(|_| Reply::wrong_length("<title>half a page</title>", 1000)).unwrap();
    let outcome = one(&server.url("/"), &[]);
    assert_eq!(
        (kind(&outcome), &outcome["status"]),
        ("closed", &200.into())
    );
    assert_eq!(
        (&outcome["title"], &outcome["bytes"]),
        (&"half a page".into(), &26.into())
    );
}

#[test]
fn the_cap_counts_unpacked_bytes() {
    let page = format!("<title>x</title>{}", "a".repeat(984));
    let server = Server::start(move |request| match request.target.as_str() {
        "/gzip" => Reply::gzip(&page),
        _ => Reply::html(page.clone()),
    })
    .unwrap();
    for path in ["/plain", "/gzip"] {
        let fits = one(&server.url(path), &["--max-bytes", "1000"]);
        assert_eq!(
            (kind(&fits), &fits["bytes"]),
            ("none", &1000.into()),
            "{path}"
        );
        let too_large = one(&server.url(path), &["--max-bytes", "999"]);
        assert_eq!(
            (kind(&too_large), &too_large["bytes"]),
            ("too-large", &999.into())
        );
        assert_eq!(
            (&too_large["status"], &too_large["title"]),
            (&200.into(), &"x".into())
        );
    }
}

#[test]
fn redirects_lead_to_other_hosts_and_relative_places() {
    let other = Server::start(|_| Reply::html("<title>there</title>")).unwrap();
    let to_other = other.url("/there");
    let server = Server::start(move |request| match request.target.as_str() {
        "/away" => Reply::redirect(&to_other),
        "/nowhere" => Reply::redirect("http://127.0.0.1:1/"),
        "/deep/relative" => Reply::redirect("../here?x=1"),
        "/chain/0" => Reply::html("<title>end of the chain</title>"),
        chain if chain.starts_with("/chain/") => {
            let n: u32 = chain["/chain/".len()..].parse().unwrap();
            Reply::redirect(&format!("/chain/{}", n - 1))
        }
        _ => Reply::html("<title>here</title>"),
    })
    .unwrap();
    for (path, led_to, title) in [
        ("/away", other.url("/there"), "there"),
        ("/deep/relative", server.url("/here?x=1"), "here"),
        ("/chain/10", server.url("/chain/0"), "end of the chain"),
    ] {
        let outcome = one(&server.url(path), &[]);
        assert_eq!(
            (&outcome["final_url"], &outcome["title"]),
            (&led_to.into(), &title.into())
        );
    }
    assert_eq!(kind(&one(&server.url("/nowhere"), &[])), "refused");
    assert_eq!(
        kind(&one(&server.url("/chain/11"), &[])),
        "too-many-redirects"
    );
}

/// ureq's own redirects went to port 80 and said 200, or took it all for a path on the same server.
#[test]
fn a_redirect_is_checked_like_a_given_url() {
    let server = Server::start(|request| match request.target.strip_prefix("/to/") {
        Some(to) => Reply::redirect(to),
        None => Reply::html("<title>nobody should have come here</title>"),
    })
    .unwrap();
    for (location, expected) in [
        ("http://127.0.0.1:99999/", "bad-url"),
        ("http://127.0.0.1:x/", "bad-url"),
        ("//127.0.0.1:99999/", "bad-url"),
        ("file:///etc/passwd", "bad-url"),
        ("mailto:a@b", "bad-url"),
        ("javascript:1", "bad-url"),
        ("http:///x", "bad-url"),
        ("http:/x", "bad-url"),
        ("http://[", "bad-url"),
        ("http://", "bad-url"),
        ("//", "bad-url"),
        ("", "protocol"),
    ] {
        let outcome = one(&server.url(&format!("/to/{location}")), &[]);
        assert_eq!(kind(&outcome), expected, "{location}: {outcome}");
        let place = (&outcome["status"], &outcome["final_url"]);
        assert_eq!(place, (&Value::Null, &Value::Null), "{location}");
        let message = outcome["error"]["message"].as_str().unwrap();
        // Between `:` and `@` stands a password in most cases.
        let shown = location.replace(":a@", ":***@");
        assert!(message.contains(&shown), "{message}");
    }
}

#[test]
fn a_redirect_may_be_relative_in_every_way() {
    let other = Server::start(|_| Reply::html("x")).unwrap();
    let there = other.url("/there");
    let places = [
        ("?page=2", "/deep/0?page=2"),
        ("next", "/deep/next"),
        ("./next#part", "/deep/next"),
        ("/a/../b", "/b"),
        ("/caf\u{e9} au lait", "/caf%C3%A9%20au%20lait"),
        (&there["http:".len()..], &there),
        (&there, &there),
    ];
    let locations = places.map(|(location, _)| location.to_string());
    let server = Server::start(move |request| {
        let number = request.target.strip_prefix("/deep/").unwrap_or_default();
        match number.parse::<usize>() {
            Ok(number) => Reply::redirect(&locations[number]),
            Err(_) => Reply::html("x"),
        }
    })
    .unwrap();
    for (number, (location, expected)) in places.iter().enumerate() {
        let outcome = one(&server.url(&format!("/deep/{number}")), &[]);
        let led_to = outcome["final_url"].as_str().unwrap();
        let path = led_to.strip_prefix(&server.url("")).unwrap_or(led_to);
        assert_eq!(path, *expected, "{location}: {outcome}");
    }
    // A fragment alone leads to the same page: again and again.
    let server = Server::start(|_| Reply::redirect("#part")).unwrap();
    let outcome = one(&server.url("/x"), &[]);
    assert_eq!(kind(&outcome), "too-many-redirects");
    assert_eq!(server.requests(), 11);
}

#[test]
fn titles_in_other_character_sets_and_in_gzip() {
    let server = Server::start(|request| match request.target.as_str() {
        "/header" => Reply::new(
            200,
            &["content-type: text/html; charset=ISO-8859-1"],
            b"<title>caf\xe9</title>",
        ),
        "/meta" => Reply::new(
            200,
            &["content-type: text/html"],
            b"<meta charset=latin1><title>caf\xe9</title>",
        ),
        "/unnamed" => Reply::new(200, &[], b"<title>caf\xe9</title>"),
        "/invalid" => Reply::html(b"<title>caf\xe9</title>"),
        "/gzip" => Reply::gzip("<title>café</title>"),
        _ => Reply::new(200, &["content-type: image/png"], "<title>no page</title>"),
    })
    .unwrap();
    for (path, title) in [
        ("/header", "café".into()),
        ("/meta", "café".into()),
        ("/unnamed", "café".into()),
        ("/invalid", "caf\u{fffd}".into()),
        ("/gzip", "café".into()),
        ("/picture", Value::Null),
    ] {
        assert_eq!(one(&server.url(path), &[])["title"], title, "{path}");
    }
}

/// Python's scraper kept its results: a second call on the same object gave the first ones again.
#[test]
fn results_of_an_earlier_call_do_not_come_again_and_duplicates_are_kept() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&calls);
    let server = Server::start(move |_| {
        Reply::html(format!(
            "<title>call {}</title>",
            counting.fetch_add(1, SeqCst) + 1
        ))
    })
    .unwrap();
    let url = server.url("/");
    for call in 0..2 {
        let (code, outcomes) = scrape(&[&url, &url, &url], &[]);
        let mut titles: Vec<&str> = outcomes
            .iter()
            .map(|outcome| outcome["title"].as_str().unwrap())
            .collect();
        titles.sort_unstable();
        let expected = [1, 2, 3].map(|n| format!("call {}", 3 * call + n));
        assert_eq!(
            (code, titles),
            (0, expected.iter().map(String::as_str).collect())
        );
    }
}

#[test]
fn a_connection_is_used_again() {
    let server = Server::start(|_| Reply::html("<title>x</title>")).unwrap();
    let urls: Vec<String> = (0..50).map(|n| server.url(&format!("/{n}"))).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    assert_eq!(scrape(&urls, &["--workers", "1"]).0, 0);
    assert_eq!((server.connections(), server.requests()), (1, 50));
    assert_eq!(scrape(&urls, &["--workers", "4"]).0, 0);
    assert!(
        server.connections() <= 5 && server.peak() <= 5,
        "{}",
        server.connections()
    );
}

/// HTTP allows a server to close a connection that it promised to keep.
#[test]
fn a_kept_connection_that_was_closed_is_not_a_failure() {
    let server = Server::start(|_| Reply::html("<title>x</title>").then_close()).unwrap();
    let urls: Vec<String> = (0..50).map(|n| server.url(&format!("/{n}"))).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let (code, outcomes) = scrape(&urls, &["--workers", "2"]);
    assert_eq!(code, 0, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| outcome["attempts"] == 1));
}

/// The server closes an idle connection just when the next request, to where it led, is sent.
#[test]
fn a_connection_that_was_closed_between_redirects_is_not_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        let redirect = head(302, &["location: /end", "content-length: 0"]);
        let page = head(200, &["content-length: 0"]);
        for replies in [[&redirect[..], b""], [&page[..], b""]] {
            let (mut stream, _) = listener.accept().unwrap();
            for reply in replies {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).unwrap();
                stream.write_all(reply).unwrap();
            }
        }
    });
    let outcome = one(&url, &[]);
    let seen = (&outcome["status"], &outcome["attempts"]);
    assert_eq!(seen, (&200.into(), &1.into()), "{outcome}");
}

/// As browsers do. The text beside a redirect is for those who cannot follow it.
#[test]
fn a_redirect_counts_whatever_stands_beside_it() {
    let to_end = "location: /end";
    let server = Server::start(move |request| match request.target.as_str() {
        "/cut" => {
            let head = head(302, &[to_end, "content-length: 1000"]);
            Reply::script(vec![Step::Send(head)]).then_close()
        }
        "/endless" => {
            let head = Step::Send(head(302, &[to_end]));
            Reply::script(vec![head, Step::ForEver(b"x".to_vec())])
        }
        "/gzip" => Reply::new(302, &[to_end, "content-encoding: gzip"], "no gzip"),
        "/chunks" => Reply::new(
            302,
            &[to_end, "transfer-encoding: chunked"],
            "no chunks\r\n",
        ),
        _ => Reply::html("<title>end</title>"),
    })
    .unwrap();
    for path in ["/cut", "/endless", "/gzip", "/chunks"] {
        let outcome = one(&server.url(path), &["--max-bytes", "100"]);
        assert_eq!(outcome["title"], "end", "{path}: {outcome}");
    }
}

/// Half a page without a length, and then a reset: that is no end of a page.
#[test]
#[cfg(unix)]
fn a_page_that_is_cut_off_by_a_reset_is_not_complete() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reply = head(200, &["content-type: text/html"]);
        reply.extend(b"<title>half</title>");
        stream.write_all(&reply).unwrap();
        // To close without having read what came is a reset.
        stream.peek(&mut [0]).unwrap();
        thread::sleep(Duration::from_millis(100));
    });
    let outcome = one(&url, &[]);
    assert_eq!(kind(&outcome), "closed", "{outcome}");
}

#[test]
fn a_packing_is_undone_or_told_and_never_taken_for_the_page() {
    let packed = gzip(b"<title>x</title>");
    let server = Server::start(move |request| {
        let packing = format!("content-encoding: {}", &request.target[1..]);
        Reply::new(200, &["content-type: text/html", &packing], packed.clone())
    })
    .unwrap();
    for name in ["gzip", "GZIP", "x-gzip"] {
        let outcome = one(&server.url(&format!("/{name}")), &[]);
        let seen = (&outcome["title"], &outcome["bytes"]);
        assert_eq!(seen, (&"x".into(), &16.into()), "{name}: {outcome}");
    }
    for name in ["br", "deflate", "gzip,gzip"] {
        let outcome = one(&server.url(&format!("/{name}")), &[]);
        assert_eq!(kind(&outcome), "protocol", "{name}: {outcome}");
        assert_eq!(
            (&outcome["status"], &outcome["bytes"]),
            (&200.into(), &0.into())
        );
    }
    // An error page of nothing, from a server that packs everything.
    let server = Server::start(|_| Reply::new(200, &["content-encoding: gzip"], "")).unwrap();
    assert_eq!(kind(&one(&server.url("/"), &[])), "none");
}

#[test]
fn a_length_that_does_not_end_is_the_fault_of_the_server() {
    let server = Server::start(|_| {
        let head = head(200, &["transfer-encoding: chunked"]);
        Reply::script(vec![Step::Send(head), Step::ForEver(b"0".to_vec())])
    })
    .unwrap();
    let outcome = one(&server.url("/"), &[]);
    assert_eq!(kind(&outcome), "protocol", "{outcome}");
}

#[test]
fn retries_are_counted_and_stop_at_the_first_success() {
    let calls = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.target.as_str() {
        "/third" if calls.fetch_add(1, SeqCst) < 2 => Reply::status(503),
        "/third" => Reply::html("<title>at last</title>"),
        _ => Reply::status(404),
    })
    .unwrap();
    let third = one(&server.url("/third"), &["--retries", "5"]);
    assert_eq!(
        (&third["title"], &third["attempts"]),
        (&"at last".into(), &3.into())
    );
    assert_eq!(server.requests(), 3);
    // What is not there will not be there a moment later.
    let missing = one(&server.url("/missing"), &["--retries", "5"]);
    assert_eq!(
        (&missing["status"], &missing["attempts"]),
        (&404.into(), &1.into())
    );
    let refused = one("http://127.0.0.1:1/", &["--retries", "2"]);
    assert_eq!(
        (kind(&refused), &refused["attempts"]),
        ("refused", &3.into())
    );
}

#[test]
fn an_ipv6_address_is_a_host() {
    let Ok(server) = Server::start_on("[::1]:0", |_| Reply::html("<title>six</title>")) else {
        return; // a machine without IPv6
    };
    assert!(server.url("/").starts_with("http://[::1]:"));
    assert_eq!(one(&server.url("/"), &[])["title"], "six");
}

#[test]
fn names_are_looked_up() {
    let server = Server::start(|_| Reply::html("<title>by name</title>")).unwrap();
    let url = format!("http://localhost:{}/", server.address().port());
    assert_eq!(one(&url, &[])["title"], "by name");
    let unknown = one("http://no-such-host.invalid/", &["--timeout", "5"]);
    // Where there is no network, even the answer "no such name" may not come in time.
    assert!(matches!(kind(&unknown), "dns" | "timeout"), "{unknown}");
}

#[test]
fn bad_urls_are_results_and_stop_nothing() {
    let server = Server::start(|_| Reply::html("<title>x</title>")).unwrap();
    let good = server.url("/a b/ü");
    let urls = [
        "www.example.com",
        "ftp://a/",
        "http://",
        "http://a:99999/",
        "",
        &good,
    ];
    let (code, outcomes) = scrape(&urls, &[]);
    let kinds: Vec<&str> = outcomes.iter().map(kind).collect();
    assert_eq!(code, 1);
    assert_eq!(
        kinds,
        [
            "bad-url", "bad-url", "bad-url", "bad-url", "bad-url", "none"
        ]
    );
}

#[test]
fn a_url_may_be_long_but_not_absurdly_long() {
    let server =
        Server::start(|request| Reply::html(format!("<title>{}</title>", request.target.len())))
            .unwrap();
    // From a file: Windows allows no command line of more than 32,767 characters.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("urls.txt");
    let fetch = |url: String| -> Value {
        std::fs::write(&file, url).unwrap();
        let output = finish(program(&["--json", "--from-file", file.to_str().unwrap()]));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for length in [1, 1500, 3000, 5000, 60_000] {
        let outcome = fetch(server.url(&format!("/{}", "x".repeat(length - 1))));
        assert_eq!(outcome["title"], length.to_string(), "{}", outcome["error"]);
    }
    let outcome = fetch(server.url(&"/x".repeat(50_000)));
    assert_eq!(kind(&outcome), "bad-url");
}

#[test]
fn a_password_is_sent_to_its_host_alone_and_never_shown() {
    let page = |request: &Request| {
        let seen = request.header("authorization").unwrap_or("none");
        Reply::html(format!("<title>{seen}</title>"))
    };
    let other = Server::start(page).unwrap();
    let away = other.url("/away");
    let server = Server::start(move |request| match request.target.as_str() {
        "/away" => Reply::redirect(&away),
        "/near" => Reply::redirect("/here"),
        "/bad" => Reply::redirect("http://user:secret@a:99999/"),
        _ => page(request),
    })
    .unwrap();
    let with_user = |path| server.url(path).replace("//", "//user:secret@");
    let basic = "Basic dXNlcjpzZWNyZXQ=";
    for (path, expected) in [("/here", basic), ("/near", basic), ("/away", "none")] {
        let output = finish(program(&["--json", &with_user(path)]));
        assert!(output.status.success(), "{output:?}");
        let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(outcome["title"], expected, "{path}");
        let shown = server.url(path).replace("//", "//user:***@");
        assert_eq!(outcome["url"], shown);
    }
    for url in [
        with_user("/here"),
        with_user("/bad"),
        "x://user:secret@a/".into(),
    ] {
        for format in [&["--json"][..], &[]] {
            let output = finish(program(&[format, &[&url]].concat()));
            let shown = text(&output.stdout) + &text(&output.stderr);
            assert!(shown.contains("user:***@"), "{shown}");
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}

/// The server stands for the proxy: `CONNECT` opens the way to itself.
#[test]
fn a_proxy_is_used_where_the_environment_names_one() {
    let proxy = Server::start(|request| match request.method.as_str() {
        "CONNECT" if request.target == "some.invalid:80" => {
            Reply::script(vec![Step::Send(head(200, &[]))])
        }
        "CONNECT" => Reply::status(403),
        _ => {
            let (host, path) = (request.header("host").unwrap_or_default(), &request.target);
            Reply::html(format!("<title>{host}{path} by proxy</title>"))
        }
    })
    .unwrap();
    let server = Server::start(|_| Reply::html("<title>direct</title>")).unwrap();
    let with = |name: &str, value: &str, url: &str| {
        let mut program = program(&["--json", "--timeout", "20", url]);
        program.env(name, value).env("no_proxy", "*.test,127.0.0.1");
        let output = finish(program);
        match serde_json::from_slice::<Value>(&output.stdout) {
            Ok(outcome) => outcome,
            Err(_) => text(&output.stderr).into(),
        }
    };
    let (named, page) = (proxy.url(""), "http://some.invalid/x");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"] {
        let outcome = with(name, &named, page);
        assert_eq!(outcome["title"], "some.invalid/x by proxy", "{outcome}");
    }
    assert_eq!(
        with("http_proxy", &named, &server.url("/"))["title"],
        "direct"
    );
    assert_eq!(with("http_proxy", "", &server.url("/"))["title"], "direct");

    // What goes wrong at the proxy is said with its name, and without its password.
    let message = |value: &str, url: &str| {
        let outcome = with("http_proxy", value, url);
        let message = outcome["error"]["message"].as_str().map(str::to_string);
        message.unwrap_or_else(|| panic!("{outcome}"))
    };
    let refused = message(&named, "http://other.invalid/");
    assert!(refused.contains("403"), "{refused}");
    let address = proxy.address();
    let end = format!(" (through the proxy {address})");
    assert!(refused.ends_with(&end), "{refused}");
    let nobody = message("http://user:secret@127.0.0.1:1", page);
    assert_eq!(nobody, "connection refused (through the proxy 127.0.0.1:1)");
    let unknown = message("garbage.invalid", page);
    assert!(
        unknown.ends_with(" (through the proxy garbage.invalid:80)"),
        "{unknown}"
    );
    // Where the proxy has no part in it, it is not named.
    assert_eq!(message(&named, "http://127.0.0.1:1/"), "connection refused");

    for bad in [
        "http://127.0.0.1:99999",
        "ftp://a",
        ":",
        "http://user:secret@a b",
    ] {
        // Windows sees no difference between `http_proxy` and `HTTP_PROXY`.
        let name = if cfg!(windows) {
            "HTTP_PROXY"
        } else {
            "http_proxy"
        };
        let expected = format!("error: {name} names no proxy, as http://host:8080 would\n");
        assert_eq!(with("http_proxy", bad, page), expected, "{bad}");
    }
}

#[test]
fn urls_come_from_a_file_or_from_stdin() {
    let server = Server::start(|_| Reply::html("<title>x</title>")).unwrap();
    let url = server.url("/");
    let list = format!("# pages\n\n{url}\nnot a url\n  {url}  \r\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("urls.txt");
    std::fs::write(&path, [list.as_bytes(), b"\xff\xfe\n"].concat()).unwrap();
    let output = finish(program(&[
        "--json",
        &url,
        "--from-file",
        path.to_str().unwrap(),
    ]));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((output.status.code(), lines.len()), (Some(1), 5));
    assert_eq!(lines.iter().filter(|line| line["url"] == *url).count(), 3);
    let messages: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["error"]["message"].as_str())
        .collect();
    assert!(
        messages.iter().any(|message| message.ends_with("(line 4)")),
        "{messages:?}"
    );
    assert!(
        messages.contains(&"the line is not UTF-8 (line 6)"),
        "{messages:?}"
    );

    let mut child = program(&["--json", "--from-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(list.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout).lines().count(), 3);

    std::fs::write(&path, "# nothing\n").unwrap();
    let output = finish(program(&["--from-file", path.to_str().unwrap()]));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));

    let output = finish(program(&["--from-file", "/no/such/file"]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

/// Python's `open(path).readlines()` takes all memory there is.
#[test]
#[cfg(target_os = "linux")]
fn a_file_without_end_is_an_error() {
    for (option, message) in [
        (
            "--from-file",
            "error: cannot read /dev/zero: more than 1073741824 bytes are no list of URLs\n",
        ),
        (
            "--ca-file",
            "error: /dev/zero is too long for a file of certificates\n",
        ),
    ] {
        let mut command = Command::new("sh");
        let limited = "ulimit -v 500000; exec \"$@\"";
        command.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_web-scraper")]);
        command.args([option, "/dev/zero", "--", "http://127.0.0.1:1/"]);
        let output = finish(command);
        assert_eq!(
            (output.status.code(), text(&output.stderr).as_str()),
            (Some(1), message)
        );
    }
}

#[test]
fn zero_and_absurd_numbers_are_usage_errors() {
    for wrong in [
        &["--workers", "0"][..],
        &["--workers", "-1"],
        &["--workers", "1000000"],
        &["--timeout", "0"],
        &["--timeout", "nan"],
        &["--timeout", "1e300"],
        &["--timeout", "-1"],
        &["--max-bytes", "0"],
        &["--max-bytes", "99999999999G"],
        &["--retries", "-1"],
        &["--retries", "1000"],
        &["--workers", "1e4"],
        &["--workers", "ten"],
        &["--no-such-option"],
    ] {
        let output = finish(program(wrong));
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(2), 0),
            "{wrong:?}"
        );
        // The words are our own, also for a number below zero.
        let message = text(&output.stderr);
        let says = message.contains(": not a ") || wrong == ["--no-such-option"];
        assert!(says, "{message}");
    }
    let server = Server::start(|_| Reply::html("x")).unwrap();
    let exponents = ["--workers", "1e2", "--retries", "1e1", "--max-bytes", "1e3"];
    assert_eq!(scrape(&[&server.url("/")], &exponents).0, 0);
    let help = finish(program(&["--help"]));
    assert!(help.status.success());
    for word in ["404", "final_url", "too-large", "130", "http_proxy"] {
        assert!(text(&help.stdout).contains(word), "{word}");
    }
}

#[test]
fn the_keys_of_json_are_those_that_the_help_tells() {
    let help = text(&finish(program(&["--help"])).stdout);
    let (_, keys) = help.split_once("an object with these keys:\n").unwrap();
    let mut told: Vec<&str> = keys
        .lines()
        .map_while(|line| line.strip_prefix("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    told.sort_unstable();
    let server = Server::start(|_| Reply::html("<title>x</title>")).unwrap();
    for url in [&server.url("/"), "no url"] {
        let outcome = one(url, &[]);
        let keys: Vec<&str> = outcome
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys, told); // a `Value` keeps its keys sorted
        if let Some(error) = outcome["error"].as_object() {
            assert_eq!(error.keys().collect::<Vec<_>>(), ["kind", "message"]);
            assert!(help.contains("{\"kind\": ..., \"message\": ...}"), "{help}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn on_one_processor_the_results_are_the_same() {
    let server = Server::start(|request| match request.target.as_str() {
        "/loop" => Reply::redirect("/loop"),
        "/cut" => Reply::wrong_length("<p>half", 1000),
        "/moved" => Reply::redirect("/page"),
        path => Reply::html(format!("<title>{path}</title>")),
    })
    .unwrap();
    let paths = ["/loop", "/cut", "/moved"].map(str::to_string);
    let pages = (0..30).map(|n| format!("/page/{n}"));
    let urls: Vec<String> = paths
        .into_iter()
        .chain(pages)
        .map(|path| server.url(&path))
        .collect();
    let sorted = |mut program: Command| {
        program
            .args(["--json", "--workers", "8"])
            .args(&urls)
            .stdin(Stdio::null());
        without_proxies(&mut program);
        let mut lines: Vec<String> = text(&finish(program).stdout)
            .lines()
            .map(|line| {
                let mut outcome: Value = serde_json::from_str(line).unwrap();
                outcome["milliseconds"].take();
                outcome.to_string()
            })
            .collect();
        lines.sort();
        lines
    };
    let mut on_one = Command::new("taskset");
    on_one.args(["-c", "0", env!("CARGO_BIN_EXE_web-scraper")]);
    if Command::new("taskset").arg("--version").output().is_err() {
        eprintln!("not tested: no taskset here");
        return;
    }
    let on_one = sorted(on_one);
    assert_eq!(on_one.len(), urls.len());
    assert_eq!(on_one, sorted(program(&[])));
}

/// A gate that a server waits at until the test opens it, or until it is clear that it hangs.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, SeqCst);
    }

    fn wait(&self) {
        wait_until(|| self.0.load(SeqCst));
    }
}

fn wait_until(mut reached: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !reached() && begin.elapsed() < LIMIT {
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn each_result_is_printed_as_it_comes_in_the_order_of_completion() {
    let gate = Gate::default();
    let for_server = gate.clone();
    let server = Server::start(move |request| {
        if request.target == "/first" {
            for_server.wait();
        }
        Reply::html("x")
    })
    .unwrap();
    let (first, second) = (server.url("/first"), server.url("/second"));
    // Held back until the end, the first line would come after a failure.
    let mut child = program(&["--timeout", "20", &first, &second])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The first URL cannot be done before the second one has been read here.
    assert!(lines.next().unwrap().unwrap().contains(&second));
    gate.open();
    assert!(lines.next().unwrap().unwrap().contains(&first));
    assert!(child.wait().unwrap().success());
}

/// `script` gives the program a terminal.
#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_there_is_a_line_of_progress_after_a_second() {
    let gate = Gate::default();
    let for_server = gate.clone();
    let server = Server::start(move |request| {
        if request.target == "/slow" {
            for_server.wait();
        }
        Reply::status(404)
    })
    .unwrap();
    let (quick, slow) = (server.url("/quick"), server.url("/slow"));
    let program = env!("CARGO_BIN_EXE_web-scraper");
    let command = format!("{program} --timeout 60 {quick} {slow}");
    let mut script = Command::new("script");
    script
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    without_proxies(&mut script);
    let Ok(mut child) = script.spawn() else {
        eprintln!("not tested: no script(1) here");
        return;
    };
    let mut parts = BufReader::new(child.stdout.take().unwrap()).split(b'\r');
    let progress = parts.find_map(|part| {
        let part = text(&part.unwrap());
        part.contains(" of 2, ").then_some(part)
    });
    gate.open();
    let progress = progress.expect("a line of progress");
    assert!(
        progress.starts_with("\x1b[K1 of 2, 1 failed, "),
        "{progress:?}"
    );
    let rest: Vec<String> = parts.map(|part| text(&part.unwrap())).collect();
    // It is wiped away before the next row comes.
    let row = rest.iter().find(|part| part.contains(&slow)).unwrap();
    assert!(row.starts_with("\x1b[K404 "), "{row:?}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
#[cfg(target_os = "linux")]
fn there_are_never_more_workers_than_urls_or_than_asked_for() {
    for (urls, workers, expected) in [(2, "8", 2), (5, "3", 3)] {
        let gate = Gate::default();
        let for_server = gate.clone();
        let server = Server::start(move |_| {
            for_server.wait();
            Reply::html("x")
        })
        .unwrap();
        let urls = vec![server.url("/"); urls];
        let mut child = program(&["--timeout", "60", "--workers", workers])
            .args(&urls)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until(|| server.requests() == expected);
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let mut names: Vec<String> = tasks
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap())
            .filter(|name| name.starts_with("worker-"))
            .collect();
        names.sort();
        let all: Vec<String> = (1..=expected).map(|n| format!("worker-{n}\n")).collect();
        assert_eq!(names, all);
        gate.open();
        assert!(child.wait().unwrap().success());
        assert_eq!(server.peak(), expected);
    }
}

#[test]
#[cfg(unix)]
fn a_signal_ends_it_in_order_and_names_what_was_not_done() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for json in [false, true] {
            let server = Server::start(|request| match request.target.as_str() {
                "/fine" => Reply::html("<title>fine</title>"),
                _ => Reply::never(),
            })
            .unwrap();
            let urls = [
                server.url("/fine"),
                server.url("/never"),
                server.url("/later"),
            ];
            let mut child = program(&["--timeout", "600", "--workers", "1"])
                .args(json.then_some("--json"))
                .args(&urls)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            wait_until(|| server.requests() == 2);
            kill_process(Pid::from_child(&child), signal).unwrap();
            let begin = Instant::now();
            wait_until(|| child.try_wait().unwrap().is_some());
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "it waited for a hanging read"
            );
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(code));
            let summary = text(&output.stderr);
            assert!(
                summary.contains("1 of 3 by 1 worker, 2 not done: "),
                "{summary}"
            );
            let (stdout, undone) = (text(&output.stdout), &urls[1..]);
            if json {
                assert_eq!(stdout.matches("\"kind\":\"not-done\"").count(), 2);
                assert!(undone.iter().all(|url| stdout.contains(url)));
            } else {
                assert_eq!(stdout.lines().count(), 1);
                assert!(
                    undone
                        .iter()
                        .all(|url| summary.contains(&format!("not done: {url}")))
                );
            }
        }
    }
}

/// It used to listen only when the list was complete.
#[test]
#[cfg(unix)]
fn a_signal_while_the_list_is_read_ends_it_in_order_too() {
    use rustix::process::{Pid, Signal, kill_process};
    let server = Server::start(|_| Reply::html("x")).unwrap();
    let (given, listed) = (server.url("/given"), server.url("/listed"));
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = program(&["--from-file", "-", &given])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut list = child.stdin.take().unwrap();
        // More than pipe and reader hold: when all is written, some was read, so it listens.
        let much = format!("{listed}\n{}", "# comment\n".repeat(30_000));
        list.write_all(much.as_bytes()).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        wait_until(|| child.try_wait().unwrap().is_some());
        let ended = child.try_wait().unwrap().map(|status| status.code());
        drop(list);
        let output = child.wait_with_output().unwrap();
        assert_eq!(ended, Some(Some(code)), "{output:?}");
        let message = text(&output.stderr);
        for words in [
            "not done: the rest of stdin\n",
            &format!("not done: {given}\n"),
            &format!("not done: {listed}\n"),
            "0 of 2 by 0 workers, 2 not done: ",
        ] {
            assert!(message.contains(words), "{words} in {message}");
        }
    }
    assert_eq!(server.requests(), 0);
}

/// Starts the program and waits until it is blocked: it has printed more than its pipe holds.
#[cfg(unix)]
fn start_without_reader() -> (Server, std::process::Child) {
    let server = Server::start(|request| match request.target.len() {
        2 => Reply::never(),
        _ => Reply::html("x"),
    })
    .unwrap();
    // Far more than fits into a pipe, and one that never ends.
    let long = format!("/{}", "x".repeat(500));
    let mut urls = vec![server.url(&long); 1000];
    urls.push(server.url("/n"));
    let mut child = program(&["--json", "--timeout", "600", "--from-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(urls.join("\n").as_bytes())
        .unwrap();
    // The pipe is full when no further request comes.
    let mut last = (0, Instant::now());
    wait_until(|| {
        if server.requests() != last.0 {
            last = (server.requests(), Instant::now());
        }
        last.0 > 0 && last.1.elapsed() > Duration::from_millis(500)
    });
    (server, child)
}

/// Nobody reads its output, so it cannot end in order; the second signal does not care.
#[test]
#[cfg(unix)]
fn a_second_signal_ends_it_at_once() {
    use rustix::process::{Pid, Signal, kill_process};
    let (_server, mut child) = start_without_reader();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    thread::sleep(Duration::from_millis(200)); // two at the same instant would be one
    assert!(child.try_wait().unwrap().is_none(), "it was not blocked");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    wait_until(|| child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
#[cfg(unix)]
fn one_signal_is_enough_when_nobody_reads_the_output() {
    use rustix::process::{Pid, Signal, kill_process};
    let (_server, mut child) = start_without_reader();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    wait_until(|| child.try_wait().unwrap().is_some());
    let mut message = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(
        message.starts_with("error: nothing has moved for 5 s after SIGTERM"),
        "{message}"
    );
}

/// As in `web-scraper … | head -1`.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let server = Server::start(|_| Reply::html("x")).unwrap();
    let urls = vec![server.url("/"); 20];
    let mut child = program(&[])
        .args(&urls)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_one_line_and_exit_code_1() {
    let server = Server::start(|_| Reply::html("x")).unwrap();
    let url = server.url("/");
    for args in [
        &[url.as_str()][..],
        &[],
        &["--help"],
        &["-h"],
        &["--version"],
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = program(args)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let message = text(&output.stderr);
        assert_eq!(
            (output.status.code(), message.lines().count()),
            (Some(1), 1),
            "{message}"
        );
    }
}

/// A server whose certificate the authority in `tests/tls` has signed, for `localhost` and
/// 127.0.0.1. The keys were made for this test and are of no use elsewhere.
fn serve_tls() -> u16 {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");
    let chain = CertificateDer::pem_file_iter(format!("{folder}/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{folder}/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let connection = rustls::ServerConnection::new(config).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
                let mut room = [0; 4096];
                while stream.read(&mut room).is_ok_and(|n| n > 0) {
                    let body = "<title>secret</title>";
                    if room.starts_with(b"GET /until-the-end") {
                        // Its end is announced, or it is cut off.
                        let answer = [&head(200, &[])[..], body.as_bytes()].concat();
                        stream.write_all(&answer).unwrap();
                        if room.starts_with(b"GET /until-the-end-announced") {
                            stream.conn.send_close_notify();
                        }
                        return stream.flush().unwrap();
                    }
                    let mut answer = head(200, &[&format!("content-length: {}", body.len())]);
                    answer.extend(body.as_bytes());
                    stream.write_all(&answer).unwrap();
                    stream.flush().unwrap();
                }
            });
        }
    });
    port
}

#[test]
fn https_works_with_an_authority_that_is_trusted_and_with_no_other() {
    let port = serve_tls();
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/authority.pem");
    let trusting = ["--ca-file", authority];
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{port}/");
        let page = one(&url, &trusting);
        assert_eq!(
            (kind(&page), &page["title"]),
            ("none", &"secret".into()),
            "{page}"
        );
        assert_eq!(kind(&one(&url, &[])), "tls");
    }
    for (path, expected) in [
        ("until-the-end-announced", "none"),
        ("until-the-end", "closed"),
    ] {
        let page = one(&format!("https://localhost:{port}/{path}"), &trusting);
        let seen = (kind(&page), &page["title"]);
        assert_eq!(seen, (expected, &"secret".into()), "{page}");
    }
    let output = finish(program(&[
        "--ca-file",
        "/no/such/file",
        "http://127.0.0.1:1/",
    ]));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn https_to_a_port_without_tls_is_a_tls_error() {
    let garbage = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = garbage.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in garbage.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let outcome = one(&format!("https://127.0.0.1:{port}/"), &[]);
    assert_eq!(
        (kind(&outcome), &outcome["status"]),
        ("tls", &Value::Null),
        "{outcome}"
    );
    let server = Server::start(|_| Reply::html("x")).unwrap();
    let outcome = one(&format!("https://{}/", server.address()), &[]);
    assert_eq!(kind(&outcome), "tls", "{outcome}");
}
