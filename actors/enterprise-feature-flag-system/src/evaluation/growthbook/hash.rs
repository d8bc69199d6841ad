//! GrowthBook's bucketing: hashes, ranges, namespaces.

use crate::evaluation::decimal;

/// FNV-1a, 32 bits, over the UTF-16 units of the texts one after the other, as the JavaScript SDK computes it. (The crate `fnv` has 64 bits.)
fn fnv1a(texts: [&str; 2]) -> u32 {
    const PRIME: u32 = 0x0100_0193;
    let mut hash: u32 = 0x811c_9dc5;
    for text in texts {
        if text.is_ascii() {
            for byte in text.bytes() {
                hash = (hash ^ u32::from(byte)).wrapping_mul(PRIME);
            }
        } else {
            for unit in text.encode_utf16() {
                hash = (hash ^ u32::from(unit)).wrapping_mul(PRIME);
            }
        }
    }
    hash
}

/// A number from 0 to 1 for a value; `None` for a version that is not known. Version 1 is biased and kept for old experiments.
pub fn hash(seed: &str, value: &str, version: f64) -> Option<f64> {
    if version == 2.0 {
        let first = fnv1a([seed, value]);
        let second = fnv1a([decimal(first, &mut [0; 10]), ""]);
        return Some(f64::from(second % 10_000) / 10_000.0);
    }
    (version == 1.0).then(|| f64::from(fnv1a([value, seed]) % 1_000) / 1_000.0)
}

/// The same with a seed in two parts, so that none has to be put together.
fn namespace_hash(name: &str, value: &str) -> f64 {
    // value + "__" + name: two texts are fed one after the other.
    const PRIME: u32 = 0x0100_0193;
    let mut hash = fnv1a([value, "__"]);
    for unit in name.encode_utf16() {
        hash = (hash ^ u32::from(unit)).wrapping_mul(PRIME);
    }
    f64::from(hash % 1_000) / 1_000.0
}

/// Part of the numbers from 0 to 1: the start belongs to it, the end does not.
pub type Range = (f64, f64);

/// Whether a number is in a range.
pub fn in_range(number: f64, range: Range) -> bool {
    number >= range.0 && number < range.1
}

/// Whether a value is in a part of a namespace.
pub fn in_namespace(value: &str, name: &str, range: Range) -> bool {
    in_range(namespace_hash(name, value), range)
}

/// `n` equal weights.
#[allow(clippy::cast_precision_loss)]
pub fn equal_weights(count: usize) -> Vec<f64> {
    vec![1.0 / count as f64; count]
}

/// The range of each variation. Weights that are not one a variation or do not add up to 1 are taken as equal.
pub fn bucket_ranges(count: usize, coverage: f64, weights: Option<&[f64]>) -> Vec<Range> {
    let coverage = coverage.clamp(0.0, 1.0);
    let equal = equal_weights(count);
    let weights = weights.filter(|weights| weights.len() == count).unwrap_or(&equal);
    let total = weights.iter().fold(0.0, |total, weight| weight + total);
    let weights = if (0.99..=1.01).contains(&total) { weights } else { &equal };
    let mut reached = 0.0;
    weights
        .iter()
        .map(|weight| {
            let start = reached;
            reached += weight;
            (start, start + coverage * weight)
        })
        .collect()
}

/// The variation whose range a number is in.
pub fn choose_variation(number: f64, ranges: &[Range]) -> Option<usize> {
    ranges.iter().position(|range| in_range(number, *range))
}

/// The variation that a page's address forces, e.g. `?my-experiment=1`.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn query_string_override(key: &str, url: &str, variations: usize) -> Option<usize> {
    let search = url.split('?').nth(1)?;
    let search = search.split('#').next().unwrap_or_default();
    let value = search.split('&').find_map(|pair| {
        let mut parts = pair.split('=');
        (parts.next() == Some(key)).then(|| parts.next().unwrap_or_default())
    })?;
    let number = super::js::parse_int(value);
    (number >= 0.0 && number < variations as f64).then_some(number as usize)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_specification() {
        for (seed, value, version, expected) in [
            ("", "a", 1.0, Some(0.22)),
            ("b", "a", 1.0, Some(0.946)),
            ("seed", "a", 2.0, Some(0.0505)),
            ("foo", "def", 2.0, Some(0.2019)),
            ("abc", "def", 99.0, None),
        ] {
            assert_eq!(hash(seed, value, version), expected);
        }
        assert_eq!(Some(namespace_hash("namespace", "1")), hash("__namespace", "1", 1.0));
        // Beyond the basic plane a character is two units.
        assert_eq!(fnv1a(["\u{1f600}", ""]), {
            let mut hash: u32 = 0x811c_9dc5;
            for unit in [0xd83d_u32, 0xde00] {
                hash = (hash ^ unit).wrapping_mul(0x0100_0193);
            }
            hash
        });
    }

    #[test]
    fn ranges_fall_back_to_equal_weights() {
        assert_eq!(bucket_ranges(2, 1.0, None), [(0.0, 0.5), (0.5, 1.0)]);
        assert_eq!(bucket_ranges(2, 0.5, Some(&[0.4, 0.6])), [(0.0, 0.2), (0.4, 0.7)]);
        assert_eq!(bucket_ranges(2, -0.2, Some(&[0.4, 0.1])), [(0.0, 0.0), (0.5, 0.5)]);
        assert_eq!(bucket_ranges(2, 1.2, Some(&[0.4])), [(0.0, 0.5), (0.5, 1.0)]);
        assert_eq!(choose_variation(0.5, &[(0.0, 0.5), (0.5, 1.0)]), Some(1));
        assert_eq!(choose_variation(1.0, &[(0.0, 0.5), (0.5, 1.0)]), None);
    }

    #[test]
    fn an_address_forces_a_variation() {
        for (url, expected) in [
            ("http://x/?k=1#a", Some(1)),
            ("http://x/?a=2&k=0", Some(0)),
            ("http://x/?k=2", None),
            ("http://x/?k=-1", None),
            ("http://x/?k", None),
            ("http://x/#?k=1", Some(1)),
            ("", None),
        ] {
            assert_eq!(query_string_override("k", url, 2), expected, "{url}");
        }
    }
}
