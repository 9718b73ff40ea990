//! Checks JSON as it streams by and counts the elements of a top-level array.
//!
//! No value is ever built and no text kept: a window of 32 KiB slides over the input, whatever the
//! sizes of the file, its lines and its strings. Each window is read twice.
//!
//! 1. `Scanner::index` looks at 64 bytes at a time. One comparison answers for 16, 32 or 64 bytes
//!    at once, so a block becomes five masks of 64 bits: where are quotes, backslashes, control
//!    characters, `{}[],:` and spaces? From them a few shifts and a carry to the next block tell
//!    what lies inside strings. What is left are the places where a token starts.
//! 2. `Scanner::walk` goes from token to token and checks the grammar. It never looks into strings.
//!
//! That is the idea of simdjson (Langdale and Lemire, "Parsing Gigabytes of JSON per Second"),
//! without its tree of values, and with a window in place of the whole file. serde_json checks as
//! well, but takes a stream byte by byte; the ports of simdjson need the whole file in memory.
//! `fearless_simd` picks the widest instructions that this processor has, with nothing unsafe on
//! our side; `simdutf8` and `memchr` do so for UTF-8 and line ends.
//!
//! Accepted is exactly the grammar of RFC 8259 in valid UTF-8 without a byte order mark. Lone
//! surrogates (`"\ud800"`) are within that grammar and pass, as in Python. Two limits are ours:
//! `MAX_DEPTH` levels of nesting, and numbers shorter than a window.

use std::fmt;
use std::io::{self, ErrorKind, Read};

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x64};
use memchr::{memchr_iter, memrchr};
use simdutf8::compat::from_utf8;

/// Deeper nesting is an error, not a stack overflow: the stack is a vector of this many bytes.
pub const MAX_DEPTH: usize = 65_536;

const WINDOW: usize = 32 * 1024;
const BLOCK: usize = 64;

/// What was found in a valid document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Elements of a top-level array; 1 for any other value.
    pub records: u64,
    pub bytes: u64,
}

#[derive(Debug)]
pub enum ScanError {
    Read(io::Error),
    Invalid(Fault),
}

/// The first byte that no valid document could have here. Line and column count from 1, the column
/// in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub problem: Problem,
    pub offset: u64,
    pub line: u64,
    pub column: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    Empty,
    ByteOrderMark,
    EndOfFile,
    EndInString,
    NotUtf8,
    ControlCharacter,
    Escape,
    Value,
    Number,
    Literal,
    Key,
    Colon,
    CommaOrBracket,
    CommaOrBrace,
    AfterTheEnd,
    TooDeep,
    TooLong,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Problem::Empty => "the file is empty",
            Problem::ByteOrderMark => "a byte order mark before the JSON text (save without BOM)",
            Problem::EndOfFile => "the file ends too early",
            Problem::EndInString => "the file ends inside a string",
            Problem::NotUtf8 => "not valid UTF-8",
            Problem::ControlCharacter => "a control character inside a string",
            Problem::Escape => "an escape that JSON does not know",
            Problem::Value => "a value was expected",
            Problem::Number => "not a valid number",
            Problem::Literal => "a value that is none of true, false, null",
            Problem::Key => "a key in quotes was expected",
            Problem::Colon => "':' was expected",
            Problem::CommaOrBracket => "',' or ']' was expected",
            Problem::CommaOrBrace => "',' or '}' was expected",
            Problem::AfterTheEnd => "more text after the end of the value",
            Problem::TooDeep => return write!(f, "nested deeper than {MAX_DEPTH} levels"),
            Problem::TooLong => return write!(f, "a number longer than {WINDOW} bytes"),
        })
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ScanError::Read(error) => error.fmt(f),
            ScanError::Invalid(fault) => {
                write!(
                    f,
                    "line {}, column {}: {}",
                    fault.line, fault.column, fault.problem
                )
            }
        }
    }
}

impl std::error::Error for ScanError {}

/// Why the walk stops: `usize` is a place in the buffer.
enum Stop {
    Read(io::Error),
    At(usize, Problem),
}

/// Keep one per thread and use it again: it owns the buffers, about 400 KiB.
pub struct Scanner {
    window: usize,
    /// Which instructions this processor has.
    level: Level,
    /// `buffer[..filled]` are bytes of the file, `buffer[..indexed]` have been through `index`.
    buffer: Vec<u8>,
    filled: usize,
    indexed: usize,
    /// `buffer[..checked]` is valid UTF-8.
    checked: usize,
    /// Where tokens start; the walk may go as far as `tokens[..ready]`.
    tokens: Vec<u32>,
    found: usize,
    ready: usize,
    /// The last token stands for the end of the input, or for a fault that `index` has found.
    ended: bool,
    fault: Option<Problem>,
    carry: Carry,
    /// For each level of nesting: was it an object?
    levels: Vec<bool>,
    /// What has left the buffer: bytes, line ends, and the offset behind the last line end.
    base: u64,
    lines: u64,
    line_start: u64,
}

/// What one block of 64 bytes tells the next; each is a mask to be joined with its lowest bits.
#[derive(Clone, Copy, Default)]
struct Carry {
    /// All ones inside a string.
    in_string: u64,
    /// The first byte is escaped by a backslash.
    escaped: u64,
    /// The first byte follows a byte of a number or literal.
    scalar: u64,
    /// These bytes must be the hexadecimal digits of a `\u`.
    hex: u64,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::with_window(WINDOW)
    }
}

