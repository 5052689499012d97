//! Reads and writes of topics with a separate client.

use std::collections::BTreeMap;

use pvz::adapters::kafka::partition;
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, OffsetAt, UnknownTopicHandling};
use rskafka::record::Record;

/// Returns the records of each partition, in order; none if the topic does not exist.
pub async fn read(broker: &str, topic: &str) -> Vec<Vec<Record>> {
    let client = ClientBuilder::new(vec![broker.to_owned()]).build().await.unwrap();
    let topics = client.list_topics().await.unwrap();
    let Some(found) = topics.into_iter().find(|found| found.name == topic) else { return Vec::new() };
    let mut partitions = Vec::new();
    for number in found.partitions {
        let client = client.partition_client(topic, number, UnknownTopicHandling::Retry).await.unwrap();
        let end = client.get_offset(OffsetAt::Latest).await.unwrap();
        let mut records = Vec::new();
        let mut next = 0;
        while next < end {
            let (fetched, _) = client.fetch_records(next, 1..4_000_000, 500).await.unwrap();
            next = fetched.last().map_or(next, |last| last.offset + 1);
            records.extend(fetched.into_iter().map(|fetched| fetched.record));
        }
        partitions.push(records);
    }
    partitions
}

/// Returns the number of records, including duplicates.
pub async fn count(broker: &str, topic: &str) -> usize {
    let client = ClientBuilder::new(vec![broker.to_owned()]).build().await.unwrap();
    let topics = client.list_topics().await.unwrap();
    let partitions = topics.into_iter().find(|found| found.name == topic);
    let mut count = 0;
    for number in partitions.map(|found| found.partitions).unwrap_or_default() {
        let client = client.partition_client(topic, number, UnknownTopicHandling::Retry).await.unwrap();
        count += usize::try_from(client.get_offset(OffsetAt::Latest).await.unwrap()).unwrap();
    }
    count
}

/// Writes a value to the first partition, without key and headers.
pub async fn write(broker: String, topic: String, value: Vec<u8>) {
    let client = ClientBuilder::new(vec![broker]).build().await.unwrap();
    let client = client.partition_client(topic, 0, UnknownTopicHandling::Retry).await.unwrap();
    let timestamp = rskafka::chrono::DateTime::default();
    let record = Record { key: None, value: Some(value), headers: BTreeMap::new(), timestamp };
    client.produce(vec![record], Compression::NoCompression).await.unwrap();
}

pub fn header(record: &Record, name: &str) -> String {
    String::from_utf8(record.headers[name].clone()).unwrap()
}

pub fn key(record: &Record) -> String {
    String::from_utf8(record.key.clone().unwrap()).unwrap()
}

/// Returns the order and sequence of every record, partition by partition.
pub fn ids(partitions: &[Vec<Record>]) -> Vec<(String, i64)> {
    let records = partitions.iter().flatten();
    records.map(|record| (key(record), header(record, "ce_sequence").parse().unwrap())).collect()
}

/// Returns the first record of each event. Fails if the events of an order are not in
/// one partition or out of sequence.
pub fn deduplicated(partitions: &[Vec<Record>]) -> BTreeMap<(String, i64), Record> {
    let mut events = BTreeMap::new();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for (number, records) in partitions.iter().enumerate() {
        for record in records {
            let (order_id, sequence) = (key(record), header(record, "ce_sequence").parse::<i64>().unwrap());
            assert_eq!(partition(order_id.as_bytes(), partitions.len()), number, "{order_id}");
            let last = last.entry(order_id.clone()).or_default();
            assert!(sequence <= *last + 1, "{order_id}: event {sequence} follows {last}");
            *last = sequence.max(*last);
            events.entry((order_id, sequence)).or_insert_with(|| record.clone());
        }
    }
    events
}
