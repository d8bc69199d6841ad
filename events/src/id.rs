//! Deterministic ids, and the partition of a subject.

use uuid::Uuid;

/// Namespace of all ids that the platform derives (UUIDv5, RFC 9562 section 5.5).
pub const NAMESPACE: Uuid = Uuid::from_u128(0x9c1f_6d0e_52c7_5b8e_9a43_7d1f_04e1_0c0f);

/// Derives the id of the `index`-th event (from 0) that `system` decided because of a cause.
///
/// The cause is the input's source and id, a timer, a redrive or an effect request: never a sequence number,
/// so a decision that is made again after a crash gets the same id.
pub fn derived(system: &str, cause_source: &str, cause_id: &str, index: u32) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{system}\u{0}{cause_source}\u{0}{cause_id}\u{0}{index}").as_bytes())
}

/// Derives the id of a fact from `inbox` that has none, from its position there.
pub fn of_inbox_position(cluster: &str, partition: u32, position: u64) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("inbox\u{0}{cluster}\u{0}{partition}\u{0}{position}").as_bytes())
}

/// Computes the partition of a subject with murmur2, as the Java client's default partitioner does, so that any tool can compute it.
pub fn partition_of(key: &str, partitions: u32) -> u32 {
    (murmur2(key.as_bytes()) & 0x7fff_ffff) % partitions.max(1)
}

/// Kafka's `Utils.murmur2` (org.apache.kafka.common.utils).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash: u32 = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (shift, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * shift);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_equals_the_java_client() {
        // From kafka/clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java (testMurmur2).
        let cases: [(&str, i32); 6] = [
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ];
        for (text, expected) in cases {
            assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
        }
    }

    #[test]
    fn derived_ids_depend_on_every_part() {
        let id = derived("a", "/s", "1", 0);
        assert_eq!(id, derived("a", "/s", "1", 0));
        assert!(
            [derived("b", "/s", "1", 0), derived("a", "/t", "1", 0), derived("a", "/s", "2", 0), derived("a", "/s", "1", 1)].iter().all(|other| *other != id)
        );
    }
}
