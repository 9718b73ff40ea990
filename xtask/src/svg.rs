//! The picture of a run as SVG, for a file of its own or inside a page.

use std::fmt::Write;

use crate::lanes::{Chart, Row, tick_label};

/// Colours for light and dark surroundings. A page that holds several pictures has this once.
pub const STYLE: &str = "\
.trace { --ink: #1f2328; --dim: #6a737d; --rule: #e3e6ea; --s0: #c3cad2;
  --s1: #b6d4f2; --s2: #75aee6; --s3: #2f7fd0; --s4: #0a4a94 }
@media (prefers-color-scheme: dark) { .trace { --ink: #e6edf3; --dim: #9198a1; --rule: #2a3038;
  --s0: #555e69; --s1: #1d456e; --s2: #2a6fb5; --s3: #58a6ff; --s4: #cfe6ff } }
.trace { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: var(--ink) }
.trace .dim { fill: var(--dim) } .trace .title { font-size: 14px; font-weight: 600 }
.trace .rule { stroke: var(--rule) } .trace .end { text-anchor: end }
.trace .s0 { fill: var(--s0) } .trace .s1 { fill: var(--s1) } .trace .s2 { fill: var(--s2) }
.trace .s3 { fill: var(--s3) } .trace .s4 { fill: var(--s4) }
";

const WIDTH: usize = 1000;
const LEFT: usize = 246;
const PLOT: usize = 560;
/// Each cell is two units wide.
const CELLS: usize = PLOT / 2;
const ROW: usize = 20;
const BARS: usize = 44;
const TOP: usize = 64;

/// A file of its own.
pub fn document(chart: &Chart, name: &str) -> String {
    let surface = "svg.trace { background: #fff } \
        @media (prefers-color-scheme: dark) { svg.trace { background: #0d1117 } }\n";
    let style = format!("<style>\n{STYLE}{surface}</style>\n");
    picture(chart, &format!("{name}: {}", chart.title()), &style)
}

/// A part of a page that has `STYLE`.
pub fn inline(chart: &Chart) -> String {
    picture(chart, &chart.title(), "")
}

fn picture(chart: &Chart, title: &str, style: &str) -> String {
    let rows = placed(chart);
    let bottom = rows.last().map_or(TOP + BARS, |(y, _)| y + ROW) + 8;
    let height = bottom + if chart.note().is_some() { 80 } else { 58 };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"trace\" role=\"img\" \
         viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n{style}"
    );
    let title = escaped(title);
    put(&mut out, format_args!("<title>{title}</title>"));
    put(
        &mut out,
        format_args!("<text class=\"title\" x=\"16\" y=\"28\">{title}</text>"),
    );
    heads(&mut out);
    axis(&mut out, chart, bottom);
    cores(&mut out, chart);
    for (y, row) in rows {
        lane(&mut out, chart, row, y);
    }
    legend(&mut out, bottom + 44);
    if let Some(note) = chart.note() {
        let y = bottom + 66;
        put(
            &mut out,
            format_args!("<text class=\"dim\" x=\"16\" y=\"{y}\">{note}</text>"),
        );
    }
    out + "</svg>\n"
}

/// Each row with its place, and a gap where another process begins.
fn placed<'a>(chart: &'a Chart) -> Vec<(usize, &'a Row<'a>)> {
    let mut y = TOP + BARS + 12;
    let mut before = chart.rows.first().and_then(Row::pid);
    let place = |row: &'a Row<'a>| {
        if row.pid() != before {
            before = row.pid();
            y += 8;
        }
        y += ROW;
        (y - ROW, row)
    };
    chart.rows.iter().map(place).collect()
}

const COLUMNS: [(usize, &str); 3] = [(868, "CPU"), (916, "busy"), (984, "alive")];

fn heads(out: &mut String) {
    let y = TOP + BARS;
    for (x, head) in COLUMNS {
        put(
            out,
            format_args!("<text class=\"dim end\" x=\"{x}\" y=\"{y}\">{head}</text>"),
        );
    }
}

fn axis(out: &mut String, chart: &Chart, bottom: usize) {
    for tick in chart.ticks(7) {
        let part = tick.as_secs_f64() / chart.wall.as_secs_f64();
        let x = LEFT as f64 + part * PLOT as f64;
        let label = tick_label(tick);
        put(
            out,
            format_args!(
                "<path class=\"rule\" d=\"M{x:.1} {TOP}V{bottom}\"/>\
             <text class=\"dim\" x=\"{x:.1}\" y=\"{}\">{label}</text>",
                bottom + 14
            ),
        );
    }
}

