//! Four cures for the deadlock. In each, two tasks move books between two shelves, one to the right
//! and one to the left, and at the end every move must be on record.

use std::error::Error;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use crate::{both, two_tasks};

/// As many as each task moves, so that no shelf gets empty.
const BOOKS: u64 = MOVES;
pub const MOVES: u64 = 200_000;
const PATIENCE: Duration = Duration::from_millis(1);

pub fn all() -> Result<(), Box<dyn Error>> {
    one_order()?;
    back_off()?;
    time_out()?;
    one_lock()
}

/// The cure to prefer where the locks are known: it costs nothing.
fn one_order() -> Result<(), Box<dyn Error>> {
    let shelves = [FULL, FULL].map(Mutex::new);
    let back_offs = run("ordered", |_, from, to| {
        move_in_order(&shelves[from], &shelves[to])
    })?;
    let [left, right] = shelves.map(Mutex::into_inner);
    report("one order for all", back_offs, [left?, right?])
}

/// For locks that come one after the other, as in a walk from node to node.
fn back_off() -> Result<(), Box<dyn Error>> {
    let shelves = [FULL, FULL].map(Mutex::new);
    let back_offs = run("try", |_, from, to| {
        move_with_back_off(&shelves[from], &shelves[to])
    })?;
    let [left, right] = shelves.map(Mutex::into_inner);
    report("try, or back off", back_offs, [left?, right?])
}

/// `acquire(timeout=...)` is not in std. A time-out does not prevent the deadlock, it ends it, and
/// each one costs its whole time.
fn time_out() -> Result<(), Box<dyn Error>> {
    let shelves = [FULL, FULL].map(parking_lot::Mutex::new);
    let meeting = Barrier::new(2);
    let time_outs = run("timed", |nth, from, to| {
        // The first move of each task runs into the deadlock of part 1.
        let between = || {
            if nth == 0 {
                meeting.wait();
            }
        };
        move_with_time_out(&shelves[from], &shelves[to], between)
    })?;
    if time_outs == 0 {
        return Err("no task ran into the deadlock, so nothing was shown".into());
    }
    let shelves = shelves.map(parking_lot::Mutex::into_inner);
    report("try for a while, or back off", time_outs, shelves)
}

/// The simplest, and for such short work as fast as any.
fn one_lock() -> Result<(), Box<dyn Error>> {
    let shelves = Mutex::new([FULL, FULL]);
    let back_offs = run("single", |_, from, to| {
        move_under_one_lock(&shelves, from, to)
    })?;
    report("one lock for both", back_offs, shelves.into_inner()?)
}

/// What a lock guards here. A move takes one book from a shelf and puts it onto another.
#[derive(Clone, Debug, PartialEq)]
struct Shelf {
    books: u64,
    /// Of each move both shelves keep a record: no move can be skipped without being missed.
    moves: u64,
}

const FULL: Shelf = Shelf {
    books: BOOKS,
    moves: 0,
};

fn move_book(from: &mut Shelf, to: &mut Shelf) -> Result<(), String> {
    from.books = from.books.checked_sub(1).ok_or("the shelf is empty")?;
    to.books += 1;
    from.moves += 1;
    to.moves += 1;
    Ok(())
}

/// Each task makes all its moves, from 0 to 1 or back. Returns how often they backed off.
fn run(
    name: &str,
    move_one: impl Fn(u64, usize, usize) -> Result<u64, String> + Sync,
) -> Result<u64, Box<dyn Error>> {
    let all_moves = |n| (0..MOVES).map(|nth| move_one(nth, n - 1, 2 - n)).sum();
    let [first, second]: [Result<u64, String>; 2] = two_tasks(name, all_moves)?;
    Ok(first? + second?)
}

fn report(name: &str, back_offs: u64, shelves: [Shelf; 2]) -> Result<(), Box<dyn Error>> {
    let moves = shelves[0].moves;
    say!("   {name:29}  {moves} moves, backed off {back_offs} times");
    let expected = Shelf {
        books: BOOKS,
        moves: 2 * MOVES,
    };
    if shelves != [expected.clone(), expected] {
        return Err(format!("{name}: {shelves:?}").into());
    }
    Ok(())
}

