//! Rules that depend on the time, tested through the whole service with the clock
//! of a [`TestApp`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use pvz::proto::v1::order_service_client::OrderServiceClient;
use pvz::proto::v1::{
    AcceptOrderRequest, AcceptReturnRequest, GetOrderRequest, IssueOrdersRequest, ListOrdersRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::app::TestApp;
use crate::support::time::{DAY, HOUR, START, at};

fn parcel(order_id: &str, storage_until: i64) -> AcceptOrderRequest {
    let (seconds, nanos) = at(storage_until).parts();
    AcceptOrderRequest {
        order_id: order_id.to_owned(),
        customer_id: "c1".to_owned(),
        storage_until: Some(pvz::proto::Timestamp { seconds, nanos }),
        ..AcceptOrderRequest::default()
    }
}

async fn issue(client: &mut OrderServiceClient<Channel>, order_id: &str) -> Result<(), Status> {
    let request = IssueOrdersRequest { order_ids: vec![order_id.to_owned()], ..Default::default() };
    client.issue_orders(request).await.map(drop)
}

/// Returns the reason of a refusal.
fn reason(status: &Status) -> String {
    status.get_details_error_info().expect("a refusal has details").reason
}

#[test]
fn storage_ends_at_the_deadline_to_the_microsecond() {
    let app = TestApp::start();
    let mut client = app.client();
    app.block_on(async {
        for order_id in ["in-time", "late"] {
            client.accept_order(parcel(order_id, START + DAY)).await.unwrap();
        }
        app.clock.set(START + DAY - 1);
        issue(&mut client, "in-time").await.unwrap();
        let expired = ListOrdersRequest { expired: Some(true), ..Default::default() };
        assert_eq!(client.list_orders(expired.clone()).await.unwrap().into_inner().orders, []);
        app.clock.set(START + DAY);
        assert_eq!(reason(&issue(&mut client, "late").await.unwrap_err()), "STORAGE_EXPIRED");
        let late = GetOrderRequest { order_id: "late".to_owned() };
        assert!(client.get_order(late).await.unwrap().into_inner().expired);
        let listed = client.list_orders(expired).await.unwrap().into_inner().orders;
        assert_eq!(listed.iter().map(|order| order.order_id.as_str()).collect::<Vec<_>>(), ["late"]);
    });
}

#[test]
fn the_return_window_closes_48_hours_after_issue_to_the_microsecond() {
    let app = TestApp::start();
    let mut client = app.client();
    app.block_on(async {
        for order_id in ["in-time", "late"] {
            client.accept_order(parcel(order_id, START + DAY)).await.unwrap();
            issue(&mut client, order_id).await.unwrap();
        }
        let accept_return = |order_id: &str| AcceptReturnRequest {
            order_id: order_id.to_owned(),
            customer_id: "c1".to_owned(),
            ..AcceptReturnRequest::default()
        };
        app.clock.set(START + 48 * HOUR - 1);
        client.accept_return(accept_return("in-time")).await.unwrap();
        app.clock.set(START + 48 * HOUR);
        let refused = client.accept_return(accept_return("late")).await.unwrap_err();
        assert_eq!(reason(&refused), "RETURN_WINDOW_CLOSED");
    });
}

#[test]
fn an_idempotency_record_is_kept_for_seven_days() {
    let app = TestApp::start();
    let mut client = app.client();
    app.block_on(async {
        let request =
            || AcceptOrderRequest { request_id: Some("key".into()), ..parcel("1", START + 30 * DAY) };
        let first = client.accept_order(request()).await.unwrap().into_inner();
        app.clock.set(START + 7 * DAY - 1);
        let replayed = client.accept_order(request()).await.unwrap();
        assert_eq!(replayed.metadata().get("idempotent-replayed").unwrap(), "true");
        assert_eq!(replayed.into_inner(), first);
        app.clock.set(START + 8 * DAY);
        let refused = client.accept_order(request()).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
    });
}

#[test]
fn an_app_can_be_dropped_inside_an_async_runtime() {
    let app = TestApp::start_with(&[("--store", "memory:"), ("--events", "none:")]);
    assert_ne!(app.http().port(), 0);
    tokio::runtime::Runtime::new().unwrap().block_on(async { drop(app) });
}

/// Returns the message of the panic when the app is dropped.
fn drop_failure(app: TestApp) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(app))).expect_err("dropping the app fails the test");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn dropping_an_app_reports_a_failed_task() {
    let app = TestApp::start();
    app.spawn("planted", async { panic!("planted") });
    let message = drop_failure(app);
    assert!(message.contains("a task failed or did not end in the drain"), "{message}");
}

#[test]
fn dropping_an_app_reports_events_that_were_not_published() {
    // The discard port: no broker listens there.
    let app = TestApp::start_with(&[("--events", "kafka://127.0.0.1:9/pvz.events-log")]);
    let mut client = app.client();
    app.block_on(client.accept_order(parcel("1", START + DAY))).unwrap();
    let message = drop_failure(app.with_publish_timeout(Duration::from_millis(200)));
    assert!(message.contains("1 events were not published"), "{message}");
}