/// Cores in use, as bars on a line.
fn cores(out: &mut String, chart: &Chart) {
    let most = chart.most_cores(CELLS);
    let base = TOP + BARS;
    let mut path = format!("M{LEFT} {base}");
    for (n, (from, to)) in chart.cells(CELLS).enumerate() {
        let share = chart.cores_in_use(from, to) / most as f64;
        let y = base as f64 - share.min(1.0) * BARS as f64;
        let _ = write!(path, "L{} {y:.1}h2", LEFT + 2 * n);
    }
    let label = LEFT - 8;
    put(
        out,
        format_args!(
            "<text x=\"16\" y=\"{}\">cores in use</text>",
            TOP + BARS / 2 + 4
        ),
    );
    put(
        out,
        format_args!(
            "<text class=\"dim end\" x=\"{label}\" y=\"{}\">{most}</text>",
            TOP + 8
        ),
    );
    put(
        out,
        format_args!("<text class=\"dim end\" x=\"{label}\" y=\"{base}\">0</text>"),
    );
    put(
        out,
        format_args!("<path class=\"s3\" d=\"{path}V{base}Z\"/>"),
    );
    put(
        out,
        format_args!("<path class=\"rule\" d=\"M{LEFT} {base}h{PLOT}\"/>"),
    );
}

fn lane(out: &mut String, chart: &Chart, row: &Row, y: usize) {
    let text = y + 14;
    let label = escaped(&row.label);
    let figures = row.summary();
    put(
        out,
        format_args!(
            "<g><title>{label}: CPU {}, {} of {}</title><text x=\"16\" y=\"{text}\">{label}</text>",
            figures[0], figures[1], figures[2]
        ),
    );
    for (shade, path) in paths(chart, row, y).iter().enumerate() {
        if !path.is_empty() {
            put(out, format_args!("<path class=\"s{shade}\" d=\"{path}\"/>"));
        }
    }
    for ((x, _), figure) in COLUMNS.iter().zip(figures) {
        put(
            out,
            format_args!("<text class=\"end\" x=\"{x}\" y=\"{text}\">{figure}</text>"),
        );
    }
    put(out, format_args!("</g>"));
}

/// One path per shade: a thin line for waiting, full boxes for busy; equal cells are joined.
fn paths(chart: &Chart, row: &Row, y: usize) -> [String; 5] {
    let shades: Vec<Option<usize>> = chart.cells(CELLS).map(|(a, b)| row.shade(a, b)).collect();
    let mut paths: [String; 5] = Default::default();
    let mut x = LEFT;
    for run in shades.chunk_by(|a, b| a == b) {
        let width = 2 * run.len();
        if let Some(shade) = run[0] {
            let (top, height) = if shade == 0 { (y + 8, 4) } else { (y + 3, 14) };
            let _ = write!(paths[shade], "M{x} {top}h{width}v{height}h-{width}Z");
        }
        x += width;
    }
    paths
}

fn legend(out: &mut String, y: usize) {
    let words = [
        "waiting",
        "up to 25 %",
        "50 %",
        "75 %",
        "100 % of the time on a CPU",
    ];
    let mut x = LEFT;
    put(
        out,
        format_args!("<text class=\"dim\" x=\"16\" y=\"{y}\">nothing: not alive</text>"),
    );
    for (shade, word) in words.iter().enumerate() {
        let (top, height) = if shade == 0 { (y - 7, 4) } else { (y - 12, 14) };
        put(
            out,
            format_args!(
                "<rect class=\"s{shade}\" x=\"{x}\" y=\"{top}\" width=\"20\" height=\"{height}\"/>\
             <text class=\"dim\" x=\"{}\" y=\"{y}\">{word}</text>",
                x + 26
            ),
        );
        x += 26 + 8 * word.len() + 18;
    }
}

fn put(out: &mut String, line: std::fmt::Arguments) {
    let _ = writeln!(out, "{line}"); // writing to a String cannot fail
}

/// Text as it may stand in HTML and XML.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            c => safe.push(c),
        }
    }
    safe
}
