//! "Did you mean …?"

/// What to tell somebody who wrote `wrong`, which is not among `known`.
pub(crate) fn advice<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> String {
    let nearest = known.map(|candidate| (distance(wrong, candidate), candidate)).min();
    match nearest {
        Some((edits, candidate)) if edits <= (wrong.len() / 3).max(3) => format!("did you mean {candidate}?"),
        Some((_, candidate)) => format!("the nearest known key is {candidate}; `tol config check` lists all"),
        None => "`tol config check` lists all keys".into(),
    }
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
}
