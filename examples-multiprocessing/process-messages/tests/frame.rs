//! The frames, against everything that can come in: always a value, the end, or an error that
//! names itself; never a panic, a hang, or more memory for a frame than the limit.

#[path = "../src/frame.rs"]
mod frame;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::env;
use std::io::{self, ErrorKind, Read, Write};

use frame::FrameError;
use serde::{Deserialize, Serialize};

/// Less than 64 KB, so that not even half a header passes for a length; see below.
const LIMIT: usize = 60_000;
const ROUNDS: u64 = 20_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Stop,
    Square(u64),
    Say { text: String, often: u8 },
    All(Vec<Message>),
}

fn bytes_of(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        frame::send(&mut bytes, message, LIMIT).unwrap();
    }
    bytes
}

/// Everything up to the end or to an error after which nobody knows where the next frame begins.
fn receive_all(from: &mut impl Read) -> (Vec<Message>, Vec<FrameError>) {
    let (mut messages, mut errors) = (Vec::new(), Vec::new());
    loop {
        match frame::receive(from, LIMIT) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, errors),
            Err(error) => {
                let goes_on = error.is_recoverable();
                errors.push(error);
                if !goes_on {
                    return (messages, errors);
                }
            }
        }
    }
}

fn receive_error(bytes: &[u8]) -> FrameError {
    let (messages, errors) = receive_all(&mut &bytes[..]);
    let found = format!("{messages:?} {errors:?}");
    errors.into_iter().next().expect(&found)
}

// ---- Each kind of fault -----------------------------------------------------------------------

