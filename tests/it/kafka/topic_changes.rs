//! Topics that are deleted or repartitioned while they are in use.

use std::sync::Arc;

use pvz::adapters::kafka::{KafkaOptions, KafkaSink, KafkaSource};
use pvz::ports::{EventSink as _, EventSource as _, Offset, Receipt, chain};
use rskafka::client::ClientBuilder;

use super::broker::{Broker, BrokerConfig};
use super::{connection, logged, options};
use crate::contract::fixtures::accepted;
use crate::process::eventually;
use crate::support::runtime::block_on;
use crate::support::time::TestClock;

#[test]
fn a_deleted_topic_is_not_created_where_brokers_create_topics() {
    let properties = vec!["auto.create.topics.enable=true".to_owned()];
    let mut broker = Broker::with(|_| BrokerConfig { properties, ..BrokerConfig::default() });
    broker.start();
    let address = broker.address();
    let exists = async || {
        let client = ClientBuilder::new(vec![address.clone()]).build().await.unwrap();
        client.list_topics().await.unwrap().iter().any(|topic| topic.name == "deleted")
    };
    broker.create_topic("deleted", 4, "compression.type=producer");
    let connection = connection(address.clone());
    let options = KafkaOptions { connection, create: false, ..options("deleted") };
    let sink = KafkaSink::new(options.clone());
    let source = KafkaSource::new(options, Arc::new(TestClock::default()));
    let events = [logged(&accepted("a", 0), 1)];
    block_on(async {
        assert_eq!(sink.publish(&events).await.receipts, [Receipt::Acknowledged]);
        for partition in 0..4 {
            source.fetch(partition, Offset(0), 10).await.unwrap();
        }
    });
    broker.delete_topic("deleted");
    eventually("the topic is deleted", || !block_on(exists()));
    block_on(async {
        for _ in 0..4 {
            let failure = sink.publish(&events).await.failure.expect("a failure");
            assert!(failure.retryable(), "{}", chain(&failure));
            source.fetch(0, Offset(1), 10).await.unwrap_err();
        }
        let failure = sink.publish(&events).await.failure.expect("a failure");
        assert!(chain(&failure).contains("there is no topic \"deleted\""), "{}", chain(&failure));
        assert!(!exists().await);
    });
}

#[test]
fn publishing_stops_when_partitions_were_added_until_the_topic_is_compared() {
    let options = options("repartitioned");
    let sink = KafkaSink::new(options);
    let events = [logged(&accepted("a", 0), 1)];
    assert_eq!(block_on(sink.publish(&events)).receipts, [Receipt::Acknowledged]);
    Broker::shared().add_partitions("repartitioned", 6);
    let mut said = String::new();
    eventually("publishing stops", || {
        let failure = block_on(sink.publish(&events)).failure;
        said = failure.map(|failure| chain(&failure)).unwrap_or_default();
        !said.is_empty()
    });
    assert!(said.contains("had 4 partitions and has 6"), "{said}");
    assert_eq!(block_on(sink.publish(&events)).receipts, [Receipt::Pending]);
    // The relay compares the number of partitions, and publishes only if an operator has accepted
    // it.
    eventually("the topic is read", || block_on(sink.tail()).is_ok_and(|tail| tail.partitions == 6));
    assert_eq!(block_on(sink.publish(&events)).receipts, [Receipt::Acknowledged]);
}
