//! One URL in, one outcome out: status, size and title, or an error with a type.
//!
//! One deadline covers everything that happens for a URL: look-up, connection, redirects, the body
//! to its last byte, and retries. It holds against servers that never answer, drip, redirect for
//! ever or send without end. The body is never stored: it streams through the search for the title
//! and a counter that stops at the cap.

use std::env;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use ureq::config::Config;
use ureq::http::header::LOCATION;
use ureq::http::uri::Authority;
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, SocksConnector};
use ureq::{Agent, Body, Proxy};

use crate::dns::{Dns, DnsError};
use crate::title::{self, Scratch};
use crate::transport::{SharedTls, Tcp, TlsError};
use crate::unpack::Packing;

/// Room for what has come of an answer. A head must fit into it.
const INPUT_BUFFER: usize = 16 * 1024;

/// Room for a request; and for one with an uncommonly long URL (none is longer than 64 KiB).
const OUTPUT_BUFFER: usize = 4 * 1024;
const LONG_OUTPUT_BUFFER: usize = 72 * 1024;

const REDIRECTS: u32 = 10;

/// What is read of the text beside a redirect, so that its connection can be used again.
const BESIDE_REDIRECT: u64 = 64 * 1024;

/// The pause before the first retry; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What the user may choose.
#[derive(Clone)]
pub struct Settings {
    pub timeout: Duration,
    pub max_bytes: u64,
    pub retries: u32,
    /// How many idle connections each worker keeps.
    pub idle: usize,
    /// Whether proxies named in the environment are used.
    pub proxies: bool,
    /// Certificates to trust instead of the usual ones.
    pub roots: Option<Vec<Certificate<'static>>>,
}

/// What came of a URL.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub url: String,
    /// Where the redirects led; none when no answer came.
    pub final_url: Option<String>,
    pub status: Option<u16>,
    /// Of the body, unpacked.
    pub bytes: u64,
    pub title: Option<String>,
    pub milliseconds: f64,
    /// 1 and the retries.
    pub attempts: u32,
    pub error: Option<Failure>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    BadUrl,
    Dns,
    Refused,
    Unreachable,
    Timeout,
    Tls,
    TooManyRedirects,
    TooLarge,
    Closed,
    Protocol,
    Io,
    Internal,
    NotDone,
}

impl Kind {
    fn of(error: &ureq::Error) -> Kind {
        use ureq::Error;
        match error {
            Error::BadUri(_) | Error::Http(_) => Kind::BadUrl,
            Error::HostNotFound => Kind::Dns,
            Error::Other(error) if error.is::<DnsError>() => Kind::Dns,
            Error::Other(error) if error.is::<TlsError>() => Kind::Tls,
            Error::Timeout(_) => Kind::Timeout,
            Error::TooManyRedirects => Kind::TooManyRedirects,
            Error::Tls(_) | Error::Rustls(_) | Error::TlsRequired => Kind::Tls,
            Error::Protocol(_)
            | Error::LargeResponseHeader(..)
            | Error::RedirectFailed
            | Error::BodyStalled => Kind::Protocol,
            Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<TooLarge>()) => {
                Kind::TooLarge
            }
            // What is packed wrongly, or as nobody asked for.
            Error::Io(error) if error.kind() == ErrorKind::InvalidInput => Kind::Protocol,
            // What rustls objects to after the handshake.
            Error::Io(error) if error.kind() == ErrorKind::InvalidData => Kind::Tls,
            Error::Io(error) => match error.kind() {
                ErrorKind::ConnectionRefused => Kind::Refused,
                ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::AddrNotAvailable => Kind::Unreachable,
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe => Kind::Closed,
                ErrorKind::TimedOut | ErrorKind::WouldBlock => Kind::Timeout,
                _ => Kind::Io,
            },
            _ => Kind::Io,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Kind::BadUrl => "bad-url",
            Kind::Dns => "dns",
            Kind::Refused => "refused",
            Kind::Unreachable => "unreachable",
            Kind::Timeout => "timeout",
            Kind::Tls => "tls",
            Kind::TooManyRedirects => "too-many-redirects",
            Kind::TooLarge => "too-large",
            Kind::Closed => "closed",
            Kind::Protocol => "protocol",
            Kind::Io => "io",
            Kind::Internal => "internal",
            Kind::NotDone => "not-done",
        })
    }
}

