//! The HTTP app over a scripted service: what the gateway itself does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use pvz::adapters::http::{HttpOptions, serve};
use pvz::domain::{EventId, Timestamp};
use pvz::ports::Ids;
use pvz::proto::v1::order_service_server::OrderService;
use pvz::proto::{self, v1};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status, Streaming};

/// Counts instead of drawing lots.
#[derive(Default)]
pub struct Numbered(AtomicUsize);

impl Ids for Numbered {
    fn event_id(&self, _at: Timestamp) -> EventId {
        unreachable!("the gateway makes no events")
    }

    fn correlation_id(&self) -> String {
        format!("fresh-{}", self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// What the service was asked.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: &'static str,
    pub metadata: MetadataMap,
    pub message: String,
}

/// A service that remembers what it was asked and answers what it was told.
#[derive(Default)]
pub struct Scripted {
    pub seen: Mutex<Vec<Seen>>,
    /// Refuses everything with that.
    pub refuse: Mutex<Option<Status>>,
    /// What a watcher is sent.
    pub events: Mutex<Option<mpsc::Receiver<Result<v1::Event, Status>>>>,
    /// The order that reads answer.
    pub order: Mutex<v1::Order>,
    /// An import waits for its first row before it answers.
    pub slow_start: bool,
    /// Rows that an import has taken.
    pub rows: AtomicUsize,
}

impl Scripted {
    fn see<T: std::fmt::Debug>(
        &self,
        method: &'static str,
        request: tonic::Request<T>,
    ) -> Result<(), Status> {
        let (metadata, _, message) = request.into_parts();
        self.seen.lock().unwrap().push(Seen { method, metadata, message: format!("{message:?}") });
        self.refuse.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().expect("the service was asked").clone()
    }

    fn order(&self) -> v1::Order {
        self.order.lock().unwrap().clone()
    }
}

pub fn order(order_id: &str) -> v1::Order {
    v1::Order {
        order_id: order_id.to_owned(),
        customer_id: "123".to_owned(),
        pickup_point_id: "main".to_owned(),
        state: v1::OrderState::Stored.into(),
        storage_until: Some(proto::Timestamp { seconds: 1_798_711_200, nanos: 0 }),
        accepted_at: Some(proto::Timestamp { seconds: 1_796_116_500, nanos: 123_456_000 }),
        weight_grams: Some(1500),
        price_minor: 19_990,
        surcharge_minor: 2_100,
        total_price_minor: 22_090,
        currency: "RUB".to_owned(),
        packaging: vec!["box".to_owned(), "film".to_owned()],
        version: 1,
        ..v1::Order::default()
    }
}

pub fn event(cursor: u64) -> v1::Event {
    v1::Event {
        event_id: format!("event-{cursor}"),
        r#type: v1::EventType::OrderAccepted.into(),
        sequence: 1,
        cursor: Some(cursor.to_string()),
        ..v1::Event::default()
    }
}

#[tonic::async_trait]
impl OrderService for Scripted {
    async fn accept_order(
        &self,
        request: tonic::Request<v1::AcceptOrderRequest>,
    ) -> Result<Response<v1::AcceptOrderResponse>, Status> {
        let id = request.get_ref().order_id.clone();
        assert_ne!(id, "panic", "asked to");
        self.see("AcceptOrder", request)?;
        let mut response = Response::new(v1::AcceptOrderResponse { order: Some(order(&id)) });
        response.metadata_mut().insert("idempotent-replayed", "true".parse().unwrap());
        Ok(response)
    }

    async fn issue_orders(
        &self,
        request: tonic::Request<v1::IssueOrdersRequest>,
    ) -> Result<Response<v1::IssueOrdersResponse>, Status> {
        self.see("IssueOrders", request)?;
        Ok(Response::new(v1::IssueOrdersResponse::default()))
    }

    async fn accept_return(
        &self,
        request: tonic::Request<v1::AcceptReturnRequest>,
    ) -> Result<Response<v1::AcceptReturnResponse>, Status> {
        self.see("AcceptReturn", request)?;
        Ok(Response::new(v1::AcceptReturnResponse { order: Some(self.order()) }))
    }

    async fn return_to_courier(
        &self,
        request: tonic::Request<v1::ReturnToCourierRequest>,
    ) -> Result<Response<v1::ReturnToCourierResponse>, Status> {
        self.see("ReturnToCourier", request)?;
        Ok(Response::new(v1::ReturnToCourierResponse::default()))
    }

    type ImportOrdersStream = BoxStream<'static, Result<v1::ImportOrdersResponse, Status>>;

    async fn import_orders(
        &self,
        request: tonic::Request<Streaming<v1::ImportOrdersRequest>>,
    ) -> Result<Response<Self::ImportOrdersStream>, Status> {
        let (metadata, _, mut rows) = request.into_parts();
        self.see("ImportOrders", tonic::Request::from_parts(metadata, tonic::Extensions::default(), ()))?;
        let first = if self.slow_start { rows.message().await? } else { None };
        let rows = stream::iter(first.map(Ok)).chain(rows).enumerate();
        let results = rows.map(|(index, row)| {
            let row = row?.order.unwrap_or_default();
            let outcome = Some(v1::order_result::Outcome::Order(order(&row.order_id)));
            Ok(v1::ImportOrdersResponse {
                index: i64::try_from(index).unwrap(),
                result: Some(v1::OrderResult { order_id: row.order_id, outcome }),
                already_existed: false,
            })
        });
        Ok(Response::new(results.boxed()))
    }

    async fn get_order(
        &self,
        request: tonic::Request<v1::GetOrderRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.see("GetOrder", request)?;
        Ok(Response::new(self.order()))
    }

    async fn list_orders(
        &self,
        request: tonic::Request<v1::ListOrdersRequest>,
    ) -> Result<Response<v1::ListOrdersResponse>, Status> {
        self.see("ListOrders", request)?;
        let orders = (0..50).map(|number| order(&number.to_string())).collect();
        Ok(Response::new(v1::ListOrdersResponse { orders, next_page_token: String::new() }))
    }

    async fn get_order_history(
        &self,
        request: tonic::Request<v1::GetOrderHistoryRequest>,
    ) -> Result<Response<v1::GetOrderHistoryResponse>, Status> {
        self.see("GetOrderHistory", request)?;
        Ok(Response::new(v1::GetOrderHistoryResponse::default()))
    }

    async fn list_returns(
        &self,
        request: tonic::Request<v1::ListReturnsRequest>,
    ) -> Result<Response<v1::ListReturnsResponse>, Status> {
        self.see("ListReturns", request)?;
        Ok(Response::new(v1::ListReturnsResponse::default()))
    }

    async fn list_events(
        &self,
        request: tonic::Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        self.see("ListEvents", request)?;
        Ok(Response::new(v1::ListEventsResponse::default()))
    }

    type WatchEventsStream = BoxStream<'static, Result<v1::Event, Status>>;

    async fn watch_events(
        &self,
        request: tonic::Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        self.see("WatchEvents", request)?;
        let events = self.events.lock().unwrap().take().expect("events to watch");
        Ok(Response::new(tokio_stream::wrappers::ReceiverStream::new(events).boxed()))
    }

    async fn list_packaging(
        &self,
        request: tonic::Request<v1::ListPackagingRequest>,
    ) -> Result<Response<v1::ListPackagingResponse>, Status> {
        self.see("ListPackaging", request)?;
        Ok(Response::new(v1::ListPackagingResponse::default()))
    }

    async fn get_statistics(
        &self,
        request: tonic::Request<v1::GetStatisticsRequest>,
    ) -> Result<Response<v1::GetStatisticsResponse>, Status> {
        self.see("GetStatistics", request)?;
        Ok(Response::new(v1::GetStatisticsResponse::default()))
    }

    async fn get_outbox(
        &self,
        request: tonic::Request<v1::GetOutboxRequest>,
    ) -> Result<Response<v1::Outbox>, Status> {
        self.see("GetOutbox", request)?;
        Ok(Response::new(v1::Outbox::default()))
    }

    async fn list_dead_letters(
        &self,
        request: tonic::Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        self.see("ListDeadLetters", request)?;
        Ok(Response::new(v1::ListDeadLettersResponse::default()))
    }

    async fn retry_dead_letter(
        &self,
        request: tonic::Request<v1::RetryDeadLetterRequest>,
    ) -> Result<Response<v1::RetryDeadLetterResponse>, Status> {
        self.see("RetryDeadLetter", request)?;
        Ok(Response::new(v1::RetryDeadLetterResponse::default()))
    }

    async fn drop_dead_letter(
        &self,
        request: tonic::Request<v1::DropDeadLetterRequest>,
    ) -> Result<Response<v1::DropDeadLetterResponse>, Status> {
        self.see("DropDeadLetter", request)?;
        Ok(Response::new(v1::DropDeadLetterResponse::default()))
    }
}

/// A server on a port of its own.
pub struct HttpApp {
    pub address: SocketAddr,
    pub service: Arc<Scripted>,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<std::io::Result<()>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The reason of a problem, after a look at what every problem has.
    pub fn reason(&self) -> String {
        let problem = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["instance"], format!("urn:pvz:request:{}", self.header("x-request-id")));
        problem["reason"].as_str().unwrap().to_owned()
    }
}

impl HttpApp {
    pub async fn start() -> Self {
        Self::of(Scripted { order: Mutex::new(order("1")), ..Scripted::default() }, |_| {}).await
    }

    pub async fn of(service: Scripted, change: impl FnOnce(&mut HttpOptions)) -> Self {
        let service = Arc::new(service);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut options = HttpOptions::new(Arc::new(Numbered::default()));
        change(&mut options);
        let served = tokio::spawn(serve(listener, service.clone(), options, shutdown.clone()));
        Self { address, service, shutdown, served }
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request on a connection of its own; the answer's body is still
    /// to be read.
    pub async fn open<B>(&self, request: Request<B>) -> hyper::Response<hyper::body::Incoming>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(get(path).body(Full::default()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(post(path).body(Full::new(body.into())).unwrap()).await
    }
}

pub fn get(path: &str) -> http::request::Builder {
    Request::get(path).header("host", "pvz")
}

pub fn post(path: &str) -> http::request::Builder {
    Request::post(path).header("host", "pvz").header("content-type", "application/json")
}
