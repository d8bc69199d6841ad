//! Randomness that the caller seeds, so that an evaluation can be repeated.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): what random stickiness draws from.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that gives the same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from `1` to `last`, both included; `1` if `last` is 0.
    #[allow(clippy::cast_possible_truncation)]
    pub fn one_to(&mut self, last: u32) -> u32 {
        // Lemire's multiplication without rejection: the bias is below 2^-32.
        ((u128::from(self.next_u64()) * u128::from(last.max(1))) >> 64) as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_seed_gives_the_same_numbers_and_all_of_them() {
        let (mut a, mut b) = (Random::seeded(7), Random::seeded(7));
        let mut seen = [0_u32; 11];
        for _ in 0..10_000 {
            let number = a.one_to(10);
            assert_eq!(number, b.one_to(10));
            seen[number as usize] += 1;
        }
        assert_eq!(seen[0], 0);
        assert!(seen[1..].iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }
}