fn move_in_order(from: &Mutex<Shelf>, to: &Mutex<Shelf>) -> Result<u64, String> {
    let guards = both::in_order(from, to);
    let [mut from, mut to] = guards.map_err(|error| error.to_string())?;
    move_book(&mut from, &mut to)?;
    Ok(0)
}

fn move_with_back_off(from: &Mutex<Shelf>, to: &Mutex<Shelf>) -> Result<u64, String> {
    let mut back_offs = 0;
    let guards = both::with_back_off(from, to, || back_offs += 1);
    let [mut from, mut to] = guards.map_err(|error| error.to_string())?;
    move_book(&mut from, &mut to)?;
    Ok(back_offs)
}

fn move_with_time_out(
    from: &parking_lot::Mutex<Shelf>,
    to: &parking_lot::Mutex<Shelf>,
    between: impl Fn(),
) -> Result<u64, String> {
    let mut first = from.lock();
    between();
    let mut time_outs = 0;
    loop {
        // In Python a `False` that nobody looks at is work that nobody does. Here it is `None`, with
        // which there is nothing to move a book to.
        if let Some(mut second) = to.try_lock_for(PATIENCE) {
            move_book(&mut first, &mut second)?;
            return Ok(time_outs);
        }
        drop(first);
        time_outs += 1;
        // Until the other is free, hold nothing; or both could time out in step for long.
        drop(to.lock());
        first = from.lock();
    }
}

