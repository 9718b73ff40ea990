//! The picture of a run: one lane per thread over time, as text. `svg.rs` draws the same.

use std::thread;
use std::time::Duration;

use crate::sample::Lane;
use crate::text;

/// More lanes than this are merged into a last one.
const MOST: usize = 60;
/// What the busy share of a cell looks like, from alive and waiting to busy all the time.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The narrowest picture that still has the figures beside it.
const NARROWEST: usize = 24;

/// All that a picture shows.
pub struct Chart<'a> {
    pub rows: Vec<Row<'a>>,
    pub wall: Duration,
    /// Of the machine.
    pub cores: usize,
    /// What the system has booked for the program, if it tells.
    cpu: Option<Duration>,
    lanes: &'a [Lane],
}

/// A thread, or all that have no row of their own.
pub struct Row<'a> {
    pub label: String,
    lanes: &'a [Lane],
}

impl<'a> Chart<'a> {
    pub fn new(lanes: &'a [Lane], wall: Duration, cpu: Option<Duration>) -> Chart<'a> {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let own = if lanes.len() > MOST {
            MOST - 1
        } else {
            lanes.len()
        };
        let (single, rest) = lanes.split_at(own);
        let mut rows: Vec<Row> = single.chunks(1).map(Row::of).collect();
        if !rest.is_empty() {
            rows.push(Row {
                label: format!("{} more threads", rest.len()),
                lanes: rest,
            });
        }
        let wall = wall.max(Duration::from_nanos(1));
        Chart {
            rows,
            wall,
            cores,
            cpu,
            lanes,
        }
    }

    /// `9 threads in 2 processes, wall 510 ms, CPU 553 ms, 1.09 cores in use on average`.
    pub fn title(&self) -> String {
        let mut pids: Vec<u32> = self.lanes.iter().map(|lane| lane.pid).collect();
        pids.dedup();
        let cpu = self.cpu.unwrap_or_else(|| self.cpu_of_lanes());
        format!(
            "{} in {}, wall {}, CPU {}, {:.2} cores in use on average",
            text::count(self.lanes.len(), "thread", "threads"),
            text::count(pids.len(), "process", "processes"),
            text::time(self.wall),
            text::time(cpu),
            cpu.as_secs_f64() / self.wall.as_secs_f64()
        )
    }

    /// Says so when the lanes miss more of the CPU time than can be overlooked.
    pub fn note(&self) -> Option<String> {
        let share = self.cpu_of_lanes().as_secs_f64() / self.cpu?.as_secs_f64();
        (share < 0.95).then(|| {
            format!(
                "The lanes show {:.0} % of the CPU time; the rest was used by threads, or in \
                 their last moments, too short to be sampled.",
                share * 100.0
            )
        })
    }

    fn cpu_of_lanes(&self) -> Duration {
        self.lanes.iter().map(Lane::cpu).sum()
    }

    pub fn cores_in_use(&self, from: Duration, to: Duration) -> f64 {
        let cpu: Duration = self
            .lanes
            .iter()
            .map(|lane| cpu_between(lane, from, to))
            .sum();
        cpu.as_secs_f64() / (to - from).as_secs_f64()
    }

    /// The most cores that the picture has to show.
    pub fn most_cores(&self, cells: usize) -> usize {
        let most = self
            .cells(cells)
            .map(|(from, to)| self.cores_in_use(from, to));
        self.cores.max(most.fold(0.0, f64::max).round() as usize)
    }

    /// The run cut into `count` equal cells.
    pub fn cells(&self, count: usize) -> impl Iterator<Item = (Duration, Duration)> + use<> {
        let wall = self.wall;
        let edge = move |n: usize| wall.mul_f64(n as f64 / count as f64);
        (0..count).map(move |n| (edge(n), edge(n + 1).max(edge(n) + Duration::from_nanos(1))))
    }

    /// The times to be written at the axis, not more than `most`.
    pub fn ticks(&self, most: usize) -> Vec<Duration> {
        let rough = self.wall.as_secs_f64() / most.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let last = (self.wall.as_secs_f64() / step) as usize;
        (0..=last)
            .map(|n| Duration::from_secs_f64(n as f64 * step))
            .collect()
    }
}

impl<'a> Row<'a> {
    fn of(lanes: &'a [Lane]) -> Row<'a> {
        let lane = &lanes[0];
        let label = format!(
            "{} {}/{}",
            text::harmless(lane.name.as_bytes()),
            lane.pid,
            lane.tid
        );
        Row { label, lanes }
    }

    /// The process of this row, if it is one thread.
    pub fn pid(&self) -> Option<u32> {
        (self.lanes.len() == 1).then(|| self.lanes[0].pid)
    }

    /// 0 for alive and waiting to 4 for busy nearly all of the cell; None for not alive.
    pub fn shade(&self, from: Duration, to: Duration) -> Option<usize> {
        let alive = |lane: &&Lane| lane.start() < to && lane.end() > from;
        let count = self.lanes.iter().filter(alive).count();
        let cpu: Duration = self
            .lanes
            .iter()
            .map(|lane| cpu_between(lane, from, to))
            .sum();
        let share = cpu.as_secs_f64() / (to - from).as_secs_f64() / count as f64;
        match share {
            _ if count == 0 => None,
            ..0.005 => Some(0),
            share => Some((share * 4.0).ceil().min(4.0) as usize),
        }
    }

    /// CPU time, busy share and lifetime.
    pub fn summary(&self) -> [String; 3] {
        let cpu: Duration = self.lanes.iter().map(Lane::cpu).sum();
        let life: Duration = self
            .lanes
            .iter()
            .map(|lane| lane.end() - lane.start())
            .sum();
        let share = cpu.as_secs_f64() / life.as_secs_f64().max(1e-9) * 100.0;
        [
            text::time(cpu),
            format!("{:.0} %", share.min(100.0)),
            text::time(life),
        ]
    }
}

fn cpu_between(lane: &Lane, from: Duration, to: Duration) -> Duration {
    lane.cpu_at(to).saturating_sub(lane.cpu_at(from))
}

/// The picture as lines of at most `width` characters.
pub fn to_text(chart: &Chart, name: &str, width: usize) -> String {
    let bars = format!("cores, █ = {}", chart.most_cores(1));
    let longest = chart.rows.iter().map(|row| row.label.chars().count()).max();
    let label_width = longest
        .unwrap_or(0)
        .max(bars.chars().count())
        .min(width / 2);
    let figures = chart.rows.iter().map(|row| figures(row.summary()));
    let beside = width.saturating_sub(label_width + 1 + FIGURES.chars().count());
    let (cells, beside) = match beside {
        NARROWEST.. => (beside, true),
        _ => (width.saturating_sub(label_width + 1).max(10), false),
    };
    let line = |label: &str, cells: &str, figures: &str| {
        let label = shortened(label, label_width);
        let figures = if beside { figures } else { "" };
        format!("{label:<label_width$} {cells}{figures}")
            .trim_end()
            .to_string()
            + "\n"
    };
    let most = chart.most_cores(cells);
    let bar = |(from, to)| {
        let eighths = (chart.cores_in_use(from, to) / most as f64 * 8.0).ceil();
        BARS[eighths.clamp(0.0, 8.0) as usize]
    };
    let bars: String = chart.cells(cells).map(bar).collect();
    let mut text = wrapped(&format!("{name}: {}", chart.title()), width) + "\n";
    text += &line(&format!("cores, █ = {most}"), &bars, FIGURES);
    for (row, figures) in chart.rows.iter().zip(figures.clone()) {
        let shade = |(from, to)| row.shade(from, to).map_or(' ', |shade| SHADES[shade]);
        text += &line(
            &row.label,
            &chart.cells(cells).map(shade).collect::<String>(),
            &figures,
        );
    }
    text += &line("", &axis(chart, cells), "");
    text += &format!("\n{}", wrapped(LEGEND, width));
    if let Some(note) = chart.note() {
        text += &wrapped(&note, width);
    }
    if !beside {
        text += &format!("\n{:<label_width$}{FIGURES}\n", "");
        for (row, figures) in chart.rows.iter().zip(figures) {
            let label = shortened(&row.label, label_width);
            text += &format!("{label:<label_width$}{figures}\n");
        }
    }
    text
}

const LEGEND: &str = "blank: not alive, ·: waiting, ░▒▓█: up to 25, 50, 75, 100 % on a CPU";
const FIGURES: &str = "     CPU  busy    alive";

fn figures([cpu, share, life]: [String; 3]) -> String {
    format!(" {cpu:>7} {share:>5}  {life:>7}")
}

/// The time axis: each tick at its cell, with its time behind it.
fn axis(chart: &Chart, cells: usize) -> String {
    let mut axis = String::new();
    for tick in chart.ticks(cells / 9) {
        let cell = (tick.as_secs_f64() / chart.wall.as_secs_f64() * cells as f64) as usize;
        let label = format!("╵{}", tick_label(tick));
        let length = axis.chars().count();
        if cell >= length && cell + label.chars().count() <= cells {
            axis += &" ".repeat(cell - length);
            axis += &label;
        }
    }
    format!("{axis:<cells$}")
}

pub fn tick_label(tick: Duration) -> String {
    let seconds = tick.as_secs_f64();
    match seconds {
        0.0 => "0".to_string(),
        1.0.. => format!("{} s", (seconds * 1000.0).round() / 1000.0),
        0.001.. => format!("{} ms", (seconds * 1e6).round() / 1000.0),
        _ => format!("{} µs", (seconds * 1e9).round() / 1000.0),
    }
}

fn wrapped(text: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines += "\n";
            used = 0;
        }
        if used > 0 {
            lines += " ";
            used += 1;
        }
        lines += word;
        used += length;
    }
    lines + "\n"
}

