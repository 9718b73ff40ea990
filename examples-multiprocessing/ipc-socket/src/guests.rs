//! Those who should not be let in, each a process of its own, and what they try.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::connection::{self, Key};

/// What each of them does, and the error that the listener must have for it.
pub const GUESTS: [(&str, &str); 6] = [
    ("has another key", "WrongKey"),
    ("just asks, without a key", "NotOurs"),
    ("mistakes us for a web server", "NotOurs"),
    ("hangs up in mid-handshake", "HungUp"),
    ("sends our challenge back", "Reflected"),
    (BOASTS, "TooLarge"),
];
/// This one alone has the key.
pub const BOASTS: &str = "announces 4 GB";
/// And this one is refused in the end, when its time is over.
pub const STALLS: &str = "stalls";

const LONG: Duration = Duration::from_secs(30);
/// The sizes of the handshake's first two messages.
const CHALLENGE: usize = 36;
const ANSWER: usize = 68;

/// Does what the guest does.
pub fn visit(what: &str, at: SocketAddr, key: Option<Key>) -> io::Result<()> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(LONG))?;
    match (what, key) {
        ("has another key", None) => {
            let told = connection::prove(stream, &Key::random()?, LONG);
            let told = told.expect_err("the listener has another key");
            return match told {
                connection::HandshakeError::Refused => Ok(()),
                _ => Err(io::Error::other(format!("it should be refused: {told}"))),
            };
        }
        (BOASTS, Some(key)) => {
            let connection = connection::prove(stream, &key, LONG);
            let mut connection = connection.map_err(io::Error::other)?;
            connection.write_all(b"\x01\xff\xff\xff\xff")?;
            until_cut_off(&mut connection);
            return Ok(());
        }
        _ => {}
    }
    let mut challenge = [0; CHALLENGE];
    stream.read_exact(&mut challenge)?;
    match what {
        STALLS => {}
        "just asks, without a key" => stream.write_all(b"\x01\x05\0\0\0\"Now\"")?,
        "mistakes us for a web server" => stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?,
        "hangs up in mid-handshake" => return stream.write_all(&challenge),
        "sends our challenge back" => {
            let answer = challenge.iter().chain(&challenge[..ANSWER - CHALLENGE]);
            let answer: Vec<u8> = answer.copied().collect();
            stream.write_all(&answer)?;
        }
        _ => return Err(io::Error::other("no such guest")),
    }
    until_cut_off(&mut stream);
    Ok(())
}

/// Waits for the listener to close, in whichever way.
fn until_cut_off(stream: &mut impl Read) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// A listener that does not have the key, but takes any client's, and sends its proof back.
pub fn pose_as_listener(tell: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    tell(listener.local_addr()?);
    let (mut client, _) = listener.accept()?;
    let challenge: Vec<u8> = b"ipc1".iter().chain(&[7; 32]).copied().collect();
    client.write_all(&challenge)?;
    let mut answer = [0; ANSWER];
    client.read_exact(&mut answer)?;
    client.write_all(&[1])?;
    client.write_all(&answer[CHALLENGE..])?;
    until_cut_off(&mut client);
    Ok(())
}
