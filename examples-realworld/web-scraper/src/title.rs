//! The title of a web page, found while the page streams by: nothing of it is kept but the title.
//!
//! The hard part of HTML is done by html5gum, which follows the standard's tokenizer: case,
//! attributes with a `>` in them, entities, comments, the content of scripts. `Finder` adds what
//! the standard leaves to the tree: which `<title>` is the page's own and not that of a drawing.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, WINDOWS_1252};
use html5gum::emitters::Emitter;
use html5gum::{IoReader, Reader, State, Tokenizer};

/// A `<meta charset>` counts only within the first 1024 bytes, says the standard.
const CHARSET_WITHIN: usize = 1024;

/// A title that is longer than this ends in "…".
const LONGEST_TITLE: usize = 1000;

/// Room for the bytes as they come and for the same as UTF-8; to be used again for each page.
pub struct Scratch {
    raw: Box<[u8]>,
    text: Box<[u8]>,
}

impl Scratch {
    pub fn new(size: usize) -> Self {
        let room = || vec![0; size.max(CHARSET_WITHIN)].into_boxed_slice();
        Scratch {
            raw: room(),
            text: room(),
        }
    }

    /// The room for bytes as they come, for whoever reads the rest of the page.
    pub fn raw(&mut self) -> &mut [u8] {
        &mut self.raw
    }
}

/// Reads `page` until its title is complete, or to its end when it has none.
///
/// `charset` is what the HTTP header named; else the page itself is asked. Blank titles and titles
/// that are never closed are none.
pub fn find(
    page: &mut dyn Read,
    charset: Option<&str>,
    scratch: &mut Scratch,
) -> io::Result<Option<String>> {
    let named = charset.and_then(|label| Encoding::for_label(label.as_bytes()));
    let mut filled = 0;
    let encoding = match named {
        Some(encoding) => encoding,
        None => {
            filled = fill(page, &mut scratch.raw, CHARSET_WITHIN)?;
            guess_encoding(&scratch.raw[..filled], &mut scratch.text)
        }
    };
    let mut utf8 = Utf8Reader {
        page,
        raw: &mut scratch.raw,
        unread: 0..filled,
        // A byte order mark, where there is one, counts for more than any declaration.
        decoder: encoding.new_decoder(),
        at_end: false,
        finished: false,
    };
    for found in tokens(&mut utf8, &mut scratch.text) {
        if let Found::Title(title) = found? {
            return Ok(Some(title).filter(|title| !title.is_empty()));
        }
    }
    Ok(None)
}

fn tokens<'a>(
    text: &'a mut dyn Read,
    room: &'a mut [u8],
) -> impl Iterator<Item = io::Result<Found>> {
    let reader = Outlined(IoReader::new_with_buffer(text, room));
    Tokenizer::new_with_emitter(reader, Finder::default())
}

/// The tokenizer reads in a hundred places. To build all of `IoReader` into each of them would take
/// a good part of the time in which this whole program is compiled.
struct Outlined<R>(R);

impl<R: Reader> Reader for Outlined<R> {
    type Error = R::Error;

    #[inline(never)]
    fn read_byte(&mut self) -> Result<Option<u8>, R::Error> {
        self.0.read_byte()
    }

    #[inline(never)]
    fn try_read_string(&mut self, text: &[u8], case_sensitive: bool) -> Result<bool, R::Error> {
        self.0.try_read_string(text, case_sensitive)
    }

    #[inline(never)]
    fn read_until<'b>(
        &'b mut self,
        needle: &[u8],
        room: &'b mut [u8; 4],
    ) -> Result<Option<&'b [u8]>, R::Error> {
        self.0.read_until(needle, room)
    }
}

/// The value of `charset=` in a Content-Type.
pub fn charset_in(content_type: &str) -> Option<&str> {
    // ASCII letters keep their length in lower case, so places are the same in both.
    let lower = content_type.to_ascii_lowercase();
    let (at, name) = lower.match_indices("charset").find(|(at, name)| {
        let rest = lower[at + name.len()..].trim_start();
        rest.starts_with('=')
    })?;
    let value = content_type[at + name.len()..].trim_start()[1..].trim_start();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next()?,
        _ => value.split([';', ',', ' ', '\t']).next()?,
    };
    Some(value.trim()).filter(|value| !value.is_empty())
}