#[test]
fn what_is_sent_is_received_and_then_the_end() {
    let messages = [
        Message::Stop,
        Message::Square(u64::MAX),
        Message::Say {
            text: "\0\u{1}\n\"é{".into(),
            often: 0,
        },
        Message::All(vec![Message::Stop, Message::All(vec![])]),
    ];
    let (received, errors) = receive_all(&mut &bytes_of(&messages)[..]);
    assert_eq!(received, messages);
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn every_cut_inside_a_frame_is_truncated_and_tells_how_much_there_was() {
    let first = bytes_of(&[Message::Square(12)]);
    let both = bytes_of(&[Message::Square(12), Message::Stop]);
    for cut in 0..both.len() {
        let (messages, errors) = receive_all(&mut &both[..cut]);
        assert_eq!(messages.len(), usize::from(cut >= first.len()), "{cut}");
        let inside = if cut < first.len() {
            cut
        } else {
            cut - first.len()
        };
        match &errors[..] {
            [] => assert_eq!(inside, 0, "{cut}"),
            [FrameError::Truncated { received, .. }] => assert_eq!(*received, inside, "{cut}"),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn an_oversized_frame_is_refused_before_anything_of_it_is_read_or_stored() {
    for announced in [LIMIT as u32 + 1, 1 << 31, u32::MAX] {
        let mut stream = vec![frame::VERSION];
        stream.extend(announced.to_le_bytes());
        stream.extend([b' '; 1000]);
        let mut rest = &stream[..];
        let (error, largest) = largest_allocation(|| frame::receive::<Message>(&mut rest, LIMIT));
        let Err(FrameError::TooLarge {
            announced: told,
            limit,
        }) = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((told, limit), (announced as usize, LIMIT));
        assert_eq!((rest.len(), largest), (1000, 0));
    }
}

#[test]
fn a_frame_of_exactly_the_limit_passes() {
    let body = vec![b'1'; LIMIT];
    let mut stream = Vec::new();
    frame::send_bytes(&mut stream, &body, LIMIT).unwrap();
    assert_eq!(
        frame::receive_bytes(&mut &stream[..], LIMIT).unwrap(),
        Some(body)
    );
    let error = frame::receive_bytes(&mut &stream[..], LIMIT - 1).unwrap_err();
    assert!(matches!(error, FrameError::TooLarge { .. }), "{error:?}");
}

#[test]
fn a_message_beyond_the_limit_is_refused_by_the_sender_and_nothing_of_it_is_written() {
    let mut stream = Vec::new();
    let error = frame::send(&mut stream, &vec![0; 50], 100).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a message of 101 bytes, more than the limit of 100"
    );
    assert!(stream.is_empty());
}

#[test]
fn short_and_interrupted_writes_lose_nothing() {
    let mut to = Reluctant::default();
    frame::send(&mut to, &Message::Square(123_456), LIMIT).unwrap();
    assert_eq!(to.taken, bytes_of(&[Message::Square(123_456)]));
}

#[test]
fn a_message_without_a_serialised_form_is_an_error_of_its_sender() {
    let map = HashMap::from([(Some(1), 2), (None, 3)]);
    let mut stream = Vec::new();
    let error = frame::send(&mut stream, &map, LIMIT).unwrap_err();
    assert!(matches!(error, FrameError::Unsendable(_)), "{error:?}");
    assert!(stream.is_empty());
}

#[test]
fn a_printed_line_is_no_frame() {
    let error = receive_error(b"starting\n");
    assert!(
        matches!(error, FrameError::UnknownVersion { found: b's' }),
        "{error:?}"
    );
}

/// Also where there is no more than the version: in another one, a frame may be that short.
#[test]
fn another_version_is_named_whatever_follows() {
    for found in (0..=255).filter(|version| *version != frame::VERSION) {
        for rest in [&b""[..], b"\xff\xff\xff\xff", b"\x02\0\0\0{}"] {
            let error = receive_error(&[&[found], rest].concat());
            assert!(
                matches!(error, FrameError::UnknownVersion { found: named } if named == found),
                "{error:?}"
            );
        }
    }
}

#[test]
fn an_unknown_kind_is_named_beside_the_known_ones_and_the_next_message_arrives() {
    for body in [&b"\"Halt\""[..], b"{\"Halt\":[1,2]}", b"{\"Halt"] {
        let mut stream = Vec::new();
        frame::send_bytes(&mut stream, body, LIMIT).unwrap();
        frame::send(&mut stream, &Message::Stop, LIMIT).unwrap();
        let (messages, errors) = receive_all(&mut &stream[..]);
        let complete = body != b"{\"Halt";
        assert_eq!(messages, [Message::Stop]);
        let error = errors[0].to_string();
        let named = "a message of unknown kind \"Halt\", known are Stop, Square, Say, All";
        assert_eq!(error == named, complete, "{error}");
    }
}

#[test]
fn a_kind_in_another_spelling_is_understood() {
    for body in ["\"St\\u006fp\"", " \"Stop\" ", "{ \"Stop\": null }"] {
        let mut stream = Vec::new();
        frame::send_bytes(&mut stream, body.as_bytes(), LIMIT).unwrap();
        assert_eq!(receive_all(&mut &stream[..]).0, [Message::Stop], "{body}");
    }
}

/// JSON within JSON within JSON: the parser gives up before the stack does.
#[test]
fn bodies_that_are_no_message_are_malformed() {
    let deep = "{\"All\":[".repeat(LIMIT / 8);
    let bodies = [
        "",
        " ",
        "null",
        "{}",
        "[]",
        "\"",
        "{\"Square\":-1}",
        "{\"Square\":1}x",
        "{\"Square\":1e99}",
        "{\"Say\":{\"text\":\"a\"}}",
        "{\"Square\":1,\"Stop\":null}",
        "\u{feff}\"Stop\"",
        &deep,
    ];
    for body in bodies {
        let mut stream = Vec::new();
        frame::send_bytes(&mut stream, body.as_bytes(), LIMIT).unwrap();
        let error = receive_error(&stream);
        assert!(
            matches!(error, FrameError::Malformed(_)),
            "{body:.40} {error:?}"
        );
    }
}

/// JSON has no such number, and says so only to the receiver.
#[test]
fn nan_does_not_arrive_as_another_number() {
    let mut stream = Vec::new();
    frame::send(&mut stream, &f64::NAN, LIMIT).unwrap();
    let error = frame::receive::<f64>(&mut &stream[..], LIMIT).unwrap_err();
    assert!(matches!(error, FrameError::Malformed(_)), "{error:?}");
}

#[test]
fn an_error_of_the_stream_itself_stays_what_it_is() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::ConnectionReset.into())
        }
    }
    let error = frame::receive::<Message>(&mut Broken, LIMIT).unwrap_err();
    assert!(
        matches!(&error, FrameError::Io(error) if error.kind() == ErrorKind::ConnectionReset),
        "{error:?}"
    );
}

/// However the pieces of two frames are mixed: a header has a byte that no JSON text has, and half
/// a header makes a length beyond the limit.
#[test]
fn two_writers_on_one_stream_are_noticed_wherever_they_interrupt_each_other() {
    let frames = [
        bytes_of(&[Message::Square(7)]),
        bytes_of(&[Message::Stop]),
        bytes_of(&[Message::Say {
            text: "x".repeat(300),
            often: 3,
        }]),
    ];
    for (one, other) in frames
        .iter()
        .flat_map(|one| frames.iter().map(move |other| (one, other)))
    {
        for cut in 1..one.len() {
            for end in 1..=other.len() {
                let rest = [&one[cut..], &other[end..]].concat();
                let mixed = [&one[..cut], &other[..end], &rest].concat();
                let (_, errors) = receive_all(&mut &mixed[..]);
                assert!(!errors.is_empty(), "{cut} {end} {mixed:?}");
            }
        }
    }
}

// ---- Random faults ----------------------------------------------------------------------------

