//! Names to addresses, under a deadline, and each name only once.
//!
//! The system's look-up cannot be interrupted. ureq therefore starts a thread for each request as
//! soon as a time-out is set, even when the host is a number or the connection is already there.
//! Here an address in the URL needs no look-up, a known name is taken from the cache, and only an
//! unknown one costs a thread: whoever asks for it meanwhile waits for the same answer.
//!
//! ureq calls this interface "unversioned": it may change with a minor release. `Resolver` here and
//! the two connectors in `transport.rs` are all that this program uses of it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an answer is believed.
const FRESH: Duration = Duration::from_secs(60);

/// Look-ups that hang keep their threads: there are never more of them than this.
const LOOKUPS_AT_ONCE: usize = 64;

/// A name that the system does not know, or did not look up in time.
#[derive(Debug)]
pub struct DnsError(String);

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DnsError {}

type Lookup = fn(&str) -> io::Result<Vec<IpAddr>>;

/// To be cloned for each agent: all share one cache.
#[derive(Clone)]
pub struct Dns {
    lookup: Lookup,
    names: Arc<Names>,
}

#[derive(Default)]
struct Names {
    table: Mutex<Table>,
    answered: Condvar,
}

#[derive(Default)]
struct Table {
    entries: HashMap<String, Entry>,
    running: usize,
}

#[derive(Clone)]
enum Entry {
    Asked,
    Known(Vec<IpAddr>, Instant),
    Failed(String, Instant),
}

impl Dns {
    pub fn new() -> Self {
        Dns::with_lookup(|name| {
            let found = (name, 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    fn with_lookup(lookup: Lookup) -> Self {
        let names = Arc::default();
        Dns { lookup, names }
    }

    /// The addresses of `name`; none when the deadline comes first.
    fn addresses(
        &self,
        name: &str,
        deadline: Option<Instant>,
    ) -> Result<Option<Vec<IpAddr>>, DnsError> {
        let begin = Instant::now();
        let mut table = self.names.table.lock().unwrap();
        loop {
            match table.entries.get(name) {
                Some(Entry::Known(addresses, since)) if since.elapsed() < FRESH => {
                    return Ok(Some(addresses.clone()));
                }
                // A failure counts for those who waited for it; a later retry asks anew.
                Some(Entry::Failed(message, since)) if *since >= begin => {
                    return Err(DnsError(message.clone()));
                }
                Some(Entry::Asked) => {}
                _ if table.running >= LOOKUPS_AT_ONCE => {}
                _ => {
                    self.ask(name)
                        .map_err(|error| DnsError(error.to_string()))?;
                    table.running += 1;
                    table.entries.insert(name.to_string(), Entry::Asked);
                }
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            table = match left {
                None => self.names.answered.wait(table).unwrap(),
                Some(Duration::ZERO) => return Ok(None),
                Some(left) => self.names.answered.wait_timeout(table, left).unwrap().0,
            };
        }
    }

    /// Starts the look-up in a thread of its own, which nobody has to wait for.
    fn ask(&self, name: &str) -> io::Result<()> {
        let (name, lookup, names) = (name.to_string(), self.lookup, Arc::clone(&self.names));
        let look_up = move || {
            let answer = match lookup(&name) {
                Ok(addresses) if addresses.is_empty() => {
                    Entry::Failed(format!("{name} has no address"), Instant::now())
                }
                Ok(addresses) => Entry::Known(addresses, Instant::now()),
                Err(error) => Entry::Failed(error.to_string(), Instant::now()),
            };
            let mut table = names.table.lock().unwrap();
            table.running -= 1;
            table.entries.insert(name, answer);
            drop(table);
            names.answered.notify_all();
        };
        let builder = thread::Builder::new().name("dns".into());
        builder.stack_size(512 * 1024).spawn(look_up).map(drop)
    }
}

impl Resolver for Dns {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            Some(proxy) if proxy.starts_with("socks") => 1080,
            _ => 80,
        });
        // An IPv6 address stands in brackets.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = match bare.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let deadline = Instant::now().checked_add(*timeout.after);
                self.addresses(bare, deadline)
                    .map_err(|error| ureq::Error::Other(error.into()))?
                    .ok_or(ureq::Error::Timeout(timeout.reason))?
            }
        };
        let mut resolved = self.empty();
        // The list has a fixed size.
        for address in addresses.into_iter().take(16) {
            resolved.push(SocketAddr::new(address, port));
        }
        Ok(resolved)
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Dns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(20))
    }

    fn in_a_minute() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn a_lookup_that_hangs_ends_at_the_deadline_of_whoever_asked() {
        let dns = Dns::with_lookup(|_| {
            loop {
                thread::park();
            }
        });
        assert!(dns.addresses("slow.test", soon()).unwrap().is_none());
        // The second one waits for the same look-up and does not start another.
        assert!(dns.addresses("slow.test", soon()).unwrap().is_none());
        assert_eq!(dns.names.table.lock().unwrap().running, 1);
    }

    #[test]
    fn many_hanging_names_do_not_take_more_and_more_threads() {
        let dns = Dns::with_lookup(|_| {
            loop {
                thread::park();
            }
        });
        for n in 0..LOOKUPS_AT_ONCE + 5 {
            let name = format!("slow-{n}.test");
            assert!(
                dns.addresses(&name, Some(Instant::now()))
                    .unwrap()
                    .is_none()
            );
        }
        assert_eq!(dns.names.table.lock().unwrap().running, LOOKUPS_AT_ONCE);
    }

    #[test]
    fn a_name_is_looked_up_once_and_a_failure_again() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let dns = Dns::with_lookup(|name| {
            ASKED.fetch_add(1, SeqCst);
            match name {
                "good.test" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
                "empty.test" => Ok(vec![]),
                _ => Err(io::Error::other("no such name")),
            }
        });
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| dns.addresses("good.test", in_a_minute()).unwrap().unwrap());
            }
        });
        assert_eq!(ASKED.load(SeqCst), 1);
        for _ in 0..2 {
            let error = dns.addresses("bad.test", in_a_minute()).unwrap_err();
            assert_eq!(error.to_string(), "no such name");
        }
        assert_eq!(ASKED.load(SeqCst), 3);
        let error = dns.addresses("empty.test", in_a_minute()).unwrap_err();
        assert_eq!(error.to_string(), "empty.test has no address");
    }
}
