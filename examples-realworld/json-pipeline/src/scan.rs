//! Checks JSON as it streams by and counts the elements of a top-level array.
//!
//! No value is ever built and no text kept: a window of 32 KiB slides over the input, whatever the
//! sizes of the file, its lines, its strings and its numbers. It is looked at 64 bytes at a time.
//!
//! 1. One comparison answers for 16, 32 or 64 bytes at once, so `Masks::of` makes a block into masks
//!    of 64 bits: where are quotes, backslashes, brackets, commas, digits and so on?
//! 2. `State::block` checks the whole grammar on these masks, all 64 places in a few instructions:
//!    what lies inside strings, where a token starts, what has to follow it. Shifts and additions
//!    take an answer from one place to the next, and a bit of carry from one block to the next.
//! 3. Only brackets are looked at one by one, because nesting has to remember what it is in.
//!
//! The first part is the idea of simdjson (Langdale and Lemire, "Parsing Gigabytes of JSON per
//! Second"), which then goes from token to token; here nothing is built, so that is not needed.
//! serde_json checks as well, but takes a stream byte by byte; the ports of simdjson need the whole
//! file in memory. `fearless_simd` picks the widest instructions that this processor has, with
//! nothing unsafe on our side; `simdutf8` and `memchr` do so for UTF-8 and line ends.
//!
//! Accepted is exactly the grammar of RFC 8259 in valid UTF-8 without a byte order mark. Lone
//! surrogates (`"\ud800"`) are within that grammar and pass, as in Python. One limit is ours:
//! `MAX_DEPTH` levels of nesting.

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

/// Keep one per thread and use it again: it owns the buffers, about 100 KiB.
pub struct Scanner {
    window: usize,
    /// Which instructions this processor has.
    instructions: Level,
    /// `buffer[..filled]` are bytes of the input, `buffer[..checked]` are valid UTF-8.
    buffer: Vec<u8>,
    filled: usize,
    checked: usize,
    state: State,
    words: Words,
    /// What is around each level of nesting: `OBJECT`, and so on.
    levels: Vec<u8>,
    /// What has left the buffer: bytes, line ends, and the offset behind the last line end.
    base: u64,
    lines: u64,
    line_start: u64,
}

/// What a level of nesting is.
const ARRAY: u8 = 0;
const OBJECT: u8 = 1;
/// The array whose elements are the records.
const RECORDS: u8 = 2;
/// Outside of all brackets.
const TOP: u8 = 4;

impl Default for Scanner {
    fn default() -> Self {
        Self::with_window(WINDOW)
    }
}

impl Scanner {
    fn with_window(window: usize) -> Self {
        Self {
            window,
            instructions: Level::new(),
            // Room for a block that is not whole yet, for a window, and for the padding at the end.
            buffer: vec![0; window + 3 * BLOCK],
            filled: 0,
            checked: 0,
            state: State::default(),
            words: Words::default(),
            levels: vec![ARRAY; MAX_DEPTH],
            base: 0,
            lines: 0,
            line_start: 0,
        }
    }

