//! A server with scripted responses that records the calls it receives.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use prost::Message;
use pvz::proto::v1::order_service_server::{OrderService, OrderServiceServer};
use pvz::proto::v1::*;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A received call.
#[derive(Debug, Clone)]
pub struct Call {
    pub actor: Option<String>,
    pub timeout: Option<String>,
    message: Vec<u8>,
}

impl Call {
    pub fn message<T: Message + Default>(&self) -> T {
        T::decode(self.message.as_slice()).unwrap()
    }
}

/// The script of an event stream.
pub enum Feed {
    /// Sends the events, then stays open.
    Open(Vec<Event>),
    /// Sends the events, then fails with the status.
    Break(Vec<Event>, Status),
}

/// The script of an import stream.
pub enum Rows {
    /// Responds to each row.
    Respond(fn(&AcceptOrderRequest) -> ImportOrdersResponse),
    /// Never responds.
    Silent,
    /// Accepts `n` rows, and fails with the status after receiving `2 n`.
    Break(usize, Status),
    /// Accepts `n` rows, and notifies the sender after receiving `2 n`.
    Kill(usize, mpsc::Sender<()>),
}

#[derive(Default)]
struct ScriptState {
    unary: VecDeque<Result<Vec<u8>, Status>>,
    feeds: VecDeque<Feed>,
    imports: VecDeque<Rows>,
    calls: Vec<Call>,
}

/// The scripted service. Clones share the script.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<ScriptState>>);

impl Script {
    pub fn respond(self, message: &impl Message) -> Self {
        self.0.lock().unwrap().unary.push_back(Ok(message.encode_to_vec()));
        self
    }

    pub fn refuse(self, status: Status) -> Self {
        self.0.lock().unwrap().unary.push_back(Err(status));
        self
    }

    pub fn feed(self, feed: Feed) -> Self {
        self.0.lock().unwrap().feeds.push_back(feed);
        self
    }

    pub fn import(self, rows: Rows) -> Self {
        self.0.lock().unwrap().imports.push_back(rows);
        self
    }

    /// Returns the calls received so far.
    pub fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap().calls.clone()
    }

    fn record<T: Message>(&self, metadata: &tonic::metadata::MetadataMap, message: &T) {
        let header = |name: &str| metadata.get(name).map(|value| value.to_str().unwrap().to_owned());
        let call = Call {
            actor: header("pvz-actor"),
            timeout: header("grpc-timeout"),
            message: message.encode_to_vec(),
        };
        self.0.lock().unwrap().calls.push(call);
    }

    /// Returns the next scripted response. Without one the call never ends.
    async fn next<T: Message, R: Message + Default>(
        &self,
        request: Request<T>,
    ) -> Result<Response<R>, Status> {
        self.record(request.metadata(), request.get_ref());
        let response = self.0.lock().unwrap().unary.pop_front();
        match response {
            None => std::future::pending().await,
            Some(response) => Ok(Response::new(R::decode(response?.as_slice()).unwrap())),
        }
    }
}

#[tonic::async_trait]
impl OrderService for Script {
    type ImportOrdersStream = Responses<ImportOrdersResponse>;
    type WatchEventsStream = Responses<Event>;

    async fn accept_order(
        &self,
        request: Request<AcceptOrderRequest>,
    ) -> Result<Response<AcceptOrderResponse>, Status> {
        self.next(request).await
    }

    async fn issue_orders(
        &self,
        request: Request<IssueOrdersRequest>,
    ) -> Result<Response<IssueOrdersResponse>, Status> {
        self.next(request).await
    }

    async fn accept_return(
        &self,
        request: Request<AcceptReturnRequest>,
    ) -> Result<Response<AcceptReturnResponse>, Status> {
        self.next(request).await
    }

    async fn return_to_courier(
        &self,
        request: Request<ReturnToCourierRequest>,
    ) -> Result<Response<ReturnToCourierResponse>, Status> {
        self.next(request).await
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        self.next(request).await
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        self.next(request).await
    }

    async fn get_order_history(
        &self,
        request: Request<GetOrderHistoryRequest>,
    ) -> Result<Response<GetOrderHistoryResponse>, Status> {
        self.next(request).await
    }

