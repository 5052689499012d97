//! Broker faults lose no event, and reorder no events of an order. Test T12 of
//! `docs/reliability.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use pvz::proto::v1;

use super::broker::{Broker, BrokerConfig, free_ports};
use super::proxy::{Fault, Proxy};
use super::topic;
use crate::faults::requests::parcel;
use crate::faults::test_service::{Client, TestService, wait_until};

const TOPIC: &str = "faults";

/// The order and sequence of events.
type Ids = BTreeSet<(String, i64)>;

fn config(brokers: &str, more: &str) -> String {
    format!(
        "[events]\nurl = 'kafka://{brokers}/{TOPIC}'\nkafka_timeout = '1s'\n{more}\n[log]\nformat = 'json'\n"
    )
}

/// Runs commands on new orders, and returns the ids of their events.
async fn run_commands(client: &Client, name: &str) -> Ids {
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

/// Waits until the topic has the expected events and no others, with each order in
/// sequence. Returns the number of records.
async fn wait_for_events(broker: &str, expected: &Ids, what: &str) -> usize {
    let mut records = Vec::new();
    wait_until(&format!("{what}: every event is in the topic"), async || {
        records = topic::read(broker, TOPIC).await;
        topic::ids(&records).into_iter().collect::<BTreeSet<_>>().len() >= expected.len()
    })
    .await;
    assert_eq!(topic::deduplicated(&records).into_keys().collect::<Ids>(), *expected, "{what}");
    records.iter().map(Vec::len).sum()
}

/// Runs a blocking call within a test.
fn blocking<T>(call: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(call)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_late_or_failing_broker_delays_events() {
    let [port] = free_ports();
    let proxy = Proxy::start(port).await;
    let address = format!("127.0.0.1:{}", proxy.port);
    let listeners = vec![("PROXIED", "PLAINTEXT", port, address.clone())];
    let mut broker = blocking(|| Broker::with(|_| BrokerConfig { listeners, ..BrokerConfig::default() }));
    blocking(|| broker.start());
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), &config(&address, ""));
    let client = service.client().await;
    let mut expected = run_commands(&client, "clear").await;
    let written = wait_for_events(&broker.address(), &expected, "clear").await;
    assert_eq!(written, expected.len(), "no duplicates without faults");
    let mut repeated = 0;
    for (name, fault) in [
        ("silent", Fault::Silence),
        ("late", Fault::LateAnswers(Duration::from_millis(2_500))),
        ("not-leader", Fault::Failing(6)),
        ("timed-out", Fault::Failing(7)),
        ("not-enough-replicas", Fault::Failing(19)),
        ("not-allowed", Fault::Failing(29)),
        ("disk-failed", Fault::Failing(56)),
        ("unknown-error", Fault::Failing(-1)),
    ] {
        let before = proxy.disturbed();
        proxy.set(Some(fault));
        expected.extend(run_commands(&client, name).await);
        wait_until(&format!("{name}: the sink retries"), async || proxy.disturbed() >= before + 3).await;
        proxy.set(None);
        let written = wait_for_events(&broker.address(), &expected, name).await;
        if name == "late" {
            repeated = written - expected.len();
            assert!(repeated > 0, "a request that timed out is written again");
        } else if name != "silent" {
            assert_eq!(written - expected.len(), repeated, "{name}: a refused request is written once");
        }
    }
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_is_found_at_its_new_port() {
    let mut broker = blocking(Broker::new);
    blocking(|| broker.start());
    let (before, [port]) = (broker.address(), free_ports());
    let after = format!("127.0.0.1:{port}");
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), &config(&format!("{before},{after}"), ""));
    let client = service.client().await;
    let mut expected = run_commands(&client, "here").await;
    wait_for_events(&before, &expected, "here").await;
    blocking(|| broker.kill());
    broker.move_to(port);
    expected.extend(run_commands(&client, "away").await);
    blocking(|| broker.start());
    wait_for_events(&after, &expected, "there").await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partition_is_written_after_its_leader_fails() {
    let short = "broker.session.timeout.ms=2000\nbroker.heartbeat.interval.ms=500".to_owned();
    let first = BrokerConfig { properties: vec![short.clone()], ..BrokerConfig::default() };
    let mut first = blocking(|| Broker::with(|_| first));
    let controller = Some((first.controller(), 2));
    let second = BrokerConfig { properties: vec![short], controller, ..BrokerConfig::default() };
    let mut second = blocking(|| Broker::with(|_| second));
    blocking(|| first.start());
    blocking(|| second.start());
    let (one, two) = (first.address(), second.address());
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), &config(&format!("{one},{two}"), "kafka_replication = 2"));
    let client = service.client().await;
    let mut expected = run_commands(&client, "both").await;
    wait_for_events(&one, &expected, "both").await;
    blocking(|| second.kill());
    expected.extend(run_commands(&client, "one").await);
    wait_for_events(&one, &expected, "one").await;
    blocking(|| second.start());
    expected.extend(run_commands(&client, "again").await);
    wait_for_events(&one, &expected, "again").await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_while_the_disk_of_the_broker_is_full() {
    let mut broker = blocking(Broker::new);
    blocking(|| broker.start());
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), &config(&broker.address(), "kafka_partitions = 1"));
    let client = service.client().await;
    let mut expected = run_commands(&client, "space").await;
    wait_for_events(&broker.address(), &expected, "space").await;
    // The partition is larger than this already, so the next write fails, and Kafka
    // exits when its only disk fails.
    broker.limit_files(10_000);
    expected.extend(run_commands(&client, "full").await);
    wait_until("the broker has exited", async || !broker.is_alive()).await;
    expected.extend(run_commands(&client, "gone").await);
    blocking(|| broker.kill());
    blocking(|| broker.start());
    wait_for_events(&broker.address(), &expected, "space again").await;
    service.stop();
}
