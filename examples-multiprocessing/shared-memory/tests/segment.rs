//! Segments and their names; the mapping itself is tested where it is made.
#![cfg(unix)]

#[path = "../src/lock.rs"]
mod lock;
#[path = "../src/mapping.rs"]
mod mapping;
#[expect(dead_code, reason = "the lock has its own tests")]
#[path = "../src/shared.rs"]
mod shared;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Barrier;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use shared::{Segment, SegmentError, remove_stale, unlink};

type Tested = Result<(), Box<dyn Error>>;

/// No other test, and no other run of this one, has it.
fn name(test: &str) -> String {
    format!("test-{}-{test}", process::id())
}

fn path(name: &str) -> PathBuf {
    match Path::new("/dev/shm") {
        memory if memory.is_dir() => memory.join(name),
        _ => std::env::temp_dir().join(name),
    }
}

fn files_of(name: &str) -> Vec<PathBuf> {
    [path(name), path(&format!("{name}.lock"))]
        .into_iter()
        .filter(|path| path.exists())
        .collect()
}

/// What a killed owner leaves: the segment is there, and its file is not locked.
fn leave_behind(name: &str) -> Tested {
    let segment = Segment::create(name, 2, 0)?;
    segment.words()[0].store(7, Relaxed);
    let kept = path(&format!("{name}.kept"));
    fs::hard_link(path(name), &kept)?;
    drop(segment);
    fs::rename(kept, path(name))?;
    fs::write(path(&format!("{name}.lock")), "")?;
    Ok(())
}

#[test]
fn all_who_attach_see_the_same_words_and_the_same_size() -> Tested {
    let name = name("same-words");
    let owner = Segment::create(&name, 5, 3)?;
    let other = Segment::attach(&name)?;
    owner.words()[4].store(11, Relaxed);
    assert_eq!(other.words()[4].load(Relaxed), 11);
    assert_eq!((owner.words().len(), other.words().len()), (5, 5));
    let guarded = owner.lock()?.or_repair(|_, _| ());
    guarded[2].store(13, Relaxed);
    drop(guarded);
    let guarded = other.lock()?.or_repair(|_, _| ());
    assert_eq!((guarded.len(), guarded[2].load(Relaxed)), (3, 13));
    assert_eq!(other.words()[4].load(Relaxed), 11);
    Ok(())
}

#[test]
fn a_segment_is_all_zeros_and_may_be_empty() -> Tested {
    let name = name("zeros");
    let segment = Segment::create(&name, 100, 0)?;
    assert!(segment.words().iter().all(|word| word.load(Relaxed) == 0));
    drop(segment);
    let segment = Segment::create(&name, 0, 0)?;
    assert_eq!(segment.words().len(), 0);
    assert_eq!(segment.lock()?.or_repair(|_, _| ()).len(), 0);
    Ok(())
}

#[test]
fn a_name_that_is_taken_is_an_error_until_its_owner_lets_it_go() -> Tested {
    let name = name("taken");
    let first = Segment::create(&name, 1, 0)?;
    first.words()[0].store(7, Relaxed);
    let second = Segment::create(&name, 9, 0).err();
    assert!(matches!(second, Some(SegmentError::NameTaken(_))));
    let attached = Segment::attach(&name)?;
    assert_eq!(attached.words()[0].load(Relaxed), 7);
    drop(first);
    let second = Segment::create(&name, 9, 0)?;
    assert_eq!(second.words().len(), 9);
    // Who was attached to the first one keeps what it has.
    assert_eq!(attached.words()[0].load(Relaxed), 7);
    Ok(())
}

#[test]
fn of_many_that_create_one_name_at_once_exactly_one_gets_it() {
    let name = name("at-once");
    let (start, end) = (Barrier::new(4), Barrier::new(4));
    let created = AtomicUsize::new(0);
    let create = || {
        for round in 1..=200 {
            start.wait();
            let result = Segment::create(&name, 1, 1);
            match &result {
                Ok(_) => drop(created.fetch_add(1, Relaxed)),
                Err(SegmentError::NameTaken(_)) => {}
                Err(error) => panic!("{error}"),
            }
            end.wait();
            assert_eq!(created.load(Relaxed), round);
            drop(result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(create);
        }
    });
    assert!(files_of(&name).is_empty());
}

#[test]
fn a_dropped_segment_leaves_no_file() -> Tested {
    let name = name("dropped");
    let segment = Segment::create(&name, 1, 1)?;
    assert_eq!(files_of(&name).len(), 2);
    drop(Segment::attach(&name)?);
    assert_eq!(files_of(&name).len(), 2, "only the owner removes it");
    drop(segment);
    assert!(files_of(&name).is_empty());
    let attached = Segment::attach(&name).err();
    assert!(matches!(attached, Some(SegmentError::NotFound(_))));
    Ok(())
}

/// As the handler of a second signal does.
#[test]
fn an_unlinked_name_is_free_and_its_owner_does_not_remove_the_next_one() -> Tested {
    let name = name("unlinked");
    let first = Segment::create(&name, 1, 0)?;
    unlink(&name)?;
    unlink(&name)?;
    assert!(files_of(&name).is_empty());
    let _second = Segment::create(&name, 2, 0)?;
    drop(first);
    assert_eq!(Segment::attach(&name)?.words().len(), 2);
    Ok(())
}

