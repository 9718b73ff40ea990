//! One clock for latencies, which never go back, and for time stamps, which people read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy)]
pub struct Clock {
    start: Instant,
    wall: Duration,
}

impl Clock {
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Clock {
            start: Instant::now(),
            wall: since_epoch.unwrap_or_default(),
        }
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    pub fn instant(&self, after: Duration) -> Instant {
        self.start + after
    }

    fn since_epoch(&self, now: u64) -> Duration {
        self.wall + Duration::from_nanos(now)
    }
}

/// Writes times as `2026-11-21T10:07:18.123456Z`.
///
/// Most come within the second of the one before: the calendar is asked once a second.
pub struct Stamps {
    clock: Clock,
    second: u64,
    text: String,
}

impl Stamps {
    pub fn new(clock: Clock) -> Self {
        Stamps {
            clock,
            second: 0,
            text: to_the_second(0),
        }
    }

    pub fn write(&mut self, now: u64, text: &mut Vec<u8>) {
        let time = self.clock.since_epoch(now);
        if time.as_secs() != self.second {
            self.second = time.as_secs();
            self.text = to_the_second(self.second);
        }
        text.extend_from_slice(self.text.as_bytes());
        let mut micros = time.subsec_micros();
        let mut digits = *b".000000Z";
        for digit in digits[1..7].iter_mut().rev() {
            *digit += (micros % 10) as u8;
            micros /= 10;
        }
        text.extend_from_slice(&digits);
    }
}

fn to_the_second(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Days since 1 January 1970 as a date. Years are counted from March, so that the leap day is the
/// last one, in cycles of 400 years, which all have 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, of_cycle) = (days / 146_097, days % 146_097);
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = cycle * 400 + year + u64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checked against `date -u -d @SECONDS`.
    #[test]
    fn stamps_are_what_the_calendar_says() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(stamp(Duration::from_secs(seconds), 0), expected);
        }
        let just_before = Duration::new(59, 999_998_000);
        assert_eq!(stamp(just_before, 1_999), "1970-01-01T00:00:59.999999Z");
        assert_eq!(stamp(just_before, 2_000), "1970-01-01T00:01:00.000000Z");
    }

    fn stamp(wall: Duration, now: u64) -> String {
        let start = Instant::now();
        let mut text = Vec::new();
        Stamps::new(Clock { start, wall }).write(now, &mut text);
        String::from_utf8(text).unwrap()
    }
}
