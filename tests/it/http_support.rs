//! The HTTP server over a scripted service, for tests of the gateway itself. Only
//! the import runs through its use case, on a memory store.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use pvz::adapters::api::{CallContext, ImportService, RequestMemory};
use pvz::adapters::http::{HttpOptions, serve};
use pvz::adapters::memory::MemoryStore;
use pvz::adapters::null::NullCache;
use pvz::app::{ImportOrders, PublishChanges, Writer, WriterLimits};
use pvz::domain::{EventId, Policy, Timestamp};
use pvz::ports::Ids;
use pvz::proto::v1::order_service_server::OrderService;
use pvz::proto::{self, v1};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status, Streaming};

use crate::support::commands::point;
use crate::support::time::{SequentialIds, TestClock};

/// Correlation ids that count up.
#[derive(Default)]
pub struct NumberedIds(AtomicUsize);

impl Ids for NumberedIds {
    fn event_id(&self, _at: Timestamp) -> EventId {
        unreachable!("the gateway creates no events")
    }

    fn correlation_id(&self) -> String {
        format!("fresh-{}", self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// A call that the service received.
#[derive(Debug, Clone)]
pub struct RecordedCall {
    pub method: &'static str,
    pub metadata: MetadataMap,
    pub message: String,
}

/// A service that records its calls and returns scripted responses.
#[derive(Default)]
pub struct ScriptedService {
    pub calls: Mutex<Vec<RecordedCall>>,
    /// If set, every call fails with this status.
    pub refuse: Mutex<Option<Status>>,
    /// The events that a watcher receives.
    pub events: Mutex<Option<mpsc::Receiver<Result<v1::Event, Status>>>>,
    /// The order that reads return.
    pub order: Mutex<v1::Order>,
}

impl ScriptedService {
    fn record<T: std::fmt::Debug>(
        &self,
        method: &'static str,
        request: tonic::Request<T>,
    ) -> Result<(), Status> {
        let (metadata, _, message) = request.into_parts();
        self.calls.lock().unwrap().push(RecordedCall { method, metadata, message: format!("{message:?}") });
        self.refuse.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    pub fn last_call(&self) -> RecordedCall {
        self.calls.lock().unwrap().last().expect("a call").clone()
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
impl OrderService for ScriptedService {
    async fn accept_order(
        &self,
        request: tonic::Request<v1::AcceptOrderRequest>,
    ) -> Result<Response<v1::AcceptOrderResponse>, Status> {
        let id = request.get_ref().order_id.clone();
        assert_ne!(id, "panic", "asked to");
        self.record("AcceptOrder", request)?;
        let mut response = Response::new(v1::AcceptOrderResponse { order: Some(order(&id)) });
        response.metadata_mut().insert("idempotent-replayed", "true".parse().unwrap());
        Ok(response)
    }

    async fn issue_orders(
        &self,
        request: tonic::Request<v1::IssueOrdersRequest>,
    ) -> Result<Response<v1::IssueOrdersResponse>, Status> {
        self.record("IssueOrders", request)?;
        Ok(Response::new(v1::IssueOrdersResponse::default()))
    }

    async fn accept_return(
        &self,
        request: tonic::Request<v1::AcceptReturnRequest>,
    ) -> Result<Response<v1::AcceptReturnResponse>, Status> {
        self.record("AcceptReturn", request)?;
        Ok(Response::new(v1::AcceptReturnResponse { order: Some(self.order()) }))
    }

    async fn return_to_courier(
        &self,
        request: tonic::Request<v1::ReturnToCourierRequest>,
    ) -> Result<Response<v1::ReturnToCourierResponse>, Status> {
        self.record("ReturnToCourier", request)?;
        Ok(Response::new(v1::ReturnToCourierResponse::default()))
    }

    type ImportOrdersStream = BoxStream<'static, Result<v1::ImportOrdersResponse, Status>>;

    async fn import_orders(
        &self,
        request: tonic::Request<Streaming<v1::ImportOrdersRequest>>,
    ) -> Result<Response<Self::ImportOrdersStream>, Status> {
        unreachable!("REST imports through the use case, not {:?}", request.metadata())
    }

    async fn get_order(
        &self,
        request: tonic::Request<v1::GetOrderRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.record("GetOrder", request)?;
        Ok(Response::new(self.order()))
    }

    async fn list_orders(
        &self,
        request: tonic::Request<v1::ListOrdersRequest>,
    ) -> Result<Response<v1::ListOrdersResponse>, Status> {
        self.record("ListOrders", request)?;
        let orders = (0..50).map(|number| order(&number.to_string())).collect();
        Ok(Response::new(v1::ListOrdersResponse { orders, next_page_token: String::new() }))
    }

    async fn get_order_history(
        &self,
        request: tonic::Request<v1::GetOrderHistoryRequest>,
    ) -> Result<Response<v1::GetOrderHistoryResponse>, Status> {
        self.record("GetOrderHistory", request)?;
        Ok(Response::new(v1::GetOrderHistoryResponse::default()))
    }

    async fn list_returns(
        &self,
        request: tonic::Request<v1::ListReturnsRequest>,
    ) -> Result<Response<v1::ListReturnsResponse>, Status> {
        self.record("ListReturns", request)?;
        Ok(Response::new(v1::ListReturnsResponse::default()))
    }

    async fn list_events(
        &self,
        request: tonic::Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        self.record("ListEvents", request)?;
        Ok(Response::new(v1::ListEventsResponse::default()))
    }

    type WatchEventsStream = BoxStream<'static, Result<v1::Event, Status>>;

    async fn watch_events(
        &self,
        request: tonic::Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        self.record("WatchEvents", request)?;
        let events = self.events.lock().unwrap().take().expect("events to watch");
        Ok(Response::new(tokio_stream::wrappers::ReceiverStream::new(events).boxed()))
    }

    async fn list_packaging(
        &self,
        request: tonic::Request<v1::ListPackagingRequest>,
    ) -> Result<Response<v1::ListPackagingResponse>, Status> {
        self.record("ListPackaging", request)?;
        Ok(Response::new(v1::ListPackagingResponse::default()))
    }

    async fn get_statistics(
        &self,
        request: tonic::Request<v1::GetStatisticsRequest>,
    ) -> Result<Response<v1::GetStatisticsResponse>, Status> {
        self.record("GetStatistics", request)?;
        Ok(Response::new(v1::GetStatisticsResponse::default()))
    }

    async fn get_outbox(
        &self,
        request: tonic::Request<v1::GetOutboxRequest>,
    ) -> Result<Response<v1::Outbox>, Status> {
        self.record("GetOutbox", request)?;
        Ok(Response::new(v1::Outbox::default()))
    }

    async fn accept_fork(
        &self,
        request: tonic::Request<v1::AcceptForkRequest>,
    ) -> Result<Response<v1::AcceptForkResponse>, Status> {
        self.record("AcceptFork", request)?;
        Ok(Response::new(v1::AcceptForkResponse::default()))
    }

    async fn republish_events(
        &self,
        request: tonic::Request<v1::RepublishEventsRequest>,
    ) -> Result<Response<v1::RepublishEventsResponse>, Status> {
        self.record("RepublishEvents", request)?;
        Ok(Response::new(v1::RepublishEventsResponse::default()))
    }

    async fn list_dead_letters(
        &self,
        request: tonic::Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        self.record("ListDeadLetters", request)?;
        Ok(Response::new(v1::ListDeadLettersResponse::default()))
    }

    async fn retry_dead_letter(
        &self,
        request: tonic::Request<v1::RetryDeadLetterRequest>,
    ) -> Result<Response<v1::RetryDeadLetterResponse>, Status> {
        self.record("RetryDeadLetter", request)?;
        Ok(Response::new(v1::RetryDeadLetterResponse::default()))
    }

    async fn drop_dead_letter(
        &self,
        request: tonic::Request<v1::DropDeadLetterRequest>,
    ) -> Result<Response<v1::DropDeadLetterResponse>, Status> {
        self.record("DropDeadLetter", request)?;
        Ok(Response::new(v1::DropDeadLetterResponse::default()))
    }
}

/// Returns the import service over a memory store, with the pickup point `main`.
fn imports(drain: CancellationToken) -> ImportService {
    let writer = Writer::new(
        Arc::new(MemoryStore::new([7; 32])),
        Arc::new(TestClock::default()),
        Arc::new(SequentialIds::default()),
        Arc::new(Policy::standard(point("main"))),
        WriterLimits { queue: 1_000, batch: 100, retry_budget: Duration::from_secs(1) },
        PublishChanges::new(Arc::new(NullCache)),
    );
    tokio::spawn(writer.clone().work());
    let memory = RequestMemory::new(64 << 20);
    let ids = Arc::new(NumberedIds::default());
    let calls = CallContext::new(ids, Duration::from_secs(30), drain.clone(), memory);
    ImportService::new(calls, ImportOrders::new(writer, drain))
}

/// A running HTTP server on a free port.
pub struct HttpApp {
    pub address: SocketAddr,
    pub service: Arc<ScriptedService>,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<std::io::Result<()>>,
}

/// A complete response.
#[derive(Debug)]
pub struct HttpResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpResponse {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks the members that every problem has, and returns its reason.
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
        let service = ScriptedService { order: Mutex::new(order("1")), ..ScriptedService::default() };
        Self::start_with(service, |_| {}).await
    }

    pub async fn start_with(service: ScriptedService, change: impl FnOnce(&mut HttpOptions)) -> Self {
        let service = Arc::new(service);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut options = HttpOptions::new(Arc::new(NumberedIds::default()), Arc::new(TestClock::default()));
        change(&mut options);
        let imports = imports(shutdown.clone());
        let served = tokio::spawn(serve(listener, service.clone(), imports, options, shutdown.clone()));
        Self { address, service, shutdown, served }
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> HttpResponse {
        send_to(self.address, request).await
    }

    /// Sends a request on a new connection. The body of the response is not read.
    pub async fn open<B>(&self, request: Request<B>) -> hyper::Response<hyper::body::Incoming>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        open(self.address, request).await
    }

    pub async fn get(&self, path: &str) -> HttpResponse {
        self.send(get(path).body(Full::default()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> HttpResponse {
        self.send(post(path).body(Full::new(body.into())).unwrap()).await
    }
}

/// Sends a request on a new connection to a server.
pub async fn send_to(address: SocketAddr, request: Request<Full<Bytes>>) -> HttpResponse {
    let (parts, body) = open(address, request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    HttpResponse { status: parts.status, headers: parts.headers, body }
}

async fn open<B>(address: SocketAddr, request: Request<B>) -> hyper::Response<hyper::body::Incoming>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

pub fn get(path: &str) -> http::request::Builder {
    Request::get(path).header("host", "pvz")
}

pub fn post(path: &str) -> http::request::Builder {
    Request::post(path).header("host", "pvz").header("content-type", "application/json")
}
