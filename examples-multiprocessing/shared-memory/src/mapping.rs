//! A file as memory: every process that maps the same file sees the same words.
//!
//! This is the only file with `unsafe`, and all of it is one line. Its users see atomics and
//! nothing else, so whatever another process does to the memory, no data race can come of it:
//! another process can change what a word *says*, at any time, and never what it *is*.
//!
//! It needs the crate `memmap2`.

#![allow(unsafe_code, reason = "memory from outside of Rust; see SAFETY below")]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::slice;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

pub struct Mapping(MmapRaw);

const WORD: usize = size_of::<AtomicU64>();

impl Mapping {
    /// All of the file, in whole words. Nobody may shorten the file afterwards: the system would
    /// end (SIGBUS) whoever touches a word that is no longer there.
    pub fn of(file: &File) -> io::Result<Mapping> {
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        Ok(Mapping(MmapOptions::new().len(bytes).map_raw(file)?))
    }
}

impl Deref for Mapping {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        let start = self.0.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: The mapping is readable and writable, stays where it is as long as `self`, which
        // the slice borrows, and is at least `len / WORD` words long. It starts at a page, so the
        // words are aligned, and any bits are a valid `AtomicU64`. This process reaches the memory
        // only through this function, so only by atomic operations; other processes are outside of
        // what the compiler reasons about, and to them an atomic word is a word of memory.
        unsafe { slice::from_raw_parts(start, self.0.len() / WORD) }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::process;
    use std::sync::atomic::Ordering::Relaxed;

    /// Two mappings of one file, which has lost its name already, and its length in words.
    fn two_mappings(test: &str, bytes: usize) -> io::Result<[Mapping; 2]> {
        let path = std::env::temp_dir().join(format!("{test}-{}", process::id()));
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        fs::remove_file(&path)?;
        file.write_all(&vec![0; bytes])?;
        Ok([Mapping::of(&file)?, Mapping::of(&file)?])
    }

    #[test]
    fn what_one_mapping_writes_the_other_reads() -> io::Result<()> {
        let [one, other] = two_mappings("what-one-writes", 3 * WORD)?;
        one[2].store(7, Relaxed);
        assert_eq!(other[2].fetch_add(1, Relaxed), 7);
        assert_eq!((one[2].load(Relaxed), one.len()), (8, 3));
        Ok(())
    }

    #[test]
    fn half_a_word_at_the_end_is_out_of_reach() -> io::Result<()> {
        let [one, _] = two_mappings("half-a-word", 2 * WORD + 5)?;
        assert_eq!(one.len(), 2);
        Ok(())
    }
}
