//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! Text from elsewhere, for a line on a terminal: what would steer the terminal is not passed on,
//! nor what turns the direction of reading around or begins another line.

use std::fmt;

pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut parts = self.0.split(steers);
        f.write_str(parts.next().unwrap_or_default())?;
        parts.try_for_each(|part| write!(f, "\u{fffd}{part}"))
    }
}

/// Control characters, ends of lines and paragraphs, and the marks of bidirectional text.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_replaced_and_nothing_else() {
        let text = "a\u{1b}[31m\u{9b}1m\r\n\u{202e}\u{2069}\u{200f}\u{2029}b";
        let shown = "a\u{fffd}[31m\u{fffd}1m\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}b";
        assert_eq!(Shown(text).to_string(), shown);
        let text = "\u{5d0}\u{e9} e\u{301} \u{1f980}\u{200d}\u{a0}\"\\";
        assert_eq!(Shown(text).to_string(), text);
        assert_eq!(Shown("").to_string(), "");
    }
}
