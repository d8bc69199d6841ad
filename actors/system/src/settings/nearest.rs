//! Finds the known name that a misspelt one probably means.

/// A known name, and whether it is so near that it is probably meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nearest<'k> {
    /// The known name.
    pub name: &'k str,
    /// At most a third of its letters, or three, differ.
    pub is_near: bool,
}

impl Nearest<'_> {
    /// Writes the advice for a misspelt name; `kind` says what it names, e.g. `key`.
    pub fn advice(&self, kind: &str) -> String {
        if self.is_near { format!("did you mean {}?", self.name) } else { format!("the nearest known {kind} is {}", self.name) }
    }
}

/// Finds the name among `known` that needs the fewest edits to become `wrong`; `None` where none is known.
pub fn find<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> Option<Nearest<'k>> {
    let (edits, name) = known.map(|candidate| (distance(wrong, candidate), candidate)).min()?;
    Some(Nearest { name, is_near: edits <= (wrong.len() / 3).max(3) })
}

/// Levenshtein's distance: inserted, removed and replaced characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("ab", "ab")), (3, 2, 0));
    }

    #[test]
    fn a_name_far_from_all_is_not_taken_for_one() {
        let known = || ["publish", "read"].into_iter();
        assert_eq!(find("publlish", known()).map(|nearest| nearest.advice("scope")), Some("did you mean publish?".to_owned()));
        assert_eq!(find("everything", known()).map(|nearest| nearest.advice("scope")), Some("the nearest known scope is publish".to_owned()));
        assert_eq!(find("x", std::iter::empty()), None);
    }
}
