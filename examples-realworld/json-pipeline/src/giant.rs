//! One giant array, checked by several threads at once.
//!
//! From the middle of a JSON text nobody can tell where a record begins: what looks like it may be
//! part of a string. So places are guessed, and then proved. When `X,Y` is cut at the comma, and
//! both `X]` and `[Y` are arrays that are not empty, then `X,Y` is an array with the records of
//! both. Each part is checked by an ordinary scanner, with the missing bracket put before or after
//! it. If one of them finds a fault, the guess was wrong or the file is: then the whole is checked
//! from its beginning, which finds out which, and names line and column.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use memchr::memmem;

use crate::scan::{Count, ScanError, Scanner};
use crate::shared::Shared;

/// Smaller parts are not worth a thread.
const PART: u64 = 32 << 20;
/// Each part has a scanner of its own, and the memory of all of them should not grow with the file.
const MOST_PARTS: u64 = 8;
/// The first record, and the next place to cut, have to be found in so many bytes.
const SAMPLE: u64 = 64 << 10;

/// Checks a whole file, with the help of up to `helpers` threads if it is large enough.
pub fn scan(
    scanner: &mut Scanner,
    file: File,
    path: &Path,
    helpers: usize,
    shared: &Shared,
) -> Result<Count, ScanError> {
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let parts = (size / PART).min(helpers as u64 + 1).min(MOST_PARTS);
    scan_in_parts(scanner, file, path, parts, shared)
}

fn scan_in_parts(
    scanner: &mut Scanner,
    mut file: File,
    path: &Path,
    parts: u64,
    shared: &Shared,
) -> Result<Count, ScanError> {
    if parts > 1 {
        let mut cuts = cuts(&mut file, parts).map_err(ScanError::Read)?;
        // Another giant may have been quicker to take them.
        cuts.truncate(shared.take_idle(cuts.len()));
        let joined = join_parts(scanner, path, &cuts, shared);
        shared.idle.fetch_add(cuts.len(), Ordering::Relaxed);
        if let Some(count) = joined {
            return Ok(count);
        }
        file.rewind().map_err(ScanError::Read)?;
    }
    scanner.scan(Watched::new(file, shared, &AtomicBool::new(false)))
}

/// Guesses where between two records the file may be cut into so many parts: the places of commas.
fn cuts(file: &mut File, parts: u64) -> io::Result<Vec<u64>> {
    let size = file.metadata()?.len();
    let Some(border) = border(&sample(file, 0)?) else {
        return Ok(Vec::new());
    };
    let comma = memchr::memchr(b',', &border).unwrap_or(0);
    let mut cuts = Vec::new();
    for part in 1..parts {
        let near = size / parts * part;
        if let Some(place) = memmem::find(&sample(file, near)?, &border) {
            cuts.push(near + (place + comma) as u64);
        }
    }
    Ok(cuts)
}

fn sample(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(SAMPLE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What stands between the first two records, from the last byte of the first one to the first key
/// of the second, such as `}, {"id"`: a pattern that is rare elsewhere.
fn border(text: &[u8]) -> Option<Vec<u8>> {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    let comma = text.iter().position(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b',' => return depth == 1,
            _ => {}
        }
        false
    })?;
    let blank = |byte: &u8| !byte.is_ascii_whitespace();
    let first = text.iter().position(blank).filter(|&at| text[at] == b'[')?;
    let last = first + 1 + text[first + 1..comma].iter().rposition(blank)?;
    let next = comma + 1 + text[comma + 1..].iter().position(blank)?;
    let end = match text[next] {
        b'{' => next + 1 + key_end(&text[next + 1..])?,
        b'[' | b'"' => next + 1,
        _ => next,
    };
    // Numbers and words end in any way.
    let begin = if b"]}\"".contains(&text[last]) {
        last
    } else {
        last + 1
    };
    Some(text[begin..end].to_vec())
}

/// The end of the first string, quotes included.
fn key_end(text: &[u8]) -> Option<usize> {
    let open = memchr::memchr(b'"', text)?;
    Some(open + 2 + memchr::memchr(b'"', &text[open + 1..])?)
}

