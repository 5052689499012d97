//! Tests of reads from a standby: a store sees its own writes, even if the standby lags.

use pvz::adapters::postgres::{OpenError, PostgresOptions, PostgresStore, migrate};
use pvz::domain::{BatchMode, Order};
use pvz::ports::{EventLog as _, OrderFilter, OrderStore as _, Page};

use super::cluster::{Cluster, Database};
use super::run;
use crate::faults::test_service::wait_until;
use crate::support::commands::{accept, customer, issue, issue_for, order, parcel, point};

/// A database with the schema, on a primary server with a standby.
struct Fixture {
    primary: Cluster,
    standby: Cluster,
    database: Database,
}

impl Fixture {
    async fn new() -> Self {
        let primary = Cluster::start();
        let database = primary.database(false).await;
        migrate(&database.options()).await.unwrap();
        let standby = primary.standby();
        Self { primary, standby, database }
    }

    /// Opens a store that reads from the standby.
    async fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.standby.standby_options(&self.database)).await.unwrap()
    }

    async fn pause_replay(&self) {
        self.standby.shell().await.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    }

    async fn resume_replay(&self) {
        self.standby.shell().await.batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
    }

    /// Sets an order's weight on the primary, without a store.
    async fn set_weight(&self, id: &str, grams: i64) {
        let statement = "UPDATE orders SET weight_grams = $2::bigint WHERE order_id = $1";
        let shell = self.database.shell().await;
        assert_eq!(shell.execute(statement, &[&id, &grams]).await.unwrap(), 1);
    }

    fn stop(self) {
        self.standby.crash();
        self.primary.crash();
    }
}

async fn weight(store: &PostgresStore, id: &str) -> i64 {
    let found: Order = store.order(&order(id)).await.unwrap().expect("the order is stored");
    found.weight.expect("the order has a weight").get()
}

/// Returns the ids of the listed orders.
async fn list(store: &PostgresStore, filter: &OrderFilter) -> Vec<String> {
    let found = store.orders(filter, &Page { below: None, limit: 100 }).await.unwrap();
    found.into_iter().map(|order| order.order_id.to_string()).collect()
}

