//! Command requests of a gRPC client, and replies in a form that can be compared.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use futures::StreamExt as _;
use prost::Message as _;
use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use pvz::proto::{Timestamp, v1};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use super::test_service::Client;

/// Returns the instant `days` days after the first call in this process, so that a
/// request can be repeated with the same content.
pub fn in_days(days: i64) -> Timestamp {
    static NOW: OnceLock<i64> = OnceLock::new();
    let now = NOW.get_or_init(|| SystemClock.now().micros().div_euclid(1_000_000));
    Timestamp { seconds: now + days * 86_400, nanos: 0 }
}

/// Returns a request to accept an order.
pub fn parcel(order_id: &str, customer_id: &str) -> v1::AcceptOrderRequest {
    v1::AcceptOrderRequest {
        order_id: order_id.to_owned(),
        customer_id: customer_id.to_owned(),
        storage_until: Some(in_days(30)),
        ..v1::AcceptOrderRequest::default()
    }
}

/// A request to run a command.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandRequest {
    Accept(v1::AcceptOrderRequest),
    Issue(v1::IssueOrdersRequest),
    AcceptReturn(v1::AcceptReturnRequest),
    ReturnToCourier(v1::ReturnToCourierRequest),
    /// An import stream of one row.
    Import(v1::AcceptOrderRequest),
}

/// The response to a command that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub enum Success {
    Order(v1::Order),
    Results(Vec<v1::OrderResult>),
    Imported(v1::ImportOrdersResponse),
}

/// A refusal with the details of its status.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedRefusal {
    pub code: Code,
    pub message: String,
    pub reason: String,
    pub metadata: BTreeMap<String, String>,
    /// Fields and descriptions.
    pub violations: Vec<(String, String)>,
    pub batch: Option<v1::BatchRefusal>,
    /// True if the status has `RetryInfo` and the header `retry-after`.
    pub retry: bool,
}

/// The result of a command that reached the service.
pub type CommandResult = Result<Success, DecodedRefusal>;

/// A result, and whether the service marked it as replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandReply {
    pub result: CommandResult,
    pub replayed: bool,
}

impl CommandRequest {
    /// Sends the request. Fails only if no reply of the service arrived.
    pub async fn send(&self, client: &Client) -> Result<CommandReply, Status> {
        let mut client = client.clone();
        match self {
            Self::Accept(request) => {
                reply_to(client.accept_order(request.clone()).await, |a| Success::Order(a.order.unwrap()))
            }
            Self::Issue(request) => {
                reply_to(client.issue_orders(request.clone()).await, |a| Success::Results(a.results))
            }
            Self::AcceptReturn(request) => {
                reply_to(client.accept_return(request.clone()).await, |a| Success::Order(a.order.unwrap()))
            }
            Self::ReturnToCourier(request) => {
                reply_to(client.return_to_courier(request.clone()).await, |a| Success::Results(a.results))
            }
            Self::Import(row) => {
                let row = v1::ImportOrdersRequest { order: Some(row.clone()) };
                let rows = futures::stream::iter([row]);
                let mut results = match client.import_orders(rows).await {
                    Ok(response) => response.into_inner(),
                    Err(status) => return refusal_reply(status),
                };
                let first = results.next().await;
                // Read to the end: the HTTP/2 client closes a connection after it has
                // cancelled a thousand streams.
                while results.next().await.is_some() {}
                match first {
                    Some(Ok(result)) => {
                        Ok(CommandReply { result: Ok(Success::Imported(result)), replayed: false })
                    }
                    Some(Err(status)) => refusal_reply(status),
                    None => Err(Status::unknown("the stream ended without a result")),
                }
            }
        }
    }

    /// Returns the idempotency key, or an empty string.
    pub fn request_id(&self) -> &str {
        let request_id = match self {
            Self::Accept(request) | Self::Import(request) => &request.request_id,
            Self::Issue(request) => &request.request_id,
            Self::AcceptReturn(request) => &request.request_id,
            Self::ReturnToCourier(request) => &request.request_id,
        };
        request_id.as_deref().unwrap_or_default()
    }
}

impl CommandReply {
    /// Returns the order of a success.
    pub fn order(&self) -> &v1::Order {
        match &self.result {
            Ok(Success::Order(order)) => order,
            other => panic!("not an order: {other:?}"),
        }
    }