impl Scanner {
    fn with_window(window: usize) -> Self {
        Self {
            window,
            level: Level::new(),
            // Room for a token that waits, for a window, and for the padding of the last block.
            buffer: vec![0; 2 * window + 2 * BLOCK],
            filled: 0,
            indexed: 0,
            checked: 0,
            tokens: vec![0; 2 * window + 3 * BLOCK],
            found: 0,
            ready: 0,
            ended: false,
            fault: None,
            carry: Carry::default(),
            levels: vec![false; MAX_DEPTH],
            base: 0,
            lines: 0,
            line_start: 0,
        }
    }

    /// Reads `input` to its end, or to the first fault.
    pub fn scan(&mut self, mut input: impl Read) -> Result<Count, ScanError> {
        (
            self.filled,
            self.indexed,
            self.checked,
            self.found,
            self.ready,
        ) = (0, 0, 0, 0, 0);
        (self.base, self.lines, self.line_start) = (0, 0, 0);
        (self.ended, self.fault, self.carry) = (false, None, Carry::default());
        match self.walk(&mut input) {
            Ok(records) => Ok(Count {
                records,
                bytes: self.base + self.filled as u64,
            }),
            Err(Stop::Read(error)) => Err(ScanError::Read(error)),
            Err(Stop::At(at, problem)) => Err(ScanError::Invalid(self.locate(at, problem))),
        }
    }

