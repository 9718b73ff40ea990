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
//! Run it with `cargo run -p rwlock-cache`. Look at 1, where six ask and one computes; at 2, where
//! two pages are computed at the same time; and at 4, where computing is over and all just read.
//!
//! To take: `src/cache.rs`, with `src/sync.rs`; its tests are `tests/cache.rs` and
//! `tests/model.rs`.
//! Before this: `safe-counter`; after it: `connection-pool`.

#![forbid(unsafe_code)]

#[macro_use]
mod say;
mod cache;
mod sync;

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cache::Cache;

const READERS: usize = 4;
const PAGES: usize = 8;
const READS: usize = 20_000;
/// Far more than any wait here needs.
const LIMIT: Duration = Duration::from_secs(20);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> Result<(), Box<dyn Error>> {
    let site = Site::new();

    say!("1. Six threads ask for the same page at once");
    ask_together(&["home"; 6], |name| Ok(site.page(name)))?;
    site.expect_computed("home", 1)?;

    say!("\n2. Two pages are computed at once");
    side_by_side(&site)?;

    say!("\n3. What fails is not kept, and nobody is left waiting");
    failures()?;

    say!("\n4. {READERS} threads read {READS} times each, from {PAGES} pages");
    read_mostly()?;

    say!("\n5. A page is computed anew, while its readers get the old one");
    refresh(&site)?;

    say!("\nok: one computation for each page, however many asked for it");
    Ok(())
}

/// Pages by their names, and a list of what was computed.
struct Site {
    pages: Cache<&'static str, Page>,
    computed: Mutex<Vec<&'static str>>,
}

/// A page may be large: it is shared, not copied.
type Page = Arc<String>;

impl Site {
    fn new() -> Self {
        Self {
            pages: Cache::new(),
            computed: Mutex::new(Vec::new()),
        }
    }

    fn page(&self, name: &'static str) -> Page {
        let Ok(page) = self.pages.get_or_compute(&name, || self.render(name));
        page
    }

    fn render(&self, name: &'static str) -> Result<Page, Infallible> {
        tell(format_args!("computes {name}"));
        let number = longest_chain(150_000);
        let mut computed = self.computed.lock().unwrap();
        computed.push(name);
        let edition = computed.iter().filter(|it| **it == name).count();
        Ok(Arc::new(format!("{name}, edition {edition}, {number}")))
    }

    fn expect_computed(&self, name: &str, times: usize) -> Result<(), String> {
        let computed = self.computed.lock().unwrap();
        let count = computed.iter().filter(|it| **it == name).count();
        match count == times {
            true => Ok(()),
            false => Err(format!(
                "{name} was computed {count} times instead of {times}"
            )),
        }
    }
}

/// One thread for each name.
fn ask_together(
    names: &[&'static str],
    page: impl Fn(&'static str) -> Result<Page, String> + Sync,
) -> Result<(), Box<dyn Error>> {
    let pages = in_threads(names.len(), |number| {
        let page = page(names[number])?;
        tell(format_args!("has {}", names[number]));
        Ok::<_, String>(page)
    })?;
    for (name, page) in names.iter().zip(pages) {
        let right = page?.starts_with(name);
        expect(right, "everyone gets the page that was asked for")?;
    }
    Ok(())
}

/// Two computations, of which neither goes on before the other one has begun.
fn side_by_side(site: &Site) -> Result<(), Box<dyn Error>> {
    let (begun, both) = (Mutex::new(0), Condvar::new());
    let render = |name| {
        let mut begun = begun.lock().unwrap();
        *begun += 1;
        both.notify_all();
        let waited = both.wait_timeout_while(begun, LIMIT, |begun| *begun < 2);
        let in_vain = waited.unwrap().1.timed_out();
        expect(!in_vain, "a page does not wait for another page")?;
        let Ok(page) = site.render(name);
        Ok(page)
    };
    ask_together(&["news", "news", "shop", "shop"], |name| {
        site.pages.get_or_compute(&name, || render(name))
    })?;
    site.expect_computed("news", 1)?;
    Ok(site.expect_computed("shop", 1)?)
}

/// The first two computations fail, whichever threads they are in. These two threads get the error;
/// one of those that wait tries for itself, and the others get what it has computed.
fn failures() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new();
    let attempts = AtomicUsize::new(0);
    let compute = || match attempts.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Err("the database is down"),
        _ => Ok(longest_chain(30_000)),
    };
    let answers = in_threads(6, |_| cache.get_or_compute(&"news", compute))?;
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    let attempts = attempts.into_inner();
    say!("   of 6 threads {failed} got an error, after {attempts} attempts the page was there");
    let holds = (failed, attempts) == (2, 3);
    Ok(expect(
        holds,
        "a failure goes to its caller, and is not kept",
    )?)
}

fn read_mostly() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new();
    let computed = AtomicUsize::new(0);
    let compute = |page: usize| {
        computed.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(vec![longest_chain(10_000 + page as u64); 1_000])
    };
    let start = Instant::now();
    let sums = in_threads(READERS, |number| {
        let read = |time: usize| {
            let page = (number + time) % PAGES;
            let Ok(first) = cache.read_or_compute(&page, || compute(page), |page| page[0]);
            first
        };
        (0..READS).map(read).sum::<u64>()
    })?;
    let (computed, took) = (computed.into_inner(), start.elapsed());
    say!(
        "   {} reads, {computed} computations, {took:.1?}",
        READERS * READS
    );
    expect(
        sums.windows(2).all(|two| two[0] == two[1]),
        "all read the same",
    )?;
    Ok(expect(computed == PAGES, "each page is computed once")?)
}

fn refresh(site: &Site) -> Result<(), Box<dyn Error>> {
    let old = site.page("home");
    let mut meanwhile = Vec::new();
    let compute = || -> Result<Page, Box<dyn Error>> {
        meanwhile = in_threads(1, |_| site.page("home"))?;
        Ok(site.render("home")?)
    };
    let new = site.pages.refresh(&"home", compute, Page::clone)?;
    say!(
        "   before {old:?}, meanwhile {:?}, then {new:?}",
        meanwhile[0]
    );
    expect(
        meanwhile == [old],
        "a reader does not wait for the new page",
    )?;
    expect(site.page("home") == new, "the new page is there")?;
    site.expect_computed("home", 2)?;

    site.pages.remove(&"home");
    expect(site.pages.get(&"home").is_none(), "a removed page is gone")?;
    Ok(())
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

/// Work: which number up to `limit` takes the most steps to reach 1, when even numbers are halved,
/// odd ones tripled and one added.
fn longest_chain(limit: u64) -> u64 {
    let steps = |mut number: u64| {
        let mut steps = 0;
        while number > 1 {
            number = match number % 2 {
                0 => number / 2,
                _ => 3 * number + 1,
            };
            steps += 1;
        }
        steps
    };
    (1..=limit).max_by_key(|&start| steps(start)).unwrap_or(0)
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
    fn a_page_that_is_computed_twice_is_noticed() {
        let site = Site::new();
        let Ok(_) = site.render("home");
        assert_eq!(site.expect_computed("home", 1), Ok(()));
        let Ok(_) = site.render("home");
        assert!(site.expect_computed("home", 1).is_err());
    }

    #[test]
    fn the_longest_chain_below_ten_starts_at_nine() {
        assert_eq!(longest_chain(10), 9);
    }
}
