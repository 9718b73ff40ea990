//! An item, what is done with it, and what can be wrong with it.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::error::Error;
use std::fmt;

/// Longer lines are failed items: the bound of what a full queue holds in memory.
pub const LONGEST_LINE: usize = 64 * 1024;

/// What is wrong with an item is said in so many characters.
const LONGEST_REASON: usize = 200;

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// 1, 2, 3, … in the order of the input.
    pub number: u64,
    /// When the source had it, in nanoseconds since the start.
    pub taken: u64,
    pub payload: Payload,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Made by the generator.
    Value(i64),
    /// A line of the input, not looked at yet: that is the workers' job.
    Line(Vec<u8>),
    /// A line of so many bytes, which were not kept.
    TooLong(u64),
    /// Made by the generator: the transformation panics over it.
    Trap,
}

/// The transformation: `value * 2`, for an object with a `"value"` that is a 64-bit integer.
pub fn transform(item: &Item) -> Result<i64, Failure> {
    let value = match &item.payload {
        Payload::Value(value) => *value,
        Payload::Line(line) => parse(line)?,
        Payload::TooLong(length) => return Err(Failure::TooLong(*length)),
        Payload::Trap => panic!("nobody had thought of an item like this"),
    };
    // `value * 2` would wrap around silently in a release build.
    value.checked_mul(2).ok_or(Failure::Overflow(value))
}

fn parse(line: &[u8]) -> Result<i64, Failure> {
    #[derive(Deserialize)]
    struct Shape {
        value: Option<i64>,
    }
    // The parser does not look into text that it skips, and the line will be printed again.
    let text = str::from_utf8(line).map_err(|error| Failure::NotUtf8(error.valid_up_to()))?;
    // A derived struct can be read from an array, too: [21] would be a value.
    let is_object = text.trim_start().starts_with('{');
    match serde_json::from_str::<Shape>(text) {
        Ok(Shape { value: Some(value) }) if is_object => Ok(value),
        Ok(_) if is_object => Err(Failure::NoValue),
        Err(_) if is_object && is_minus_zero(text) => Ok(0),
        Err(error) if is_object || !error.is_data() => Err(Failure::Json(error)),
        _ => Err(Failure::NotAnObject),
    }
}

/// The parser takes -0 for a floating point number, because only those have one.
fn is_minus_zero(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(borrow)]
        value: &'a RawValue,
    }
    serde_json::from_str::<Shape>(text).is_ok_and(|shape| shape.value.get() == "-0")
}