fn shortened(label: &str, width: usize) -> String {
    match label.chars().count() > width {
        true => label
            .chars()
            .take(width.saturating_sub(1))
            .chain(['…'])
            .collect(),
        false => label.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Point;

    /// A thread that waits first and is busy then.
    fn lane(tid: u32, points: &[(u64, u64)]) -> Lane {
        let point = |(at, cpu): &(u64, u64)| Point {
            at: Duration::from_millis(*at),
            cpu: Duration::from_millis(*cpu),
        };
        Lane {
            name: "worker".to_string(),
            pid: 7,
            tid,
            points: points.iter().map(point).collect(),
        }
    }

    #[test]
    fn cells_show_not_alive_waiting_and_busy() {
        let lanes = [lane(8, &[(25, 0), (50, 0), (75, 25)])];
        let chart = Chart::new(&lanes, Duration::from_millis(100), None);
        let shades: Vec<_> = chart
            .cells(4)
            .map(|(a, b)| chart.rows[0].shade(a, b))
            .collect();
        assert_eq!(shades, [None, Some(0), Some(4), None]);
        let text = to_text(&chart, "it", 80);
        assert!(text.contains("worker 7/8"), "{text}");
        assert!(text.contains("25.0 ms  50 %  50.0 ms"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_asked_for() {
        let lanes = [
            lane(8, &[(0, 0), (100, 25)]),
            lane(1_234_567, &[(0, 0), (75, 25)]),
        ];
        let chart = Chart::new(&lanes, Duration::from_millis(100), None);
        for width in [40, 60, 80, 200] {
            let text = to_text(&chart, "it", width);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest.unwrap() <= width, "{widest:?} in\n{text}");
        }
    }

    #[test]
    fn lanes_beyond_sixty_are_merged() {
        let lanes: Vec<Lane> = (0..70).map(|tid| lane(tid, &[(0, 0), (100, 50)])).collect();
        let chart = Chart::new(&lanes, Duration::from_millis(100), None);
        assert_eq!(chart.rows.len(), 60);
        assert_eq!(chart.rows[59].label, "11 more threads");
        assert_eq!(chart.rows[59].shade(Duration::ZERO, chart.wall), Some(2));
    }

    #[test]
    fn ticks_are_round_numbers() {
        let chart = Chart::new(&[], Duration::from_millis(730), None);
        let ticks: Vec<String> = chart.ticks(5).into_iter().map(tick_label).collect();
        assert_eq!(ticks, ["0", "200 ms", "400 ms", "600 ms"]);
    }
}