/// What all parts have together, if each is what it has to be.
fn join_parts(scanner: &mut Scanner, path: &Path, cuts: &[u64], shared: &Shared) -> Option<Count> {
    let (first, others) = cuts.split_first()?;
    let failed = AtomicBool::new(false);
    let begins = cuts.iter().map(|comma| comma + 1);
    let ends = others.iter().copied().map(Some).chain([None]);
    thread::scope(|scope| {
        let mut helpers = Vec::new();
        for (begin, end) in begins.zip(ends) {
            let (failed, thread) = (&failed, thread::Builder::new());
            let check = move || part(&mut Scanner::default(), path, begin, end, shared, failed);
            let helper = thread
                .name(format!("from-{begin}"))
                .spawn_scoped(scope, check);
            helpers.push(
                helper
                    .inspect_err(|_| failed.store(true, Ordering::Relaxed))
                    .ok()?,
            );
        }
        let mut whole = part(scanner, path, 0, Some(*first), shared, &failed)?;
        for helper in helpers {
            let part = helper.join().ok()??;
            whole.records += part.records;
            // With the comma before it.
            whole.bytes += 1 + part.bytes;
        }
        Some(whole)
    })
}

/// What is from `begin` to `end` (none: the end of the file), if there are records, and all valid.
fn part(
    scanner: &mut Scanner,
    path: &Path,
    begin: u64,
    end: Option<u64>,
    shared: &Shared,
    failed: &AtomicBool,
) -> Option<Count> {
    let open: &[u8] = if begin == 0 { b"" } else { b"[" };
    let close: &[u8] = if end.is_none() { b"" } else { b"]" };
    let mut check = || {
        let mut file = File::open(path).ok()?;
        file.seek(SeekFrom::Start(begin)).ok()?;
        let inside = Watched::new(file, shared, failed);
        let inside = inside.take(end.map_or(u64::MAX, |end| end - begin));
        let mut count = scanner.scan(open.chain(inside).chain(close)).ok()?;
        count.bytes -= (open.len() + close.len()) as u64;
        Some(count).filter(|count| count.records > 0)
    };
    let count = check();
    if count.is_none() {
        // The others need not go on.
        failed.store(true, Ordering::Relaxed);
    }
    count
}

/// A file that stops being read when the user wants to stop, or a part of it has failed: a giant is
/// given up, and leaves nothing.
struct Watched<'a> {
    file: File,
    shared: &'a Shared,
    failed: &'a AtomicBool,
    read: u64,
}

