//! Whatever a broker does, no event is lost and of no order two change places.
//!
//! Test T12 of `docs/reliability.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use pvz::proto::v1;

use super::broker::{Broker, Extra, free_ports};
use super::proxy::{Proxy, Weather};
use super::topic;
use crate::faults::requests::parcel;
use crate::faults::test_service::{Client, TestService, wait_until};

const TOPIC: &str = "faults";

/// Order and sequence of events.
type Ids = BTreeSet<(String, i64)>;

fn config(brokers: &str, more: &str) -> String {
    format!(
        "[events]\nurl = 'kafka://{brokers}/{TOPIC}'\nkafka_timeout = '1s'\n{more}\n[log]\nformat = 'json'\n"
    )
}

/// A few orders through the counter, and what events they make.
async fn day(client: &Client, name: &str) -> Ids {
    let ids: Vec<String> = (0..30).map(|number| format!("{name}-{number}")).collect();
    for id in &ids {
        client.clone().accept_order(parcel(id, "anna")).await.unwrap();
    }
    let order_ids = ids[..20].to_vec();
    client.clone().issue_orders(v1::IssueOrdersRequest { order_ids, ..Default::default() }).await.unwrap();
    for order_id in &ids[..10] {
        let (order_id, customer_id) = (order_id.clone(), "anna".to_owned());
        let request = v1::AcceptReturnRequest { order_id, customer_id, ..Default::default() };
        client.clone().accept_return(request).await.unwrap();
    }
    let versions = |number| if number < 10 { 3 } else { 1 + i64::from(number < 20) };
    let events = ids.iter().enumerate();
    events.flat_map(|(number, id)| (1..=versions(number)).map(move |version| (id.clone(), version))).collect()
}

/// Waits until the topic has them all and no others, each order's in sequence;
/// says how many records that took.
async fn arrive(broker: &str, expected: &Ids, what: &str) -> usize {
    let mut records = Vec::new();
    wait_until(&format!("{what}: every event is in the topic"), async || {
        records = topic::read(broker, TOPIC).await;
        topic::ids(&records).into_iter().collect::<BTreeSet<_>>().len() >= expected.len()
    })
    .await;
    assert_eq!(topic::deduplicated(&records).into_keys().collect::<Ids>(), *expected, "{what}");
    records.iter().map(Vec::len).sum()
}

/// A test that stops brokers does so beside the runtime.
fn aside<T>(call: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(call)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_silent_late_or_failing_delays_events_and_no_more() {
    let [behind] = free_ports();
    let proxy = Proxy::start(behind).await;
    let address = format!("127.0.0.1:{}", proxy.port);
    let listeners = vec![("PROXIED", "PLAINTEXT", behind, address.clone())];
    let mut broker = aside(|| Broker::with(|_| Extra { listeners, ..Extra::default() }));
    aside(|| broker.start());
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), &config(&address, ""));
    let client = service.client().await;
    let mut expected = day(&client, "clear").await;
    let written = arrive(&broker.address(), &expected, "clear").await;
    assert_eq!(written, expected.len(), "nothing is written twice in clear weather");
    let mut repeated = 0;
    for (name, weather) in [
        ("silent", Weather::Silent),
        ("late", Weather::Late(Duration::from_millis(2_500))),
        ("not-leader", Weather::Failing(6)),
        ("timed-out", Weather::Failing(7)),
        ("not-enough-replicas", Weather::Failing(19)),
        ("not-allowed", Weather::Failing(29)),
        ("disk-failed", Weather::Failing(56)),
        ("unknown-error", Weather::Failing(-1)),
    ] {
        let harmed = proxy.harmed();
        proxy.turn(weather);
        expected.extend(day(&client, name).await);
        wait_until(&format!("{name}: the sink tries again"), async || proxy.harmed() >= harmed + 3).await;
        proxy.turn(Weather::Clear);
        let written = arrive(&broker.address(), &expected, name).await;
        if name == "late" {
            repeated = written - expected.len();
            assert!(repeated > 0, "what is written after the timeout is written again");
        } else if name != "silent" {
            assert_eq!(written - expected.len(), repeated, "{name}: what was not written is written once");
        }
    }
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_moves_is_found_where_it_went() {
    let mut broker = aside(Broker::new);
    aside(|| broker.start());
    let (before, [port]) = (broker.address(), free_ports());
    let after = format!("127.0.0.1:{port}");
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), &config(&format!("{before},{after}"), ""));
    let client = service.client().await;
    let mut expected = day(&client, "here").await;
    arrive(&before, &expected, "here").await;
    aside(|| broker.kill());
    broker.move_to(port);
    expected.extend(day(&client, "away").await);
    aside(|| broker.start());
    arrive(&after, &expected, "there").await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_loses_its_leader_is_written_by_the_next() {
    let soon = "broker.session.timeout.ms=2000\nbroker.heartbeat.interval.ms=500".to_owned();
    let first = Extra { properties: vec![soon.clone()], ..Extra::default() };
    let mut first = aside(|| Broker::with(|_| first));
    let second = Extra { properties: vec![soon], follows: Some((first.controller(), 2)), ..Extra::default() };
    let mut second = aside(|| Broker::with(|_| second));
    aside(|| first.start());
    aside(|| second.start());
    let (one, two) = (first.address(), second.address());
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), &config(&format!("{one},{two}"), "kafka_replication = 2"));
    let client = service.client().await;
    let mut expected = day(&client, "both").await;
    arrive(&one, &expected, "both").await;
    aside(|| second.kill());
    expected.extend(day(&client, "one").await);
    arrive(&one, &expected, "one").await;
    aside(|| second.start());
    expected.extend(day(&client, "again").await);
    arrive(&one, &expected, "again").await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_disk_is_full_gets_the_rest_when_there_is_space() {
    let mut broker = aside(Broker::new);
    aside(|| broker.start());
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), &config(&broker.address(), "kafka_partitions = 1"));
    let client = service.client().await;
    let mut expected = day(&client, "space").await;
    arrive(&broker.address(), &expected, "space").await;
    // Less than the partition has already: the next record does not fit, and
    // Kafka stops when its only disk fails.
    broker.limit_files(10_000);
    expected.extend(day(&client, "full").await);
    wait_until("the broker has died of it", async || !broker.is_alive()).await;
    expected.extend(day(&client, "gone").await);
    aside(|| broker.kill());
    aside(|| broker.start());
    arrive(&broker.address(), &expected, "space again").await;
    service.stop();
}