    async fn list_returns(
        &self,
        request: Request<ListReturnsRequest>,
    ) -> Result<Response<ListReturnsResponse>, Status> {
        self.next(request).await
    }

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        self.next(request).await
    }

    async fn list_packaging(
        &self,
        request: Request<ListPackagingRequest>,
    ) -> Result<Response<ListPackagingResponse>, Status> {
        self.next(request).await
    }

    async fn get_statistics(
        &self,
        request: Request<GetStatisticsRequest>,
    ) -> Result<Response<GetStatisticsResponse>, Status> {
        self.next(request).await
    }

    async fn get_outbox(&self, request: Request<GetOutboxRequest>) -> Result<Response<Outbox>, Status> {
        self.next(request).await
    }

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        self.next(request).await
    }

    async fn accept_fork(
        &self,
        request: Request<AcceptForkRequest>,
    ) -> Result<Response<AcceptForkResponse>, Status> {
        self.next(request).await
    }

    async fn republish_events(
        &self,
        request: Request<RepublishEventsRequest>,
    ) -> Result<Response<RepublishEventsResponse>, Status> {
        self.next(request).await
    }

    async fn retry_dead_letter(
        &self,
        request: Request<RetryDeadLetterRequest>,
    ) -> Result<Response<RetryDeadLetterResponse>, Status> {
        self.next(request).await
    }

    async fn drop_dead_letter(
        &self,
        request: Request<DropDeadLetterRequest>,
    ) -> Result<Response<DropDeadLetterResponse>, Status> {
        self.next(request).await
    }

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Responses<Event>>, Status> {
        self.record(request.metadata(), request.get_ref());
        let feed = self.0.lock().unwrap().feeds.pop_front();
        let events = |events: Vec<Event>| futures::stream::iter(events.into_iter().map(Ok));
        Ok(Response::new(match feed {
            None => Box::pin(futures::stream::pending()),
            Some(Feed::Open(list)) => Box::pin(events(list).chain(futures::stream::pending())),
            Some(Feed::Break(list, status)) => {
                Box::pin(events(list).chain(futures::stream::once(async { Err(status) })))
            }
        }))
    }

    async fn import_orders(
        &self,
        request: Request<Streaming<ImportOrdersRequest>>,
    ) -> Result<Response<Responses<ImportOrdersResponse>>, Status> {
        let script = self.clone();
        let plan = self.0.lock().unwrap().imports.pop_front();
        let plan = plan.unwrap_or(Rows::Respond(accepted));
        if matches!(plan, Rows::Silent) {
            return Ok(Response::new(Box::pin(futures::stream::pending())));
        }
        let metadata = request.metadata().clone();
        let rows = request.into_inner().enumerate();
        let responses = rows.filter_map(move |(index, row)| {
            let row = row.ok().and_then(|row| row.order).unwrap_or_default();
            script.record(&metadata, &row);
            let response = match &plan {
                Rows::Silent => None,
                Rows::Respond(respond) => Some(Ok(respond(&row))),
                Rows::Break(count, _) | Rows::Kill(count, _) if index < *count => Some(Ok(accepted(&row))),
                Rows::Break(count, status) => (index + 1 == 2 * count).then(|| Err(status.clone())),
                Rows::Kill(count, kill) => {
                    if index + 1 == 2 * count {
                        kill.send(()).unwrap();
                    }
                    None
                }
            };
            let index = i64::try_from(index).unwrap();
            futures::future::ready(
                response.map(|result| result.map(|response| ImportOrdersResponse { index, ..response })),
            )
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// Returns the response to an accepted row.
pub fn accepted(row: &AcceptOrderRequest) -> ImportOrdersResponse {
    let order = Order { order_id: row.order_id.clone(), ..Order::default() };
    let result =
        OrderResult { order_id: row.order_id.clone(), outcome: Some(order_result::Outcome::Order(order)) };
    ImportOrdersResponse { index: 0, result: Some(result), already_existed: false }
}

/// A running server. Dropping it closes all connections.
pub struct ScriptedServer {
    runtime: Option<tokio::runtime::Runtime>,
    pub address: SocketAddr,
}

impl ScriptedServer {
    pub fn start(script: &Script) -> Self {
        Self::start_at(script, "127.0.0.1:0".parse().unwrap())
    }

    pub fn start_at(script: &Script, address: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let service = OrderServiceServer::new(script.clone());
        runtime.spawn(async move {
            let connections = TcpListenerStream::new(listener);
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(connections).await
        });
        Self { runtime: Some(runtime), address }
    }

    /// Returns a `pvz` command for this server.
    pub fn pvz(&self, arguments: &[&str]) -> Command {
        let mut command = pvz(arguments);
        command.env("PVZ_SERVER", self.address.to_string());
        command
    }

    /// Runs `pvz` with these arguments and waits until it exits.
    pub fn run(&self, arguments: &[&str]) -> CommandOutput {
        CommandOutput::from(self.pvz(arguments).output().unwrap())
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Wait until the tasks have ended and their sockets are closed.
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }
}

/// Returns a `pvz` command without the environment variables that affect it.
pub fn pvz(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvz"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("TZ", "UTC");
    for name in ["PVZ_SERVER", "PVZ_ACTOR", "PVZ_TIMEOUT", "PVZ_OUTPUT", "PVZ_NO_COLOR", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// The output and exit code of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        Self {
            exit: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