fn move_under_one_lock(shelves: &Mutex<[Shelf; 2]>, from: usize, to: usize) -> Result<u64, String> {
    let mut shelves = shelves.lock().map_err(|error| error.to_string())?;
    let [from, to] = shelves.get_disjoint_mut([from, to]).expect("two shelves");
    move_book(from, to)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::{TryLockError, mpsc};
    use std::thread;
    use std::time::Instant;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Runs a test that would hang if a cure were none: a hang becomes a failure.
    fn bounded(test: impl FnOnce() + Send + 'static) {
        let (finished, end) = mpsc::channel::<()>();
        let runner = thread::spawn(move || {
            // Dropped on every way out, a panic included: that is what the receiver hears.
            let _finished = finished;
            test();
        });
        if end.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            panic!("still waiting after {LIMIT:?}");
        }
        if let Err(failure) = runner.join() {
            panic::resume_unwind(failure);
        }
    }

    #[test]
    fn every_cure_finishes_all_its_work() {
        bounded(|| all().unwrap());
    }

    /// Python's variant printed a line when its time was up, and the work was not done.
    #[test]
    fn a_time_out_delays_the_work_and_does_not_skip_it() {
        bounded(|| {
            let shelves = [FULL, FULL].map(parking_lot::Mutex::new);
            let meeting = Barrier::new(2);
            let time_outs = two_tasks("timed", |n| {
                move_with_time_out(&shelves[n - 1], &shelves[2 - n], || {
                    meeting.wait();
                })
            });
            let [first, second] = time_outs.unwrap().map(Result::unwrap);
            assert!(first + second > 0);
            assert_eq!(shelves.map(|it| it.into_inner().moves), [2, 2]);
        });
    }

    #[test]
    fn a_missing_move_is_missed_though_every_book_is_there() {
        let shelf = Shelf {
            books: BOOKS,
            moves: 2 * MOVES - 2,
        };
        assert!(report("skipped", 0, [shelf.clone(), shelf]).is_err());
    }

    /// After an exception between acquire and release Python's lock stayed locked.
    #[test]
    fn an_error_under_both_locks_leaves_neither_locked() {
        let empty = Shelf { books: 0, moves: 0 };
        let shelves = [Mutex::new(empty.clone()), Mutex::new(FULL)];
        for move_one in [move_in_order, move_with_back_off] {
            assert!(move_one(&shelves[0], &shelves[1]).is_err());
            assert!(shelves.iter().all(|shelf| shelf.try_lock().is_ok()));
        }
        let shelves = [empty.clone(), FULL].map(parking_lot::Mutex::new);
        assert!(move_with_time_out(&shelves[0], &shelves[1], || ()).is_err());
        assert!(shelves.iter().all(|shelf| shelf.try_lock().is_some()));
        let shelves = Mutex::new([empty, FULL]);
        assert!(move_under_one_lock(&shelves, 0, 1).is_err());
        assert!(shelves.try_lock().is_ok());
    }

    #[test]
    fn a_panic_under_both_locks_unlocks_them_and_is_an_error_for_the_next() {
        let shelves = [Mutex::new(FULL), Mutex::new(FULL)];
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let _guards = both::in_order(&shelves[0], &shelves[1]);
            panic!("on purpose, with both locked");
        }));
        assert!(outcome.is_err());
        for shelf in &shelves {
            assert!(matches!(shelf.try_lock(), Err(TryLockError::Poisoned(_))));
        }
        // Half a move may have been made. That is no reason for the next task to panic, too.
        assert!(
            move_in_order(&shelves[0], &shelves[1])
                .unwrap_err()
                .contains("poisoned")
        );
        assert!(move_with_back_off(&shelves[0], &shelves[1]).is_err());
        // Who knows that the shelves are in order can say so.
        shelves.iter().for_each(Mutex::clear_poison);
        assert_eq!(move_in_order(&shelves[0], &shelves[1]), Ok(0));
    }

    #[test]
    fn a_lock_with_a_time_limit_keeps_it_and_works_afterwards() {
        bounded(|| {
            let lock = parking_lot::Mutex::new(0);
            let patience = Duration::from_millis(20);
            let holder = lock.lock();
            thread::scope(|scope| {
                let hasty = scope.spawn(|| {
                    let begin = Instant::now();
                    (lock.try_lock_for(patience).is_none(), begin.elapsed())
                });
                let (in_vain, waited) = hasty.join().unwrap();
                assert!(in_vain && waited >= patience, "{waited:?}");
            });
            drop(holder);
            *lock.try_lock_for(patience).expect("the lock is free") += 1;
            assert!(lock.try_lock().is_some());
            assert_eq!(*lock.lock(), 1);
        });
    }

    #[test]
    fn who_finds_the_second_lock_taken_lets_go_of_the_first() {
        bounded(|| {
            let shelves = [Mutex::new(FULL), Mutex::new(FULL)];
            let second = shelves[1].lock().unwrap();
            let (backed_off, at_back_off) = mpsc::channel();
            thread::scope(|scope| {
                let shelves = &shelves;
                let task = scope.spawn(move || {
                    let guards = both::with_back_off(&shelves[0], &shelves[1], || {
                        let _ = backed_off.send(shelves[0].try_lock().is_ok());
                    });
                    assert!(guards.is_ok());
                });
                assert_eq!(at_back_off.recv(), Ok(true));
                drop(second);
                task.join().unwrap();
            });
        });
    }

    /// Not in `tests/model.rs`: loom's `try_lock` waits in some schedules where std's never does.
    #[test]
    fn both_ways_to_lock_two_go_together() {
        bounded(|| {
            let shelves = [Mutex::new(FULL), Mutex::new(FULL)];
            let note = run("mixed", |_, from, to| match from {
                0 => move_in_order(&shelves[from], &shelves[to]),
                _ => move_with_back_off(&shelves[from], &shelves[to]),
            });
            let shelves = shelves.map(|it| it.into_inner().unwrap());
            report("mixed", note.unwrap(), shelves).unwrap();
        });
    }

    #[test]
    fn the_guards_come_in_the_order_of_the_arguments() {
        let shelves = [1, 2].map(|books| Mutex::new(Shelf { books, moves: 0 }));
        for (a, b) in [(0, 1), (1, 0)] {
            let expected = [a as u64 + 1, b as u64 + 1];
            let ordered = both::in_order(&shelves[a], &shelves[b]).unwrap();
            assert_eq!(ordered.map(|shelf| shelf.books), expected);
            let tried = both::with_back_off(&shelves[a], &shelves[b], || ()).unwrap();
            assert_eq!(tried.map(|shelf| shelf.books), expected);
        }
    }

    #[test]
    fn the_same_lock_twice_is_a_panic_and_no_hang() {
        bounded(|| {
            for move_one in [move_in_order, move_with_back_off] {
                let shelf = Mutex::new(FULL);
                let twice = panic::catch_unwind(AssertUnwindSafe(|| move_one(&shelf, &shelf)));
                assert!(twice.is_err());
                assert!(shelf.try_lock().is_ok());
            }
        });
    }
}