    /// The grammar. `token` is always a place where something starts that has to be looked at.
    fn walk(&mut self, input: &mut impl Read) -> Result<u64, Stop> {
        let mut cursor = 0;
        let mut records = 1;
        let mut depth = 0;
        let mut in_object = false;
        let mut token = self.next(input, &mut cursor)?;
        'value: loop {
            // A value begins at `token`.
            match self.buffer[token] {
                b'"' => {}
                open @ (b'{' | b'[') => {
                    if depth == MAX_DEPTH {
                        return Err(Stop::At(token, Problem::TooDeep));
                    }
                    self.levels[depth] = in_object;
                    depth += 1;
                    in_object = open == b'{';
                    token = self.next(input, &mut cursor)?;
                    if in_object {
                        if self.buffer[token] != b'}' {
                            token = self.key(input, &mut cursor, token)?;
                            continue 'value;
                        }
                    } else {
                        if self.buffer[token] != b']' {
                            continue 'value;
                        }
                        records -= u64::from(depth == 1);
                    }
                    depth -= 1;
                    in_object = self.levels[depth];
                }
                b'-' | b'0'..=b'9' => self.number(token)?,
                b't' => self.literal(token, b"true")?,
                b'f' => self.literal(token, b"false")?,
                b'n' => self.literal(token, b"null")?,
                _ => return Err(Stop::At(token, Problem::Value)),
            }
            // A value has ended, and perhaps with it one level after another.
            loop {
                token = self.next(input, &mut cursor)?;
                if depth == 0 {
                    let at_end =
                        token == self.filled && self.fault.is_none() && self.carry.in_string == 0;
                    return if at_end {
                        Ok(records)
                    } else {
                        Err(Stop::At(token, Problem::AfterTheEnd))
                    };
                }
                match (in_object, self.buffer[token]) {
                    (false, b',') => {
                        records += u64::from(depth == 1);
                        token = self.next(input, &mut cursor)?;
                        continue 'value;
                    }
                    (true, b',') => {
                        token = self.next(input, &mut cursor)?;
                        token = self.key(input, &mut cursor, token)?;
                        continue 'value;
                    }
                    (false, b']') | (true, b'}') => {}
                    (false, _) => return Err(Stop::At(token, Problem::CommaOrBracket)),
                    (true, _) => return Err(Stop::At(token, Problem::CommaOrBrace)),
                }
                depth -= 1;
                in_object = self.levels[depth];
            }
        }
    }

    /// Checks `"key":` and returns the start of its value.
    #[inline(always)]
    fn key(
        &mut self,
        input: &mut impl Read,
        cursor: &mut usize,
        token: usize,
    ) -> Result<usize, Stop> {
        if self.buffer[token] != b'"' {
            return Err(Stop::At(token, Problem::Key));
        }
        let colon = self.next(input, cursor)?;
        if self.buffer[colon] != b':' {
            return Err(Stop::At(colon, Problem::Colon));
        }
        self.next(input, cursor)
    }

    #[inline(always)]
    fn next(&mut self, input: &mut impl Read, cursor: &mut usize) -> Result<usize, Stop> {
        while *cursor == self.ready {
            self.refill(input)?;
            *cursor = 0;
        }
        let token = self.tokens[*cursor];
        *cursor += 1;
        Ok(token as usize)
    }

    /// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?` and then something that ends a number.
    #[inline(always)]
    fn number(&self, start: usize) -> Result<(), Stop> {
        let text = &self.buffer;
        let mut at = start + usize::from(text[start] == b'-');
        let whole = digits(text, at);
        if whole == 0 {
            return Err(Stop::At(at, Problem::Number));
        }
        if text[at] == b'0' && whole > 1 {
            return Err(Stop::At(at + 1, Problem::Number));
        }
        at += whole;
        if text[at] == b'.' {
            at += 1;
            let decimals = digits(text, at);
            at += decimals;
            if decimals == 0 {
                return Err(Stop::At(at, Problem::Number));
            }
        }
        if text[at] | 0x20 == b'e' {
            at += 1;
            at += usize::from(matches!(text[at], b'+' | b'-'));
            let exponent = digits(text, at);
            at += exponent;
            if exponent == 0 {
                return Err(Stop::At(at, Problem::Number));
            }
        }
        if ends_scalar(text[at]) {
            Ok(())
        } else {
            Err(Stop::At(at, Problem::Number))
        }
    }

    #[inline(always)]
    fn literal(&self, start: usize, word: &[u8]) -> Result<(), Stop> {
        let text = &self.buffer[start..];
        if text.starts_with(word) && ends_scalar(text[word.len()]) {
            return Ok(());
        }
        let same = text.iter().zip(word).take_while(|(a, b)| a == b).count();
        Err(Stop::At(start + same, Problem::Literal))
    }

    /// Slides the window: the walk has used up all tokens that were ready.
    #[cold]
    fn refill(&mut self, input: &mut impl Read) -> Result<(), Stop> {
        // A walk that went beyond the end would be a bug, and must not become an endless loop.
        assert!(!self.ended, "the end of the input is no part of any value");
        // The last token waits if it is a number or literal that may go on in the next window.
        let waiting = self.tokens[self.ready..self.found].first().copied();
        let keep = waiting.map_or(self.indexed, |token| token as usize);
        self.forget(keep);
        if let Some(token) = waiting {
            self.tokens[0] = token - keep as u32;
        }
        self.found = waiting.iter().len();
        if self.filled > self.window {
            return Err(Stop::At(0, Problem::TooLong));
        }
        let room = &mut self.buffer[self.filled..self.filled + self.window];
        let read = loop {
            match input.read(room) {
                Ok(read) => break read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Stop::Read(error)),
            }
        };
        self.filled += read;
        self.ended = read == 0;
        self.check_utf8();
        dispatch!(self.level, simd => self.index(simd));
        let waits = !self.ended && self.carry.scalar != 0 && self.carry.in_string == 0;
        self.ready = self.found - usize::from(waits);
        Ok(())
    }

    /// Drops the first bytes of the buffer, and keeps count of what is dropped.
    fn forget(&mut self, count: usize) {
        let gone = &self.buffer[..count];
        self.lines += memchr_iter(b'\n', gone).count() as u64;
        if let Some(line_end) = memrchr(b'\n', gone) {
            self.line_start = self.base + line_end as u64 + 1;
        }
        self.buffer.copy_within(count..self.filled, 0);
        self.base += count as u64;
        self.filled -= count;
        self.indexed -= count;
        self.checked -= count;
    }

    /// Extends `checked`: the bytes that are known to be UTF-8.
    fn check_utf8(&mut self) {
        if let Err(error) = from_utf8(&self.buffer[self.checked..self.filled]) {
            self.checked += error.valid_up_to();
            // Without a length the character may just go on in the next window.
            if error.error_len().is_some() || self.ended {
                self.end_at(self.checked, Problem::NotUtf8);
            }
        } else {
            self.checked = self.filled;
        }
    }

    /// A fault ends the input before the byte in question. Whatever the walk expects there, it
    /// finds the end, unless it stops before for a reason of its own.
    fn end_at(&mut self, place: usize, problem: Problem) {
        self.fault = Some(problem);
        self.ended = true;
        self.filled = place;
    }

    /// Finds the tokens of all whole blocks, at the end of the input also of the last one.
    #[inline(always)]
    fn index<S: Simd>(&mut self, simd: S) {
        if self.ended {
            self.buffer[self.filled..self.filled + 2 * BLOCK].fill(b' ');
        }
        let ready = if self.ended {
            self.filled + BLOCK - 1
        } else {
            self.checked
        };
        let blocks = (ready - self.indexed) / BLOCK;
        let (text, _) =
            self.buffer[self.indexed..self.indexed + blocks * BLOCK].as_chunks::<BLOCK>();
        let mut carry = self.carry;
        for block in text {
            let masks = Masks::of(simd, block);
            let escaped = carry.escaped(masks.backslash);
            let quote = masks.quote & !escaped;
            // From each opening quote to the byte before the closing one.
            let in_string = prefix_xor(quote) ^ carry.in_string;
            carry.in_string = ((in_string as i64) >> 63) as u64;
            let scalar = !(masks.operator | masks.space | quote);
            let scalar_start = scalar & !(scalar << 1 | carry.scalar);
            carry.scalar = scalar >> 63;
            // Behind the opening quotes, up to the closing ones.
            let hidden = in_string ^ quote;
            let mut starts = (masks.operator | quote | scalar_start) & !hidden;

            let mut wrong = masks.control & in_string;
            let mut problem = Problem::ControlCharacter;
            if escaped & in_string | carry.hex != 0 {
                let escape = carry.wrong_escapes(block, escaped & in_string);
                if escape & escape.wrapping_neg() < wrong & wrong.wrapping_neg() || wrong == 0 {
                    problem = Problem::Escape;
                }
                wrong |= escape;
            }
            if wrong != 0 {
                let place = self.indexed + wrong.trailing_zeros() as usize;
                if place < self.filled {
                    starts &= (wrong & wrong.wrapping_neg()) - 1;
                }
            }
            list(
                starts,
                self.indexed as u32,
                &mut self.tokens[self.found..self.found + BLOCK],
            );
            self.found += starts.count_ones() as usize;
            if wrong != 0 {
                let place = self.indexed + wrong.trailing_zeros() as usize;
                if place < self.filled {
                    self.end_at(place, problem);
                    break;
                }
            }
            self.indexed += BLOCK;
        }
        self.carry = carry;
        if self.ended {
            self.buffer[self.filled] = b' ';
            self.tokens[self.found] = self.filled as u32;
            self.found += 1;
        }
    }

    fn locate(&self, at: usize, problem: Problem) -> Fault {
        let offset = self.base + at as u64;
        let before = &self.buffer[..at];
        let line_start = match memrchr(b'\n', before) {
            Some(line_end) => self.base + line_end as u64 + 1,
            None => self.line_start,
        };
        let at_end = self.ended && at == self.filled;
        let problem = match self.fault {
            _ if offset == 0 && self.buffer.starts_with(b"\xef\xbb\xbf") => Problem::ByteOrderMark,
            Some(fault) if at_end => fault,
            None if at_end && offset == 0 => Problem::Empty,
            None if at_end && self.carry.in_string != 0 => Problem::EndInString,
            None if at_end => Problem::EndOfFile,
            _ => problem,
        };
        Fault {
            problem,
            offset,
            line: 1 + self.lines + memchr_iter(b'\n', before).count() as u64,
            column: offset - line_start + 1,
        }
    }
}