    /// Returns the reason of a refusal, or an empty string for a success.
    pub fn reason(&self) -> &str {
        self.result.as_ref().err().map_or("", |refused| refused.reason.as_str())
    }

    /// Returns true if the idempotency record stores the result, so that a retry must
    /// get the same one.
    pub fn is_stored(&self) -> bool {
        let transient = ["UNAVAILABLE", "OVERLOADED", "DEADLINE_EXCEEDED"];
        match &self.result {
            Err(refused) => !transient.contains(&refused.reason.as_str()),
            Ok(_) => true,
        }
    }

    /// Returns the orders that the command changed.
    pub fn changed_orders(&self) -> Vec<&str> {
        match &self.result {
            Ok(Success::Order(order)) => vec![&order.order_id],
            Ok(Success::Results(results)) => {
                results.iter().filter_map(order_of).map(|order| order.order_id.as_str()).collect()
            }
            Ok(Success::Imported(row)) if !row.already_existed => {
                row.result.iter().filter_map(order_of).map(|order| order.order_id.as_str()).collect()
            }
            Ok(Success::Imported(_)) | Err(_) => Vec::new(),
        }
    }
}

fn order_of(result: &v1::OrderResult) -> Option<&v1::Order> {
    match &result.outcome {
        Some(v1::order_result::Outcome::Order(order)) => Some(order),
        _ => None,
    }
}

fn reply_to<T>(
    response: Result<Response<T>, Status>,
    success: impl FnOnce(T) -> Success,
) -> Result<CommandReply, Status> {
    match response {
        Ok(response) => {
            let replayed = replayed(response.metadata());
            Ok(CommandReply { result: Ok(success(response.into_inner())), replayed })
        }
        Err(status) => refusal_reply(status),
    }
}

fn refusal_reply(status: Status) -> Result<CommandReply, Status> {
    match DecodedRefusal::from_status(&status) {
        Some(refusal) => Ok(CommandReply { result: Err(refusal), replayed: replayed(status.metadata()) }),
        None => Err(status),
    }
}

fn replayed(metadata: &MetadataMap) -> bool {
    metadata.get("idempotent-replayed").is_some_and(|value| value == "true")
}

impl DecodedRefusal {
    /// Decodes the refusal of a status. Returns `None` if the status is not from the
    /// service.
    pub fn from_status(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        assert_eq!(info.domain, "pvz");
        let retry_info = status.get_details_retry_info();
        let retry_after = status.metadata().get("retry-after");
        assert_eq!(
            retry_info.is_some(),
            retry_after.is_some(),
            "RetryInfo without retry-after, or the reverse: {status:?}"
        );
        let violations = status.get_details_bad_request().map(|bad| bad.field_violations);
        let rich = tonic_types::pb::Status::decode(status.details()).unwrap();
        let batch = rich.details.iter().find(|any| any.type_url.ends_with("/pvz.v1.BatchRefusal"));
        Some(Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason: info.reason,
            metadata: info.metadata.into_iter().collect(),
            violations: violations
                .unwrap_or_default()
                .into_iter()
                .map(|violation| (violation.field, violation.description))
                .collect(),
            batch: batch.map(|any| v1::BatchRefusal::decode(any.value.as_slice()).unwrap()),
            retry: retry_info.is_some(),
        })
    }
}

/// Returns an order, or `None` if it does not exist.
pub async fn get(client: &Client, order_id: &str) -> Option<v1::Order> {
    let request = v1::GetOrderRequest { order_id: order_id.to_owned() };
    match client.clone().get_order(Request::new(request)).await {
        Ok(order) => Some(order.into_inner()),
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => panic!("{status:?}"),
    }
}

/// Returns all events of the feed.
pub async fn events(client: &Client) -> Vec<v1::Event> {
    let mut client = client.clone();
    let mut events = Vec::new();
    let mut after = None;
    loop {
        let request = v1::ListEventsRequest { after, page_size: 1_000 };
        let page = client.list_events(request).await.unwrap().into_inner();
        if page.events.is_empty() {
            return events;
        }
        after = Some(page.next_cursor);
        events.extend(page.events);
    }
}
