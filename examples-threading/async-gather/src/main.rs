//! Many waits on one thread: five questions to a server, asked by tasks and by threads.
//!
//! What a Python developer knows as
//!
//! ```python
//! async def main():
//!     answers = await asyncio.gather(*[ask(n) for n in range(1, 6)])  # one error: the rest go on
//!     answer = await asyncio.wait_for(ask(6), timeout=0.03)
//! asyncio.run(main())
//! ```
//!
//! is nearly the same with tokio as the event loop. But a task gives a `Result`, so a failed one is
//! not counted as completed; and `gather` owns its tasks, so none goes on after the first error. A
//! future that is dropped has ended: that is all there is to cancelling.
//!
//! Run it with `cargo run -p async-gather`. Look at what the server saw, and at part 6: on the event
//! loop nothing is computed sooner. Tasks pay where thousands wait, or a wait is cut short from
//! outside; threads need no runtime, and they compute at the same time.
//!
//! To take: `src/gather.rs`. Before this: `sequential-vs-threads`, `future-handle`.

#![forbid(unsafe_code)]

mod ask;
mod computing;
mod gather;
#[macro_use]
mod say; // `say!` is `println!` that ends quietly when nobody reads on, as in `| head`.
mod slow_server;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use ask::{ask, ask_by_threads};
use gather::{FirstFailure, gather, outcomes, with_permit};
use slow_server::{Reply, Server, all_at_once};

const QUESTIONS: u8 = 5;
const WAIT: Duration = Duration::from_millis(100);
const SHORT: Duration = Duration::from_millis(30);
/// Longer than anybody waits here.
const LONG: Duration = Duration::from_secs(600);
const LIMIT: Duration = Duration::from_secs(30);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// `asyncio.run`: an event loop on this very thread, until the story is told.
fn main() -> Result<()> {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().thread_name("blocking").build()?;
    runtime.block_on(async { timeout(LIMIT, story()).await })?
}

async fn story() -> Result<()> {
    say!("1. {QUESTIONS} questions to a server that answers each after {WAIT:?}");
    five_waits().await?;
    say!("\n2. What fails is counted as failed");
    each_outcome().await?;
    say!("\n3. The first error ends the other tasks");
    first_error().await?;
    say!("\n4. A time-out of {SHORT:?}");
    time_out().await?;
    say!("\n5. 6 questions that take {SHORT:?} each, but never more than 2 at once");
    bounded().await?;
    let cores = available_parallelism()?;
    say!("\n6. Four tasks that compute, beside one that wants its turn every 2 ms; cores: {cores}");
    computing().await?;
    say!("\nok: {QUESTIONS} answers in about one wait, each failure counted, nothing left running");
    Ok(())
}

async fn five_waits() -> Result<()> {
    let script = |_| Reply::Answer(WAIT);
    let threads = all_at_once(QUESTIONS, script, async |server| {
        Ok(spawn_blocking(move || ask_by_threads(server, QUESTIONS)).await??)
    });
    let threads = threads.await?;
    let tasks = all_at_once(QUESTIONS, script, async |server| {
        Ok(gather((1..=QUESTIONS).map(|question| ask(server, question))).await?)
    });
    let tasks = tasks.await?;
    say!("   {QUESTIONS} threads:             {:.0?}", threads.wall);
    say!("   {QUESTIONS} tasks on one thread: {:.0?}", tasks.wall);
    let in_order = tasks.value.join(", ");
    say!("   in the order of the questions: {in_order}");
    let answer = |question| format!("answer {question}");
    let expected: Vec<String> = (1..=QUESTIONS).map(answer).collect();
    check(threads.value == expected, "each thread has its answer")?;
    check(tasks.value == expected, "each task has its answer")
}

async fn each_outcome() -> Result<()> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); // No server can have this port.
    let offline = outcomes((1..=QUESTIONS).map(|question| ask(nowhere, question))).await;
    let (completed, failed) = tally(&offline);
    say!("   no server there: completed {completed}, failed {failed}");
    check((completed, failed) == (0, 5), "nobody answers")?;

    let server = Server::start(|question| match question {
        2 | 4 => Reply::HangUp(SHORT),
        _ => Reply::Answer(SHORT),
    })?;
    let mixed = outcomes((1..=QUESTIONS).map(|question| ask(server.address, question))).await;
    for (question, outcome) in (1..).zip(&mixed) {
        match outcome {
            Ok(answer) => say!("   question {question}: {answer}"),
            Err(failure) => say!("   question {question} {failure}"),
        }
    }
    let (completed, failed) = tally(&mixed);
    say!("   completed {completed}, failed {failed}");
    check((completed, failed) == (3, 2), "two tasks failed")
}

fn tally<T, E>(outcomes: &[std::result::Result<T, E>]) -> (usize, usize) {
    let completed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    (completed, outcomes.len() - completed)
}

async fn first_error() -> Result<()> {
    let script = |question| match question {
        3 => Reply::HangUp(SHORT),
        _ => Reply::Answer(LONG),
    };
    let all = all_at_once(QUESTIONS, script, async |server| {
        let all = gather((1..=QUESTIONS).map(|question| ask(server, question))).await;
        Ok(all.err().ok_or("the error was lost")?)
    });
    let all = all.await?;
    let FirstFailure { task, failure } = all.value;
    say!("   question {} {failure}, after {:.0?}", task + 1, all.wall);
    let (answered, left) = (all.seen.answered, all.seen.abandoned);
    say!("   the server: answered {answered} of the others, was left by {left} of them");
    check((answered, left) == (0, 4), "the others have ended")
}

async fn time_out() -> Result<()> {
    let script = |_| Reply::Answer(LONG);
    let late = all_at_once(1, script, async |server| {
        let late = timeout(SHORT, ask(server, 1)).await;
        Ok(late.err().ok_or("an answer before its time")?)
    });
    let late = late.await?;
    say!("   {}, after {:.0?}", late.value, late.wall);
    say!("   the server was left by {}", late.seen.abandoned);
    check(late.seen.abandoned == 1, "a time-out ends the question")
}

async fn bounded() -> Result<()> {
    let script = |_| Reply::Answer(SHORT);
    let all = all_at_once(2, script, async |server| {
        let permits = Arc::new(Semaphore::new(2));
        let ask = |question| with_permit(&permits, ask(server, question));
        Ok(gather((1..=6).map(ask)).await?)
    });
    let all = all.await?;
    let (answers, wall, most) = (all.value.len(), all.wall, all.seen.most_open);
    say!("   {answers} answers in {wall:.0?}; the server saw at most {most} open");
    check(answers == 6, "each question is answered")
}

async fn computing() -> Result<()> {
    let runs = [
        ("no await", computing::without_await().await?),
        ("yield_now", computing::with_yields().await?),
        ("spawn_blocking", computing::on_other_threads().await?),
    ];
    for (how, run) in &runs {
        let (wall, beats) = (run.wall, run.beats);
        say!("   {how:15} {wall:>5.0?}, the other had {beats} turns");
    }
    let right = |(_, run): &(_, computing::Run)| run.primes == computing::PRIMES;
    check(runs.iter().all(right), "all count the primes")?;
    let [silent, yielding, _] = runs.map(|(_, run)| run.beats);
    check(silent < yielding, "a yield gives others their turn")
}

fn check(holds: bool, promise: &str) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(format!("this did not hold: {promise}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_request_is_not_counted_as_a_completed_one() {
        assert_eq!(tally(&[Ok("answer"), Err("no answer"), Err("no")]), (1, 2));
        assert_eq!(tally::<(), ()>(&[]), (0, 0));
    }
}