impl Outcome {
    fn new(url: &str) -> Self {
        Outcome {
            url: url.to_string(),
            final_url: None,
            status: None,
            bytes: 0,
            title: None,
            milliseconds: 0.0,
            attempts: 0,
            error: None,
        }
    }

    pub fn failed(url: &str, kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Outcome {
            error: Some(Failure { kind, message }),
            ..Outcome::new(url)
        }
    }

    /// A page that is not there is not what the user asked for, even if the server said so nicely.
    pub fn is_failure(&self) -> bool {
        self.error.is_some() || self.status.is_some_and(|status| status >= 400)
    }
}

/// What all workers share: names, trust, settings.
#[derive(Clone)]
pub struct Network {
    settings: Settings,
    config: Config,
    dns: Dns,
    tls: SharedTls,
}

impl Network {
    pub fn new(settings: Settings) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(settings.timeout))
            .max_redirects(0) // we follow them ourselves
            .user_agent(concat!("web-scraper/", env!("CARGO_PKG_VERSION")))
            .accept("text/html,application/xhtml+xml,*/*;q=0.8")
            .accept_encoding("gzip")
            .input_buffer_size(INPUT_BUFFER)
            // A head that fills the whole room could not be told from a closed connection.
            .max_response_header_size(INPUT_BUFFER - 1)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_idle_connections(settings.idle)
            .max_idle_connections_per_host(1);
        if !settings.proxies {
            config = config.proxy(None);
        }
        if let Some(roots) = &settings.roots {
            let roots = RootCerts::Specific(Arc::new(roots.clone()));
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Network {
            config: config.build(),
            settings,
            dns: Dns::new(),
            tls: SharedTls::default(),
        }
    }
}

/// One worker's way to the network, with its own connections: nothing here is ever waited for.
pub struct Fetcher {
    settings: Settings,
    agent: Agent,
    /// How many connections it has opened.
    opened: Arc<AtomicUsize>,
    scratch: Scratch,
}

impl Fetcher {
    pub fn new(network: &Network) -> Self {
        let opened = Arc::new(AtomicUsize::new(0));
        let connector =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(Tcp::new(Arc::clone(&opened)))
                .chain(network.tls.clone());
        Fetcher {
            settings: network.settings.clone(),
            agent: Agent::with_parts(network.config.clone(), connector, network.dns.clone()),
            opened,
            scratch: Scratch::new(4 * 1024),
        }
    }

