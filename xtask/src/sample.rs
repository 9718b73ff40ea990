//! Watches every thread of a program and of its descendants, from outside, about every
//! millisecond. A thread becomes a `Lane`: its CPU time as a function of time.

use std::collections::HashSet;
use std::fs::{self, File};
use std::time::{Duration, Instant};

use crate::os;
use crate::process::Watch;
use crate::procfs;

/// How often to look.
const PERIOD: Duration = Duration::from_millis(1);
/// The sampler may use one part in so many of a core; otherwise it looks less often. Waking up
/// alone can cost more than that in a virtual machine.
const SHARE: u32 = 30;
/// What it may use beyond that share: many births at once are looked at without delay.
const CREDIT: Duration = Duration::from_millis(8);
/// How many points of all lanes are kept in memory. A long run gets coarser ones.
const POINTS: usize = 200_000;
/// Every how many looks to search for threads that have ended and are not reaped yet.
const ZOMBIE_LOOKS: u64 = 8;

/// One thread. `points` has at least two entries; times are since the program's start.
pub struct Lane {
    pub name: String,
    pub pid: u32,
    pub tid: u32,
    pub points: Vec<Point>,
}

/// So much CPU time had been used at that time. In between it is a straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub at: Duration,
    pub cpu: Duration,
}

impl Lane {
    pub fn start(&self) -> Duration {
        self.points.first().map_or(Duration::ZERO, |point| point.at)
    }

    pub fn end(&self) -> Duration {
        self.points.last().map_or(Duration::ZERO, |point| point.at)
    }

    pub fn cpu(&self) -> Duration {
        self.points.last().map_or(Duration::ZERO, |point| point.cpu)
    }

    /// The CPU time used until `at`.
    pub fn cpu_at(&self, at: Duration) -> Duration {
        let next = self.points.partition_point(|point| point.at <= at);
        if next == 0 {
            return Duration::ZERO;
        }
        let before = self.points[next - 1];
        let Some(after) = self.points.get(next) else {
            return before.cpu;
        };
        let part = (at - before.at).as_secs_f64() / (after.at - before.at).as_secs_f64();
        before.cpu + (after.cpu - before.cpu).mul_f64(part)
    }

    /// Adds a sample. `step` is the shortest time between points to be kept.
    fn add(&mut self, at: Duration, cpu: Duration, step: Duration) {
        let last = self.points.len() - 1;
        let Point {
            at: seen,
            cpu: used,
        } = self.points[last];
        let (at, cpu) = (at.max(seen), cpu.max(used));
        let before = last.checked_sub(1).map(|before| self.points[before]);
        match before {
            Some(before) if before.cpu == cpu => self.points.truncate(last),
            Some(before) if at - before.at < step => self.points.truncate(last),
            // While a thread runs, the kernel books its time only at each of its ticks, some
            // milliseconds apart. So what was gained was spent just before now, even if the
            // thread seemed idle at the last looks.
            Some(before) if before.cpu == used => {
                let busy_since = at.saturating_sub(cpu - used);
                self.points[last].at = busy_since.clamp(before.at, seen);
            }
            _ => {}
        }
        self.points.push(Point { at, cpu });
    }

    /// Forgets points that are closer than `step` to the one before.
    fn thin(&mut self, step: Duration) {
        let end = self.end();
        let mut kept = Duration::ZERO;
        let start = self.start();
        self.points.retain(|point| {
            let keep = point.at == start || point.at == end || point.at - kept >= step;
            if keep {
                kept = point.at;
            }
            keep
        });
    }
}

/// A lane whose thread is alive.
struct Live {
    lane: usize,
    source: Source,
    next_name: Duration,
    /// A thread that has ended and is not reaped yet can still be read.
    zombie: bool,
}

/// Where to read a thread's CPU time. Open files are kept, as far as they may be many.
struct Source {
    path: String,
    file: Option<File>,
}

pub struct Sampler {
    pub lanes: Vec<Lane>,
    pub peak_threads: usize,
    pub peak_processes: usize,
    can_look: bool,
    start: Instant,
    main: u32,
    live: Vec<Live>,
    known: HashSet<(u32, u32)>,
    newest_source: Source,
    newest: Option<String>,
    look_again: bool,
    looks: u64,
    step: Duration,
    points: usize,
    /// What the sampler itself has used, and its share of that in a usual look.
    cpu: Duration,
    cpu_before: Duration,
    cost: Duration,
}