    /// Reads `input` to its end, or to the first fault.
    pub fn scan(&mut self, mut input: impl Read) -> Result<Count, ScanError> {
        (self.filled, self.checked) = (0, 0);
        (self.state, self.words) = (State::default(), Words::default());
        (self.base, self.lines, self.line_start) = (0, 0, 0);
        loop {
            let room = &mut self.buffer[self.filled..self.filled + self.window];
            let read = match input.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(ScanError::Read(error)),
                Ok(read) => read,
            };
            self.filled += read;
            let result = match self.check_utf8(read == 0) {
                Ok(()) if read > 0 => self.middle(),
                utf8 => return self.end(utf8.err()),
            };
            result.map_err(|(place, problem)| self.locate(place, problem))?;
        }
    }

    /// Checks the whole blocks of the buffer, and drops them.
    fn middle(&mut self) -> Result<(), (usize, Problem)> {
        let blocks = self.checked / BLOCK;
        self.check(blocks)?;
        self.forget(blocks * BLOCK);
        Ok(())
    }

    /// Checks what is left. A fault in UTF-8 ends the input before the byte in question: whatever is
    /// expected there, it does not come.
    fn end(&mut self, utf8: Option<Problem>) -> Result<Count, ScanError> {
        self.filled = self.checked;
        self.buffer[self.filled..self.filled + BLOCK].fill(b' ');
        let bytes = self.base + self.filled as u64;
        // One byte of padding at least, so that a number or a literal is seen to end.
        match self.check(self.filled / BLOCK + 1) {
            Err((place, problem)) if place < self.filled => Err(self.locate(place, problem)),
            Ok(()) if utf8.is_none() && self.state.complete() => Ok(Count {
                records: self.state.records,
                bytes,
            }),
            _ => {
                let problem = match utf8 {
                    Some(problem) => problem,
                    None if bytes == 0 => Problem::Empty,
                    None if self.state.in_string != 0 => Problem::EndInString,
                    None => Problem::EndOfFile,
                };
                Err(self.locate(self.filled, problem))
            }
        }
    }

    /// Extends `checked`, the bytes that are known to be UTF-8.
    fn check_utf8(&mut self, at_end: bool) -> Result<(), Problem> {
        if let Err(error) = from_utf8(&self.buffer[self.checked..self.filled]) {
            self.checked += error.valid_up_to();
            // Without a length the character may just go on in the next window.
            if error.error_len().is_some() || at_end {
                return Err(Problem::NotUtf8);
            }
        } else {
            self.checked = self.filled;
        }
        Ok(())
    }

    /// Checks so many blocks, up to the first fault. Not generic over the input, so that there is
    /// one copy of it for each kind of processor and no more.
    fn check(&mut self, blocks: usize) -> Result<(), (usize, Problem)> {
        let text = &self.buffer.as_chunks().0[..blocks];
        let (state, words, levels) = (&mut self.state, &mut self.words, &mut self.levels);
        dispatch!(self.instructions, simd => state.blocks(simd, text, words, levels))
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
        self.checked -= count;
    }

    fn locate(&self, at: usize, problem: Problem) -> ScanError {
        let offset = self.base + at as u64;
        let before = &self.buffer[..at];
        let line_start = match memrchr(b'\n', before) {
            Some(line_end) => self.base + line_end as u64 + 1,
            None => self.line_start,
        };
        let byte_order_mark = offset == 0 && self.buffer.starts_with(b"\xef\xbb\xbf");
        ScanError::Invalid(Fault {
            problem: if byte_order_mark {
                Problem::ByteOrderMark
            } else {
                problem
            },
            offset,
            line: 1 + self.lines + memchr_iter(b'\n', before).count() as u64,
            column: offset - line_start + 1,
        })
    }
}

/// What one block tells the next.
#[derive(Clone, Copy)]
struct State {
    records: u64,
    /// All ones inside a string.
    in_string: u64,
    /// The first byte is escaped by a backslash.
    escaped: u64,
    /// These bytes must be the hexadecimal digits of a `\u`.
    hex: u64,
    /// How many brackets are open, and what the innermost one is.
    depth: usize,
    level: u8,
    carry: Carry,
}

/// Where the first byte, or the next token, is `behind` something of the block before.
#[derive(Clone, Copy, Default)]
struct Carry {
    scalar: bool,
    value: bool,
    opened: bool,
    key: bool,
    colon: bool,
    digit: bool,
    minus: bool,
    whole: bool,
    zero: bool,
    unfinished: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            records: 1,
            in_string: 0,
            escaped: 0,
            hex: 0,
            depth: 0,
            level: TOP,
            carry: Carry {
                value: true,
                ..Carry::default()
            },
        }
    }
}

