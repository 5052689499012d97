//! Tests of the SQL views: they return the same values as the API, and a role with
//! access to nothing else can read them.

use pvz::adapters::postgres::PostgresStore;
use pvz::adapters::proto_mapping;
use pvz::adapters::system::SystemClock;
use pvz::domain::{Accept, BatchMode, Grams, Money, Timestamp};
use pvz::ports::{Clock as _, EventLog as _, OrderStore as _, Position};
use pvz::proto::v1;
use tokio_postgres::{Client, Row};

use super::cluster::store;
use super::{run, run_at};
use crate::support::commands::{accept, accept_return, codes, issue, order, parcel, to_courier};
use crate::support::time::DAY;

const IDS: [&str; 6] = ["bare", "dear", "stored", "issued", "returned", "gone"];

/// Returns the SQL that converts a column to microseconds since the epoch.
fn micros(column: &str) -> String {
    format!("(extract(epoch FROM {column}) * 1000000)::bigint AS {column}")
}

fn message(instant: Option<i64>) -> Option<pvz::proto::Timestamp> {
    instant.map(|micros| proto_mapping::timestamp(Timestamp::from_micros(micros).unwrap()))
}

/// Converts a row of `orders_view` to the message of the contract.
fn order_of(row: &Row) -> v1::Order {
    let state: String = row.get("state");
    v1::Order {
        order_id: row.get("order_id"),
        customer_id: row.get("customer_id"),
        pickup_point_id: row.get("pickup_point_id"),
        state: v1::OrderState::from_str_name(&format!("ORDER_STATE_{state}")).unwrap().into(),
        expired: row.get("expired"),
        storage_until: message(row.get("storage_until")),
        accepted_at: message(row.get("accepted_at")),
        issued_at: message(row.get("issued_at")),
        returned_at: message(row.get("returned_at")),
        handed_to_courier_at: message(row.get("handed_to_courier_at")),
        weight_grams: row.get("weight_grams"),
        price_minor: row.get("price_minor"),
        surcharge_minor: row.get("surcharge_minor"),
        total_price_minor: row.get("total_price_minor"),
        currency: row.get("currency"),
        packaging: row.get("packaging"),
        version: row.get("version"),
    }
}

async fn orders(shell: &Client) -> Vec<Row> {
    let instants =
        ["storage_until", "accepted_at", "issued_at", "returned_at", "handed_to_courier_at"].map(micros);
    let query = format!(
        "SELECT order_id, customer_id, pickup_point_id, state, expired, {}, weight_grams, weight_kg::text,
             price_minor, surcharge_minor, total_price_minor, price::text, surcharge::text, total_price::text,
             currency, packaging, version
         FROM orders_view ORDER BY order_id",
        instants.join(", ")
    );
    shell.query(&query, &[]).await.unwrap()
}