impl Sampler {
    pub fn new() -> Sampler {
        Sampler {
            lanes: Vec::new(),
            peak_threads: 0,
            peak_processes: 0,
            can_look: procfs::is_there(),
            start: Instant::now(),
            main: 0,
            live: Vec::new(),
            known: HashSet::new(),
            newest_source: Source::open("/proc/loadavg".to_string()),
            newest: None,
            look_again: true,
            looks: 0,
            step: Duration::ZERO,
            points: 0,
            cpu: Duration::ZERO,
            cpu_before: os::thread_cpu(),
            cost: Duration::ZERO,
        }
    }

    /// Lanes in order of birth, those of a process together.
    pub fn into_lanes(self) -> Vec<Lane> {
        let mut pids = Vec::new();
        for lane in &self.lanes {
            if !pids.contains(&lane.pid) {
                pids.push(lane.pid);
            }
        }
        let mut lanes = self.lanes;
        lanes.sort_by_key(|lane| pids.iter().position(|pid| *pid == lane.pid));
        lanes
    }

    fn sample(&mut self, now: Duration) {
        self.read_all(now);
        if self.something_was_born() {
            self.discover(now);
            self.count();
        } else if self.looks.is_multiple_of(ZOMBIE_LOOKS) {
            self.find_zombies();
        }
        self.looks += 1;
    }

    fn read_all(&mut self, now: Duration) {
        let (lanes, step) = (&mut self.lanes, self.step);
        self.live.retain_mut(|live| {
            let lane = &mut lanes[live.lane];
            if live.zombie || now > live.next_name {
                live.next_name = now + (now - lane.start()) * 8;
                lane.name = procfs::name(lane.pid, lane.tid).unwrap_or(lane.name.clone());
            }
            let before = lane.points.len();
            let Some(cpu) = live.source.nanoseconds() else {
                return false;
            };
            lane.add(now, cpu, step);
            self.points = self.points + lane.points.len() - before;
            !live.zombie
        });
        if self.points > POINTS {
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.step = (self.step * 2).max(PERIOD * 2);
        for lane in &mut self.lanes {
            lane.thin(self.step);
        }
        self.points = self.lanes.iter().map(|lane| lane.points.len()).sum();
    }

    /// The last word of /proc/loadavg is the newest id in the system, of a thread or a process.
    /// An id is given some time before its thread can be seen, so a search is done twice.
    fn something_was_born(&mut self) -> bool {
        let newest = self.newest_source.last_word();
        let changed = newest.is_none() || newest != self.newest;
        self.newest = newest;
        std::mem::replace(&mut self.look_again, changed) || changed
    }

    /// Walks from our children, which are the program and adopted orphans, down to all threads.
    fn discover(&mut self, now: Duration) {
        self.find_zombies();
        let mut seen = HashSet::new();
        let mut pids = procfs::own_children();
        let mut next = 0;
        while let Some(&pid) = pids.get(next) {
            let mut tids = procfs::threads(pid);
            tids.sort_unstable();
            for &tid in &tids {
                seen.insert((pid, tid));
                if self.known.insert((pid, tid)) {
                    self.born(pid, tid, now);
                }
            }
            let children = procfs::children(pid, &tids);
            pids.extend(children.into_iter().filter(|child| *child != pid));
            next += 1;
        }
        self.known = seen;
    }

    fn born(&mut self, pid: u32, tid: u32, now: Duration) {
        let source = Source::open(format!("/proc/{pid}/task/{tid}/schedstat"));
        let (Some(cpu), Some(name)) = (source.nanoseconds(), procfs::name(pid, tid)) else {
            return;
        };
        let main = pid == self.main && tid == pid;
        let at = if main {
            Duration::ZERO
        } else {
            now.saturating_sub(cpu)
        };
        let birth = Point {
            at,
            cpu: Duration::ZERO,
        };
        self.lanes.push(Lane {
            name,
            pid,
            tid,
            points: vec![birth, Point { at: now, cpu }],
        });
        self.points += 2;
        self.live.push(Live {
            lane: self.lanes.len() - 1,
            source,
            // A new thread names itself at once, a new process becomes its program.
            next_name: now + PERIOD,
            zombie: false,
        });
    }

    fn find_zombies(&mut self) {
        for live in &mut self.live {
            let lane = &self.lanes[live.lane];
            live.zombie = lane.tid == lane.pid && procfs::is_zombie(lane.pid, lane.tid);
        }
    }

    fn count(&mut self) {
        let alive = self.live.iter().filter(|live| !live.zombie);
        let pids: HashSet<u32> = alive
            .clone()
            .map(|live| self.lanes[live.lane].pid)
            .collect();
        self.peak_threads = self.peak_threads.max(alive.count());
        self.peak_processes = self.peak_processes.max(pids.len());
    }
}

impl Watch for Sampler {
    fn start(&mut self, pid: u32, start: Instant) {
        (self.main, self.start) = (pid, start);
    }

