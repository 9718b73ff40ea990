//! Four tasks that compute, on one thread and on several, beside a task that wants to do something
//! every few milliseconds.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking, yield_now};
use tokio::time::sleep;

use crate::gather::{FirstFailure, gather};

const BEAT: Duration = Duration::from_millis(2);
/// Each task counts the primes among so many numbers.
const PART: u32 = 100_000;
/// Below four times that.
pub const PRIMES: usize = 33_860;

pub struct Run {
    pub primes: usize,
    pub wall: Duration,
    /// How often the other task had its turn.
    pub beats: usize,
}

/// Whoever does not await keeps all other tasks of the thread from running.
pub async fn without_await() -> Result<Run, FirstFailure<Infallible>> {
    beside_a_heart(|part| async { count_primes(part) }).await
}

/// Python's `await asyncio.sleep(0)`: the others have their turn, but nothing is computed sooner.
pub async fn with_yields() -> Result<Run, FirstFailure<Infallible>> {
    let in_steps = |part: Range<u32>| async {
        let mut primes = 0;
        for begin in part.step_by(1000) {
            primes += count_primes(begin..begin + 1000);
            yield_now().await;
        }
        primes
    };
    beside_a_heart(in_steps).await
}

/// Python's `asyncio.to_thread`, but these threads compute at the same time.
pub async fn on_other_threads() -> Result<Run, FirstFailure<Infallible>> {
    let on_a_thread = |part| async {
        let counting = spawn_blocking(|| count_primes(part)).await;
        counting.expect("counting does not panic")
    };
    beside_a_heart(on_a_thread).await
}

async fn beside_a_heart<F>(task: fn(Range<u32>) -> F) -> Result<Run, FirstFailure<Infallible>>
where
    F: Future<Output = usize> + Send + 'static,
{
    let beats = Arc::new(AtomicUsize::new(0));
    let mut heart = JoinSet::new(); // It ends with this function.
    heart.spawn(beat(Arc::clone(&beats)));
    let begin = Instant::now();
    let tasks = (0..4).map(|part| {
        let counting = task(part * PART..(part + 1) * PART);
        async { Ok(counting.await) }
    });
    let primes = gather(tasks).await?.iter().sum();
    Ok(Run {
        primes,
        wall: begin.elapsed(),
        beats: beats.load(Ordering::Relaxed),
    })
}

async fn beat(beats: Arc<AtomicUsize>) {
    loop {
        sleep(BEAT).await;
        beats.fetch_add(1, Ordering::Relaxed);
    }
}

/// By trial division: real work.
fn count_primes(numbers: Range<u32>) -> usize {
    numbers.filter(|&number| is_prime(number)).count()
}

fn is_prime(number: u32) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    number > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::runtime::Builder;

    fn run<F: Future>(future: F) -> F::Output {
        let runtime = Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn who_does_not_await_keeps_the_others_from_running() {
        assert_eq!(run(without_await()).unwrap().beats, 0);
    }

    #[test]
    fn who_yields_lets_the_others_run() {
        assert!(run(with_yields()).unwrap().beats > 0);
    }

    #[test]
    fn all_ways_count_the_33860_primes_below_400000() {
        assert_eq!(run(without_await()).unwrap().primes, PRIMES);
        assert_eq!(run(with_yields()).unwrap().primes, PRIMES);
        assert_eq!(run(on_other_threads()).unwrap().primes, PRIMES);
    }
}
