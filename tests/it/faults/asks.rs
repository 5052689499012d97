//! Commands as clients ask them, and answers in a form that can be compared.

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

use super::service::Client;

/// An instant that many days from the first time that somebody asked: what is
/// asked twice must be the same.
pub fn in_days(days: i64) -> Timestamp {
    static NOW: OnceLock<i64> = OnceLock::new();
    let now = NOW.get_or_init(|| SystemClock.now().micros().div_euclid(1_000_000));
    Timestamp { seconds: now + days * 86_400, nanos: 0 }
}

/// An order that a courier brings.
pub fn parcel(order_id: &str, customer_id: &str) -> v1::AcceptOrderRequest {
    v1::AcceptOrderRequest {
        order_id: order_id.to_owned(),
        customer_id: customer_id.to_owned(),
        storage_until: Some(in_days(30)),
        ..v1::AcceptOrderRequest::default()
    }
}

/// A command.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Accept(v1::AcceptOrderRequest),
    Issue(v1::IssueOrdersRequest),
    Return(v1::AcceptReturnRequest),
    Courier(v1::ReturnToCourierRequest),
    /// A stream of one row.
    Import(v1::AcceptOrderRequest),
}

/// What a command that was not refused answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    Order(v1::Order),
    Results(Vec<v1::OrderResult>),
    Imported(v1::ImportOrdersResponse),
}

/// A refusal with everything in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub code: Code,
    pub message: String,
    pub reason: String,
    pub metadata: BTreeMap<String, String>,
    /// Fields, and what is wrong with them.
    pub violations: Vec<(String, String)>,
    pub batch: Option<v1::BatchRefusal>,
    /// `RetryInfo` and `retry-after`.
    pub retry: bool,
}

/// An answer.
pub type Answer = Result<Done, Refused>;

/// An answer, and whether it was said to be a stored one.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub answer: Answer,
    pub replayed: bool,
}

impl Ask {
    /// Asks, and hears an answer of the service; an error is the transport's.
    pub async fn send(&self, client: &Client) -> Result<Heard, Status> {
        let mut client = client.clone();
        match self {
            Self::Accept(ask) => {
                heard(client.accept_order(ask.clone()).await, |a| Done::Order(a.order.unwrap()))
            }
            Self::Issue(ask) => heard(client.issue_orders(ask.clone()).await, |a| Done::Results(a.results)),
            Self::Return(ask) => {
                heard(client.accept_return(ask.clone()).await, |a| Done::Order(a.order.unwrap()))
            }
            Self::Courier(ask) => {
                heard(client.return_to_courier(ask.clone()).await, |a| Done::Results(a.results))
            }
            Self::Import(row) => {
                let row = v1::ImportOrdersRequest { order: Some(row.clone()) };
                let rows = futures::stream::iter([row]);
                let mut results = match client.import_orders(rows).await {
                    Ok(response) => response.into_inner(),
                    Err(status) => return refused(status),
                };
                let first = results.next().await;
                // To the end: a client's HTTP/2 gives up a connection on which it has left a
                // thousand streams before theirs.
                while results.next().await.is_some() {}
                match first {
                    Some(Ok(result)) => Ok(Heard { answer: Ok(Done::Imported(result)), replayed: false }),
                    Some(Err(status)) => refused(status),
                    None => Err(Status::unknown("the stream ended without a result")),
                }
            }
        }
    }

    /// Its idempotency key.
    pub fn request_id(&self) -> &str {
        let request_id = match self {
            Self::Accept(ask) | Self::Import(ask) => &ask.request_id,
            Self::Issue(ask) => &ask.request_id,
            Self::Return(ask) => &ask.request_id,
            Self::Courier(ask) => &ask.request_id,
        };
        request_id.as_deref().unwrap_or_default()
    }
}

impl Heard {
    /// The order of a success.
    pub fn order(&self) -> &v1::Order {
        match &self.answer {
            Ok(Done::Order(order)) => order,
            other => panic!("not an order: {other:?}"),
        }
    }

    /// The reason of a refusal; empty for a success.
    pub fn reason(&self) -> &str {
        self.answer.as_ref().err().map_or("", |refused| refused.reason.as_str())
    }

    /// Whether a record keeps it, so that it must come again.
    pub fn is_kept(&self) -> bool {
        let passing = ["UNAVAILABLE", "OVERLOADED", "DEADLINE_EXCEEDED"];
        match &self.answer {
            Err(refused) => !passing.contains(&refused.reason.as_str()),
            Ok(_) => true,
        }
    }

    /// The orders that it says have changed.
    pub fn changed(&self) -> Vec<&str> {
        match &self.answer {
            Ok(Done::Order(order)) => vec![&order.order_id],
            Ok(Done::Results(results)) => {
                results.iter().filter_map(order_of).map(|order| order.order_id.as_str()).collect()
            }
            Ok(Done::Imported(row)) if !row.already_existed => {
                row.result.iter().filter_map(order_of).map(|order| order.order_id.as_str()).collect()
            }
            Ok(Done::Imported(_)) | Err(_) => Vec::new(),
        }
    }
}

fn order_of(result: &v1::OrderResult) -> Option<&v1::Order> {
    match &result.outcome {
        Some(v1::order_result::Outcome::Order(order)) => Some(order),
        _ => None,
    }
}

fn heard<T>(response: Result<Response<T>, Status>, done: impl FnOnce(T) -> Done) -> Result<Heard, Status> {
    match response {
        Ok(response) => {
            let replayed = replayed(response.metadata());
            Ok(Heard { answer: Ok(done(response.into_inner())), replayed })
        }
        Err(status) => refused(status),
    }
}

fn refused(status: Status) -> Result<Heard, Status> {
    match Refused::read(&status) {
        Some(refused) => Ok(Heard { answer: Err(refused), replayed: replayed(status.metadata()) }),
        None => Err(status),
    }
}

fn replayed(metadata: &MetadataMap) -> bool {
    metadata.get("idempotent-replayed").is_some_and(|value| value == "true")
}

impl Refused {
    /// The refusal in a status; `None` when the service did not say it.
    pub fn read(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        assert_eq!(info.domain, "pvz");
        let retry_info = status.get_details_retry_info();
        let retry_after = status.metadata().get("retry-after");
        assert_eq!(retry_info.is_some(), retry_after.is_some(), "both or none: {status:?}");
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

/// Reads one order.
pub async fn get(client: &Client, order_id: &str) -> Option<v1::Order> {
    let ask = v1::GetOrderRequest { order_id: order_id.to_owned() };
    match client.clone().get_order(Request::new(ask)).await {
        Ok(order) => Some(order.into_inner()),
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => panic!("{status:?}"),
    }
}

/// The whole feed.
pub async fn events(client: &Client) -> Vec<v1::Event> {
    let mut client = client.clone();
    let mut events = Vec::new();
    let mut after = None;
    loop {
        let ask = v1::ListEventsRequest { after, page_size: 1_000 };
        let page = client.list_events(ask).await.unwrap().into_inner();
        if page.events.is_empty() {
            return events;
        }
        after = Some(page.next_cursor);
        events.extend(page.events);
    }
}
