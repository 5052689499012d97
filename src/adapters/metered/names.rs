//! All metrics, with unit and description. Labels are closed sets: names of sinks and partition
//! numbers, never ids.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A counter.
    Counter,
    /// A gauge.
    Gauge,
    /// A histogram.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// Its description.
    pub description: &'static str,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $constant:ident = $kind:ident $name:literal, $unit:ident, $description:literal;)+) => {
        $(
            #[doc = $description]
            pub const $constant: &str = $name;
        )+

        /// All metrics, in the order of their constants.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, description: $description },)+
        ];
    };
}

metrics! {
    EVENTS_PUBLISHED = Counter "pvz_events_published_total", Count,
        "Events that a sink acknowledged, by sink.";
    EVENTS_REFUSED = Counter "pvz_events_refused_total", Count,
        "Events that a sink refused because of their content, by sink: each becomes a dead letter.";
    PUBLISH_FAILURES = Counter "pvz_publish_failures_total", Count,
        "Batches of events that were not acknowledged completely, by sink.";
    PUBLISH_DURATION = Histogram "pvz_publish_duration_seconds", Seconds,
        "Duration of a publish call, by sink.";
    RELAY_LEADING = Gauge "pvz_relay_leading", Count,
        "1 if the relay of this process holds the lease, else 0.";
    RELAY_LEADS = Counter "pvz_relay_leads_total", Count,
        "Leases that the relay of this process acquired.";
    RELAY_CURSOR = Gauge "pvz_relay_cursor", Count,
        "Position up to which the relay of this process has published all events.";
    RELAY_STOPPED = Gauge "pvz_relay_stopped", Count,
        "1 if the sink and the log differ, so that nothing is published until an operator decides, else 0.";
    OUTBOX_LAG_EVENTS = Gauge "pvz_outbox_lag_events", Count,
        "Events that are not published: an upper bound, because positions may have gaps.";
    OUTBOX_LAG_SECONDS = Gauge "pvz_outbox_lag_seconds", Seconds,
        "Age of the oldest event that is not published.";
    ORDERS_HELD_BACK = Gauge "pvz_orders_held_back", Count,
        "Orders held back by a dead letter: an operator must resolve it, see pvz dlq list.";
    DEAD_LETTERS = Counter "pvz_dead_letters_total", Count,
        "Dead letters that the relay of this process stored: each holds back an order.";
    DEAD_LETTERS_SETTLED = Counter "pvz_dead_letters_settled_total", Count,
        "Dead letters resolved by an operator and settled by the relay of this process.";
    EVENTS_APPLIED = Counter "pvz_consumer_events_applied_total", Count,
        "Events applied by the consumer, each counted once.";
    EVENTS_DUPLICATE = Counter "pvz_consumer_events_duplicate_total", Count,
        "Events that the consumer skipped because they were already applied.";
    EVENTS_CONFLICTING = Counter "pvz_consumer_conflicts_total", Count,
        "Events that the consumer put aside because another event with their order and sequence was applied.";
    EVENTS_UNKNOWN = Counter "pvz_consumer_events_unknown_total", Count,
        "Records that only a later release can read, kept for it.";
    RECORDS_SET_ASIDE = Counter "pvz_consumer_records_set_aside_total", Count,
        "Records that are not events, moved to the dead-letter topic.";
    OFFSETS_UNREADABLE = Counter "pvz_consumer_offsets_unreadable_total", Count,
        "Offsets that the Kafka client cannot decode, such as commit markers, stepped over.";
    GAPS_OPENED = Counter "pvz_consumer_gaps_opened_total", Count,
        "Orders in whose sequence a gap was found.";
    GAPS_FILLED = Counter "pvz_consumer_gaps_filled_total", Count,
        "Orders whose gap was filled. If it is less than the opened gaps, events are missing.";
    CONSUMER_FENCED = Counter "pvz_consumer_fenced_total", Count,
        "Batches that were not applied because another consumer had taken over the partition.";
    CONSUMER_PARTITIONS = Gauge "pvz_consumer_partitions", Count,
        "Partitions that this consumer reads.";
    CONSUMER_LAG = Gauge "pvz_consumer_lag", Count,
        "Distance to the end of a partition, by partition: records of a Kafka topic, bytes of a journal.";
    CACHE_HITS = Counter "pvz_cache_hits_total", Count,
        "Reads of an order that the cache answered.";
    CACHE_NEGATIVE_HITS = Counter "pvz_cache_negative_hits_total", Count,
        "Reads of an order of which the cache knew that it does not exist.";
    CACHE_MISSES = Counter "pvz_cache_misses_total", Count,
        "Reads of an order that the cache did not have. Concurrent ones share one read of the store.";
    CACHE_FILLS_REFUSED = Counter "pvz_cache_fills_refused_total", Count,
        "Orders that were read from the store and not cached, because they may have changed meanwhile.";
    CACHE_INVALIDATIONS = Counter "pvz_cache_invalidations_total", Count,
        "Orders whose older versions were removed from the cache, whether or not it had any.";
    CACHE_CLEARS = Counter "pvz_cache_clears_total", Count,
        "Times that the whole cache was cleared, because changes may have been missed.";
    CACHE_EVICTIONS = Counter "pvz_cache_evictions_total", Count,
        "Entries that the cache evicted, or did not admit, because it was full.";
    CACHE_ENTRIES = Gauge "pvz_cache_entries", Count,
        "Entries in the cache.";
    CACHE_BYTES = Gauge "pvz_cache_bytes", Bytes,
        "Estimated memory of the entries in the cache.";
}

/// Registers the descriptions of all metrics with the recorder.
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit, metric.description),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit, metric.description),
            Kind::Histogram => describe_histogram!(metric.name, metric.unit, metric.description),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ALL, Kind};

    #[test]
    fn names_are_unlike_and_say_what_they_are() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(metric.name.starts_with("pvz_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.description.ends_with('.'), "{}", metric.name);
        }
    }
}
