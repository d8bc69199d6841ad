//! Evaluation of flags: compiled once, then evaluated against a borrowed context without I/O and without allocation.
//!
//! * [`unleash`] — Unleash's features, strategies, constraints, segments, variants and dependencies
//! * [`growthbook`] — GrowthBook's features, conditions, experiments, prerequisites and sticky buckets
//! * [`flagd`] — flagd's flags, whose targeting is JSONLogic
//! * [`Set`] — the three behind one interface
//! * `keyed` — compiled items by key, of which one can be replaced
//! * [`value`] — JSON as JavaScript sees it, which GrowthBook's and flagd's semantics need
//! * [`random`] — randomness that the caller seeds

pub mod flagd;
pub mod growthbook;
pub(crate) mod keyed;
pub mod random;
mod set;
pub mod unleash;
pub mod value;

pub(crate) use self::set::Compiled;
pub use self::set::{Answer, Error, Format, Set};

/// A number as text, without an allocation.
pub(crate) fn decimal(mut number: u32, buffer: &mut [u8; 10]) -> &str {
    let mut start = buffer.len();
    loop {
        start -= 1;
        // A remainder of ten is one digit.
        buffer[start] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    std::str::from_utf8(&buffer[start..]).unwrap_or("0")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_written_in_full(number in any::<u32>()) {
            let mut buffer = [0; 10];
            prop_assert_eq!(super::decimal(number, &mut buffer), number.to_string());
        }
    }
}
