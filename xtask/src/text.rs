//! How figures and other people's output are shown.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whether the output on this terminal, or not terminal, is to be coloured.
pub fn colour(terminal: bool) -> bool {
    let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    terminal && !unwanted && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

pub fn green(text: &str, colour: bool) -> String {
    painted(text, "32", colour)
}

pub fn red(text: &str, colour: bool) -> String {
    painted(text, "31", colour)
}

fn painted(text: &str, code: &str, colour: bool) -> String {
    match colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_string(),
    }
}

/// Three digits and a unit: `2.13 ms`, `21.3 ms`, `213 ms`, `2.13 s`.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.9995.. => format!("{} s", digits(seconds)),
        0.000_999_5.. => format!("{} ms", digits(seconds * 1e3)),
        _ => format!("{:.0} µs", seconds * 1e6),
    }
}

pub fn memory(kb: u64) -> String {
    match kb as f64 {
        kb if kb < 1024.0 => format!("{kb} kB"),
        kb if kb < 1_048_064.0 => format!("{} MB", digits(kb / 1024.0)),
        kb => format!("{} GB", digits(kb / 1_048_576.0)),
    }
}

fn digits(number: f64) -> String {
    match number {
        99.95.. => format!("{number:.0}"),
        9.995.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Text of a program, without anything that would move the cursor or change colours.
pub fn harmless(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => drop(chars.find(|c| c.is_ascii_alphabetic())),
            '\n' | '\t' => clean.push(c),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// Now, as `2026-08-24 12:30:05 UTC`.
pub fn date() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of the day that is `days` after 1970-01-01. The year begins in March here,
/// which puts the leap day at its end.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01 on
    let era = days / 146_097; // 400 years
    let day = days % 146_097;
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let civil_month = if month < 10 { month + 3 } else { month - 9 };
    (
        era * 400 + year + u64::from(civil_month <= 2),
        civil_month,
        day - (153 * month + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let shown = [0.000_25, 0.002_134, 0.0213, 0.2134, 0.9996, 2.134, 60.0]
            .map(|seconds| time(Duration::from_secs_f64(seconds)));
        let wanted = [
            "250 µs", "2.13 ms", "21.3 ms", "213 ms", "1.00 s", "2.13 s", "60.0 s",
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn memory_has_three_digits_and_a_unit() {
        assert_eq!(
            [512, 2048, 204_800, 2_097_152].map(memory),
            ["512 kB", "2.00 MB", "200 MB", "2.00 GB"]
        );
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_513), (2026, 3, 1));
        assert_eq!(civil(20_512), (2026, 2, 28));
    }

    #[test]
    fn output_of_a_program_cannot_control_the_terminal() {
        assert_eq!(
            harmless(b"\x1b[31mred\x1b[0m\ttab\rback\x07\xff"),
            "red\ttabback\u{fffd}"
        );
    }
}
