//! A cache that many threads read, in which each value is computed once.
//!
//! In Python one line does it, nearly:
//!
//! ```python
//! @functools.cache
//! def render(page): ...       # two threads that miss at the same moment both compute
//! ```
//!
//! The usual cure, one lock around the call, lets a page wait for all others. Here each key has a
//! slot of its own: who finds it empty computes, who comes meanwhile waits for this one value, and
//! readers of what is there go side by side under an `RwLock`. What they get is a `&V`: the
//! compiler refuses a caller who would change the cached value for all others, as a cached list in
//! Python can be changed (`tests/refused`).
//!
//! Run it with `cargo run -p rwlock-cache`. Look at 1, where six ask, two compute side by side and
//! four wait; and at 3, where all read the old page until the new one is there: its writer then goes
//! on as one of its readers, by `downgrade`.
//! To take: `src/cache.rs`, with `src/sync.rs`, `tests/cache.rs` and `tests/model.rs`.
//! Before this: `safe-counter`; after it: `connection-pool`.

#![forbid(unsafe_code)]

#[macro_use]
mod say;
mod cache;
mod sync;

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Display;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Instant;

use cache::Cache;

const NAMES: [&str; 8] = [
    "home", "news", "shop", "help", "team", "jobs", "blog", "terms",
];
const READERS: usize = 4;
const READS: usize = 100_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> Result<(), Box<dyn Error>> {
    let site = Site {
        pages: Cache::new(),
        computed: Mutex::new(Vec::new()),
    };
    say!("1. Six threads ask for two pages at once");
    ask_at_once(&site)?;
    say!(
        "\n2. {READERS} threads read {READS} times each, from {} pages",
        NAMES.len()
    );
    read_mostly(&site)?;
    say!("\n3. A page is computed anew, while its readers get the old one");
    refresh(&site)?;
    say!("\nok: one computation for each page, however many asked for it");
    Ok(())
}

/// Pages by their names, and the names of those that were computed.
struct Site {
    pages: Cache<&'static str, Page>,
    computed: Mutex<Vec<&'static str>>,
}

/// A page may be large: it is shared, not copied.
type Page = Arc<String>;

impl Site {
    fn page(&self, name: &'static str) -> Page {
        let Ok(page) = self.pages.get_or_compute(&name, || self.render(name));
        page
    }

    fn render(&self, name: &'static str) -> Result<Page, Infallible> {
        tell(format_args!("computes {name}"));
        let primes = count_primes(100_000);
        self.computed.lock().unwrap().push(name);
        let edition = self.computed(name);
        Ok(Arc::new(format!("{name}, edition {edition}, {primes}")))
    }

    /// How many times it was computed.
    fn computed(&self, name: &str) -> usize {
        let computed = self.computed.lock().unwrap();
        computed.iter().filter(|it| **it == name).count()
    }
}

fn ask_at_once(site: &Site) -> Result<(), Box<dyn Error>> {
    let right = in_threads(6, |number| {
        let name = NAMES[number % 2];
        let page = site.page(name);
        tell(format_args!("has {name}"));
        page.starts_with(name)
    })?;
    expect(
        right == [true; 6],
        "everyone gets the page that was asked for",
    )?;
    let computed = [site.computed("home"), site.computed("news")];
    Ok(expect(computed == [1, 1], "one computes, the others wait")?)
}

fn read_mostly(site: &Site) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let lengths = in_threads(READERS, |number| {
        let read = |time: usize| {
            let name = NAMES[(number + time) % NAMES.len()];
            // In place: nothing is copied, not even an `Arc`.
            let compute = || site.render(name);
            let Ok(length) = site
                .pages
                .read_or_compute(&name, compute, |page| page.len());
            length
        };
        (0..READS).map(read).sum::<usize>()
    })?;
    say!("   {} reads in {:.1?}", READERS * READS, start.elapsed());
    expect(lengths == [lengths[0]; READERS], "all read the same")?;
    let each_once = NAMES.iter().all(|name| site.computed(name) == 1);
    Ok(expect(each_once, "each page is computed once")?)
}

fn refresh(site: &Site) -> Result<(), Box<dyn Error>> {
    let old = site.page("home");
    let mut meanwhile = Vec::new();
    let compute = || -> Result<Page, Box<dyn Error>> {
        meanwhile = in_threads(1, |_| site.page("home"))?;
        Ok(site.render("home")?)
    };
    let new = site.pages.refresh(&"home", compute, Page::clone)?;
    say!("   before {old:?}, meanwhile {meanwhile:?}, then {new:?}");
    expect(
        meanwhile == [old],
        "a reader does not wait for the new page",
    )?;
    expect(site.page("home") == new, "the new page is there")?;
    expect(site.computed("home") == 2, "it was computed once more")?;

    site.pages.remove(&"home");
    Ok(expect(
        site.pages.get(&"home").is_none(),
        "a removed page is gone",
    )?)
}

/// Runs `work(0)` up to `work(count - 1)`, each in a thread of its own.
fn in_threads<R: Send>(
    count: usize,
    work: impl Fn(usize) -> R + Sync,
) -> Result<Vec<R>, Box<dyn Error>> {
    let work = &work;
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..count {
            let thread = thread::Builder::new().name(format!("reader-{}", number + 1));
            threads.push(thread.spawn_scoped(scope, move || work(number))?);
        }
        let results: Vec<_> = threads.into_iter().map(|it| it.join()).collect();
        let results: Result<_, _> = results.into_iter().collect();
        results.map_err(|_| "a thread panicked".into())
    })
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}")),
    }
}

fn count_primes(limit: u32) -> usize {
    let divisible = |n: u32| {
        (2..)
            .take_while(|d| d * d <= n)
            .any(|d| n.is_multiple_of(d))
    };
    (2..limit).filter(|n| !divisible(*n)).count()
}

/// Says who did what, and when.
fn tell(event: impl Display) {
    let now = START.elapsed().as_millis();
    let thread = thread::current();
    say!("{now:>5} ms  {:<8}  {event}", thread.name().unwrap_or("?"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_25_primes_below_100() {
        assert_eq!(count_primes(100), 25);
    }
}