/// The first place behind each bit of `from` that is not in `row`: an addition does it, in which the
/// bit ripples through the ones of the row. The carry is for a row that goes on in the next block.
///
/// With a row of what is no token, that is the next token; with one of digits, what ends a number;
/// with none, the next byte.
#[inline(always)]
fn behind(from: u64, row: u64, carry: &mut bool) -> u64 {
    let (sum, overflow) = from.carrying_add(from | row, *carry);
    *carry = overflow;
    sum & !row
}

/// From each bit of `from` to the next one of `marks`, which is included.
#[inline(always)]
fn until(from: u64, marks: u64, carry: bool) -> u64 {
    // The same ripple: what it has changed is where it came through.
    !marks ^ (from << 1 | u64::from(carry)).wrapping_add(!marks)
}

/// Each bit tells whether the number of bits up to it is odd: between a first and a second quote.
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

impl State {
    #[inline(always)]
    fn blocks<S: Simd>(
        &mut self,
        simd: S,
        text: &[[u8; BLOCK]],
        words: &mut Words,
        levels: &mut [u8],
    ) -> Result<(), (usize, Problem)> {
        // A copy is easier to keep in registers.
        let mut state = *self;
        let mut result = Ok(());
        for (number, block) in text.iter().enumerate() {
            result = state.block(&Masks::of(simd, block), block, words, levels);
            if let Err((place, _)) = &mut result {
                *place += number * BLOCK;
                break;
            }
        }
        *self = state;
        result
    }

    /// Finds the first fault of a block. Each mask of faults has bits at bytes that could not be
    /// where they are after all bytes before them; what lies beyond the first bit means nothing.
    #[inline(always)]
    fn block(
        &mut self,
        masks: &Masks,
        block: &[u8; BLOCK],
        words: &mut Words,
        levels: &mut [u8],
    ) -> Result<(), (usize, Problem)> {
        // Strings, from the opening quote to the byte before the closing one.
        let escaped = self.escaped(masks.backslash);
        let quote = masks.quote & !escaped;
        let in_string = prefix_xor(quote) ^ self.in_string;
        self.in_string = ((in_string as i64) >> 63) as u64;
        let control = masks.control & in_string;
        let escaped = escaped & in_string;
        let mut escape = escaped & !masks.escape;
        if escaped & masks.u | self.hex != 0 {
            let wrong;
            (wrong, self.hex) = wrong_hex(block, escaped & masks.u, self.hex);
            escape |= wrong;
        }

        // Tokens. One of more than a byte counts where it starts; a scalar is a number or a literal.
        let outside = !(in_string | quote);
        let string = quote & in_string;
        let open = masks.open & outside;
        let close = masks.close & outside;
        let comma = masks.comma & outside;
        let colon = masks.colon & outside;
        let other = masks.open | masks.close | masks.comma | masks.colon | masks.space;
        let scalar = outside & !other;
        let start = scalar & !behind(scalar, 0, &mut self.carry.scalar);
        let gap = !(string | open | close | comma | colon | start);

        // Grammar. Values are due behind what opens, separates and joins, and nowhere else, apart
        // from an empty array or object. In an object they are keys, unless they follow a colon.
        let nesting = self.nesting(open, close, masks.brace, levels);
        let carry = &mut self.carry;
        let value = behind(open | comma | colon, gap, &mut carry.value);
        let empty = close & behind(open, gap, &mut carry.opened);
        let object_opens = open & masks.brace;
        let key = behind(object_opens | comma & nesting.object, gap, &mut carry.key);
        let colon_due = behind(key & string, gap, &mut carry.colon);
        let grammar = value ^ (string | open | start | empty)
            | key & !(string | empty)
            | colon ^ colon_due
            | comma & nesting.top
            | nesting.mismatch;

        let (literal, number) = self.scalars(masks, block, scalar, start, words);

        let wrong = control | escape | grammar | nesting.too_deep | literal | number;
        if wrong == 0 {
            self.records += u64::from((comma & nesting.records).count_ones());
            self.records -= u64::from(empty & nesting.records != 0);
            return Ok(());
        }
        let place = wrong.trailing_zeros();
        let at = |mask: u64| mask >> place & 1 != 0;
        let problem = match () {
            () if at(control) => Problem::ControlCharacter,
            () if at(escape) => Problem::Escape,
            () if at(grammar & key) => Problem::Key,
            () if at(grammar & value) => Problem::Value,
            () if at(grammar & colon_due) => Problem::Colon,
            () if at(grammar & nesting.top) => Problem::AfterTheEnd,
            () if at(grammar & nesting.object) => Problem::CommaOrBrace,
            () if at(grammar) => Problem::CommaOrBracket,
            () if at(nesting.too_deep) => Problem::TooDeep,
            () if at(start) => Problem::Value,
            () if at(literal) => Problem::Literal,
            () => Problem::Number,
        };
        Err((place as usize, problem))
    }

