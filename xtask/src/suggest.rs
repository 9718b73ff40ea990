//! The names nearest to a mistyped one.

/// `; the nearest: a, b`, or nothing where no name comes near.
pub fn nearest_names<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let near = nearest(typed, names);
    match near.is_empty() {
        true => String::new(),
        false => format!("; the nearest: {}", near.join(", ")),
    }
}

/// At most three names, the nearest first.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let typed = typed.to_lowercase();
    let mut scored: Vec<(usize, &str)> = names
        .into_iter()
        .map(|name| (distance(&typed, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= name.len().max(typed.len()) / 2)
        .collect();
    scored.sort();
    scored.dedup();
    scored.truncate(3);
    scored.into_iter().map(|(_, name)| name).collect()
}

/// How many single letters have to be put in, taken out or changed (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["thread-basics", "thread-pool", "process-pool", "deadlock"];

    #[test]
    fn a_slip_of_the_finger_finds_the_name() {
        assert_eq!(nearest("thread-baiscs", NAMES)[0], "thread-basics");
        assert_eq!(nearest("DEADLOK", NAMES), ["deadlock"]);
    }

    #[test]
    fn nothing_is_suggested_for_something_else_entirely() {
        assert!(nearest("xyzzy", NAMES).is_empty());
    }

    #[test]
    fn distance_counts_single_letter_changes() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
