//! The records everyone gets: the same keys, amounts and order from the same seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many records, over how many keys, how large.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Workload {
    /// Records.
    #[arg(long, default_value_t = 500_000)]
    pub records: u64,
    /// Keys, drawn uniformly.
    #[arg(long, default_value_t = 10_000)]
    pub keys: u64,
    /// Bytes of a record's JSON.
    #[arg(long, default_value_t = 100)]
    pub bytes: usize,
    /// Partitions of every topic.
    #[arg(long, default_value_t = 4)]
    pub partitions: u32,
    /// Keys in turn instead of drawn: every one has as many records.
    #[arg(long)]
    pub even: bool,
    /// Seed of keys and amounts.
    #[arg(long, default_value_t = 20_261_122)]
    pub seed: u64,
}

/// One record.
pub struct Amount {
    /// Which key, from 0.
    pub key: u64,
    /// 1 to 1000.
    pub amount: i64,
}

impl Workload {
    /// All records in order.
    pub fn amounts(self) -> impl Iterator<Item = Amount> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        (0..self.records).map(move |number| {
            let key = if self.even { number % self.keys } else { random.random_range(0..self.keys) };
            Amount { key, amount: random.random_range(1..=1000) }
        })
    }

    /// A key's name; it is also the subject of our events and the message key of the others.
    pub fn name(self, key: u64) -> String {
        format!("customer/{key:07}")
    }

    /// The JSON of a record, padded to [`Workload::bytes`].
    pub fn json(self, amount: &Amount) -> String {
        let bare = format!(r#"{{"key":"{}","amount":{},"note":""}}"#, self.name(amount.key), amount.amount);
        let pad = self.bytes.saturating_sub(bare.len());
        format!(r#"{}{}"}}"#, &bare[..bare.len() - 2], &PAD[..pad.min(PAD.len())])
    }

    /// Which key a name stands for.
    pub fn key_of(name: &str) -> Option<u64> {
        name.strip_prefix("customer/")?.parse().ok()
    }
}

/// Text that compresses as text does.
const PAD: &str =
    "paid by card in the shop at the corner, two of them with a receipt, none of them returned so far; the next one is due in the spring and will be larger";
