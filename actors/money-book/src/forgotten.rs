//! [`Forgotten`]: hashes of the ids of items that are no longer kept in full, so that one told again still counts once.

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

use crate::item::Kind;

/// Ids in one chunk. Full chunks are shared by copies of a book.
const CHUNK: usize = 1_024;
/// Full chunks that are kept.
const CHUNKS: usize = 16;
/// The newest ids that are remembered beside those of the items kept in full.
pub const REMEMBERED: usize = CHUNK * CHUNKS;

/// Hashes of 64 bits, the newest [`REMEMBERED`] or more. A hash of one of 16,000 others is met by chance once in 10^15 items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Full chunks, each sorted; the oldest first.
    chunks: VecDeque<Arc<[u64]>>,
    /// The newest, in the order they came.
    open: Vec<u64>,
}

fn hash(kind: Kind, reference: &str) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&[kind as u8]);
    hasher.update(reference.as_bytes());
    hasher.digest()
}

impl Forgotten {
    /// Takes note of an id.
    pub(crate) fn insert(&mut self, kind: Kind, reference: &str) {
        self.open.push(hash(kind, reference));
        if self.open.len() == CHUNK {
            let mut chunk = std::mem::take(&mut self.open);
            chunk.sort_unstable();
            self.chunks.push_back(chunk.into());
            if self.chunks.len() > CHUNKS {
                self.chunks.pop_front();
            }
        }
    }

    /// Adds those of another book.
    pub(crate) fn add_all(&mut self, other: &Self) {
        self.chunks.extend(other.chunks.iter().cloned());
        self.open.extend(&other.open);
        self.open.sort_unstable();
    }

    /// Tells whether an item of this id was kept once.
    pub fn contains(&self, kind: Kind, reference: &str) -> bool {
        if self.chunks.is_empty() && self.open.is_empty() {
            return false;
        }
        let hash = hash(kind, reference);
        self.open.contains(&hash) || self.chunks.iter().any(|chunk| chunk.binary_search(&hash).is_ok())
    }
}

fn to_bytes(hashes: &[u64]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap_or_default())).collect()
}

impl Serialize for Forgotten {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parts = self.chunks.iter().map(|chunk| &chunk[..]).chain([&self.open[..]]).filter(|part| !part.is_empty());
        if serializer.is_human_readable() {
            serializer.collect_seq(parts.map(|part| STANDARD_NO_PAD.encode(to_bytes(part))).collect::<Vec<_>>())
        } else {
            serializer.collect_seq(parts.map(to_bytes).collect::<Vec<_>>()) // postcard must know how many
        }
    }
}

impl<'de> Deserialize<'de> for Forgotten {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts: Vec<Vec<u64>> = if deserializer.is_human_readable() {
            let texts = Vec::<String>::deserialize(deserializer)?;
            let read = |text: &String| STANDARD_NO_PAD.decode(text).map(|bytes| from_bytes(&bytes)).map_err(serde::de::Error::custom);
            texts.iter().map(read).collect::<Result<_, _>>()?
        } else {
            Vec::<Vec<u8>>::deserialize(deserializer)?.iter().map(|bytes| from_bytes(bytes)).collect()
        };
        let mut forgotten = Self::default();
        for part in parts {
            if part.len() == CHUNK {
                forgotten.chunks.push_back(part.into());
            } else {
                forgotten.open = part;
            }
        }
        Ok(forgotten)
    }
}