/// Writes the places of the set bits. Eight at a time are written whether or not there are so many,
/// which spares the processor a guess per bit; the next block overwrites what is too much.
///
/// Kept out of `index`, where the compiler turns this loop into a long row of vector instructions.
#[inline(never)]
fn list(mut bits: u64, begin: u32, slots: &mut [u32]) {
    for eight in slots.as_chunks_mut::<8>().0 {
        for slot in eight {
            *slot = begin + bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
        }
        if bits == 0 {
            break;
        }
    }
}

/// How many digits stand at `start`, eight at a time.
#[inline(always)]
fn digits(text: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        let Some(eight) = text[at..].first_chunk() else {
            return at - start;
        };
        let value = u64::from_le_bytes(*eight) ^ 0x3030_3030_3030_3030;
        // A digit is now 0 to 9; for all else the highest bit gets set.
        let other = (value.wrapping_add(0x7676_7676_7676_7676) | value) & 0x8080_8080_8080_8080;
        if other != 0 {
            return at - start + other.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
}

#[inline(always)]
fn ends_scalar(byte: u8) -> bool {
    const ENDS: [bool; 256] = {
        let mut ends = [false; 256];
        let list = b" \t\n\r{}[],:";
        let mut i = 0;
        while i < list.len() {
            ends[list[i] as usize] = true;
            i += 1;
        }
        ends
    };
    ENDS[byte as usize]
}

/// Each bit tells whether the number of bits up to it is odd: between a first and a second quote.
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

impl Carry {
    /// The bytes behind a backslash that is not itself escaped.
    #[inline(always)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        if backslash == 0 {
            return std::mem::take(&mut self.escaped);
        }
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let backslash = backslash & !self.escaped;
        let follows = backslash << 1 | self.escaped;
        // A row of backslashes that starts at an odd place: adding lets it ripple to its end.
        let odd_starts = backslash & !EVEN & !follows;
        let (ends, overflow) = odd_starts.overflowing_add(backslash);
        self.escaped = u64::from(overflow);
        (EVEN ^ (ends << 1)) & follows
    }

    /// The bytes that no escape may have here.
    #[inline(never)]
    fn wrong_escapes(&mut self, block: &[u8; BLOCK], mut escaped: u64) -> u64 {
        let mut wrong = 0;
        let mut hex = u128::from(self.hex);
        while escaped != 0 {
            let place = escaped.trailing_zeros();
            match block[place as usize] {
                b'u' => hex |= 0b1_1110 << place,
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                _ => wrong |= 1 << place,
            }
            escaped &= escaped - 1;
        }
        self.hex = (hex >> BLOCK) as u64;
        let mut hex = hex as u64;
        while hex != 0 {
            let place = hex.trailing_zeros();
            wrong |= u64::from(!block[place as usize].is_ascii_hexdigit()) << place;
            hex &= hex - 1;
        }
        wrong
    }
}

/// Bit i speaks of byte i of a block.
struct Masks {
    quote: u64,
    backslash: u64,
    /// Below 0x20.
    control: u64,
    operator: u64,
    space: u64,
}