#[test]
fn a_name_with_anything_but_letters_digits_and_hyphens_is_refused() {
    let long = "a".repeat(300);
    for name in [
        "", "..", "../tmp/x", "/tmp/x", "a.lock", "a b", "ä", "a\0", &long,
    ] {
        for result in [Segment::create(name, 1, 1), Segment::attach(name)] {
            let refused = matches!(result, Err(SegmentError::BadName(_)));
            assert!(refused, "{name:?}");
        }
    }
}

/// Each is left by an owner that was killed at another point of its life.
#[test]
fn what_a_dead_owner_left_is_removed_whatever_state_it_is_in() -> Tested {
    let prefix = name("stale");
    let [whole, begun, empty] = ["whole", "begun", "empty"].map(|s| format!("{prefix}-{s}"));
    let leave_all = || -> Tested {
        leave_behind(&whole)?;
        fs::write(path(&begun), b"segment1\0\0\0")?;
        fs::write(path(&empty), b"")?;
        Ok(())
    };
    leave_all()?;
    let attached = Segment::attach(&begun).err();
    assert!(matches!(attached, Some(SegmentError::NoSegment(_))));
    let removed = remove_stale(&prefix)?;
    assert_eq!(removed, [&*begun, &*empty, &*whole]);
    for name in [&whole, &begun, &empty] {
        assert!(files_of(name).is_empty(), "{name}");
    }
    leave_all()?;
    for name in [&whole, &begun, &empty] {
        let segment = Segment::create(name, 3, 0)?;
        let words: Vec<u64> = segment.words().iter().map(|w| w.load(Relaxed)).collect();
        assert_eq!(words, [0, 0, 0], "{name}");
    }
    assert!(remove_stale(&prefix)?.is_empty());
    Ok(())
}

#[test]
fn a_segment_of_a_living_owner_is_not_stale() -> Tested {
    let name = name("living");
    let segment = Segment::create(&name, 1, 1)?;
    assert!(remove_stale(&name)?.is_empty());
    assert_eq!(files_of(&name).len(), 2);
    drop(segment);
    Ok(())
}

#[test]
fn a_file_that_is_no_segment_is_neither_used_nor_removed() -> Tested {
    let name = name("letter");
    fs::write(path(&name), "Dear Sir or Madam, this is no segment")?;
    for result in [Segment::create(&name, 1, 1), Segment::attach(&name)] {
        assert!(matches!(result, Err(SegmentError::NoSegment(_))));
    }
    assert!(remove_stale(&name)?.is_empty());
    let kept = fs::read_to_string(path(&name))?;
    fs::remove_file(path(&name))?;
    assert!(kept.starts_with("Dear Sir"));
    Ok(())
}

#[test]
fn a_link_that_somebody_has_placed_there_is_not_followed() -> Tested {
    let (name, target) = (name("link"), name("target"));
    std::os::unix::fs::symlink(path(&target), path(&name))?;
    let result = Segment::create(&name, 1, 1);
    let followed = path(&target).exists();
    fs::remove_file(path(&name))?;
    assert!(matches!(result, Err(SegmentError::Io(_))) && !followed);
    Ok(())
}

#[test]
fn a_segment_is_for_its_user_alone() -> Tested {
    use std::os::unix::fs::PermissionsExt;
    let name = name("alone");
    let _segment = Segment::create(&name, 1, 1)?;
    for file in files_of(&name) {
        assert_eq!(fs::metadata(file)?.permissions().mode() & 0o077, 0);
    }
    Ok(())
}

/// If only its length were set, memory that is not there would be a SIGBUS later.
#[test]
#[cfg(target_os = "linux")]
fn the_memory_of_a_segment_is_taken_when_it_is_created() -> Tested {
    use std::os::unix::fs::MetadataExt;
    let name = name("taken-at-once");
    let _segment = Segment::create(&name, 100_000, 0)?;
    assert!(512 * fs::metadata(path(&name))?.blocks() >= 800_000);
    Ok(())
}

/// A file that is just being created looks for a moment as if nobody owned it.
#[test]
fn who_creates_a_segment_while_others_clean_up_is_not_disturbed() {
    let prefix = name("clean");
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let cleaners: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !finished.load(Relaxed) {
                        remove_stale(&prefix).expect("the folder can be read");
                    }
                })
            })
            .collect();
        let create = |number: usize| {
            let name = format!("{prefix}-{number}");
            for _ in 0..500 {
                let segment = Segment::create(&name, 1, 0).expect("nobody has the name");
                segment.words()[0].store(7, Relaxed);
                let attached = Segment::attach(&name).expect("the owner lives");
                assert_eq!(attached.words()[0].load(Relaxed), 7);
            }
        };
        let creators = [1, 2].map(|number| scope.spawn(move || create(number)));
        let results = creators.map(thread::ScopedJoinHandle::join);
        finished.store(true, Relaxed);
        for cleaner in cleaners {
            cleaner.join().unwrap();
        }
        for result in results {
            result.unwrap();
        }
    });
}