    fn look(&mut self) -> Duration {
        if !self.can_look {
            return PERIOD * 20;
        }
        self.sample(self.start.elapsed());
        let cpu = os::thread_cpu() - self.cpu_before;
        self.cost = (self.cost * 7 + cpu.saturating_sub(self.cpu)) / 8;
        self.cpu = cpu;
        match cpu > CREDIT + self.start.elapsed() / SHARE {
            true => PERIOD.max(self.cost * SHARE),
            false => PERIOD,
        }
    }

    fn end(&mut self, at: Instant) {
        self.read_all(at - self.start);
    }
}

impl Source {
    fn open(path: String) -> Source {
        Source {
            file: File::open(&path).ok(),
            path,
        }
    }

    /// The first number of `schedstat`: nanoseconds on a CPU.
    fn nanoseconds(&self) -> Option<Duration> {
        let nanoseconds = self.read(|text| text.split(' ').next()?.parse().ok())?;
        Some(Duration::from_nanos(nanoseconds))
    }

    fn last_word(&self) -> Option<String> {
        self.read(|text| Some(text.trim_end().rsplit(' ').next()?.to_string()))
    }

    fn read<T>(&self, understand: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut bytes = [0; 128];
        let Some(file) = &self.file else {
            return understand(&fs::read_to_string(&self.path).ok()?);
        };
        let count = os::read_from_start(file, &mut bytes).ok()?;
        understand(std::str::from_utf8(&bytes[..count]).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn lane() -> Lane {
        Lane {
            name: "worker".to_string(),
            pid: 7,
            tid: 8,
            points: vec![Point {
                at: ms(0),
                cpu: ms(0),
            }],
        }
    }

    #[test]
    fn time_that_the_kernel_booked_late_was_spent_just_before() {
        let mut lane = lane();
        for (at, cpu) in [(10, 0), (11, 0), (12, 0), (13, 0), (14, 4), (20, 4)] {
            lane.add(ms(at), ms(cpu), Duration::ZERO);
        }
        assert_eq!(lane.cpu_at(ms(10)), ms(0));
        assert_eq!(lane.cpu_at(ms(12)), ms(2));
        assert_eq!(lane.cpu_at(ms(14)), ms(4));
        assert_eq!((lane.cpu(), lane.end()), (ms(4), ms(20)));
        assert!(
            lane.points.len() <= 4,
            "waiting needs two points: {:?}",
            lane.points
        );
    }

    #[test]
    fn a_coarser_lane_has_the_same_ends_and_the_same_sum() {
        let mut lane = lane();
        for at in 1..=1000 {
            lane.add(ms(at), ms(at / 2), Duration::ZERO);
        }
        lane.thin(ms(16));
        assert!(lane.points.len() < 70, "{}", lane.points.len());
        assert_eq!(
            (lane.start(), lane.end(), lane.cpu()),
            (ms(0), ms(1000), ms(500))
        );
        for at in 1001..=2000 {
            lane.add(ms(at), ms(at / 2), ms(16));
        }
        assert!(lane.points.len() < 140, "{}", lane.points.len());
        assert_eq!((lane.end(), lane.cpu()), (ms(2000), ms(1000)));
    }

    #[test]
    fn a_sampler_that_runs_for_long_keeps_few_points() {
        let mut sampler = Sampler::new();
        sampler.lanes = (0..100).map(|_| lane()).collect();
        for lane in &mut sampler.lanes {
            for at in 1..=POINTS as u64 / 50 {
                lane.add(ms(at), ms(at / 2), Duration::ZERO);
            }
        }
        while sampler
            .lanes
            .iter()
            .map(|lane| lane.points.len())
            .sum::<usize>()
            > POINTS
        {
            sampler.coarsen();
        }
        assert!(sampler.points > POINTS / 8, "{}", sampler.points);
    }
}
