//! The log line of a call names the method, the actor, the orders, the reason and the duration.

use serde_json::Value;

use crate::process::{Server, eventually};

#[test]
fn calls_name_their_actor_and_orders() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--store=memory:", "--events=none:"];
    let server = Server::start_with_env(dir.path(), &flags, &["PVZ_LOG_FILTER=info,pvz::calls=debug"]);
    let deadline = "--storage-until=2027-10-01T10:00:00Z";
    let run = |arguments: &[&str]| {
        server.cli(arguments).env("PVZ_ACTOR", "courier:7").output().unwrap();
    };
    run(&["accept", "--order-id=o-1", "--customer-id=1", deadline]);
    run(&["get", "o-1"]);
    let ids: Vec<String> = (0..20).map(|number| format!("x-{number}")).collect();
    run(&["issue", &format!("--order-ids={}", ids.join(","))]);
    run(&["accept-return", "--order-id=not there", "--customer-id=1"]);
    server.cli(&["history", "o-1", "--actor=nobody"]).output().unwrap();
    eventually("five calls are logged", || server.calls().len() >= 5);
    let calls: Vec<Value> = server.calls().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<[&Value; 4]> =
        calls.iter().map(|call| ["method", "actor", "orders", "reason"].map(|field| &call[field])).collect();
    let first_eight = "x-0 x-1 x-2 x-3 x-4 x-5 x-6 x-7 and 12 more";
    assert_eq!(found[0], ["AcceptOrder", "courier:7", "o-1", "OK"]);
    assert_eq!(found[1], ["GetOrder", "courier:7", "o-1", "OK"]);
    assert_eq!(found[2], ["IssueOrders", "courier:7", first_eight, "ORDER_NOT_FOUND"]);
    assert_eq!(found[3], ["AcceptReturn", "courier:7", "not there", "VALIDATION_FAILED"]);
    assert_eq!(
        found[4],
        [&Value::from("GetOrderHistory"), &Value::Null, &"o-1".into(), &"VALIDATION_FAILED".into()]
    );
    assert!(
        calls.iter().all(|call| call["elapsed_us"].is_u64() && call["request_id"].is_string()),
        "{calls:?}"
    );
    server.stop();
}
