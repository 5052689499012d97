//! A broker outage under full load. Commands are not affected, memory is bounded, and
//! afterwards every event is published in sequence. Test T21 of `docs/reliability.md`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pvz::proto::v1;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep;

use super::broker::Broker;
use super::topic;
use crate::faults::requests::parcel;
use crate::faults::test_service::{Client, TestService, wait_until};

const TOPIC: &str = "full-load";
const CLIENTS: usize = 32;
/// The duration of the load before the outage, as the baseline.
const BASELINE: Duration = Duration::from_secs(3);

/// The duration of the outage.
const OUTAGE: Duration = Duration::from_mins(1);

/// The successful commands of a client.
#[derive(Default)]
struct Results {
    events: BTreeSet<(String, i64)>,
    /// The instant and the latency of each answer.
    answers: Vec<(Instant, Duration)>,
}

/// Runs commands one after the other until `stop`.
async fn run_client(client: Client, number: usize, stop: Arc<AtomicBool>) -> Results {
    let mut results = Results::default();
    for order in 0.. {
        let order_id = format!("{number}-{order}");
        for sequence in 1..=3 {
            if stop.load(Ordering::Relaxed) {
                return results;
            }
            let (began, id) = (Instant::now(), order_id.clone());
            let mut client = client.clone();
            match sequence {
                1 => drop(client.accept_order(parcel(&id, "anna")).await.unwrap()),
                2 => {
                    let order_ids = vec![id];
                    let issue = v1::IssueOrdersRequest { order_ids, ..Default::default() };
                    drop(client.issue_orders(issue).await.unwrap());
                }
                _ => {
                    let customer_id = "anna".to_owned();
                    let back = v1::AcceptReturnRequest { order_id: id, customer_id, ..Default::default() };
                    drop(client.accept_return(back).await.unwrap());
                }
            }
            results.answers.push((Instant::now(), began.elapsed()));
            results.events.insert((order_id.clone(), sequence));
        }
    }
    results
}

/// Returns the 99th percentile.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

async fn outage_under_load(store: &str) {
    let mut broker = block_in_place(Broker::new);
    block_in_place(|| broker.start());
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "[store]\nurl = '{store}'\n[events]\nurl = 'kafka://{}/{TOPIC}'\nkafka_timeout = '5s'\n\
         [log]\nfilter = 'warn'\nformat = 'json'\n",
        broker.address()
    );
    let service = TestService::start(dir.path(), &config);
    let (stop, mut clients) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for number in 0..CLIENTS {
        clients.spawn(run_client(service.client().await, number, Arc::clone(&stop)));
    }
    // The duration of the measurement, not a wait for a condition.
    sleep(BASELINE).await;
    let (gone, before) = (Instant::now(), service.peak_memory());
    block_in_place(|| broker.kill());
    // This is the duration of the fault, not a wait for a condition.
    sleep(OUTAGE).await;
    let (back, after) = (Instant::now(), service.peak_memory());
    stop.store(true, Ordering::Relaxed);
    let results = clients.join_all().await;
    block_in_place(|| broker.start());

    let during = |from: Option<Instant>, to: Instant| {
        let answers = results.iter().flat_map(|results| &results.answers);
        let within = answers.filter(|(at, _)| from.is_none_or(|from| *at > from) && *at <= to);
        within.map(|(_, time)| *time).collect::<Vec<_>>()
    };
    let (baseline, outage) = (during(None, gone), during(Some(gone), back));
    let events: BTreeSet<_> = results.iter().flat_map(|results| results.events.iter().cloned()).collect();
    let worst = outage.iter().max().copied().unwrap_or_default();
    let numbers = (events.len(), p99(baseline.clone()), p99(outage.clone()), worst, before, after);
    eprintln!(
        "{store} {} s: events, p99 before, during, worst, KiB before, after: {numbers:?}",
        OUTAGE.as_secs()
    );
    assert!(outage.len() > 1_000, "{numbers:?}");
    // The bound is generous for a machine with other load.
    assert!(p99(outage) <= p99(baseline) * 4 + Duration::from_millis(500), "{numbers:?}");
    assert!(worst < Duration::from_secs(10), "{numbers:?}");
    // The memory store keeps orders and events, less than 4 KiB per event; the relay
    // and the sink keep none.
    let kept = if store == "memory:" { 4 * events.len() as u64 } else { 0 };
    assert!(after - before <= kept + 96 * 1024, "{numbers:?}");

    let address = broker.address();
    wait_until("as many records as events", async || topic::count(&address, TOPIC).await >= events.len())
        .await;
    let mut found = BTreeSet::new();
    wait_until("every event is in the topic", async || {
        found = topic::deduplicated(&topic::read(&address, TOPIC).await).into_keys().collect();
        found.len() >= events.len()
    })
    .await;
    assert!(found == events, "{} events, {} in the topic", events.len(), found.len());
    // `stop` verifies the store, which must outlive the server.
    if store == "memory:" { drop(service) } else { service.stop() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_outage_does_not_affect_commands_on_sqlite() {
    outage_under_load("sqlite:").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_outage_does_not_affect_commands_in_memory() {
    outage_under_load("memory:").await;
}
