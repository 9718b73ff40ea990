//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! Messages over a pipe, a socket or a file: each value in a frame that tells version and length.
//!
//! ```text
//! version, 1 byte | length of the body, 4 bytes, little endian | body: the value as JSON
//! ```
//!
//! What comes in is not trusted: whatever the bytes are, `receive` gives a value, the end of the
//! stream, or an error that says what is wrong. It takes no more memory for a frame than the limit
//! that it is given; the value made of it then takes what its type takes.
//!
//! Frames that two writers mix on one pipe are noticed, too: a header starts with a byte that no
//! JSON has, so it never passes as part of another frame's body.
//!
//! It needs the crates `serde` and `serde_json`.

#![allow(dead_code, reason = "not every program uses all of it")]

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

use serde::de::value::Error as Refusal;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Serialize, forward_to_deserialize_any};

/// Of the frames, not of what is in them. It is a control character, which JSON text never has.
pub const VERSION: u8 = 1;
const HEADER: usize = 5;

#[derive(Debug)]
pub enum FrameError {
    /// The stream ended inside a frame: who wrote it died, or closed too early.
    Truncated {
        received: usize,
        expected: usize,
    },
    /// Refused before any memory is taken for it.
    TooLarge {
        announced: usize,
        limit: usize,
    },
    /// Another version of this program, or no frame at all, as a line that was printed.
    UnknownVersion {
        found: u8,
    },
    /// The message is a variant that the receiver's enum does not have.
    UnknownKind {
        kind: String,
        known: &'static [&'static str],
    },
    /// The body is no JSON, or not of the expected type.
    Malformed(serde_json::Error),
    /// The value has no JSON form, such as a map whose keys are not text.
    Unsendable(serde_json::Error),
    Io(io::Error),
}

impl FrameError {
    /// Whether the frame was read to its end, so that the next one can be received. After any
    /// other error nobody knows where the next frame begins.
    pub fn is_recoverable(&self) -> bool {
        matches!(
            self,
            FrameError::UnknownKind { .. } | FrameError::Malformed(_)
        )
    }

    /// Whether the other side has closed its end, and so wants nothing more.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, FrameError::Io(error) if error.kind() == ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            FrameError::Truncated { received, expected } => write!(
                f,
                "the stream ended inside a message, after {received} of {expected} bytes"
            ),
            FrameError::TooLarge { announced, limit } => write!(
                f,
                "a message of {announced} bytes, more than the limit of {limit}"
            ),
            FrameError::UnknownVersion { found } => {
                write!(f, "a frame of version {found}, but known is {VERSION}")
            }
            FrameError::UnknownKind { kind, known } => {
                let known = known.join(", ");
                write!(f, "a message of unknown kind {kind:?}, known are {known}")
            }
            FrameError::Malformed(error) => write!(f, "a malformed message: {error}"),
            FrameError::Unsendable(error) => write!(f, "this cannot be sent: {error}"),
            FrameError::Io(error) => error.fmt(f),
        }
    }
}

impl Error for FrameError {}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> FrameError {
        FrameError::Io(error)
    }
}

/// Sends one message. The limit is the receiver's: a larger message is refused here already, and
/// nothing of it is written.
pub fn send<T>(to: &mut impl Write, message: &T, limit: usize) -> Result<(), FrameError>
where
    T: Serialize + ?Sized,
{
    let body = serde_json::to_vec(message).map_err(FrameError::Unsendable)?;
    send_bytes(to, &body, limit)
}

/// The next message, or `None` where the stream ends between two frames.
pub fn receive<T: DeserializeOwned>(
    from: &mut impl Read,
    limit: usize,
) -> Result<Option<T>, FrameError> {
    let Some(body) = receive_bytes(from, limit)? else {
        return Ok(None);
    };
    check_kind::<T>(&body)?;
    let message = serde_json::from_slice(&body).map_err(FrameError::Malformed)?;
    Ok(Some(message))
}

/// Sends bytes as they are: for bulk, which as JSON would be four times as long.
pub fn send_bytes(to: &mut impl Write, body: &[u8], limit: usize) -> Result<(), FrameError> {
    let too_large = FrameError::TooLarge {
        announced: body.len(),
        limit,
    };
    let length = match u32::try_from(body.len()) {
        Ok(length) if body.len() <= limit => length,
        _ => return Err(too_large),
    };
    let mut header = [VERSION; HEADER];
    header[1..].copy_from_slice(&length.to_le_bytes());
    to.write_all(&header)?;
    to.write_all(body)?;
    to.flush()?;
    Ok(())
}

pub fn receive_bytes(from: &mut impl Read, limit: usize) -> Result<Option<Vec<u8>>, FrameError> {
    let mut header = [0; HEADER];
    let received = fill(from, &mut header)?;
    if received == 0 {
        return Ok(None);
    }
    // The version first: in another one the rest may mean something else.
    let [version, length @ ..] = header;
    if version != VERSION {
        return Err(FrameError::UnknownVersion { found: version });
    }
    if received < HEADER {
        return Err(FrameError::Truncated {
            received,
            expected: HEADER,
        });
    }
    let announced = u32::from_le_bytes(length) as usize;
    if announced > limit {
        return Err(FrameError::TooLarge { announced, limit });
    }
    let mut body = vec![0; announced];
    let received = fill(from, &mut body)?;
    if received < announced {
        return Err(FrameError::Truncated {
            received: HEADER + received,
            expected: HEADER + announced,
        });
    }
    Ok(Some(body))
}

/// As `read_exact`, but it tells how much there was. A read may give less than was asked for, and
/// a signal may interrupt it; only nothing at all is the end.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// An enum's message starts with the name of its variant, as `{"Square":5}` or `"Stop"`.
fn check_kind<T: DeserializeOwned>(body: &[u8]) -> Result<(), FrameError> {
    let mut kinds = None;
    // Fails in any case; what counts is what it asks for.
    let _ = T::deserialize(Kinds(&mut kinds));
    if let (Some(known), Some(kind)) = (kinds, kind(body))
        && !known.contains(&kind)
    {
        let kind = kind.chars().take(40).collect();
        return Err(FrameError::UnknownKind { kind, known });
    }
    Ok(())
}

fn kind(body: &[u8]) -> Option<&str> {
    let name = body.strip_prefix(b"{").unwrap_or(body);
    let name = name.strip_prefix(b"\"")?;
    let end = name.iter().position(|byte| *byte == b'"')?;
    // A name with escapes is left to the parser, and so is one that is no JSON.
    let plain = |byte: &u8| !byte.is_ascii_control() && *byte != b'\\';
    let name = name[..end].iter().all(plain).then_some(&name[..end])?;
    std::str::from_utf8(name).ok()
}

/// Takes down what the variants of an enum are called, which serde tells every deserializer.
struct Kinds<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Kinds<'_> {
    type Error = Refusal;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Refusal> {
        *self.0 = Some(variants);
        Err(Refusal::custom("the names are all that was wanted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Refusal> {
        Err(Refusal::custom("not an enum"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
