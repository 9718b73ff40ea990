//! Two sides of a pipe that do not keep each other waiting for ever: send while you receive, and
//! receive with a time-out.
//!
//! It needs `frame.rs`, and the crates `serde` and `serde_json`.

use std::io::{self, Read, Write};
use std::iter;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde::de::DeserializeOwned;

use super::frame::{self, FrameError};

/// Sends all messages and closes, while it receives until the other side closes. Who sends first
/// and then receives waits for ever if the other side does so, too, and a pipe does not hold it all.
pub fn both_ways(
    mut to: impl Write + Send,
    messages: impl Iterator<Item = Vec<u8>> + Send,
    from: &mut impl Read,
    limit: usize,
) -> Result<Vec<Vec<u8>>, FrameError> {
    thread::scope(|scope| {
        // `move`: the thread owns the write end, so it is closed when all is sent.
        let send_all = move || {
            for message in messages {
                frame::send_bytes(&mut to, &message, limit)?;
            }
            Ok(())
        };
        let sending = thread::Builder::new().name("sender".into());
        let sending = sending.spawn_scoped(scope, send_all)?;
        let next = || frame::receive_bytes(from, limit).transpose();
        let received: Result<Vec<_>, FrameError> = iter::from_fn(next).collect();
        let sent: Result<(), FrameError> = sending.join().expect("the sender does not panic");
        // What came in explains better what went wrong than our own broken pipe.
        received.and_then(|received| sent.map(|()| received))
    })
}

/// What comes in, in a channel, which has `try_recv`, `recv_timeout` and `iter`. A thread waits for
/// the pipe, as Rust's pipes know no time-out. The channel ends with the stream or with an error.
pub fn incoming<T: DeserializeOwned + Send + 'static>(
    mut from: impl Read + Send + 'static,
    limit: usize,
) -> io::Result<Receiver<Result<T, FrameError>>> {
    // A place or two, not more: a sender that is faster than we are has to wait.
    let (sender, receiver) = mpsc::sync_channel(1);
    let read_all = move || {
        while let Some(message) = frame::receive(&mut from, limit).transpose() {
            let last = message.is_err();
            if sender.send(message).is_err() || last {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("receiver".into())
        .spawn(read_all)?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    const LIMIT: usize = 64 * 1024;

    /// Sixteen times what a pipe usually holds.
    fn bulk() -> impl Iterator<Item = Vec<u8>> {
        (0..64).map(|number| vec![number; 16 * 1024])
    }

    #[test]
    fn the_channel_of_incoming_messages_ends_with_the_stream() -> Result<(), Box<dyn Error>> {
        let mut stream = Vec::new();
        for text in ["one", "two", "three"] {
            frame::send(&mut stream, text, LIMIT)?;
        }
        let received: Result<Vec<String>, FrameError> =
            incoming(io::Cursor::new(stream), LIMIT)?.iter().collect();
        assert_eq!(received?, ["one", "two", "three"]);
        Ok(())
    }

    #[test]
    fn the_channel_of_incoming_messages_ends_after_an_error() -> Result<(), Box<dyn Error>> {
        let stream = io::Cursor::new(b"no frame at all");
        let received: Vec<_> = incoming::<String>(stream, LIMIT)?.iter().collect();
        assert!(
            matches!(received[..], [Err(FrameError::UnknownVersion { .. })]),
            "{received:?}"
        );
        Ok(())
    }

    /// The two ends of a pipe in one process: what is sent comes back, more than a pipe holds.
    #[test]
    fn both_ways_sends_and_receives_at_the_same_time() -> Result<(), Box<dyn Error>> {
        let (mut reader, writer) = io::pipe()?;
        let received = both_ways(writer, bulk(), &mut reader, LIMIT)?;
        assert!(received.into_iter().eq(bulk()));
        Ok(())
    }

    #[test]
    fn a_peer_that_does_not_listen_is_an_error_not_a_hang() -> Result<(), Box<dyn Error>> {
        let (reader, writer) = io::pipe()?;
        drop(reader);
        let error = both_ways(writer, bulk(), &mut io::empty(), LIMIT).unwrap_err();
        assert!(error.is_broken_pipe(), "{error:?}");
        Ok(())
    }
}
