//! What the workers share, what they can ask for, and what a request does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::board::Board;
use super::manager::Owner;

#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Appends to the list and adds to the counter: what belongs together is one request.
    Piece {
        number: u64,
        primes: usize,
    },
    /// Sets the worker's own entry in the map.
    Progress(u64),
    /// A copy of the map, as it is at this moment.
    Everyone,
    Get,
    Set(i64),
    Add(i64),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Counter(i64),
    Everyone(BTreeMap<usize, u64>),
}

/// What all share. It is the owner's alone, so there is neither `Arc` nor `Mutex`.
#[derive(Default)]
pub struct State {
    pub pieces: Vec<Piece>,
    pub counter: i64,
    pub progress: BTreeMap<usize, u64>,
    pub history: Vec<String>,
    pub failures: Vec<String>,
    pub board: Option<Board>,
}

pub struct Piece {
    pub worker: usize,
    pub number: u64,
    pub primes: usize,
}

impl State {
    pub fn new(workers: usize) -> State {
        State {
            progress: (1..=workers).map(|worker| (worker, 0)).collect(),
            ..State::default()
        }
    }

    /// That each worker has done its pieces, with as many primes in all, and nothing was lost.
    pub fn check(&self, pieces: u64, primes: &[usize]) -> Result<(), String> {
        if let Some(failure) = self.failures.first() {
            return Err(failure.clone());
        }
        let expected = primes.len() * pieces as usize;
        let (entries, counter) = (self.pieces.len(), self.counter);
        if (entries, counter) != (expected, expected as i64) {
            return Err(format!(
                "{entries} entries, counter {counter}, not {expected}"
            ));
        }
        for (worker, primes) in (1..).zip(primes) {
            let own = || self.pieces.iter().filter(|piece| piece.worker == worker);
            let counted: usize = own().map(|piece| piece.primes).sum();
            let wrong = if self.progress.get(&worker) != Some(&100) {
                "is not at 100 %"
            } else if !own().map(|piece| piece.number).eq(1..=pieces) {
                "has its entries out of order"
            } else if counted != *primes {
                "counted wrong"
            } else {
                continue;
            };
            return Err(format!("worker {worker} {wrong}"));
        }
        Ok(())
    }
}

impl Owner for State {
    type Request = Request;
    type Answer = Answer;

    fn answer(&mut self, worker: usize, request: Request) -> Result<Answer, String> {
        match request {
            Request::Piece { number, primes } => {
                self.pieces.push(Piece {
                    worker,
                    number,
                    primes,
                });
                self.counter += 1;
            }
            Request::Progress(percent) => {
                let before = self.progress.entry(worker).or_default();
                if !(*before..=100).contains(&percent) {
                    return Err(format!("{percent} % after {before} %"));
                }
                *before = percent;
                if let Some(board) = &self.board {
                    board.set(worker - 1, percent);
                }
            }
            Request::Everyone => return Ok(Answer::Everyone(self.progress.clone())),
            Request::Get => {
                let value = self.counter;
                self.history.push(format!("worker {worker} gets {value}"));
                return Ok(Answer::Counter(value));
            }
            Request::Set(value) => {
                self.history.push(format!("worker {worker} sets {value}"));
                self.counter = value;
            }
            Request::Add(number) => {
                self.counter = self.counter.checked_add(number).ok_or("too large")?;
                self.history.push(format!("worker {worker} adds {number}"));
            }
        }
        Ok(Answer::Done)
    }

    fn ended(&mut self, worker: usize, how: Result<(), String>) {
        if let Some(board) = &self.board {
            let word = how.as_ref().map_or_else(String::as_str, |()| "done");
            board.end(worker - 1, word);
        }
        if let Err(why) = how {
            // Nobody waits for its progress any more.
            self.progress.remove(&worker);
            self.failures.push(format!("worker {worker}, {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two workers with two pieces each, and all went well.
    fn done() -> State {
        let mut state = State::new(2);
        for worker in 1..=2 {
            for number in 1..=2 {
                let piece = Request::Piece { number, primes: 7 };
                state.answer(worker, piece).unwrap();
            }
            state.answer(worker, Request::Progress(100)).unwrap();
        }
        state
    }

    #[test]
    fn the_check_finds_what_is_wrong() {
        let checked = |spoil: fn(&mut State)| {
            let mut state = done();
            spoil(&mut state);
            state.check(2, &[14, 14])
        };
        assert_eq!(checked(|_| ()), Ok(()));
        let complaint = |spoil| checked(spoil).unwrap_err();
        let lost = complaint(|state| state.pieces.truncate(3));
        assert_eq!(lost, "3 entries, counter 4, not 4");
        let lost = complaint(|state| state.counter -= 1);
        assert_eq!(lost, "4 entries, counter 3, not 4");
        let behind = complaint(|state| *state.progress.get_mut(&2).unwrap() = 99);
        assert_eq!(behind, "worker 2 is not at 100 %");
        let twice = complaint(|state| state.pieces[1].number = 1);
        assert_eq!(twice, "worker 1 has its entries out of order");
        let wrong = complaint(|state| state.pieces[3].primes += 1);
        assert_eq!(wrong, "worker 2 counted wrong");
        let dead = complaint(|state| state.ended(1, Err("it died".into())));
        assert_eq!(dead, "worker 1, it died");
    }

    #[test]
    fn a_request_that_makes_no_sense_is_refused_and_changes_nothing() {
        let mut state = State::new(1);
        assert_eq!(state.answer(1, Request::Progress(40)), Ok(Answer::Done));
        for percent in [39, 101] {
            assert!(state.answer(1, Request::Progress(percent)).is_err());
        }
        assert_eq!(state.progress[&1], 40);
        assert_eq!(state.answer(1, Request::Set(i64::MAX)), Ok(Answer::Done));
        assert!(state.answer(1, Request::Add(1)).is_err());
        assert_eq!(state.counter, i64::MAX);
    }
}
