//! Assignment of partitions to consumers: each partition is leased to one
//! consumer, and every consumer gets at most its fair share.

use std::collections::BTreeSet;

/// The lease of a partition. Instants are in microseconds on the clock of the
/// inbox, so that consumers with different clocks agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLease {
    /// The partition.
    pub partition: u32,
    /// The consumer that took the lease last; `None` after it was released.
    pub consumer: Option<String>,
    /// The fencing token: higher than that of every earlier lease of the
    /// partition.
    pub fencing_token: i64,
    /// The end of the lease.
    pub expires_at: i64,
}

/// A consumer's claim to partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionClaim {
    /// The consumer.
    pub consumer: String,
    /// The number of live consumers, this one included.
    pub consumers: usize,
    /// The current instant.
    pub now: i64,
    /// The end of the leases that are granted or renewed.
    pub expires_at: i64,
}

impl PartitionLease {
    /// Returns the lease of a partition that no consumer has read.
    pub fn unassigned(partition: u32) -> Self {
        Self { partition, consumer: None, fencing_token: 0, expires_at: 0 }
    }

    /// Returns the consumer, if its lease has not expired.
    pub fn holder(&self, now: i64) -> Option<&str> {
        self.consumer.as_deref().filter(|_| self.expires_at > now)
    }
}

/// Renews the leases of the claiming consumer up to its fair share, releases
/// those beyond it, and takes free partitions if it has fewer. Returns the
/// leases that change, in the order of `leases`.
///
/// An expired lease that no other consumer has taken is renewed under its old
/// fencing token.
pub fn assign_partitions(leases: &[PartitionLease], claim: &PartitionClaim) -> Vec<PartitionLease> {
    let fair_share = leases.len().div_ceil(claim.consumers.max(1));
    let is_own = |lease: &PartitionLease| lease.consumer.as_deref() == Some(claim.consumer.as_str());
    let held = leases.iter().filter(|lease| is_own(lease)).count();
    let free = leases.iter().filter(|lease| !is_own(lease) && lease.holder(claim.now).is_none());
    let taken: BTreeSet<u32> =
        free.take(fair_share.saturating_sub(held)).map(|lease| lease.partition).collect();
    let mut kept = 0;
    let mut changed = Vec::new();
    for lease in leases {
        if is_own(lease) {
            kept += 1;
            changed.push(if kept <= fair_share {
                PartitionLease { expires_at: claim.expires_at, ..lease.clone() }
            } else {
                PartitionLease { consumer: None, ..lease.clone() }
            });
        } else if taken.contains(&lease.partition) {
            changed.push(PartitionLease {
                partition: lease.partition,
                consumer: Some(claim.consumer.clone()),
                fencing_token: lease.fencing_token + 1,
                expires_at: claim.expires_at,
            });
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::{PartitionClaim, PartitionLease, assign_partitions};

    /// Returns a lease for each of `consumers`, which expires at 10.
    fn leases(consumers: &[Option<&str>]) -> Vec<PartitionLease> {
        (0..)
            .zip(consumers)
            .map(|(partition, consumer)| PartitionLease {
                consumer: consumer.map(str::to_owned),
                expires_at: 10,
                ..PartitionLease::unassigned(partition)
            })
            .collect()
    }

    /// Lets a consumer claim partitions, and returns how many leases changed.
    fn claim(
        leases: &mut [PartitionLease],
        consumer: &str,
        consumers: usize,
        now: i64,
        expires_at: i64,
    ) -> usize {
        let claim = PartitionClaim { consumer: consumer.to_owned(), consumers, now, expires_at };
        let changed = assign_partitions(leases, &claim);
        for lease in &changed {
            leases[lease.partition as usize] = lease.clone();
        }
        changed.len()
    }

    fn holders(leases: &[PartitionLease], now: i64) -> Vec<Option<&str>> {
        leases.iter().map(|lease| lease.holder(now)).collect()
    }

    #[test]
    fn single_consumer_takes_every_partition_and_keeps_its_fencing_tokens() {
        let mut leases = leases(&[None, None, None]);
        assert_eq!(claim(&mut leases, "a", 1, 0, 20), 3);
        assert_eq!(holders(&leases, 0), [Some("a"); 3]);
        assert!(leases.iter().all(|lease| lease.fencing_token == 1));
        claim(&mut leases, "a", 1, 15, 30);
        assert!(leases.iter().all(|lease| lease.fencing_token == 1 && lease.expires_at == 30), "renewed");
    }

    #[test]
    fn partitions_beyond_the_fair_share_are_released_to_the_new_consumer() {
        let mut leases = leases(&[Some("a"), Some("a"), Some("a"), Some("a")]);
        claim(&mut leases, "b", 2, 5, 20);
        assert_eq!(holders(&leases, 5), [Some("a"); 4], "a live lease is not taken");
        claim(&mut leases, "a", 2, 5, 20);
        assert_eq!(holders(&leases, 5), [Some("a"), Some("a"), None, None]);
        claim(&mut leases, "b", 2, 5, 20);
        assert_eq!(holders(&leases, 5), [Some("a"), Some("a"), Some("b"), Some("b")]);
    }

    #[test]
    fn expired_lease_is_taken_by_any_consumer() {
        let mut leases = leases(&[Some("dead"), Some("dead")]);
        claim(&mut leases, "b", 1, 10, 20);
        assert_eq!(holders(&leases, 10), [Some("b"); 2]);
        assert!(leases.iter().all(|lease| lease.fencing_token == 1));
    }
}