/// Waits until the store reads the order from the standby, and pauses replay.
async fn wait_for_standby_reads(fixture: &Fixture, store: &PostgresStore, id: &str) {
    // While replay is paused, only the standby has the previous weight.
    wait_until("the store reads from the standby", async || {
        fixture.resume_replay().await;
        let now = weight(store, id).await;
        wait_until("the standby has caught up", async || weight(store, id).await == now).await;
        fixture.pause_replay().await;
        fixture.set_weight(id, now + 1).await;
        let is_stale = weight(store, id).await == now;
        fixture.set_weight(id, now).await;
        is_stale
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_sees_its_own_writes_and_reads_the_rest_from_the_standby() {
    let fixture = Fixture::new().await;
    let (writer, reader) = (fixture.open().await, fixture.open().await);
    let accept_at_second_point = |id: &str| {
        let mut order = parcel(id);
        (order.customer_id, order.pickup_point_id) = (customer("c2"), Some(point("second")));
        accept(order)
    };
    run(&writer, &[accept(parcel("old")), accept_at_second_point("far")]).await.unwrap();
    wait_for_standby_reads(&fixture, &writer, "old").await;
    wait_for_standby_reads(&fixture, &reader, "old").await;
    fixture.pause_replay().await;
    let before = weight(&writer, "old").await;
    run(&writer, &[accept(parcel("new"))]).await.unwrap();
    let issued = run(&writer, &[issue_for(&["far"], None, Some("second"), BatchMode::Atomic)]).await.unwrap();
    assert!(issued[0].answer.is_ok(), "{issued:?}");
    fixture.set_weight("old", before + 1).await;
    // Lookup by id, history and lists contain the store's own writes.
    assert!(writer.order(&order("new")).await.unwrap().is_some());
    assert_eq!(writer.history(&order("far"), 0, 10).await.unwrap().len(), 2);
    let by_customer = |id: &str| OrderFilter { customer_id: Some(customer(id)), ..OrderFilter::default() };
    let by_point = |id: &str| OrderFilter { pickup_point_id: Some(point(id)), ..OrderFilter::default() };
    assert_eq!(list(&writer, &by_customer("c1")).await, ["old", "new"]);
    assert_eq!(list(&writer, &by_point("main")).await, ["old", "new"]);
    assert_eq!(list(&writer, &OrderFilter::default()).await.len(), 3);
    let in_stock = OrderFilter { states: [pvz::domain::StateName::Stored].into(), ..by_point("second") };
    assert_eq!(list(&writer, &in_stock).await, Vec::<String>::new(), "the order was issued");
    // Orders that the store did not write come from the paused standby.
    assert_eq!(weight(&writer, "old").await, before);
    // The other store does not know of these writes and sees none of them.
    assert_eq!(reader.order(&order("new")).await.unwrap(), None);
    // A cache is filled from the primary.
    assert!(reader.on_primary().order(&order("new")).await.unwrap().is_some());
    assert_eq!(reader.history(&order("far"), 0, 10).await.unwrap().len(), 1);
    assert_eq!(list(&reader, &OrderFilter::default()).await.len(), 2);
    fixture.resume_replay().await;
    wait_until("both stores see the writes", async || {
        reader.order(&order("new")).await.unwrap().is_some() && weight(&writer, "old").await == before + 1
    })
    .await;
    fixture.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lagging_or_stopped_standby_is_not_read() {
    let fixture = Fixture::new().await;
    let store = fixture.open().await;
    run(&store, &[accept(parcel("one")), accept(parcel("two"))]).await.unwrap();
    wait_for_standby_reads(&fixture, &store, "one").await;
    let before = weight(&store, "one").await;
    fixture.pause_replay().await;
    fixture.set_weight("one", before + 1).await;
    assert_eq!(weight(&store, "one").await, before);
    // The store tolerates a short lag, then reads from the primary.
    wait_until("the store reads from the primary", async || weight(&store, "one").await == before + 1).await;
    wait_for_standby_reads(&fixture, &store, "two").await;
    // Without the standby, reads go to the primary.
    fixture.set_weight("two", before + 5).await;
    fixture.standby.crash();
    assert_eq!(weight(&store, "two").await, before + 5);
    run(&store, &[issue(&["one"], BatchMode::Atomic)]).await.unwrap();
    assert_eq!(store.history(&order("one"), 0, 10).await.unwrap().len(), 2);
    // A store opens without the standby, and uses it after it has restarted.
    let opened_late = fixture.open().await;
    assert_eq!(weight(&opened_late, "two").await, before + 5);
    fixture.standby.run();
    wait_for_standby_reads(&fixture, &opened_late, "two").await;
    wait_for_standby_reads(&fixture, &store, "two").await;
    fixture.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_database_is_refused_and_promoted_standby_is_not_read() {
    let fixture = Fixture::new().await;
    let other = super::cluster::cluster().database(true).await;
    let standby = Some(other.options().server);
    let options = PostgresOptions { standby, ..fixture.database.options() };
    let refused = PostgresStore::open(&options).await.unwrap_err();
    assert!(matches!(refused, OpenError::OtherStore), "{refused:?}");
    // A promoted standby no longer follows the primary, so the store stops reading
    // from it.
    let store = fixture.open().await;
    run(&store, &[accept(parcel("one"))]).await.unwrap();
    wait_for_standby_reads(&fixture, &store, "one").await;
    fixture.resume_replay().await;
    let shell = fixture.standby.shell().await;
    assert!(shell.query_one("SELECT pg_promote()", &[]).await.unwrap().get::<_, bool>(0));
    let before = weight(&store, "one").await;
    fixture.set_weight("one", before + 1).await;
    wait_until("the store reads from the primary", async || weight(&store, "one").await == before + 1).await;
    fixture.stop();
}
