//! [`Filter`]: a Bloom filter of admitted ids. A miss proves an id new, so the store is read for repeats only.
//!
//! Layers of split-block Bloom filters (Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007; with the
//! constants of Apache Parquet's specification): an id sets eight bits of one block of 256, so a look-up costs one cache line a layer. Each
//! layer is twice as large as the one before. Where the [`Budget`] allows no further layer, the last one takes more ids than it was made
//! for: false hits become more frequent, and misses stay true.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::SeenKey;

/// Bits for each id: in a full layer, about one new id in two hundred is a false hit.
const BITS: usize = 12;
/// Blocks of the first layer: 32 KiB.
const FIRST: usize = 1 << 10;
const BLOCK_BITS: usize = 256;
/// Memory that all filters of a node may take together, beside the first layer of each, in bytes: enough for 45 million ids.
const BUDGET: usize = 64 << 20;

type Block = [u32; 8];

/// Odd numbers that spread 32 bits over the words of a block.
const SALTS: Block = [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// What the filters of a node may still take; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(BUDGET)))
    }
}

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

struct Layer {
    blocks: Vec<Block>,
    /// Ids it still takes before the next layer is begun.
    room: usize,
}

impl Layer {
    fn new(blocks: usize) -> Self {
        Self { blocks: vec![Block::default(); blocks], room: blocks * BLOCK_BITS / BITS }
    }

    fn place(&self, key: u64) -> usize {
        (((key >> 32) * self.blocks.len() as u64) >> 32) as usize
    }
}

/// Ids of which at least all that were inserted may be held.
pub(super) struct Filter {
    layers: Vec<Layer>,
    budget: Budget,
}

/// Eight bytes of an id's hash: the upper half chooses the block, the lower the bits.
fn half(key: SeenKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = key.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn bits(key: u64) -> Block {
    SALTS.map(|salt| 1 << ((key as u32).wrapping_mul(salt) >> 27))
}

impl Filter {
    pub(super) fn new(budget: Budget) -> Self {
        Self { layers: Vec::new(), budget }
    }

    /// From now on [`Filter::may_hold`] is true of it.
    pub(super) fn insert(&mut self, key: SeenKey) {
        if self.layers.last().is_none_or(|last| last.room == 0) {
            let blocks = self.layers.last().map_or(FIRST, |last| last.blocks.len() * 2);
            if self.layers.is_empty() || self.budget.take(blocks * size_of::<Block>()) {
                self.layers.push(Layer::new(blocks));
            }
        }
        let Some(last) = self.layers.last_mut() else { return };
        last.room = last.room.saturating_sub(1);
        let key = half(key);
        let place = last.place(key);
        for (word, bit) in last.blocks[place].iter_mut().zip(bits(key)) {
            *word |= bit;
        }
    }

    /// False: it was never inserted.
    pub(super) fn may_hold(&self, key: SeenKey) -> bool {
        let key = half(key);
        let bits = bits(key);
        self.layers.iter().any(|layer| layer.blocks[layer.place(key)].iter().zip(bits).all(|(word, bit)| word & bit != 0))
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let held: usize = self.layers.iter().skip(1).map(|layer| layer.blocks.len() * size_of::<Block>()).sum();
        self.budget.0.fetch_add(held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> SeenKey {
        SeenKey::of("/shop", &number.to_string())
    }

    fn strangers_held(filter: &Filter) -> usize {
        (1_000_000..1_010_000).filter(|number| filter.may_hold(key(*number))).count()
    }

    #[test]
    fn whoever_was_inserted_is_held_and_hardly_anybody_else() {
        let mut filter = Filter::new(Budget::default());
        assert_eq!(strangers_held(&filter), 0);
        (0..300_000).for_each(|number| filter.insert(key(number)));
        assert!((0..300_000).all(|number| filter.may_hold(key(number))));
        assert!(strangers_held(&filter) < 200, "{} of 10,000", strangers_held(&filter));
    }

    #[test]
    fn without_memory_left_it_says_maybe_more_often_and_never_wrongly_no() {
        let budget = Budget(Arc::new(AtomicUsize::new(FIRST * 32 * 2)));
        let mut filter = Filter::new(budget.clone());
        (0..300_000).for_each(|number| filter.insert(key(number)));
        assert_eq!((filter.layers.len(), budget.0.load(Ordering::Relaxed)), (2, 0));
        assert!((0..300_000).all(|number| filter.may_hold(key(number))));
        assert!(strangers_held(&filter) > 200);
        drop(filter);
        assert_eq!(budget.0.load(Ordering::Relaxed), FIRST * 32 * 2);
    }
}