/// Reads until at least `enough` bytes are there, or the page ends.
fn fill(page: &mut dyn Read, room: &mut [u8], enough: usize) -> io::Result<usize> {
    let mut filled = 0;
    while filled < enough {
        match page.read(&mut room[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// What the page declares itself; else UTF-8 where the bytes allow it, else what browsers assume.
fn guess_encoding(head: &[u8], room: &mut [u8]) -> &'static Encoding {
    let mut start = &head[..head.len().min(CHARSET_WITHIN)];
    let declared = tokens(&mut start, room).find_map(|found| match found {
        Ok(Found::Charset(encoding)) => Some(encoding),
        // A slice can always be read.
        Ok(Found::Title(_)) | Err(_) => None,
    });
    declared.unwrap_or_else(|| match std::str::from_utf8(head) {
        // A character that is cut off at the end is no mistake.
        Ok(_) => UTF_8,
        Err(error) if error.error_len().is_none() => UTF_8,
        Err(_) => WINDOWS_1252,
    })
}

/// Any encoding in, UTF-8 out; what is not valid becomes U+FFFD.
struct Utf8Reader<'a> {
    page: &'a mut dyn Read,
    raw: &'a mut [u8],
    unread: std::ops::Range<usize>,
    decoder: Decoder,
    at_end: bool,
    finished: bool,
}

impl Read for Utf8Reader<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while !self.finished {
            if self.unread.is_empty() && !self.at_end {
                self.unread = 0..self.page.read(self.raw)?;
                self.at_end = self.unread.is_empty();
            }
            let bytes = &self.raw[self.unread.clone()];
            let (result, used, written, _) = self.decoder.decode_to_utf8(bytes, room, self.at_end);
            self.unread.start += used;
            self.finished = self.at_end && result == CoderResult::InputEmpty;
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}

enum Found {
    Charset(&'static Encoding),
    Title(String),
}

/// Looks at the tokens as they come. Text outside of the title costs nothing.
#[derive(Default)]
struct Finder {
    tag: Vec<u8>,
    is_end_tag: bool,
    self_closing: bool,
    last_start_tag: Vec<u8>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>, // only those of `<meta>`
    drawings: usize,                     // how many `<svg>` and `<math>` are open
    templates: usize,                    // how many `<template>` are open
    title: Option<Vec<u8>>,              // what has come of it
    found: Option<Found>,
}

impl Finder {
    fn start_tag(&mut self) -> Option<State> {
        let open = !self.self_closing;
        match self.tag.as_slice() {
            // A drawing has its own titles, and styles that are ordinary markup there.
            b"svg" | b"math" if open => self.drawings += 1,
            _ if self.drawings > 0 => return None,
            b"template" => self.templates += 1,
            b"title" => {
                if self.templates == 0 {
                    self.title = Some(Vec::new());
                }
                return Some(State::RcData);
            }
            b"meta" => self.found = self.declared_charset().map(Found::Charset),
            b"textarea" => return Some(State::RcData),
            b"script" => return Some(State::ScriptData),
            b"plaintext" => return Some(State::PlainText),
            b"style" | b"iframe" | b"xmp" | b"noembed" | b"noframes" | b"noscript" => {
                return Some(State::RawText);
            }
            _ => {}
        }
        None
    }

    fn end_tag(&mut self) {
        match self.tag.as_slice() {
            b"svg" | b"math" => self.drawings = self.drawings.saturating_sub(1),
            b"template" => self.templates = self.templates.saturating_sub(1),
            b"title" => {
                self.found = self.title.take().map(|text| Found::Title(tidy(text)));
            }
            _ => {}
        }
    }

    /// `<meta charset=X>` or `<meta http-equiv=content-type content="text/html; charset=X">`.
    fn declared_charset(&self) -> Option<&'static Encoding> {
        let value = |wanted: &str| {
            let mut all = self.attributes.iter();
            let (_, value) = all.find(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()))?;
            std::str::from_utf8(value).ok()
        };
        let label = value("charset").or_else(|| {
            value("http-equiv").filter(|kind| kind.eq_ignore_ascii_case("content-type"))?;
            charset_in(value("content")?)
        })?;
        let encoding = Encoding::for_label(label.as_bytes())?;
        // Whoever could read this declaration has not got UTF-16: the standard says UTF-8 then.
        Some(encoding.output_encoding())
    }
}

impl Emitter for Finder {
    type Token = Found;

    fn pop_token(&mut self) -> Option<Found> {
        self.found.take()
    }

    fn emit_string(&mut self, text: &[u8]) {
        if let Some(title) = &mut self.title {
            // One byte more than the longest shows that there was more.
            let room = 4 * LONGEST_TITLE - title.len().min(4 * LONGEST_TITLE);
            title.extend_from_slice(&text[..text.len().min(room)]);
        }
    }

    fn init_start_tag(&mut self) {
        self.tag.clear();
        self.attributes.clear();
        self.is_end_tag = false;
        self.self_closing = false;
    }

    fn init_end_tag(&mut self) {
        self.init_start_tag();
        self.is_end_tag = true;
    }

    fn push_tag_name(&mut self, part: &[u8]) {
        // No name that matters is longer than this; a page may send one without end.
        let room = 16 - self.tag.len().min(16);
        self.tag.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn set_self_closing(&mut self) {
        self.self_closing = true;
    }

    fn init_attribute(&mut self) {
        if self.tag == b"meta" && self.attributes.len() < 8 {
            self.attributes.push(Default::default());
        }
    }

    fn push_attribute_name(&mut self, part: &[u8]) {
        if let Some((name, _)) = self.attributes.last_mut() {
            push_bounded(name, part);
        }
    }

    fn push_attribute_value(&mut self, part: &[u8]) {
        if let Some((_, value)) = self.attributes.last_mut() {
            push_bounded(value, part);
        }
    }

    fn emit_current_tag(&mut self) -> Option<State> {
        if self.is_end_tag {
            self.end_tag();
            return None;
        }
        std::mem::swap(&mut self.last_start_tag, &mut self.tag);
        self.tag.clone_from(&self.last_start_tag);
        self.start_tag()
    }

    fn current_is_appropriate_end_tag_token(&mut self) -> bool {
        self.is_end_tag && self.tag == self.last_start_tag
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&mut self) -> bool {
        self.drawings > 0
    }

    fn should_emit_errors(&mut self) -> bool {
        false
    }

    // Nothing below is of interest here.
    fn set_last_start_tag(&mut self, _: Option<&[u8]>) {}
    fn emit_eof(&mut self) {}
    fn emit_error(&mut self, _: html5gum::Error) {}
    fn init_comment(&mut self) {}
    fn emit_current_comment(&mut self) {}
    fn emit_current_doctype(&mut self) {}
    fn set_force_quirks(&mut self) {}
    fn push_comment(&mut self, _: &[u8]) {}
    fn push_doctype_name(&mut self, _: &[u8]) {}
    fn init_doctype(&mut self) {}
    fn set_doctype_public_identifier(&mut self, _: &[u8]) {}
    fn set_doctype_system_identifier(&mut self, _: &[u8]) {}
    fn push_doctype_public_identifier(&mut self, _: &[u8]) {}
    fn push_doctype_system_identifier(&mut self, _: &[u8]) {}
}

fn push_bounded(kept: &mut Vec<u8>, part: &[u8]) {
    let room = 200 - kept.len().min(200);
    kept.extend_from_slice(&part[..part.len().min(room)]);
}

/// White space collapsed as browsers do it, and not longer than anyone wants to read.
fn tidy(text: Vec<u8>) -> String {
    let text = String::from_utf8_lossy(&text);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let mut title = words.join(" ");
    if let Some((end, _)) = title.char_indices().nth(LONGEST_TITLE) {
        title.truncate(end);
        title.push('…');
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title_in(page: impl AsRef<[u8]>, charset: Option<&str>) -> Option<String> {
        let page = page.as_ref();
        let whole = find(&mut &*page, charset, &mut Scratch::new(8192)).unwrap();
        // The same, however the page is cut into pieces on its way.
        struct ByteByByte<'a>(&'a [u8]);
        impl Read for ByteByByte<'_> {
            fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
                let n = room.len().min(1);
                self.0.read(&mut room[..n])
            }
        }
        let pieces = find(&mut ByteByByte(page), charset, &mut Scratch::new(1024)).unwrap();
        assert_eq!(whole, pieces);
        whole
    }

    fn title(page: &str) -> Option<String> {
        title_in(page, Some("utf-8"))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_string())
    }

    /// Python's `html[html.find('<title>') + 7:html.find('</title>')]` gave `'no title at all</html'`.
    #[test]
    fn without_a_title_there_is_no_page_garbage() {
        for page in [
            "",
            "<html>no title at all</html>",
            "title</title>",
            "<title",
            "<title>never closed",
            "<title>never closed<p>and all the rest</p></html>",
            "<title></title>",
            "<title> \n\t </title>",
            "&lt;title>x&lt;/title>",
            "<titles>x</titles>",
        ] {
            assert_eq!(title(page), None, "{page}");
        }
    }

    #[test]
    fn upper_case_and_attributes_are_no_obstacle() {
        for page in [
            "<TITLE>x</TITLE>",
            "<Title lang=\"en\">x</tItLe>",
            "<title data-x='a>b'>x</title >",
            "<title\nclass=y\n>x</title\n>",
            "<title/>x</title>",
            "<html><head><meta charset=utf-8><title>x</title><title>second</title>",
            "<body><p>late</p><title>x</title>",
        ] {
            assert_eq!(title(page), some("x"), "{page}");
        }
    }

    #[test]
    fn entities_are_decoded() {
        for (page, expected) in [
            ("Tom &amp; Jerry", "Tom & Jerry"),
            ("Tom &amp Jerry", "Tom & Jerry"),
            ("&lt;b&gt; &quot;x&quot; &#39;y&#x27;", "<b> \"x\" 'y'"),
            ("caf&eacute; &mdash; &#8364;", "café — €"),
            ("&amp;amp; &nosuch; & alone", "&amp; &nosuch; & alone"),
            ("&#x1F980;&#0;&#xD800;", "🦀\u{fffd}\u{fffd}"),
            ("&notin; &notit;", "∉ ¬it;"),
            ("&#128;", "€"),
        ] {
            assert_eq!(title(&format!("<title>{page}</title>")), some(expected));
        }
    }

    #[test]
    fn a_title_in_a_drawing_a_comment_or_a_script_is_not_taken() {
        for other in [
            "<svg><title>no</title></svg>",
            "<SVG viewBox='0 0 1 1'><g><title>no</title></g></SVG>",
            "<svg><svg><title>no</title></svg><title>no</title></svg>",
            "<svg><![CDATA[</svg><title>no</title>]]></svg>",
            "<svg/>",
            "<math><title>no</title></math>",
            "<!-- <title>no</title> -->",
            "<!--><!-- <title>no</title> -->",
            "<script>'<title>no</title>'</script>",
            "<script><!-- <script> <title>no</title> </script> --></script>",
            "<style>/* <title>no</title> */</style>",
            "<textarea><title>no</title></textarea>",
            "<noscript><title>no</title></noscript>",
            "<template><title>no</title></template>",
            "<iframe><title>no</title></iframe>",
            "<p data-x='<title>no</title>'>",
            "<!doctype html><?xml <title>?>",
            "</title>",
        ] {
            let page = format!("{other}<title>yes</title>");
            assert_eq!(title(&page), some("yes"), "{page}");
        }
    }

    #[test]
    fn markup_within_a_title_is_text_and_white_space_collapses() {
        let page = "<title>\n  a <b>bold</b>\t\ttitle <!-- x -->\u{c}  end\r\n</title>";
        assert_eq!(title(page), some("a <b>bold</b> title <!-- x --> end"));
        let page = format!("<title>{}é</title>", "é".repeat(LONGEST_TITLE));
        assert_eq!(title(&page), some(&("é".repeat(LONGEST_TITLE) + "…")));
        let page = format!("<title>{}</title>", "é".repeat(LONGEST_TITLE));
        assert_eq!(title(&page), some(&"é".repeat(LONGEST_TITLE)));
        let page = format!("<title>{}</title>", "x ".repeat(50_000));
        assert_eq!(title(&page).unwrap().chars().count(), LONGEST_TITLE + 1);
    }

    #[test]
    fn the_header_names_the_character_set() {
        assert_eq!(
            title_in(b"<title>caf\xe9</title>", Some("iso-8859-1")),
            some("café")
        );
        assert_eq!(
            title_in(b"<title>caf\xe9</title>", Some("utf-8")),
            some("caf\u{fffd}")
        );
        let russian = b"<title>\xcf\xf0\xe8\xe2\xe5\xf2</title>";
        assert_eq!(title_in(russian, Some("windows-1251")), some("Привет"));
        let japanese = b"<title>\x93\xfa\x96\x7b</title>";
        assert_eq!(title_in(japanese, Some("Shift_JIS")), some("日本"));
        // `<` and `&` within characters: only to be told apart after decoding.
        let japanese = b"<title>\x1b$B$3$l\x1b(B</title>";
        assert_eq!(title_in(japanese, Some("iso-2022-jp")), some("これ"));
        let wide: Vec<u8> = "<title>breit</title>"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(title_in(&wide, Some("utf-16le")), some("breit"));
        assert_eq!(title_in("<title>é</title>", Some("no-such-set")), some("é"));
    }

    #[test]
    fn the_page_names_the_character_set() {
        for declared in [
            &b"<meta charset=koi8-r>"[..],
            b"<META CHARSET='KOI8-R' />",
            b"<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>",
            b"<!-- <meta charset=utf-8> --><meta name=x><meta charset=koi8>",
            b"<meta charset=nonsense><meta charset=koi8>",
        ] {
            let page = [declared, b"<title>\xf0\xd2\xc9\xd7\xc5\xd4</title>"].concat();
            assert_eq!(title_in(&page, None), some("Привет"));
        }
        let marked = [&b"\xef\xbb\xbf"[..], "<title>é</title>".as_bytes()].concat();
        assert_eq!(title_in(marked, Some("iso-8859-1")), some("é"));
        let wide: Vec<u8> = "\u{feff}<title>breit</title>"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        assert_eq!(title_in(wide, None), some("breit"));
        let not_wide = "<meta charset=utf-16><title>é</title>";
        assert_eq!(title_in(not_wide, None), some("é"));
    }

    #[test]
    fn without_any_name_it_is_utf8_where_possible() {
        assert_eq!(title_in("<title>é</title>", None), some("é"));
        assert_eq!(title_in(b"<title>caf\xe9</title>", None), some("café"));
        // The first part may end in the middle of a character.
        let page = format!("<p>{}<title>é</title>", "é".repeat(5000));
        assert_eq!(title_in(&page, None), some("é"));
    }

    #[test]
    fn charset_in_a_content_type() {
        for (value, expected) in [
            ("text/html; charset=utf-8", Some("utf-8")),
            ("text/html;CHARSET = \"latin1\" ; x", Some("latin1")),
            ("text/html; charset='x'", Some("x")),
            ("text/html; charset=a;b", Some("a")),
            ("text/html; charset; charset=b", Some("b")),
            ("text/html; charset=", None),
            ("text/html; charset=\"", None),
            ("text/html", None),
            ("", None),
        ] {
            assert_eq!(charset_in(value), expected, "{value}");
        }
    }

    #[test]
    fn an_error_of_the_page_is_passed_on() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            }
        }
        let mut page = b"<title>half".chain(Broken);
        let error = find(&mut page, None, &mut Scratch::new(1024)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
