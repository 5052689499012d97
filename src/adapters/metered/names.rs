//! Every metric, with its unit and what it means. Labels are closed sets: names
//! of sinks and numbers of partitions, never ids.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What kind of figure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A metric, as monitoring sees it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// What it means.
    pub description: &'static str,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $constant:ident = $kind:ident $name:literal, $unit:ident, $description:literal;)+) => {
        $(
            #[doc = $description]
            pub const $constant: &str = $name;
        )+

        /// All of them, by their constants' order.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, description: $description },)+
        ];
    };
}

metrics! {
    EVENTS_PUBLISHED = Counter "pvz_events_published_total", Count,
        "Events that a sink acknowledged, by sink.";
    EVENTS_REFUSED = Counter "pvz_events_refused_total", Count,
        "Events that a sink refused for their own sake, by sink: each becomes a dead letter.";
    PUBLISH_FAILURES = Counter "pvz_publish_failures_total", Count,
        "Batches of events of which a part was not acknowledged, by sink.";
    PUBLISH_DURATION = Histogram "pvz_publish_duration_seconds", Seconds,
        "How long a sink took for a batch of events, by sink.";
    RELAY_LEADING = Gauge "pvz_relay_leading", Count,
        "1 if the relay of this process leads, else 0.";
    RELAY_LEADS = Counter "pvz_relay_leads_total", Count,
        "How often the relay of this process took the lead.";
    RELAY_CURSOR = Gauge "pvz_relay_cursor", Count,
        "The position up to which the relay of this process has published everything.";
    OUTBOX_LAG_EVENTS = Gauge "pvz_outbox_lag_events", Count,
        "Events that the sink does not have yet: an upper bound, as positions may skip numbers.";
    OUTBOX_LAG_SECONDS = Gauge "pvz_outbox_lag_seconds", Seconds,
        "How old the oldest event is that the sink does not have yet.";
    ORDERS_HELD_BACK = Gauge "pvz_orders_held_back", Count,
        "Orders that are held back by a dead letter now: somebody has to look.";
    DEAD_LETTERS = Counter "pvz_dead_letters_total", Count,
        "Dead letters that the relay of this process buried: each holds an order back.";
    DEAD_LETTERS_SETTLED = Counter "pvz_dead_letters_settled_total", Count,
        "Dead letters that an operator decided about, and the relay of this process settled.";
    EVENTS_APPLIED = Counter "pvz_consumer_events_applied_total", Count,
        "Events that the consumer took in for the first time.";
    EVENTS_DUPLICATE = Counter "pvz_consumer_events_duplicate_total", Count,
        "Events that the consumer read again, and passed over.";
    EVENTS_UNKNOWN = Counter "pvz_consumer_events_unknown_total", Count,
        "Records of a type or version that this release does not know, kept for one that does.";
    RECORDS_SET_ASIDE = Counter "pvz_consumer_records_set_aside_total", Count,
        "Records that are no events, put aside.";
    GAPS_OPENED = Counter "pvz_consumer_gaps_opened_total", Count,
        "Orders in whose sequence events turned out to be missing.";
    GAPS_FILLED = Counter "pvz_consumer_gaps_filled_total", Count,
        "Orders whose missing events came. Less than the opened ones: events are missing.";
    CONSUMER_FENCED = Counter "pvz_consumer_fenced_total", Count,
        "Batches that were not applied because another consumer had the partition by then.";
    CONSUMER_PARTITIONS = Gauge "pvz_consumer_partitions", Count,
        "Partitions that this consumer reads.";
    CONSUMER_LAG = Gauge "pvz_consumer_lag", Count,
        "How far the end of a partition is ahead, by partition: records of Kafka, bytes of a journal.";
}

/// Tells the recorder what the metrics mean.
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