    pub fn fetch(&mut self, url: &str) -> Outcome {
        let begin = Instant::now();
        let mut outcome = match parse_url(url) {
            Ok(uri) => self.with_retries(url, &uri, begin),
            Err(message) => Outcome::failed(url, Kind::BadUrl, message),
        };
        outcome.milliseconds = (begin.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
        outcome
    }

    fn with_retries(&mut self, url: &str, uri: &Uri, begin: Instant) -> Outcome {
        let timeout = self.settings.timeout;
        let left = || timeout.checked_sub(begin.elapsed());
        let (mut attempts, mut pause) = (1, FIRST_PAUSE);
        let mut limit = None; // the first attempt has the whole time, as configured
        loop {
            let mut outcome = self.attempt(url, uri, limit);
            outcome.attempts = attempts;
            let may_retry = attempts <= self.settings.retries && outcome.may_pass();
            match left() {
                Some(left) if may_retry && pause < left => {
                    thread::sleep(pause);
                    limit = Some(left - pause);
                }
                _ => return outcome,
            }
            attempts += 1;
            pause *= 2;
        }
    }

    /// One request with its redirects. A `limit` replaces the configured time.
    fn attempt(&mut self, url: &str, uri: &Uri, limit: Option<Duration>) -> Outcome {
        let (mut outcome, mut place) = (Outcome::new(url), uri.clone());
        if let Err(error) = self.read_page(&mut place, limit, &mut outcome) {
            outcome.error = Some(self.failure(error, &outcome, &place));
        }
        outcome
    }

    fn read_page(
        &mut self,
        place: &mut Uri,
        limit: Option<Duration>,
        outcome: &mut Outcome,
    ) -> Result<(), ureq::Error> {
        let deadline = Instant::now() + limit.unwrap_or(self.settings.timeout);
        let response = self.follow(place, limit, deadline)?;
        outcome.status = Some(response.status().as_u16());
        outcome.final_url = Some(masked(&place.to_string()));
        let packing = Packing::of(response.headers());
        let body = response.into_body();
        let is_page = may_have_a_title(body.mime_type());
        let charset = body.charset().map(str::to_string);
        let mut page = Counted {
            body: packing.unpack(body.into_reader())?,
            count: &mut outcome.bytes,
            limit: self.settings.max_bytes,
            deadline,
            error: None,
        };
        if is_page {
            outcome.title = title::find(&mut page, charset.as_deref(), &mut self.scratch)?;
        }
        // A connection can be used again only when everything on it has been read.
        while page.read(self.scratch.raw())? > 0 {}
        page.error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Asks for `place`, and then for where it leads, until an answer is no redirect. Each place is
    /// checked like a URL that was given: ureq alone would go to port 80 when there is no port 99999,
    /// and take what it cannot read for a path on the same server.
    fn follow(
        &mut self,
        place: &mut Uri,
        mut limit: Option<Duration>,
        deadline: Instant,
    ) -> Result<Response<Body>, ureq::Error> {
        for _ in 0..=REDIRECTS {
            let response = self.send(place, limit, deadline)?;
            // Of the other 3xx none sends the reader elsewhere.
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION);
            let location = location.map_or(&b""[..], |value| value.as_bytes());
            if location.trim_ascii().is_empty() {
                return Err(ureq::Error::RedirectFailed);
            }
            let next = next_place(place, location).map_err(ureq::Error::BadUri)?;
            // Whatever is wrong with what stands beside it, a redirect is a redirect.
            let mut rest = response.into_body().into_reader().take(BESIDE_REDIRECT);
            while rest.read(self.scratch.raw()).is_ok_and(|n| n > 0) {}
            *place = next;
            limit = Some(deadline.saturating_duration_since(Instant::now()));
        }
        Err(ureq::Error::TooManyRedirects)
    }

    /// An idle connection may have been closed just as it was used again. That is nobody's failure:
    /// the same request goes over a new one.
    fn send(
        &self,
        uri: &Uri,
        limit: Option<Duration>,
        deadline: Instant,
    ) -> Result<Response<Body>, ureq::Error> {
        let opened = self.opened.load(Relaxed);
        let answer = self.send_once(uri, limit);
        let reused = opened == self.opened.load(Relaxed);
        match &answer {
            Err(error) if reused && Kind::of(error) == Kind::Closed => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.send_once(uri, Some(left))
            }
            _ => answer,
        }
    }

    fn send_once(&self, uri: &Uri, limit: Option<Duration>) -> Result<Response<Body>, ureq::Error> {
        let request = self.agent.get(uri);
        let length = uri.path_and_query().map_or(0, |path| path.as_str().len());
        let long = length > OUTPUT_BUFFER / 2;
        if limit.is_none() && !long {
            return request.call();
        }
        // Settings of its own cost a request time, so only those that need some get them.
        let mut config = request.config();
        if let Some(limit) = limit {
            config = config.timeout_global(Some(limit));
        }
        if long {
            config = config.output_buffer_size(LONG_OUTPUT_BUFFER);
        }
        config.build().call()
    }

