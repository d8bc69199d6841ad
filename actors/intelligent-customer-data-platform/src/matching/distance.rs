//! How many slips of the hand turn one text into another: letters put in, left out, exchanged, or two neighbours turned (optimal string alignment).

/// Longest text that one machine word holds.
const WORD: usize = 64;

/// Counts the slips between two texts.
///
/// Short ASCII texts, nearly all, are compared column by column in one machine word (Hyyrö 2003, "A Bit-Vector Algorithm for Computing Levenshtein and
/// Damerau Edit Distances"); others by `strsim`.
pub(super) fn slips(one: &str, other: &str) -> usize {
    let (short, long) = if one.len() <= other.len() { (one.as_bytes(), other.as_bytes()) } else { (other.as_bytes(), one.as_bytes()) };
    if short.is_empty() || short.len() > WORD || !one.is_ascii() || !other.is_ascii() {
        return strsim::osa_distance(one, other);
    }
    let mut places = [0u64; 128];
    for (place, letter) in short.iter().enumerate() {
        places[usize::from(*letter & 127)] |= 1 << place;
    }
    let last = 1u64 << (short.len() - 1);
    let (mut rises, mut falls, mut diagonal, mut previous) = (u64::MAX, 0u64, 0u64, 0u64);
    let mut distance = short.len();
    for letter in long {
        let here = places[usize::from(*letter & 127)];
        let turned = ((!diagonal & here) << 1) & previous;
        diagonal = ((here & rises).wrapping_add(rises) ^ rises) | here | falls | turned;
        let across_rises = falls | !(diagonal | rises);
        let across_falls = diagonal & rises;
        distance += usize::from(across_rises & last != 0);
        distance -= usize::from(across_falls & last != 0);
        let shifted = (across_rises << 1) | 1;
        rises = (across_falls << 1) | !(diagonal | shifted);
        falls = shifted & diagonal;
        previous = here;
    }
    distance
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn slips_are_counted_as_strsim_counts_them(one in "[abcd]{0,12}", other in "[abcd]{0,12}", long in "[ab]{60,70}", wide in "[aé]{0,8}") {
            prop_assert_eq!(slips(&one, &other), strsim::osa_distance(&one, &other));
            prop_assert_eq!(slips(&one, &long), strsim::osa_distance(&one, &long));
            prop_assert_eq!(slips(&long[..60], &long), strsim::osa_distance(&long[..60], &long));
            prop_assert_eq!(slips(&one, &wide), strsim::osa_distance(&one, &wide));
        }
    }
}