impl Masks {
    #[inline(always)]
    fn of<S: Simd>(simd: S, block: &[u8; BLOCK]) -> Self {
        let bytes = u8x64::load_array_ref(simd, block);
        let is = |byte: u8| bytes.simd_eq(byte);
        // `[` and `{`, `]` and `}` differ by the bit 0x20 alone.
        let folded = bytes | 0x20;
        let bracket = folded.simd_eq(b'{') | folded.simd_eq(b'}');
        Masks {
            quote: is(b'"').to_bitmask(),
            backslash: is(b'\\').to_bitmask(),
            control: bytes.simd_lt(0x20).to_bitmask(),
            operator: (bracket | is(b',') | is(b':')).to_bitmask(),
            space: (is(b' ') | is(b'\n') | is(b'\r') | is(b'\t')).to_bitmask(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    /// Hands out a few bytes at a time, so that windows end at every place.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    fn scan_pieces(scanner: &mut Scanner, text: &[u8], piece: usize) -> Result<Count, Fault> {
        scanner
            .scan(Pieces(text, piece))
            .map_err(|error| match error {
                ScanError::Invalid(fault) => fault,
                ScanError::Read(error) => panic!("reading from memory fails: {error}"),
            })
    }

    fn scan(text: &[u8]) -> Result<Count, Fault> {
        scan_pieces(&mut Scanner::default(), text, usize::MAX)
    }

    /// What serde_json says; it does not check the UTF-8 of what it ignores.
    fn oracle(text: &[u8]) -> Option<u64> {
        std::str::from_utf8(text).ok()?;
        match text.iter().find(|byte| !b" \t\r\n".contains(byte)) {
            Some(b'[') => serde_json::from_slice::<Vec<IgnoredAny>>(text)
                .ok()
                .map(|all| all.len() as u64),
            _ => serde_json::from_slice::<IgnoredAny>(text).ok().map(|_| 1),
        }
    }

    /// Everything that must hold for any text: the oracle's verdict, and for a fault that the text
    /// before it could still be completed while the text up to and with it cannot.
    fn check(scanner: &mut Scanner, text: &[u8], piece: usize) {
        let shown = || format!("{:?} in pieces of {piece}", String::from_utf8_lossy(text));
        let found = scan_pieces(scanner, text, piece);
        assert_eq!(
            found.ok().map(|count| count.records),
            oracle(text),
            "{}",
            shown()
        );
        let fault = match found {
            Ok(count) => return assert_eq!(count.bytes, text.len() as u64),
            Err(fault) => fault,
        };
        let place = fault.offset as usize;
        let before = &text[..place];
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = place - line_start + 1;
        assert_eq!(
            (fault.line, fault.column),
            (line as u64, column as u64),
            "{}",
            shown()
        );
        if let Err(shorter) = scan_pieces(scanner, before, piece) {
            assert_eq!(
                shorter.offset,
                fault.offset,
                "{} without the fault",
                shown()
            );
        }
        if place < text.len() {
            let with = scan_pieces(scanner, &text[..=place], piece);
            assert_eq!(
                with.map_err(|fault| fault.offset),
                Err(fault.offset),
                "{} up to the fault",
                shown()
            );
        }
    }

    /// Valid texts with their number of records.
    fn valid() -> Vec<(Vec<u8>, u64)> {
        let texts: &[(&str, u64)] = &[
            ("[]", 0),
            ("[ ]", 0),
            ("{}", 1),
            ("[[]]", 1),
            ("[[],[]]", 2),
            ("[{},{}]", 2),
            ("[1]", 1),
            ("0", 1),
            ("-0", 1),
            ("-1", 1),
            ("\"\"", 1),
            ("true", 1),
            ("false", 1),
            ("null", 1),
            (" 7 ", 1),
            ("[null,true,false]", 3),
            ("[1,[2,3],{\"a\":[4,5]}]", 3),
            ("{\"a\":[1,2,3]}", 1),
            ("{\"a\":1,\"a\":2}", 1),
            ("{\"\":0}", 1),
            ("\t\r\n[\t1\r,\n2 ]\n\n", 2),
            (
                "[0.5,-0.5,1.25e3,1E+2,1e-2,0e0,-0E0,12345678901234567890,0.000000000000000001]",
                9,
            ),
            ("[1e999,-1e-999]", 2),
            ("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uABCD\"]", 1),
            ("[\"\\\\\",\"\\\\\\\"\",\"\\\\\\\\\"]", 3),
            ("\"\\ud83d\\ude00\"", 1),
            ("\"\\ud800\"", 1),
            ("\"\\udc00\\ud800\"", 1),
            ("\"\\u0000\"", 1),
            ("\"a\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10ffff}\"", 1),
            ("\"日本語 Ünï ☃ 😀\"", 1),
            ("\"\u{2028}\u{2029}\u{feff}\"", 1),
            ("\"[{,:}]\"", 1),
            ("{\"[\":\"]\",\"{\":{\"}\":[]}}", 1),
            ("\"/* no comment */\"", 1),
        ];
        texts
            .iter()
            .map(|(text, records)| (text.as_bytes().to_vec(), *records))
            .collect()
    }

    /// Invalid texts with the place of the fault.
    fn invalid() -> Vec<(Vec<u8>, usize, Problem)> {
        use Problem::*;
        let texts: &[(&[u8], usize, Problem)] = &[
            (b"", 0, Empty),
            (b"[", 1, EndOfFile),
            (b"{", 1, EndOfFile),
            (b"]", 0, Value),
            (b"}", 0, Value),
            (b",", 0, Value),
            (b":", 0, Value),
            (b"[1", 2, EndOfFile),
            (b"[1,", 3, EndOfFile),
            (b"[1,]", 3, Value),
            (b"[,1]", 1, Value),
            (b"[1,,2]", 3, Value),
            (b"[1 2]", 3, CommaOrBracket),
            (b"[1}", 2, CommaOrBracket),
            (b"[\"a\":1]", 4, CommaOrBracket),
            (b"[\"a\" \"b\"]", 5, CommaOrBracket),
            (b"[\"a\"b]", 4, CommaOrBracket),
            (b"[]]", 2, AfterTheEnd),
            (b"{}}", 2, AfterTheEnd),
            (b"1 2", 2, AfterTheEnd),
            (b"[][]", 2, AfterTheEnd),
            (b"\"a\"\"b\"", 3, AfterTheEnd),
            (b"{}#", 2, AfterTheEnd),
            (b"[]\0", 2, AfterTheEnd),
            (b"{1:2}", 1, Key),
            (b"{a:2}", 1, Key),
            (b"{,}", 1, Key),
            (b"{\"a\":1,}", 7, Key),
            (b"{\"a\":1,,}", 7, Key),
            (b"{'a':1}", 1, Key),
            (b"{[]:1}", 1, Key),
            (b"{\"a\"}", 4, Colon),
            (b"{\"a\",1}", 4, Colon),
            (b"{\"a\" 1}", 5, Colon),
            (b"{\"a\"", 4, EndOfFile),
            (b"{\"a\":", 5, EndOfFile),
            (b"{\"a\":}", 5, Value),
            (b"{\"a\"::1}", 5, Value),
            (b"{\"a\":1", 6, EndOfFile),
            (b"{\"a\":1]", 6, CommaOrBrace),
            (b"{\"a\":1 \"b\":2}", 7, CommaOrBrace),
            (b"{\"a\":1:2}", 6, CommaOrBrace),
            (b"01", 1, Number),
            (b"-01", 2, Number),
            (b"00", 1, Number),
            (b"-", 1, EndOfFile),
            (b"[-]", 2, Number),
            (b"+1", 0, Value),
            (b".5", 0, Value),
            (b"[1.]", 3, Number),
            (b"1.", 2, EndOfFile),
            (b"1.e5", 2, Number),
            (b"[1e]", 3, Number),
            (b"1e", 2, EndOfFile),
            (b"1e+", 3, EndOfFile),
            (b"[1e+]", 4, Number),
            (b"[1e1.5]", 4, Number),
            (b"[1.2.3]", 4, Number),
            (b"[1-2]", 2, Number),
            (b"[--1]", 2, Number),
            (b"[0x1F]", 2, Number),
            (b"[1a]", 2, Number),
            (b"[1\"a\"]", 2, Number),
            (b"[1_000]", 2, Number),
            (b"[1{}]", 2, CommaOrBracket),
            (b"[1[]]", 2, CommaOrBracket),
            (b"[NaN]", 1, Value),
            (b"[-Infinity]", 2, Number),
            (b"[nan]", 2, Literal),
            (b"[nul]", 4, Literal),
            (b"[nulll]", 5, Literal),
            (b"[tru", 4, EndOfFile),
            (b"[True]", 1, Value),
            (b"[truE]", 4, Literal),
            (b"[true\"\"]", 5, Literal),
            (b"[true1]", 5, Literal),
            (b"[false,fals]", 11, Literal),
            (b"[truefalse]", 5, Literal),
            (b"[\xff]", 1, NotUtf8),
            (b"[1\xff]", 2, NotUtf8),
            (b"\"", 1, EndInString),
            (b"\"abc", 4, EndInString),
            (b"[\"a", 3, EndInString),
            (b"\"a\\\"", 4, EndInString),
            (b"\"a\nb\"", 2, ControlCharacter),
            (b"\"a\tb\"", 2, ControlCharacter),
            (b"\"\0\"", 1, ControlCharacter),
            (b"\"\x1f\"", 1, ControlCharacter),
            (b"[\x0b]", 1, Value),
            (b"[1\x0c]", 2, Number),
            (b"[1,\0]", 3, Value),
            (b"\"\\x\"", 2, Escape),
            (b"\"\\a\"", 2, Escape),
            (b"\"\\U0041\"", 2, Escape),
            (b"\"\\'\"", 2, Escape),
            (b"\"\\u\"", 3, Escape),
            (b"\"\\u12\"", 5, Escape),
            (b"\"\\u123\"", 6, Escape),
            (b"\"\\u12G4\"", 5, Escape),
            (b"\"\\u 123\"", 3, Escape),
            (b"\"\\u+123\"", 3, Escape),
            (b"\"\\\n\"", 2, ControlCharacter),
            (b"\"\\\x80\"", 2, NotUtf8),
            (b"\"\\\xc3\xa9\"", 2, Escape),
            (b"\"\\u00\xc3\xa9\"", 5, Escape),
            (b"\"\\", 2, EndInString),
            (b"\"\\u", 3, EndInString),
            (b"\"\\u00", 5, EndInString),
            (b"\"\x80\"", 1, NotUtf8),
            (b"\"\xc3\"", 1, NotUtf8),
            (b"\"\xc0\x80\"", 1, NotUtf8),
            (b"\"\xed\xa0\x80\"", 1, NotUtf8),
            (b"\"\xf4\x90\x80\x80\"", 1, NotUtf8),
            (b"\"\xf0\x9f\x98", 1, NotUtf8),
            (b"\"\xe2\x82", 1, NotUtf8),
            (b"\"a\xffb", 2, NotUtf8),
            (b"\xef\xbb\xbf{}", 0, ByteOrderMark),
            (b"\xff\xfe[\0]\0", 0, NotUtf8),
            (b"// comment\n1", 0, Value),
            (b"[1]//", 3, AfterTheEnd),
            (b"[1,/**/2]", 3, Value),
            (b"\\", 0, Value),
            (b"[\\\"]", 1, Value),
            (b"[a\"]\"]", 1, Value),
            (b"\xc2\xa0[]", 0, Value),
            (b"[]\xe2\x80\xa8", 2, AfterTheEnd),
        ];
        texts
            .iter()
            .map(|(text, place, problem)| (text.to_vec(), *place, *problem))
            .collect()
    }

    #[test]
    fn valid_texts_pass_and_are_counted() {
        for (text, records) in valid() {
            let bytes = text.len() as u64;
            assert_eq!(
                scan(&text),
                Ok(Count { records, bytes }),
                "{}",
                String::from_utf8_lossy(&text)
            );
        }
    }

    #[test]
    fn each_fault_is_found_at_its_byte() {
        for (text, place, problem) in invalid() {
            let found = scan(&text).map_err(|fault| (fault.offset, fault.problem));
            assert_eq!(
                found,
                Err((place as u64, problem)),
                "{}",
                String::from_utf8_lossy(&text)
            );
        }
    }

    /// The same texts at every place relative to blocks and windows.
    #[test]
    fn nothing_depends_on_where_a_window_ends() {
        let mut scanner = Scanner::with_window(2 * BLOCK);
        let texts = valid().into_iter().map(|(text, _)| text);
        for text in texts.chain(invalid().into_iter().map(|(text, ..)| text)) {
            for shift in 0..=BLOCK {
                let text = [
                    "\n ".repeat(BLOCK).as_bytes()[..shift].to_vec(),
                    text.clone(),
                ]
                .concat();
                for piece in [1, 2, 3, 7, 63, 64, 65, usize::MAX] {
                    check(&mut scanner, &text, piece);
                }
            }
            // Within an array the same text comes after others, and beyond the first window.
            for shift in 0..=BLOCK {
                let long = [b"[", "\"é\\n\",".repeat(shift).as_bytes(), &text, b"]"].concat();
                check(&mut scanner, &long, usize::MAX);
            }
        }
    }

    /// Numbers from a seed (splitmix64).
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) % limit as u64) as usize
        }

        fn pick<'a>(&mut self, list: &[&'a [u8]]) -> &'a [u8] {
            list[self.below(list.len())]
        }
    }

    fn random_value(random: &mut Random, depth: usize, text: &mut Vec<u8>) {
        const SPACES: &[&[u8]] = &[b"", b"", b"", b" ", b"\n", b"\t ", b"\r\n      "];
        const SCALARS: &[&[u8]] = &[
            b"0",
            b"-1",
            b"12.5",
            b"1e5",
            b"-0.25E-10",
            b"123456789",
            b"98765432109876543210",
            b"true",
            b"false",
            b"null",
        ];
        const CONTENT: &[&[u8]] = &[
            b"a",
            b"word ",
            b"\\n",
            b"\\\"",
            b"\\\\",
            b"\\u00e9",
            b"\\ud800",
            b"{",
            b"]",
            b",",
            b":",
            b"0",
            b"\xc3\xa9",
            b"\xe2\x98\x83",
            b"\xf0\x9f\x98\x80",
            b"a rather long piece of plain text, longer than a block of sixty-four bytes is",
        ];
        text.extend(random.pick(SPACES));
        match random.below(if depth == 0 { 2 } else { 4 }) {
            0 => text.extend(random.pick(SCALARS)),
            1 => {
                text.push(b'"');
                (0..random.below(6)).for_each(|_| text.extend(random.pick(CONTENT)));
                text.push(b'"');
            }
            kind => {
                text.push(if kind == 2 { b'[' } else { b'{' });
                for number in 0..random.below(5) {
                    if number > 0 {
                        text.push(b',');
                    }
                    if kind == 3 {
                        text.extend(random.pick(SPACES));
                        text.extend(b"\"key\"");
                        text.extend(random.pick(SPACES));
                        text.push(b':');
                    }
                    random_value(random, depth - 1, text);
                }
                text.push(if kind == 2 { b']' } else { b'}' });
            }
        }
        text.extend(random.pick(SPACES));
    }

    #[test]
    fn random_and_damaged_texts_get_the_verdict_of_serde_json() {
        const DAMAGE: &[&[u8]] = &[
            b"",
            b"\"",
            b"\\",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"1",
            b"-",
            b".",
            b"e",
            b" ",
            b"\n",
            b"\0",
            b"\x1f",
            b"\x80",
            b"\xc3",
            b"\xe2\x98",
            b"\xff",
            b"u",
            b"true",
            b"\\u12",
        ];
        let seed = 20_261_121;
        println!("seed: {seed}");
        let mut random = Random(seed);
        let mut scanner = Scanner::with_window(2 * BLOCK);
        let mut accepted = 0;
        for round in 0..4_000 {
            let mut text = Vec::new();
            random_value(&mut random, round % 6, &mut text);
            assert!(
                oracle(&text).is_some(),
                "a generated text is valid: {:?}",
                String::from_utf8_lossy(&text)
            );
            let piece = [1 + random.below(200), usize::MAX][round % 2];
            check(&mut scanner, &text, piece);
            for _ in 0..3 {
                let mut damaged = text.clone();
                for _ in 0..=random.below(2) {
                    let place = random.below(damaged.len() + 1);
                    let gone = random.below(3).min(damaged.len() - place);
                    damaged.splice(place..place + gone, random.pick(DAMAGE).iter().copied());
                }
                check(&mut scanner, &damaged, piece);
                accepted += usize::from(oracle(&damaged).is_some());
            }
        }
        assert!(
            (500..11_500).contains(&accepted),
            "both verdicts occur: {accepted} of 12000 are valid"
        );
    }

    /// Far more than one window of the same, without the text in memory.
    fn endless(begin: &str, repeated: &str, count: usize, end: &str) -> impl Read {
        let part = repeated.repeat(1000).into_bytes();
        let rest = io::Cursor::new(end.as_bytes().to_vec());
        let mut parts = io::Cursor::new(begin.as_bytes().to_vec());
        let mut left = count / 1000;
        let repeated = move |buffer: &mut [u8]| loop {
            let read = parts.read(buffer)?;
            if read > 0 || left == 0 {
                return Ok(read);
            }
            left -= 1;
            parts = io::Cursor::new(part.clone());
        };
        Source(repeated).chain(rest)
    }

    struct Source<F>(F);

    impl<F: FnMut(&mut [u8]) -> io::Result<usize>> Read for Source<F> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            (self.0)(buffer)
        }
    }

    #[test]
    fn a_huge_array_object_line_or_string_needs_no_more_than_the_window() {
        let mut scanner = Scanner::default();
        let before = (
            scanner.buffer.capacity(),
            scanner.tokens.capacity(),
            scanner.levels.capacity(),
        );
        let mut count = |input| scanner.scan(input).unwrap().records;
        assert_eq!(
            count(Box::new(endless("[0", ",1", 2_000_000, "]")) as Box<dyn Read>),
            2_000_001
        );
        assert_eq!(
            count(Box::new(endless(
                "{\"a\":0",
                ",\"b\": [1, 2]",
                200_000,
                "}"
            ))),
            1
        );
        assert_eq!(count(Box::new(endless("[\"", "é\\n", 500_000, "\"]"))), 1);
        assert_eq!(count(Box::new(endless("[1", " ", 3_000_000, ",2]"))), 2);
        let after = (
            scanner.buffer.capacity(),
            scanner.tokens.capacity(),
            scanner.levels.capacity(),
        );
        assert_eq!(before, after);
    }

    #[test]
    fn a_fault_far_away_has_its_line_and_column() {
        let input = endless("[\n", "\"é\",\n", 300_000, "  truth]");
        let Err(ScanError::Invalid(fault)) = Scanner::default().scan(input) else {
            panic!("the fault is found");
        };
        assert_eq!(
            (fault.line, fault.column, fault.problem),
            (300_002, 6, Problem::Literal)
        );
        assert_eq!(fault.offset, 2 + 300_000 * 6 + 5);
    }

    #[test]
    fn nesting_is_limited_by_a_number_not_by_the_stack() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes();
        assert_eq!(scan(&nested(10_000)).map(|count| count.records), Ok(1));
        assert!(scan(&nested(MAX_DEPTH)).is_ok());
        let fault = scan(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert_eq!(
            (fault.problem, fault.offset),
            (Problem::TooDeep, MAX_DEPTH as u64)
        );
        let objects = ["{\"a\":".repeat(10_000), "[]".into(), "}".repeat(10_000)].concat();
        assert!(scan(objects.as_bytes()).is_ok());
        let open = "[{\"a\":".repeat(1_000_000);
        assert_eq!(scan(open.as_bytes()).unwrap_err().problem, Problem::TooDeep);
    }

    #[test]
    fn a_long_number_is_read_and_one_beyond_a_window_is_an_error() {
        let number = |digits: usize| format!("[1, {}.5e7]", "7".repeat(digits)).into_bytes();
        assert!(scan(&number(WINDOW / 2)).is_ok());
        let fault = scan(&number(10 * WINDOW)).unwrap_err();
        assert_eq!((fault.problem, fault.offset), (Problem::TooLong, 4));
    }

    #[test]
    fn an_error_of_the_reader_is_passed_on_and_an_interruption_is_not() {
        let mut call = 0;
        let mut scanner = Scanner::default();
        let result = scanner.scan(Source(|buffer: &mut [u8]| {
            call += 1;
            match call {
                1 => Err(ErrorKind::Interrupted.into()),
                2 => io::Cursor::new(b"[1,").read(buffer),
                _ => Err(ErrorKind::PermissionDenied.into()),
            }
        }));
        assert!(
            matches!(result, Err(ScanError::Read(error)) if error.kind() == ErrorKind::PermissionDenied)
        );
        // The scanner can be used again.
        assert_eq!(
            scanner.scan(&b"[1]"[..]).unwrap(),
            Count {
                records: 1,
                bytes: 3
            }
        );
    }
}