    /// The type of an error, and words for it that help.
    fn failure(&self, error: ureq::Error, outcome: &Outcome, place: &Uri) -> Failure {
        use ureq::Error;
        let kind = Kind::of(&error);
        let mut message = match (kind, &error) {
            (Kind::Timeout, _) => {
                let seconds = self.settings.timeout.as_secs_f64();
                match outcome.status {
                    None => format!("no answer within {seconds} s"),
                    Some(_) => format!("the body was not complete within {seconds} s"),
                }
            }
            (Kind::TooLarge, _) => match self.settings.max_bytes {
                1 => "more than 1 byte".into(),
                most => format!("more than {most} bytes"),
            },
            (Kind::TooManyRedirects, _) => format!("more than {REDIRECTS} redirects"),
            (Kind::Refused, _) => "connection refused".into(),
            (Kind::Closed, _) => match outcome.status {
                None => "the server closed the connection without an answer".into(),
                Some(_) => "the connection ended before the body was complete".into(),
            },
            (_, Error::BodyStalled) => "the length of a part of the body does not end".into(),
            (_, Error::RedirectFailed) => "a redirect that does not say where to".into(),
            (_, Error::BadUri(message)) => message.clone(),
            (_, Error::Io(error)) => error.to_string(),
            (_, Error::Protocol(error)) => error.to_string(),
            (_, Error::Other(error)) => error.to_string(),
            _ => error.to_string(),
        };
        // A name that nobody knows or a refusal may well be the proxy's.
        let proxy = self.agent.config().proxy();
        if let Some(proxy) = proxy.filter(|proxy| !proxy.is_no_proxy(place))
            && outcome.status.is_none()
            && !matches!(kind, Kind::BadUrl | Kind::TooManyRedirects | Kind::TooLarge)
        {
            message += &format!(" (through the proxy {}:{})", proxy.host(), proxy.port());
        }
        Failure { kind, message }
    }
}

impl Outcome {
    /// Whether another attempt may go better.
    fn may_pass(&self) -> bool {
        match &self.error {
            Some(error) => matches!(
                error.kind,
                Kind::Dns | Kind::Refused | Kind::Unreachable | Kind::Closed | Kind::Io
            ),
            None => matches!(self.status, Some(429 | 500 | 502 | 503 | 504)),
        }
    }
}

/// The URL as ureq wants it, or what is wrong with it.
fn parse_url(text: &str) -> Result<Uri, String> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no http:// in front")?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(format!("{scheme}: is neither http: nor https:"));
    }
    // A browser would let a blank or an umlaut in the path pass, and so do we.
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(host_end);
    if host.is_empty() {
        return Err("it has no host".into());
    }
    if !host.is_ascii() {
        return Err("a host in other letters than a to z stands in a URL as xn--...".into());
    }
    let mut url = format!("{scheme}://{host}");
    for character in path.chars() {
        if character == ' ' || !character.is_ascii() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                url += &format!("%{byte:02X}");
            }
        } else {
            url.push(character);
        }
    }
    let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
    let authority = uri.authority().ok_or("it has no host")?;
    if has_bad_port(authority) {
        return Err("its port is not a number below 65536".into());
    }
    match authority.host() {
        "" => Err("it has no host".into()),
        _ => Ok(uri),
    }
}

fn has_bad_port(authority: &Authority) -> bool {
    let after_user = authority.as_str().rsplit('@').next().unwrap_or_default();
    after_user.len() > authority.host().len() + 1 && authority.port_u16().is_none()
}

/// Whether `shown`, which came out as the place of the page, is where `given` leads by itself.
pub fn is_place_of(given: &str, shown: &str) -> bool {
    parse_url(given).is_ok_and(|uri| masked(&uri.to_string()) == shown)
}

/// The URL as it may be shown: without its password.
pub fn masked(url: &str) -> String {
    let start = url.find("//").map_or(0, |slashes| slashes + 2);
    let (scheme, rest) = url.split_at(start);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority
        .rsplit_once('@')
        .map(|(user, host)| (user.split_once(':'), host))
    {
        Some((Some((user, _)), host)) => format!("{scheme}{user}:***@{host}{path}"),
        _ => url.to_string(),
    }
}