#[derive(Debug)]
pub enum Failure {
    NotUtf8(usize),
    Json(serde_json::Error),
    NotAnObject,
    NoValue,
    Overflow(i64),
    TooLong(u64),
    Panicked(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::NotUtf8(valid) => write!(f, "not UTF-8 after {valid} bytes"),
            Failure::Json(error) => {
                // "at line 1" would be read as a line of the input, and what it quotes may be long.
                let text = error.to_string();
                let text = text.split(" at line 1 column ").next().unwrap_or_default();
                let (cut, dots) = match text.char_indices().nth(LONGEST_REASON) {
                    Some((end, _)) => (&text[..end], "..."),
                    None => (text, ""),
                };
                let kind = if error.is_data() {
                    "unknown shape"
                } else {
                    "not JSON"
                };
                write!(f, "{kind}: {cut}{dots} at column {}", error.column())
            }
            Failure::NotAnObject => write!(f, "unknown shape: not an object"),
            Failure::NoValue => write!(f, "unknown shape: no \"value\""),
            Failure::Overflow(value) => write!(f, "{value} * 2 does not fit into 64 bits"),
            Failure::TooLong(length) => {
                write!(f, "a line of {length} bytes, more than {LONGEST_LINE}")
            }
            Failure::Panicked(message) => write!(f, "its worker panicked: {message}"),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn transformed(line: &str) -> Result<i64, String> {
        let payload = Payload::Line(line.as_bytes().to_vec());
        let item = Item {
            number: 1,
            taken: 0,
            payload,
        };
        transform(&item).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_value_is_doubled() {
        assert_eq!(transformed(r#"{"id": 7, "value": 21}"#), Ok(42));
        assert_eq!(
            transformed(" {\"value\":-3,\"more\":[{\"value\":1}]} \r"),
            Ok(-6)
        );
        assert_eq!(
            transformed(r#"{"value": -4611686018427387904}"#),
            Ok(i64::MIN)
        );
    }

    #[test]
    fn minus_zero_is_zero_and_no_float_is() {
        assert_eq!(transformed(r#"{"value": -0}"#), Ok(0));
        assert_eq!(transformed(r#"{"value":-0 , "id": [1.5]}"#), Ok(0));
        for line in [
            r#"{"value": -0.0}"#,
            r#"{"value": -1e-400}"#,
            r#"{"value": -0, "value": 1}"#,
            r#"{"value": -0} x"#,
            r#"[-0]"#,
        ] {
            assert!(transformed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn unknown_shapes_say_what_is_wrong() {
        for (line, expected) in [
            ("{}", "unknown shape: no \"value\""),
            (r#"{"value": null}"#, "unknown shape: no \"value\""),
            (r#""value""#, "unknown shape: not an object"),
            ("17", "unknown shape: not an object"),
            ("[21]", "unknown shape: not an object"),
            ("[]", "unknown shape: not an object"),
            ("null", "unknown shape: not an object"),
            (
                r#"{"value": "21"}"#,
                "unknown shape: invalid type: string \"21\", expected i64 at column 14",
            ),
            (
                r#"{"value": 2.5}"#,
                "unknown shape: invalid type: floating point `2.5`, expected i64 at column 13",
            ),
            (
                r#"{"value": 1, "value": 2}"#,
                "unknown shape: duplicate field `value` at column 20",
            ),
        ] {
            assert_eq!(transformed(line), Err(expected.to_string()), "{line}");
        }
    }

    #[test]
    fn the_reason_is_short_however_long_the_item_is() {
        let line = format!("{{\"value\": \"{}\"}}", "\u{1F980}".repeat(10_000));
        let error = transformed(&line).unwrap_err();
        let begin = "unknown shape: invalid type: string \"\u{1F980}";
        assert!(error.starts_with(begin), "{error}");
        assert!(error.ends_with("\u{1F980}... at column 40012"), "{error}");
        assert!(error.chars().count() < 240, "{error}");
    }

    #[test]
    fn broken_json_is_an_error_with_its_column() {
        for line in [
            "{",
            "{\"value\": 1",
            "{\"value\": 1} x",
            "nul",
            "{'value': 1}",
            "[1",
        ] {
            let error = transformed(line).unwrap_err();
            assert!(
                error.starts_with("not JSON: ") && error.contains(" at column "),
                "{error}"
            );
        }
    }

    #[test]
    fn a_product_beyond_64_bits_is_an_error_and_not_another_number() {
        let error = transformed(r#"{"value": 4611686018427387904}"#).unwrap_err();
        assert_eq!(error, "4611686018427387904 * 2 does not fit into 64 bits");
        let error = transformed(r#"{"value": 18446744073709551615}"#).unwrap_err();
        assert!(error.starts_with("unknown shape: invalid value"), "{error}");
    }

    #[test]
    fn ten_thousand_brackets_are_no_stack_overflow() {
        let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
        // What is not asked for is passed over without recursion.
        assert_eq!(
            transformed(&format!("{{\"x\": {open}{close}, \"value\": 1}}")),
            Ok(2)
        );
        for line in [
            format!("{{\"x\": {open}"),
            format!("{{\"value\": {open}{close}}}"),
            open,
        ] {
            assert!(transformed(&line).is_err());
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_also_where_nobody_looks() {
        let line = b"{\"name\": \"\xff\", \"value\": 1}".to_vec();
        let item = Item {
            number: 1,
            taken: 0,
            payload: Payload::Line(line),
        };
        assert_eq!(
            transform(&item).unwrap_err().to_string(),
            "not UTF-8 after 10 bytes"
        );
    }
}