/// Whatever comes in. `FRAME_SEED=17 cargo test` repeats a run that failed.
#[test]
fn no_stream_of_bytes_makes_it_panic_hang_or_take_more_memory_than_the_limit() {
    let seed = env::var("FRAME_SEED").map_or_else(
        |_| std::process::id().into(),
        |seed| seed.parse().expect("FRAME_SEED is a number"),
    );
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut seen = HashMap::new();
    for round in 0..ROUNDS {
        let sent: Vec<Message> = (0..random.below(4)).map(|_| random.message()).collect();
        let mut stream = bytes_of(&sent);
        let harm = random.below(7);
        random.harm(harm, &mut stream);
        let mut reader = Unreliable {
            rest: &stream,
            random: &mut random,
            reads: 0,
        };
        let ((messages, errors), largest) = largest_allocation(|| receive_all(&mut reader));

        let told = format!("seed {seed}, round {round}, harm {harm}, {stream:?}");
        assert!(largest <= LIMIT, "{largest} bytes at once: {told}");
        assert!(reader.reads <= 10 * (stream.len() + 10), "{told}");
        for error in &errors {
            let what = format!("{error:?}");
            assert!(!matches!(error, FrameError::Io(_)), "{what}: {told}");
            assert!(!error.to_string().is_empty(), "{told}");
            let name = what.split([' ', '(']).next().unwrap_or_default();
            *seen.entry(name.to_string()).or_insert(0) += 1;
        }
        match harm {
            0 => assert!(errors.is_empty() && messages == sent, "{errors:?} {told}"),
            // What was sent whole arrives, what was cut off is an error unless nothing is left.
            1 => assert!(
                sent.starts_with(&messages) && errors.len() <= 1,
                "{errors:?} {told}"
            ),
            _ => {}
        }
    }
    println!("{seen:?}");
    // A generator that never gets past the version would prove nothing.
    let names = [
        "Truncated",
        "TooLarge",
        "UnknownVersion",
        "UnknownKind",
        "Malformed",
    ];
    for name in names {
        let times = seen.get(name).copied().unwrap_or_default();
        assert!(
            times > 50,
            "{name} came {times} times with seed {seed}: {seen:?}"
        );
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.next() as u8).collect()
    }

    fn message(&mut self) -> Message {
        match self.below(4) {
            0 => Message::Stop,
            1 => Message::Square(self.next()),
            2 => Message::Say {
                text: String::from_utf8_lossy(&self.bytes(60)).into_owned(),
                often: self.next() as u8,
            },
            _ => Message::All((0..self.below(3)).map(|_| self.message()).collect()),
        }
    }

    fn harm(&mut self, harm: usize, stream: &mut Vec<u8>) {
        match harm {
            0 => {}
            1 => stream.truncate(self.below(stream.len() + 1)),
            2 => {
                for _ in 0..=self.below(3) {
                    let place = self.below(stream.len().max(1));
                    if let Some(byte) = stream.get_mut(place) {
                        *byte = self.next() as u8;
                    }
                }
            }
            // A right header, then anything.
            3 => {
                let body = self.bytes(200);
                frame::send_bytes(stream, &body, LIMIT).unwrap();
            }
            // A header that promises anything, from a few bytes to 4 GB.
            4 => {
                stream.push(frame::VERSION);
                let length = (self.next() as u32) >> self.below(32);
                stream.extend(length.to_le_bytes());
                stream.extend(self.bytes(200));
            }
            5 => {
                let kind = String::from_utf8_lossy(&self.bytes(20)).into_owned();
                frame::send(stream, &HashMap::from([(kind, 1)]), LIMIT).unwrap();
            }
            _ => *stream = self.bytes(300),
        }
    }
}

/// Gives less than was asked for, and is interrupted by signals now and then.
struct Unreliable<'a> {
    rest: &'a [u8],
    random: &'a mut Random,
    reads: usize,
}

impl Read for Unreliable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.random.below(4) == 0 {
            return Err(ErrorKind::Interrupted.into());
        }
        let most = buffer.len().min(1 + self.random.below(40));
        self.rest.read(&mut buffer[..most])
    }
}

/// Takes two bytes at a time, and is interrupted every other time.
#[derive(Default)]
struct Reluctant {
    taken: Vec<u8>,
    writes: usize,
}

impl Write for Reluctant {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        if self.writes.is_multiple_of(2) {
            return Err(ErrorKind::Interrupted.into());
        }
        self.taken.write(&bytes[..bytes.len().min(2)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// ---- How much memory a thread takes at once ---------------------------------------------------

struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn largest_allocation<T>(work: impl FnOnce() -> T) -> (T, usize) {
    LARGEST.set(0);
    let result = work();
    (result, LARGEST.get())
}

fn note(size: usize) {
    LARGEST.set(LARGEST.get().max(size));
}

// SAFETY: everything is left to the system's allocator; only the sizes are noted, in a cell that
// needs no memory of its own.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static WATCHED: Watched = Watched;