/// ureq passes over what it cannot read, and would go the direct way then: that is no surprise that
/// anyone wants.
pub fn check_proxies() -> Result<(), String> {
    for name in ["all_proxy", "https_proxy", "http_proxy"] {
        for name in [name.to_uppercase(), name.to_string()] {
            let value = env::var_os(&name).unwrap_or_default();
            let proxy = value.to_str().and_then(|value| Proxy::new(value).ok());
            let authority = proxy.as_ref().and_then(|proxy| proxy.uri().authority());
            let usable = authority.is_some_and(|at| !at.host().is_empty() && !has_bad_port(at));
            if !value.is_empty() && !usable {
                return Err(format!("{name} names no proxy, as http://host:8080 would"));
            }
        }
    }
    Ok(())
}

/// Where a redirect leads from `base`, or what is wrong with it.
fn next_place(base: &Uri, location: &[u8]) -> Result<Uri, String> {
    let location = std::str::from_utf8(location).map_err(|_| "a redirect to what is not UTF-8")?;
    parse_url(&resolve(base, location.trim()))
        .map_err(|message| format!("a redirect to {:.100}: {message}", masked(location)))
}

/// A reference made absolute: RFC 3986, section 5.2. A user and a password stay with the host that
/// they were given for.
fn resolve(base: &Uri, reference: &str) -> String {
    let scheme = base.scheme_str().unwrap_or("http");
    if has_scheme(reference) {
        return reference.to_string();
    }
    if reference.starts_with("//") {
        return format!("{scheme}:{reference}");
    }
    let path_end = reference.find(['?', '#']).unwrap_or(reference.len());
    let (path, rest) = reference.split_at(path_end);
    let folder = base.path().rfind('/').map_or(0, |slash| slash + 1);
    let path = match path.chars().next() {
        None => base.path().to_string(),
        Some('/') => without_dots(path),
        Some(_) => without_dots(&format!("{}{path}", &base.path()[..folder])),
    };
    let query = match base.query() {
        Some(query) if path_end == 0 && !rest.starts_with('?') => format!("?{query}"),
        _ => String::new(),
    };
    let host = base.authority().map_or("", Authority::as_str);
    format!("{scheme}://{host}{path}{query}{rest}")
}

/// `mailto:x` is absolute; `x/y:z` and `?to=http://x` are not.
fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// `/a/./b/../c` is `/a/c`.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            kept.push(""); // it ends in a folder
        }
    }
    format!("/{}", kept.join("/"))
}

/// Pictures and data have no title; what does not say what it is may be a page.
fn may_have_a_title(mime_type: Option<&str>) -> bool {
    mime_type.is_none_or(|mime| {
        let mime = mime.to_ascii_lowercase();
        mime.contains("html") || mime.ends_with("/xml")
    })
}

#[derive(Debug)]
struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the page is too large")
    }
}

impl std::error::Error for TooLarge {}