    /// The bytes behind a backslash that is not itself escaped.
    #[inline(always)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let backslash = backslash & !self.escaped;
        let follows = backslash << 1 | self.escaped;
        // A row of backslashes that starts at an odd place: adding lets it ripple to its end.
        let odd_starts = backslash & !EVEN & !follows;
        let (ends, overflow) = odd_starts.overflowing_add(backslash);
        self.escaped = u64::from(overflow);
        (EVEN ^ (ends << 1)) & follows
    }

    /// Goes from bracket to bracket.
    #[inline(always)]
    fn nesting(&mut self, open: u64, close: u64, brace: u64, levels: &mut [u8]) -> Nesting {
        let brackets = open | close;
        let (mut depth, mut level) = (self.depth, self.level);
        let (mut object, mut records, mut top) = (0, 0, 0);
        let (mut mismatch, mut too_deep) = (0, 0);
        let mut left = brackets;
        while left != 0 {
            let bit = left & left.wrapping_neg();
            let place = left.trailing_zeros();
            left ^= bit;
            let opens = open & bit != 0;
            let kind = (brace >> place & 1) as u8;
            if !opens && level & (OBJECT | TOP) != kind {
                mismatch = bit;
                break;
            }
            if opens && depth == MAX_DEPTH {
                too_deep = bit;
                break;
            }
            // Written without a branch on `opens`, which nobody could predict.
            depth -= usize::from(!opens);
            let around = &mut levels[depth];
            let inner = if level == TOP && kind == ARRAY {
                RECORDS
            } else {
                kind
            };
            (level, *around) = if opens {
                (inner, level)
            } else {
                (*around, *around)
            };
            depth += usize::from(opens);
            object |= u64::from(level & OBJECT) << place;
            records |= u64::from(level & RECORDS) >> 1 << place;
            if depth == 0 {
                top |= bit;
            }
        }
        let before = self.level;
        (self.depth, self.level) = (depth, level);
        Nesting {
            object: until(object, brackets, before & OBJECT != 0),
            records: until(records, brackets, before & RECORDS != 0),
            top: until(top, brackets, before == TOP),
            mismatch,
            too_deep,
        }
    }

    /// What is wrong in literals, and in `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`.
    #[inline(always)]
    fn scalars(
        &mut self,
        masks: &Masks,
        block: &[u8; BLOCK],
        scalar: u64,
        start: u64,
        words: &mut Words,
    ) -> (u64, u64) {
        let carry = &mut self.carry;
        let digit = masks.digit & scalar;
        let minus = masks.minus & scalar;
        let dot = masks.dot & scalar;
        let other = scalar & !(digit | minus | dot);
        let follows_digit = digit << 1 | u64::from(carry.digit);
        carry.digit = digit >> 63 != 0;
        let mut found = Found::default();
        if other != 0 || words.open {
            found = words.check(block, [scalar, start, other, digit, minus, follows_digit]);
        }
        let first = digit & (start | behind(start & minus, 0, &mut carry.minus));
        let whole_end = behind(first, digit, &mut carry.whole);
        let number = found.number
            | minus & !(start | found.signed)
            | dot & !whole_end
            | digit & behind(first & masks.zero, 0, &mut carry.zero)
            | behind(minus | dot | found.plus, 0, &mut carry.unfinished) & !digit;
        (found.literal, number)
    }

    /// Is what has been read a whole value?
    fn complete(&self) -> bool {
        self.level == TOP && !self.carry.value && self.in_string == 0
    }
}

