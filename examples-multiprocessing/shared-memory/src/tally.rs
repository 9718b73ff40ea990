//! Part 2: workers tally under the lock, and one of them is killed at a point of its own choice.
//!
//! The words are the total, two about the last repair, and an entry for each worker. The total is
//! the sum of the entries, whenever nobody is inside.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use crate::shared::Segment;
use crate::{Outcome, TICK, WORKERS, check, start, wait_for_all};

const TOTAL: usize = 0;
/// The process that died inside, and how wrong the total was then.
const ABANDONED: usize = 1;
const OFF_BY: usize = 2;
const ENTRIES: usize = 3;
pub const WORDS: usize = ENTRIES + WORKERS;
/// How many each worker makes.
const EACH: u64 = 250;

/// Where a worker is killed.
pub const STAGES: [(&str, &str); 5] = [
    ("before it has the lock", "before"),
    ("inside, nothing changed", "inside"),
    ("between two changes", "between"),
    ("after both, still inside", "changed"),
    ("after it has left", "after"),
];

/// What the parent sees in the end.
pub struct Seen(Vec<u64>);

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (total, entries) = (self.0[TOTAL], &self.0[ENTRIES..]);
        let found = match self.0[ABANDONED] {
            0 => "finds all in order".to_string(),
            _ => format!("is told, total was off by {}", self.0[OFF_BY]),
        };
        let sum: u64 = entries.iter().sum();
        write!(f, "{found:32} {total}, {sum} of {entries:?}")
    }
}

/// All workers make their tallies; one of them holds still at a stage and is killed there. It is
/// replaced, and the new one sees in the memory how far the old one has come.
pub fn kill_one(name: &str, segment: &Segment, stage: &str) -> Outcome<Seen> {
    for word in segment.lock()?.or_repair(repair).iter() {
        word.store(0, Relaxed);
    }
    let start_one = |worker: usize, stage: &str| start(&format!("tally {name} {worker} {stage}"));
    let mut victim = start_one(0, stage)?;
    // It says that it is there.
    let stdout = victim.stdout.as_mut().expect("stdout is a pipe");
    stdout.read_exact(&mut [0])?;
    let is_inside = !["before", "after"].contains(&stage);
    let is_locked = segment.try_lock()?.is_none();
    check(is_locked == is_inside, "it is not where it says")?;
    let others = (1..WORKERS).map(|worker| start_one(worker, "none"));
    let mut workers: Vec<_> = others.collect::<Result<_, _>>()?;
    // Nothing depends on this: only so long that one sees the others wait, or not.
    thread::sleep(4 * TICK);
    let killed = u64::from(victim.id());
    drop(victim);
    workers.push(start_one(0, "none")?);
    wait_for_all(workers)?;

    let words = segment.lock()?.or_repair(repair);
    let seen: Vec<u64> = words.iter().map(|word| word.load(Relaxed)).collect();
    let complete = seen[TOTAL] == EACH * WORKERS as u64 && seen[ENTRIES..] == [EACH; WORKERS];
    check(complete, "tallies were lost, or made twice")?;
    let expected = [u64::from(is_inside) * killed, u64::from(stage == "between")];
    let told = [seen[ABANDONED], seen[OFF_BY]] == expected;
    check(told, "the next one inside was not told, or was told wrong")?;
    Ok(Seen(seen))
}

/// The total can be made from the entries, so that death between the two loses nothing. Data for
/// which no such rule exists needs a copy of what was before.
fn repair(words: &[AtomicU64], abandoned_by: u32) {
    let sum: u64 = words[ENTRIES..].iter().map(|word| word.load(Relaxed)).sum();
    let off_by = sum.wrapping_sub(words[TOTAL].swap(sum, Relaxed));
    words[ABANDONED].store(abandoned_by.into(), Relaxed);
    words[OFF_BY].store(off_by, Relaxed);
}

/// The worker's part. It goes half-way to its end, and then to the stage where it holds still.
pub fn make_all(segment: &Segment, worker: usize, stage: &str) -> Outcome<()> {
    let hold = |made: u64, here: &str| -> io::Result<()> {
        if here == stage && made == EACH / 2 {
            writeln!(io::stdout(), "{here}")?;
            loop {
                thread::park();
            }
        }
        Ok(())
    };
    let mut made = 0;
    loop {
        hold(made, "before")?;
        let words = segment.lock()?.or_repair(repair);
        let (total, entry) = (&words[TOTAL], &words[ENTRIES + worker]);
        // Not zero at first, if this worker replaces one that has died.
        made = entry.load(Relaxed);
        if made == EACH {
            return Ok(());
        }
        hold(made, "inside")?;
        // Nobody else is inside: no `fetch_add` is needed.
        entry.store(made + 1, Relaxed);
        hold(made, "between")?;
        total.store(total.load(Relaxed) + 1, Relaxed);
        hold(made, "changed")?;
        drop(words);
        hold(made, "after")?;
    }
}
