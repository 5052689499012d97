//! T21: the broker is down under full load, and comes back. Commands do not
//! notice, memory is bounded, and in the end every event is there, of no order
//! out of sequence.

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
/// With a broker, before the outage: what the outage is compared with.
const BEFORE: Duration = Duration::from_secs(3);

/// How long the broker is down.
const OUTAGE: Duration = Duration::from_mins(1);

/// A client's orders: every command of them was answered well.
#[derive(Default)]
struct Told {
    events: BTreeSet<(String, i64)>,
    /// When each answer came, and after how long.
    answers: Vec<(Instant, Duration)>,
}

/// Takes orders through the counter, one command after the other, until told
/// to stop.
async fn work(client: Client, number: usize, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    for order in 0.. {
        let order_id = format!("{number}-{order}");
        for sequence in 1..=3 {
            if stop.load(Ordering::Relaxed) {
                return told;
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
            told.answers.push((Instant::now(), began.elapsed()));
            told.events.insert((order_id.clone(), sequence));
        }
    }
    told
}

/// The time that 99 of 100 answers took at most.
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
        clients.spawn(work(service.client().await, number, Arc::clone(&stop)));
    }
    sleep(BEFORE).await;
    let (gone, before) = (Instant::now(), service.peak_memory());
    block_in_place(|| broker.kill());
    // The length of the fault, and not a wait for anything.
    sleep(OUTAGE).await;
    let (back, after) = (Instant::now(), service.peak_memory());
    stop.store(true, Ordering::Relaxed);
    let told = clients.join_all().await;
    block_in_place(|| broker.start());

    let during = |from: Option<Instant>, to: Instant| {
        let answers = told.iter().flat_map(|told| &told.answers);
        let within = answers.filter(|(at, _)| from.is_none_or(|from| *at > from) && *at <= to);
        within.map(|(_, time)| *time).collect::<Vec<_>>()
    };
    let (calm, rough) = (during(None, gone), during(Some(gone), back));
    let events: BTreeSet<_> = told.iter().flat_map(|told| told.events.iter().cloned()).collect();
    let worst = rough.iter().max().copied().unwrap_or_default();
    let numbers = (events.len(), p99(calm.clone()), p99(rough.clone()), worst, before, after);
    eprintln!(
        "{store} {} s: events, p99 before, during, worst, KiB before, after: {numbers:?}",
        OUTAGE.as_secs()
    );
    assert!(rough.len() > 1_000, "{numbers:?}");
    // Others build on this machine meanwhile.
    assert!(p99(rough) <= p99(calm) * 4 + Duration::from_millis(500), "{numbers:?}");
    assert!(worst < Duration::from_secs(10), "{numbers:?}");
    // A store in memory keeps its orders and events there, at less than 4 KiB
    // an event; the relay and the sink keep nothing.
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
    // Verified, if it is a store that outlives the server.
    if store == "memory:" { drop(service) } else { service.stop() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_on_sqlite_do_not_notice_that_the_broker_is_down() {
    outage_under_load("sqlite:").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_in_memory_do_not_notice_that_the_broker_is_down() {
    outage_under_load("memory:").await;
}