/// Where which kind of level is the innermost, and the first bracket that is wrong.
struct Nesting {
    object: u64,
    records: u64,
    top: u64,
    mismatch: u64,
    too_deep: u64,
}

/// `true`, `false`, `null` and exponents. They are rare, so a loop will do.
#[derive(Default)]
struct Words {
    /// There is something below to be gone on with.
    open: bool,
    /// The rest of a literal that the end of the block has cut.
    rest: &'static [u8],
    literal: bool,
    exponent: bool,
    sign: bool,
    digits: bool,
}

#[derive(Default)]
struct Found {
    /// Faults.
    literal: u64,
    number: u64,
    /// Where a number may have a sign besides its start, and where it has a `+`.
    signed: u64,
    plus: u64,
}

impl Words {
    #[inline(never)]
    fn check(
        &mut self,
        block: &[u8; BLOCK],
        [scalar, start, other, digit, minus, follows_digit]: [u64; 6],
    ) -> Found {
        let (mut found, mut literals) = (Found::default(), 0);
        // Compares from `place` on, and what goes beyond the block with the next one.
        let mut compare = |place: usize, word: &'static [u8]| {
            let text = &block[place..];
            let same = text.iter().zip(word).take_while(|(a, b)| a == b).count();
            literals |= ((1 << same) - 1) << place;
            if same < word.len().min(text.len()) {
                found.literal |= 1 << (place + same);
            }
            &word[same..]
        };
        self.rest = compare(0, self.rest);
        let mut left = other & start;
        while left != 0 {
            let place = left.trailing_zeros() as usize;
            left &= left - 1;
            match block[place] {
                b't' => self.rest = compare(place, b"true"),
                b'f' => self.rest = compare(place, b"false"),
                b'n' => self.rest = compare(place, b"null"),
                _ => {}
            }
        }
        found.literal |= behind(literals, 0, &mut self.literal) & scalar & !literals;

        let (mut exponent, mut left) = (0, other & !literals);
        while left != 0 {
            let place = left.trailing_zeros();
            left &= left - 1;
            match block[place as usize] {
                b'e' | b'E' => exponent |= 1 << place,
                b'+' => found.plus |= 1 << place,
                _ => found.number |= 1 << place,
            }
        }
        found.signed = behind(exponent, 0, &mut self.exponent);
        let sign = found.signed & (minus | found.plus);
        let first = digit & (found.signed | behind(sign, 0, &mut self.sign));
        found.number |= exponent & !follows_digit
            | found.plus & !found.signed
            | found.signed & !(digit | sign)
            | behind(first, digit, &mut self.digits) & scalar;
        self.open = self.literal | self.exponent | self.sign | self.digits | !self.rest.is_empty();
        found
    }
}

/// Behind each `u`, and at the places in `due`: which bytes are no hexadecimal digits, and what is
/// due in the next block?
#[inline(never)]
fn wrong_hex(block: &[u8; BLOCK], u: u64, due: u64) -> (u64, u64) {
    let behind = [1, 2, 3, 4].map(|distance| u128::from(u) << distance);
    let due = behind.iter().fold(u128::from(due), |due, mask| due | mask);
    let (mut left, mut wrong) = (due as u64, 0);
    while left != 0 {
        let place = left.trailing_zeros();
        left &= left - 1;
        wrong |= u64::from(!block[place as usize].is_ascii_hexdigit()) << place;
    }
    (wrong, (due >> BLOCK) as u64)
}

