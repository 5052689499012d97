//! A standby to read from: what this process wrote is seen, whatever the standby
//! shows.

use std::time::{Duration, Instant};

use pvz::adapters::postgres::{OpenError, PostgresStore, migrate};
use pvz::domain::{BatchMode, Order};
use pvz::ports::{EventLog as _, OrderFilter, OrderStore as _, Page};

use super::cluster::{Cluster, Database};
use super::run;
use crate::process::TIMEOUT;
use crate::support::commands::{accept, customer, issue, issue_for, order, parcel, point};

/// A server, its standby, and a database with the schema.
struct Scene {
    primary: Cluster,
    standby: Cluster,
    database: Database,
}

impl Scene {
    async fn new() -> Self {
        let primary = Cluster::start();
        let database = primary.database(false).await;
        migrate(&database.options()).await.unwrap();
        let standby = primary.standby();
        Self { primary, standby, database }
    }

    async fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.standby.read_by(&self.database)).await.unwrap()
    }

    /// The standby stands still, or goes on.
    async fn replay(&self, goes_on: bool) {
        let word = if goes_on { "resume" } else { "pause" };
        self.standby.shell().await.batch_execute(&format!("SELECT pg_wal_replay_{word}()")).await.unwrap();
    }

    /// Changes an order's weight on the primary by hand, which no store notices.
    async fn weigh(&self, id: &str, grams: i64) {
        let statement = "UPDATE orders SET weight_grams = $2::bigint WHERE order_id = $1";
        let shell = self.database.shell().await;
        assert_eq!(shell.execute(statement, &[&id, &grams]).await.unwrap(), 1);
    }

    fn end(self) {
        self.standby.crash();
        self.primary.crash();
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let end = Instant::now() + TIMEOUT;
    while !holds().await {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn weight(store: &PostgresStore, id: &str) -> i64 {
    let found: Order = store.order(&order(id)).await.unwrap().expect("the order is there");
    found.weight.expect("it was weighed").get()
}

/// The ids of the orders of a list.
async fn list(store: &PostgresStore, filter: &OrderFilter) -> Vec<String> {
    let found = store.orders(filter, &Page { below: None, limit: 100 }).await.unwrap();
    found.into_iter().map(|order| order.order_id.to_string()).collect()
}

/// Reads what is there from the standby, from now on.
async fn settled(scene: &Scene, store: &PostgresStore, id: &str) {
    // Only the standby still has the weight of before.
    eventually("the standby is read", || async {
        scene.replay(true).await;
        let now = weight(store, id).await;
        eventually("the standby has caught up", || async { weight(store, id).await == now }).await;
        scene.replay(false).await;
        scene.weigh(id, now + 1).await;
        let stale = weight(store, id).await == now;
        scene.weigh(id, now).await;
        stale
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_sees_what_it_wrote_and_reads_the_rest_from_the_standby() {
    let scene = Scene::new().await;
    let (ours, theirs) = (scene.open().await, scene.open().await);
    let elsewhere = |id: &str| {
        let mut elsewhere = parcel(id);
        (elsewhere.customer_id, elsewhere.pickup_point_id) = (customer("c2"), Some(point("second")));
        accept(elsewhere)
    };
    run(&ours, &[accept(parcel("old")), elsewhere("far")]).await.unwrap();
    settled(&scene, &ours, "old").await;
    settled(&scene, &theirs, "old").await;
    scene.replay(false).await;
    let before = weight(&ours, "old").await;
    run(&ours, &[accept(parcel("new"))]).await.unwrap();
    let issued = run(&ours, &[issue_for(&["far"], None, Some("second"), BatchMode::Atomic)]).await.unwrap();
    assert!(issued[0].answer.is_ok(), "{issued:?}");
    scene.weigh("old", before + 1).await;
    // By its id, in its history, and in every list that shows it.
    assert!(ours.order(&order("new")).await.unwrap().is_some());
    assert_eq!(ours.history(&order("far"), 0, 10).await.unwrap().len(), 2);
    let by_customer = |id: &str| OrderFilter { customer_id: Some(customer(id)), ..OrderFilter::default() };
    let by_point = |id: &str| OrderFilter { pickup_point_id: Some(point(id)), ..OrderFilter::default() };
    assert_eq!(list(&ours, &by_customer("c1")).await, ["old", "new"]);
    assert_eq!(list(&ours, &by_point("main")).await, ["old", "new"]);
    assert_eq!(list(&ours, &OrderFilter::default()).await.len(), 3);
    let in_stock = OrderFilter { states: [pvz::domain::StateName::Stored].into(), ..by_point("second") };
    assert_eq!(list(&ours, &in_stock).await, Vec::<String>::new(), "it was issued");
    // What it did not write is read from the standby, which stands still.
    assert_eq!(weight(&ours, "old").await, before);
    // As is all of it by a store that knows nothing of these writes: without
    // its notes the first would have seen no more.
    assert_eq!(theirs.order(&order("new")).await.unwrap(), None);
    assert_eq!(theirs.history(&order("far"), 0, 10).await.unwrap().len(), 1);
    assert_eq!(list(&theirs, &OrderFilter::default()).await.len(), 2);
    scene.replay(true).await;
    eventually("everybody sees it", || async {
        theirs.order(&order("new")).await.unwrap().is_some() && weight(&ours, "old").await == before + 1
    })
    .await;
    scene.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_behind_or_away_is_not_read_from() {
    let scene = Scene::new().await;
    let store = scene.open().await;
    run(&store, &[accept(parcel("one")), accept(parcel("two"))]).await.unwrap();
    settled(&scene, &store, "one").await;
    let before = weight(&store, "one").await;
    scene.replay(false).await;
    scene.weigh("one", before + 1).await;
    assert_eq!(weight(&store, "one").await, before);
    // For a while it may be behind; then the primary is asked.
    eventually("the primary is read", || async { weight(&store, "one").await == before + 1 }).await;
    settled(&scene, &store, "two").await;
    // It dies; nobody notices but for where reads go.
    scene.weigh("two", before + 5).await;
    scene.standby.crash();
    assert_eq!(weight(&store, "two").await, before + 5);
    run(&store, &[issue(&["one"], BatchMode::Atomic)]).await.unwrap();
    assert_eq!(store.history(&order("one"), 0, 10).await.unwrap().len(), 2);
    // A store can be opened while it is away, and finds it when it is back.
    let fresh = scene.open().await;
    assert_eq!(weight(&fresh, "two").await, before + 5);
    scene.standby.run();
    settled(&scene, &fresh, "two").await;
    settled(&scene, &store, "two").await;
    scene.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_standby_of_the_store_is_refused_or_not_read_from() {
    let scene = Scene::new().await;
    // Another store's database.
    let stranger = super::cluster::cluster().database(true).await;
    let options = super::cluster::cluster().read_by(&scene.database);
    let options =
        pvz::adapters::postgres::PostgresOptions { standby: Some(stranger.options().server), ..options };
    let refused = PostgresStore::open(&options).await.unwrap_err();
    assert!(matches!(refused, OpenError::OtherStore), "{refused:?}");
    // The database itself is not refused, but it is no standby: a standby that
    // is promoted goes ways of its own.
    let store = scene.open().await;
    run(&store, &[accept(parcel("one"))]).await.unwrap();
    settled(&scene, &store, "one").await;
    scene.replay(true).await;
    let shell = scene.standby.shell().await;
    assert!(shell.query_one("SELECT pg_promote()", &[]).await.unwrap().get::<_, bool>(0));
    let before = weight(&store, "one").await;
    scene.weigh("one", before + 1).await;
    eventually("the primary is read", || async { weight(&store, "one").await == before + 1 }).await;
    scene.end();
}
