//! The partitioner of Kafka's own clients, so that other producers to the topic and
//! lookups by key agree with the sink.

/// Returns the partition of a key, out of `partitions`.
pub fn partition(key: &[u8], partitions: usize) -> usize {
    // As Java's `Utils.toPositive`, which clears the sign bit.
    let positive = murmur2(key) & 0x7fff_ffff;
    positive as usize % partitions.max(1)
}

/// Returns the Murmur2 hash with the seed of `org.apache.kafka.common.utils.Utils`.
fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    // Kafka's lengths have 32 bits, and keys are shorter.
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (words, rest) = key.as_chunks::<4>();
    let mut hash = SEED ^ length;
    for word in words {
        let mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        let mixed = (mixed ^ (mixed >> 24)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed;
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::{murmur2, partition};

    /// From `UtilsTest.testMurmur2` of Apache Kafka.
    #[test]
    fn hashes_are_those_of_kafka() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn partition_is_less_than_the_number_of_partitions() {
        assert_eq!(partition(b"21", 1), 0);
        // -973,932,308 without its sign bit is 1,173,551,340.
        assert_eq!(partition(b"21", 8), 1_173_551_340 % 8);
        for number in 0..1_000 {
            assert!(partition(format!("order-{number}").as_bytes(), 7) < 7);
        }
    }
}