/// Bit i speaks of byte i of a block.
struct Masks {
    quote: u64,
    backslash: u64,
    /// Below 0x20.
    control: u64,
    /// What may follow a backslash.
    escape: u64,
    u: u64,
    open: u64,
    close: u64,
    /// Of a bracket: is it a curly one?
    brace: u64,
    comma: u64,
    colon: u64,
    space: u64,
    digit: u64,
    zero: u64,
    minus: u64,
    dot: u64,
}

impl Masks {
    #[inline(always)]
    fn of<S: Simd>(simd: S, block: &[u8; BLOCK]) -> Self {
        let bytes = u8x64::load_array_ref(simd, block);
        let is = |byte: u8| bytes.simd_eq(byte);
        // `[` and `{`, `]` and `}` differ by the bit 0x20 alone.
        let folded = bytes | 0x20;
        // The letters of all escapes but `"` and `r` differ in their last four bits: look up which
        // letter a byte would have to be.
        let letter = u8x64::load_array_ref(simd, &LETTERS).swizzle_dyn_within_blocks(bytes & 0x0f);
        Masks {
            quote: is(b'"').to_bitmask(),
            backslash: is(b'\\').to_bitmask(),
            control: bytes.simd_lt(0x20).to_bitmask(),
            escape: (bytes.simd_eq(letter) | is(b'"') | is(b'r')).to_bitmask(),
            u: is(b'u').to_bitmask(),
            open: folded.simd_eq(b'{').to_bitmask(),
            close: folded.simd_eq(b'}').to_bitmask(),
            brace: bytes.simd_eq(folded).to_bitmask(),
            comma: is(b',').to_bitmask(),
            colon: is(b':').to_bitmask(),
            space: (is(b' ') | is(b'\n') | is(b'\r') | is(b'\t')).to_bitmask(),
            digit: (bytes - b'0').simd_lt(10).to_bitmask(),
            zero: is(b'0').to_bitmask(),
            minus: is(b'-').to_bitmask(),
            dot: is(b'.').to_bitmask(),
        }
    }
}

