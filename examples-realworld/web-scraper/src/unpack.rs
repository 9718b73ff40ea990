//! A body as it was before it was packed for the way: gzip, as servers really send it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::GzDecoder;
use ureq::http::HeaderMap;
use ureq::http::header::CONTENT_ENCODING;

/// What would look like a page of nonsense. An encoding that nobody knows is passed over instead,
/// as browsers do: "utf-8" and "none" are seen there.
const OTHER_PACKINGS: [&str; 6] = ["br", "zstd", "deflate", "compress", "x-compress", "dcb"];

/// How a body was packed.
#[derive(Debug, PartialEq)]
pub enum Packing {
    None,
    Gzip,
    /// In a way that we did not ask for.
    Other(String),
}

impl Packing {
    pub fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(CONTENT_ENCODING).iter();
        let names = values.filter_map(|value| value.to_str().ok());
        let names: Vec<String> = names
            .flat_map(|names| names.split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| is_gzip(name) || OTHER_PACKINGS.contains(&name.as_str()))
            .collect();
        match names.as_slice() {
            [] => Packing::None,
            [name] if is_gzip(name) => Packing::Gzip,
            names => Packing::Other(names.join(", ")),
        }
    }

    pub fn unpack<'a>(self, body: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        match self {
            Packing::None => Ok(Box::new(body)),
            Packing::Gzip => Ok(Box::new(Gzip::new(body))),
            Packing::Other(names) => Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!("packed as {names}, which nobody asked for"),
            )),
        }
    }
}

fn is_gzip(name: &str) -> bool {
    ["gzip", "x-gzip"].contains(&name)
}

/// Any number of gzip members, also none. What follows the last one is passed over.
struct Gzip<R> {
    place: Place<R>,
    members: usize,
}

enum Place<R> {
    Between(BufReader<R>),
    Within(GzDecoder<BufReader<R>>),
    AtEnd,
}

impl<R: Read> Gzip<R> {
    fn new(packed: R) -> Self {
        Gzip {
            place: Place::Between(BufReader::new(packed)),
            members: 0,
        }
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Place::Within(member) = &mut self.place {
                let n = member.read(room)?;
                if n > 0 || room.is_empty() {
                    return Ok(n);
                }
            }
            let mut packed = match std::mem::replace(&mut self.place, Place::AtEnd) {
                Place::Between(packed) => packed,
                Place::Within(member) => member.into_inner(),
                Place::AtEnd => return Ok(0),
            };
            match packed.fill_buf()?.first() {
                None => return Ok(0),
                Some(first) if self.members > 0 && *first != 0x1f => return Ok(0),
                Some(_) => self.place = Place::Within(GzDecoder::new(packed)),
            }
            self.members += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::gzip;

    fn packing(values: &[&str]) -> Packing {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, value.parse().unwrap());
        }
        Packing::of(&headers)
    }

    #[test]
    fn a_packing_is_named_in_many_ways() {
        for values in [&["gzip"][..], &["GZip"], &["x-gzip"], &["identity, gzip"]] {
            assert_eq!(packing(values), Packing::Gzip, "{values:?}");
        }
        for values in [&[][..], &["identity"], &[""], &["utf-8"], &["none"]] {
            assert_eq!(packing(values), Packing::None, "{values:?}");
        }
        for values in [
            &["Br"][..],
            &["deflate"],
            &["gzip, gzip"],
            &["zstd", "gzip"],
        ] {
            assert!(matches!(packing(values), Packing::Other(_)), "{values:?}");
        }
    }

    fn unpacked(packed: &[u8]) -> Result<String, ErrorKind> {
        let mut text = String::new();
        let mut body = Packing::Gzip.unpack(packed).unwrap();
        let read = body.read_to_string(&mut text);
        read.map(|_| text).map_err(|error| error.kind())
    }

    #[test]
    fn members_follow_each_other_and_what_follows_them_is_passed_over() {
        let (one, two) = (gzip(b"one "), gzip(b"two"));
        let long = gzip(&[b'x'; 100_000]);
        assert_eq!(unpacked(&one).unwrap(), "one ");
        assert_eq!(unpacked(&[&one[..], &two].concat()).unwrap(), "one two");
        assert_eq!(
            unpacked(&[&long[..], &two].concat()).unwrap().len(),
            100_003
        );
        assert_eq!(unpacked(&[&one[..], b"junk"].concat()).unwrap(), "one ");
        assert_eq!(unpacked(&[&one[..], &[0; 99]].concat()).unwrap(), "one ");
        // What a server sends with an empty body, as 404 or 204.
        assert_eq!(unpacked(b"").unwrap(), "");
    }

    #[test]
    fn what_is_cut_or_no_gzip_is_an_error() {
        let whole = gzip(b"some text");
        for length in [1, 5, 12, whole.len() - 1] {
            let error = unpacked(&whole[..length]).unwrap_err();
            assert_eq!(error, ErrorKind::UnexpectedEof, "{length}");
        }
        let mut wrong_sum = whole.clone();
        wrong_sum[whole.len() - 6] ^= 1;
        for packed in [&b"<title>not packed</title>"[..], &wrong_sum] {
            assert_eq!(unpacked(packed).unwrap_err(), ErrorKind::InvalidInput);
        }
    }
}