/// Writes an order in each state, and two with extreme values.
async fn write_orders(store: &PostgresStore) {
    let bare = Accept { weight: None, price: Money::ZERO, packaging: Vec::new(), ..parcel("bare") };
    let dear = Accept {
        weight: Grams::new(29_999).ok(),
        price: Money::price(1_000_000_000_000).unwrap(),
        packaging: codes(&["film", "box"]),
        ..parcel("dear")
    };
    let mut commands = vec![accept(bare), accept(dear)];
    commands.extend(IDS[2..].iter().map(|id| accept(parcel(id))));
    for outcome in run(store, &commands).await.unwrap() {
        outcome.answer.unwrap();
    }
    let issues = [issue(&["issued", "returned", "gone"], BatchMode::Atomic)];
    run_at(store, &issues, 1).await.unwrap().remove(0).answer.unwrap();
    for (command, micros) in [
        (accept_return("returned", "c1", None), 1_000_002),
        (accept_return("gone", "c1", None), 3),
        (to_courier(&["gone"], None, BatchMode::Atomic), DAY),
    ] {
        run_at(store, &[command], micros).await.unwrap().remove(0).answer.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_view_matches_the_api() {
    let (store, database) = store().await;
    write_orders(&store).await;
    let last = Timestamp::from_micros(253_402_300_799_999_999).unwrap();
    let shell = database.shell().await;
    // An instant that a double cannot represent exactly.
    let late = format!("UPDATE orders SET storage_until = {} WHERE order_id = 'dear'", last.micros());
    shell.batch_execute(&late).await.unwrap();

    let now = SystemClock.now();
    let rows = orders(&shell).await;
    assert_eq!(rows.len(), IDS.len());
    for row in &rows {
        let found = order_of(row);
        let stored = store.order(&order(&found.order_id)).await.unwrap().unwrap();
        assert_eq!(found, proto_mapping::order(stored.at(now)));
    }
    let texts = ["weight_kg", "price", "surcharge", "total_price"];
    let dear = rows.iter().find(|row| row.get::<_, &str>("order_id") == "dear").unwrap();
    let decimals = texts.map(|column| dear.get::<_, Option<String>>(column).unwrap());
    assert_eq!(decimals[..2], ["29.999", "10000000000.00"]);
    let bare = rows.iter().find(|row| row.get::<_, &str>("order_id") == "bare").unwrap();
    assert_eq!(bare.get::<_, Option<String>>("weight_kg"), None);
    assert_eq!(bare.get::<_, Vec<String>>("packaging"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_view_matches_the_feed() {
    let (store, database) = store().await;
    write_orders(&store).await;
    let shell = database.shell().await;
    let query = format!(
        "SELECT position, event_id::text, order_id, sequence, type, state, {}, actor_kind, actor_id, request_id,
             customer_id, pickup_point_id
         FROM order_events_view ORDER BY position",
        micros("occurred_at")
    );
    let rows = shell.query(&query, &[]).await.unwrap();
    let feed = store.feed(Position(0), 100).await.unwrap();
    assert_eq!(rows.len(), feed.len());
    for (row, logged) in rows.iter().zip(&feed) {
        let (event, kind) = (proto_mapping::event(&logged.event), row.get::<_, String>("type"));
        let after = event.order.unwrap();
        assert_eq!(row.get::<_, i64>("position"), logged.position.0);
        assert_eq!(row.get::<_, String>("event_id"), event.event_id);
        assert_eq!(row.get::<_, String>("order_id"), after.order_id);
        assert_eq!(row.get::<_, i64>("sequence"), event.sequence);
        assert_eq!(v1::EventType::from_str_name(&format!("EVENT_TYPE_{kind}")).unwrap() as i32, event.r#type);
        let state: String = row.get("state");
        assert_eq!(
            v1::OrderState::from_str_name(&format!("ORDER_STATE_{state}")).unwrap() as i32,
            after.state
        );
        assert_eq!(message(row.get("occurred_at")), event.occurred_at);
        let actor = v1::Actor { kind: row.get("actor_kind"), id: row.get("actor_id") };
        assert_eq!(Some(actor), event.actor);
        assert_eq!(row.get::<_, Option<String>>("request_id"), event.request_id);
        assert_eq!(row.get::<_, String>("customer_id"), after.customer_id);
        assert_eq!(row.get::<_, String>("pickup_point_id"), after.pickup_point_id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role_with_access_to_the_views_only_can_read_them() {
    let (store, database) = store().await;
    run(&*store, &[accept(parcel("one"))]).await.unwrap();
    let shell = database.shell().await;
    let role = format!("{}_reader", database.name);
    shell
        .batch_execute(&format!(
            "CREATE ROLE {role}; GRANT SELECT ON orders_view, order_events_view TO {role}; SET ROLE {role}"
        ))
        .await
        .unwrap();
    for view in ["orders_view", "order_events_view"] {
        assert_eq!(shell.query(&format!("SELECT * FROM {view}"), &[]).await.unwrap().len(), 1);
        let error = shell.batch_execute(&format!("DELETE FROM {view}")).await.unwrap_err();
        assert!(["42501", "55000"].contains(&error.code().unwrap().code()), "{view}: {error:?}");
    }
    for table in ["orders", "order_events", "idempotency", "store_settings"] {
        let error = shell.batch_execute(&format!("SELECT FROM {table}")).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{table}");
    }
    shell.batch_execute(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn view_queries_use_the_indexes_of_the_tables() {
    let (_store, database) = store().await;
    let shell = database.shell().await;
    shell.batch_execute("SET enable_seqscan = off").await.unwrap();
    for (query, index) in [
        ("orders_view WHERE order_id = '1'", "orders_pkey"),
        ("orders_view WHERE customer_id = 'anna'", "orders_by_customer"),
        ("orders_view WHERE pickup_point_id = 'main' AND state = 'RETURNED'", "orders_returned_by_point"),
        ("order_events_view WHERE position > 7", "order_events_1_pkey"),
        ("order_events_view WHERE order_id = '1'", "order_events_1_order_id_sequence_idx"),
    ] {
        let lines = shell.query(&format!("EXPLAIN SELECT order_id, state FROM {query}"), &[]).await.unwrap();
        let plan: Vec<String> = lines.iter().map(|line| line.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains(index), "{query}:\n{plan}");
        // The planner removes the join with orders from a query that does not use it.
        assert!(query.starts_with("orders_view") || !plan.contains("on orders "), "{query}:\n{plan}");
    }
}