/// One table of 16 bytes, for each 16 bytes of a block.
const LETTERS: [u8; BLOCK] = {
    let (mut table, mut i) = ([0xff; BLOCK], 0);
    while i < BLOCK {
        let mut letters: &[u8] = b"\\/bfntu";
        while let [letter, rest @ ..] = letters {
            if *letter & 0x0f == i as u8 % 16 {
                table[i] = *letter;
            }
            letters = rest;
        }
        i += 1;
    }
    table
};

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
            (b"[1\"a\"]", 2, CommaOrBracket),
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
            (b"[true\"\"]", 5, CommaOrBracket),
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
        let before = (scanner.buffer.capacity(), scanner.levels.capacity());
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
        let after = (scanner.buffer.capacity(), scanner.levels.capacity());
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
    fn a_number_of_any_length_is_read_and_its_fault_found() {
        let long = |end: &str| format!("[1,\n -{}.{}{end}", "7".repeat(WINDOW), "0".repeat(WINDOW));
        assert_eq!(scan(long("e-10]").as_bytes()).unwrap().records, 2);
        let place = 2 * WINDOW as u64 + 6;
        for (end, behind, problem) in [
            (".5]", 0, Problem::Number),
            ("e+]", 2, Problem::Number),
            ("e9.0]", 2, Problem::Number),
            (" 1]", 1, Problem::CommaOrBracket),
            ("E", 1, Problem::EndOfFile),
        ] {
            let fault = scan(long(end).as_bytes()).unwrap_err();
            let found = (fault.offset - 1, fault.line, fault.column, fault.problem);
            let offset = place + behind;
            assert_eq!(found, (offset, 2, offset - 2, problem), "{end}");
        }
    }

    /// All texts of up to so many pieces.
    fn all_of(pieces: &[&str], count: usize) -> Vec<String> {
        let mut texts = vec![String::new()];
        let mut begin = 0;
        for _ in 0..count {
            let end = texts.len();
            for number in begin..end {
                texts.extend(
                    pieces
                        .iter()
                        .map(|piece| texts[number].clone() + piece)
                        .collect::<Vec<_>>(),
                );
            }
            begin = end;
        }
        texts
    }

    #[test]
    fn every_short_number_gets_the_verdict_of_serde_json() {
        let mut scanner = Scanner::with_window(2 * BLOCK);
        for number in all_of(&["-", "+", ".", "0", "1", "e"], 5) {
            // Once within a block and once across a border of two.
            for before in ["", &" ".repeat(BLOCK - 3)] {
                check(
                    &mut scanner,
                    format!("[{before}{number},1]").as_bytes(),
                    usize::MAX,
                );
            }
        }
    }

    #[test]
    fn every_short_row_of_tokens_gets_the_verdict_of_serde_json() {
        let mut scanner = Scanner::with_window(2 * BLOCK);
        for tokens in all_of(&["[", "]", "{", "}", ",", ":", "\"a\"", "1 ", "null"], 4) {
            let before = " ".repeat(BLOCK - 3);
            for text in [
                tokens.clone(),
                before + &tokens,
                format!("[{{\"b\":[{tokens}"),
            ] {
                check(&mut scanner, text.as_bytes(), usize::MAX);
            }
        }
    }

    /// What one processor does with 64 bytes at once, another does with 16: each kind that this one
    /// can stand in for has to see the same.
    #[test]
    fn all_kinds_of_instructions_see_the_same() {
        let best = Level::new();
        #[cfg(target_arch = "x86_64")]
        let levels = [
            Some(best),
            best.as_avx2().map(Level::Avx2),
            best.as_sse4_2().map(Level::Sse4_2),
            best.as_sse2().map(Level::Sse2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let levels = [Some(best)];
        for level in levels.into_iter().flatten() {
            for first in (0..=255).step_by(BLOCK) {
                let block: [u8; BLOCK] = std::array::from_fn(|at| (first + at) as u8);
                let masks = dispatch!(level, simd => Masks::of(simd, &block));
                let bits = |set: &[u8]| {
                    let bit = |at| u64::from(set.contains(&block[at])) << at;
                    (0..BLOCK).map(bit).sum::<u64>()
                };
                assert_eq!(masks.quote, bits(b"\""));
                assert_eq!(masks.backslash, bits(b"\\"));
                assert_eq!(
                    masks.control,
                    bits(&std::array::from_fn::<u8, 32, _>(|at| at as u8))
                );
                assert_eq!(masks.escape, bits(b"\"\\/bfnrtu"));
                assert_eq!(masks.u, bits(b"u"));
                assert_eq!(masks.open, bits(b"[{"));
                assert_eq!(masks.close, bits(b"]}"));
                assert_eq!(masks.brace & bits(b"[]{}"), bits(b"{}"));
                assert_eq!(masks.comma, bits(b","));
                assert_eq!(masks.colon, bits(b":"));
                assert_eq!(masks.space, bits(b" \t\r\n"));
                assert_eq!(masks.digit, bits(b"0123456789"));
                assert_eq!(masks.zero, bits(b"0"));
                assert_eq!(masks.minus, bits(b"-"));
                assert_eq!(masks.dot, bits(b"."));
            }
            let mut scanner = Scanner::with_window(2 * BLOCK);
            scanner.instructions = level;
            for (text, ..) in invalid() {
                check(&mut scanner, &text, usize::MAX);
            }
            for (text, _) in valid() {
                check(&mut scanner, &text, usize::MAX);
            }
        }
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