/// Counts what is read. It ends at an error, which is kept, as it does at the end of the page:
/// whoever looks for the title gets to see all that came. To go beyond the limit is an error.
struct Counted<'a, R> {
    body: R,
    count: &'a mut u64,
    limit: u64,
    deadline: Instant,
    error: Option<io::Error>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.error.is_some() {
            return Ok(0);
        }
        // ureq looks at the clock when it waits for the server. A bomb can go off in between.
        if Instant::now() >= self.deadline {
            self.error = Some(ErrorKind::TimedOut.into());
            return Ok(0);
        }
        // One byte beyond the limit, if there is one, tells a page that fits from one that does not.
        let left = self.limit - *self.count;
        let most = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX);
        let most = room.len().min(most);
        let mut n = match self.body.read(&mut room[..most]) {
            Ok(n) => n,
            Err(error) => {
                self.error = Some(error);
                0
            }
        };
        if n as u64 > left {
            n = left as usize;
            self.error = Some(io::Error::other(TooLarge));
        }
        *self.count += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_before_anything_is_sent() {
        for good in [
            "http://a.example",
            "HTTPS://a.example:8443/x?y=z#part",
            "http://[::1]:80/",
            "http://127.0.0.1/a b/ü",
            "http://user:word@a.example/",
        ] {
            assert!(parse_url(good).is_ok(), "{good}: {:?}", parse_url(good));
        }
        for bad in [
            "",
            "a.example",
            "ftp://a.example/",
            "file:///etc/passwd",
            "http://",
            "http:///path",
            "http://a b/",
            "http://a.example:99999/",
            "http://a.example:x/",
            "http://[::1/",
            "javascript://x",
        ] {
            assert!(parse_url(bad).is_err(), "{bad}: {:?}", parse_url(bad));
        }
        let encoded = parse_url("http://a.example/a b/ü").unwrap();
        assert_eq!(encoded.path(), "/a%20b/%C3%BC");
    }

    #[test]
    fn a_password_is_masked_and_nothing_else() {
        for (url, shown) in [
            ("http://user:word@a/", "http://user:***@a/"),
            ("http://user:wo:r@d@a:8/x@y:z", "http://user:***@a:8/x@y:z"),
            ("http://:word@a?q", "http://:***@a?q"),
            ("ftp://user:word@a", "ftp://user:***@a"),
            ("user:word@a", "user:***@a"),
            ("//user:word@a", "//user:***@a"),
            ("http://user@a/", "http://user@a/"),
            ("http://a:8/x:y@z", "http://a:8/x:y@z"),
            ("http://a/?q=//u:p@b", "http://a/?q=//u:p@b"),
            ("", ""),
        ] {
            assert_eq!(masked(url), shown);
        }
    }

    /// The examples of RFC 3986, section 5.4, and more.
    #[test]
    fn references_are_resolved() {
        let base = parse_url("http://a/b/c/d;p?q").unwrap();
        for (reference, expected) in [
            ("g:h", "g:h"),
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q#s"),
            ("g#s", "http://a/b/c/g#s"),
            ("g?y#s", "http://a/b/c/g?y#s"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("g/x:y", "http://a/b/c/g/x:y"),
            ("?to=http://x/", "http://a/b/c/d;p?to=http://x/"),
            ("127.0.0.1:80", "http://a/b/c/127.0.0.1:80"),
        ] {
            assert_eq!(resolve(&base, reference), expected, "{reference}");
        }
        for (base, reference, expected) in [
            ("http://a", "g", "http://a/g"),
            ("http://a?q", "g", "http://a/g"),
            ("https://user:pw@a:8/x", "/g", "https://user:pw@a:8/g"),
            ("https://user:pw@a:8/x", "//b/g", "https://b/g"),
            ("https://user:pw@a:8/x", "https://b/g", "https://b/g"),
        ] {
            let base = parse_url(base).unwrap();
            assert_eq!(resolve(&base, reference), expected, "{reference}");
        }
    }

    #[test]
    fn a_page_ends_at_the_deadline_even_if_its_bytes_are_there() {
        let mut count = 0;
        let mut page = Counted {
            body: io::repeat(b'x'),
            count: &mut count,
            limit: u64::MAX,
            deadline: Instant::now() + Duration::from_millis(20),
            error: None,
        };
        io::copy(&mut page, &mut io::sink()).unwrap();
        assert_eq!(page.error.unwrap().kind(), ErrorKind::TimedOut);
        assert!(count > 0);
    }

    #[test]
    fn a_page_of_exactly_the_limit_fits() {
        let read = |limit| {
            let mut count = 0;
            let mut page = Counted {
                body: &[b'x'; 100][..],
                count: &mut count,
                limit,
                deadline: Instant::now() + Duration::from_secs(60),
                error: None,
            };
            let copied = io::copy(&mut page, &mut io::sink()).unwrap();
            let fits = page.error.is_none();
            assert_eq!(copied, count);
            (fits, count)
        };
        assert_eq!(read(100), (true, 100));
        assert_eq!(read(99), (false, 99));
        assert_eq!(read(u64::MAX), (true, 100));
    }
}