impl<'a> Watched<'a> {
    fn new(file: File, shared: &'a Shared, failed: &'a AtomicBool) -> Self {
        Self {
            file,
            shared,
            failed,
            read: 0,
        }
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.shared.stopped() || self.failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        self.shared
            .counters
            .bytes
            .fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        // What has to be read again was not progress.
        if self.failed.load(Ordering::Relaxed) {
            self.shared
                .counters
                .bytes
                .fetch_sub(self.read, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tempfile::NamedTempFile;

    fn file_of(text: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        file
    }

    const TEXTS: [&str; 13] = [
        r#"[{"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}]"#,
        r#"[{"id":1,"in":[{"id":2},{"id":3}]},{"id":4,"text":"},{\"id\":5},{"}]"#,
        r#"  [1, 22.5e3, -3, true, null, "a,b", ["c,", [1,2]], {}]  "#,
        r#"["\\","\"", "],[", "[1,2", "3]"]"#,
        r#"[[1,2],[3,4],[[5,6],[7,8]]]"#,
        r#"{"a": [1, 2], "b": [3, 4]}"#,
        r#"[1, 2], [3, 4]"#,
        r#"[1, 2}, {3, 4]"#,
        r#"[{"id": 1}, {"id": 2}, {"id": }, {"id": 4}]"#,
        r#"[1,,2]"#,
        r#"[,1,2]"#,
        r#"[1,2,]"#,
        r#"[1,2,[3,4],5"#,
    ];

    /// The rule itself, with every guess there can be: each comma, and each two of them, wherever
    /// it stands. What is joined has to be what the scanner finds in one go.
    #[test]
    fn whatever_the_guess_parts_are_joined_only_to_what_the_whole_is() {
        let (shared, mut scanner) = (Shared::default(), Scanner::default());
        let mut joined = 0;
        for text in TEXTS {
            let whole = scanner.scan(text.as_bytes()).ok();
            let file = file_of(text.as_bytes());
            let commas: Vec<u64> = (0..)
                .zip(text.bytes())
                .filter(|it| it.1 == b',')
                .map(|it| it.0)
                .collect();
            for (place, &first) in commas.iter().enumerate() {
                let seconds = commas[place + 1..]
                    .iter()
                    .map(|&second| vec![first, second]);
                for cuts in seconds.chain([vec![first]]) {
                    if let Some(count) = join_parts(&mut scanner, file.path(), &cuts, &shared) {
                        assert_eq!(Some(count), whole, "{text} cut at {cuts:?}");
                        joined += 1;
                    }
                }
            }
        }
        assert!(joined > 20, "only {joined} guesses were right");
    }

    #[test]
    fn the_border_is_rare_and_its_place_a_good_guess() {
        let border =
            |text: &str| super::border(text.as_bytes()).map(|it| String::from_utf8(it).unwrap());
        assert_eq!(border(TEXTS[0]).unwrap(), r#"}, {"id""#);
        assert_eq!(border(TEXTS[1]).unwrap(), r#"},{"id""#);
        assert_eq!(border("[\n 10,\n 20]").unwrap(), ",\n ");
        assert_eq!(border(r#"["a,b" , "c"]"#).unwrap(), r#"" , ""#);
        for none in [
            "",
            "[1]",
            "[[1,2]]",
            r#"{"a": 1, "b": 2}"#,
            "1, 2",
            "[1,",
            "[,2]",
        ] {
            assert_eq!(border(none), None, "{none}");
        }
    }

    #[test]
    fn a_file_in_parts_gives_the_same_count_or_the_same_fault() {
        let record =
            |id: usize| format!("{{\"id\": {id}, \"list\": [[1, 2], [3]], \"t\": \"}}, {{\"}}");
        let records: Vec<String> = (0..20_000).map(record).collect();
        let text = format!("[{}]", records.join(",\n"));
        let mut broken = text.clone();
        broken.replace_range(900_000..900_001, "\u{1}");
        let mut scanner = Scanner::default();
        for text in [text, broken, records.join(","), String::new()] {
            let file = file_of(text.as_bytes());
            let whole = format!("{:?}", scanner.scan(text.as_bytes()));
            for parts in 1..=5 {
                let shared = Shared::default();
                shared.idle.store(3, Ordering::Relaxed);
                let open = file.reopen().unwrap();
                let found = scan_in_parts(&mut scanner, open, file.path(), parts, &shared);
                assert_eq!(format!("{found:?}"), whole, "{parts} parts");
                assert_eq!(shared.idle.into_inner(), 3, "helpers are given back");
            }
        }
    }

    #[test]
    fn the_parts_are_of_the_size_that_was_asked_for() {
        let text = format!("[{}]", vec!["123456789"; 30_000].join(","));
        let mut file = file_of(text.as_bytes()).reopen().unwrap();
        let cuts = cuts(&mut file, 3).unwrap();
        let thirds = [1, 2].map(|third| third * text.len() as u64 / 3);
        assert_eq!(cuts.len(), 2);
        assert!(
            cuts.iter()
                .zip(thirds)
                .all(|(cut, third)| cut.abs_diff(third) < 20)
        );
    }

    #[test]
    fn progress_counts_no_byte_twice() {
        for text in TEXTS {
            let (shared, file) = (Shared::default(), file_of(text.as_bytes()));
            let cut = text.find(',').unwrap() as u64;
            let _ = join_parts(&mut Scanner::default(), file.path(), &[cut], &shared);
            assert!(shared.counters.read().1 <= text.len() as u64);
        }
    }
}
