//! Hostile clients of a running server, for `docs/reliability.md`, "Hostile clients".

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::Request;
use prost::Message as _;
use pvz::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::raw_connection::frame;
use super::request_memory::{begin_grpc, begin_rest};
use super::requests::parcel;
use super::unread_connection::UnreadConnection;

/// The pickup point of all orders.
pub const POINT: &str = "busy";

/// The default of `server.max_concurrent_streams`.
const STREAMS_PER_CONNECTION: usize = 1_024;
/// The number of concurrent requests of an attack by requests.
const AT_A_TIME: usize = 2;

/// The addresses under attack.
#[derive(Debug, Clone)]
pub struct Target {
    pub grpc: String,
    pub http: String,
}

/// An attack on the service. Each attack uses its own connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    SilentConnections,
    HalfMessages,
    HalfBodies,
    EmptyImports,
    UnreadGrpcWatchers,
    UnreadRestWatchers,
    UnreadImports,
    ManyParameters,
    LargestBodies,
    DeepBodies,
    LargePages,
    EmptyFilter,
    Reconnects,
    Resets,
}

impl Attack {
    pub const ALL: [Self; 14] = [
        Self::SilentConnections,
        Self::HalfMessages,
        Self::HalfBodies,
        Self::EmptyImports,
        Self::UnreadGrpcWatchers,
        Self::UnreadRestWatchers,
        Self::UnreadImports,
        Self::ManyParameters,
        Self::LargestBodies,
        Self::DeepBodies,
        Self::LargePages,
        Self::EmptyFilter,
        Self::Reconnects,
        Self::Resets,
    ];

    pub fn description(self) -> &'static str {
        match self {
            Self::SilentConnections => "1,200 silent connections",
            Self::HalfMessages => "250 half-sent gRPC messages of 200 KB",
            Self::HalfBodies => "250 half-sent REST bodies of 200 KB",
            Self::EmptyImports => "20 connections with all the import streams that they may have",
            Self::UnreadGrpcWatchers => "64 gRPC watchers that read nothing",
            Self::UnreadRestWatchers => "1,000 REST watchers that read nothing",
            Self::UnreadImports => "8 imports whose results are not read",
            Self::ManyParameters => "queries with 5,000 distinct parameters, 2 at a time",
            Self::LargestBodies => "bodies of 250 KB, 2 at a time",
            Self::DeepBodies => "bodies of 125,000 nested lists, 2 at a time",
            Self::LargePages => "compressed pages of 1,000 orders, 2 at a time",
            Self::EmptyFilter => "lists by a filter without a match, 2 at a time",
            Self::Reconnects => "new connections, 2 at a time",
            Self::Resets => "calls that are reset at once",
        }
    }

    /// Starts the attack. It continues until the set is dropped.
    pub async fn start(self, target: Target) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        match self {
            Self::SilentConnections => {
                for n in 0..1_200 {
                    let addr = if n % 2 == 0 { &target.grpc } else { &target.http };
                    hold(&mut clients, TcpStream::connect(addr).await.unwrap());
                }
            }
            Self::HalfMessages => {
                for _ in 0..250 {
                    clients.spawn(begin_grpc(target.grpc.clone(), "AcceptOrder").map(drop));
                }
            }
            Self::HalfBodies => {
                for _ in 0..250 {
                    clients.spawn(begin_rest(target.http.clone(), "/v1/orders").map(drop));
                }
            }
            Self::EmptyImports => {
                for _ in 0..20 {
                    clients.spawn(empty_imports(target.grpc.clone()));
                }
            }
            Self::UnreadGrpcWatchers => {
                let mut connection = UnreadConnection::connect(&target.grpc).await;
                for _ in 0..64 {
                    let from_start = v1::WatchEventsRequest { after: Some("0".to_owned()) };
                    let message = frame(&from_start.encode_to_vec());
                    connection.call("WatchEvents", stream::iter([message]).boxed()).await;
                }
                hold(&mut clients, connection);
            }
            Self::UnreadRestWatchers => {
                for _ in 0..1_000 {
                    let mut watcher = TcpStream::connect(&target.http).await.unwrap();
                    let head = "GET /v1/events:watch HTTP/1.1\r\nhost: pvz\r\n\r\n";
                    watcher.write_all(head.as_bytes()).await.unwrap();
                    hold(&mut clients, watcher);
                }
            }
            Self::UnreadImports => {
                for import in 0..8 {
                    clients.spawn(unread_import(target.grpc.clone(), import));
                }
            }
            Self::Resets => {
                clients.spawn(resets(target.grpc.clone()));
            }
            Self::ManyParameters
            | Self::LargestBodies
            | Self::DeepBodies
            | Self::LargePages
            | Self::EmptyFilter
            | Self::Reconnects => {
                for _ in 0..AT_A_TIME {
                    clients.spawn(repeat(target.http.clone(), self.request()));
                }
            }
        }
        clients
    }

    /// Returns the request of an attack by requests.
    fn request(self) -> Bytes {
        match self {
            Self::ManyParameters => {
                let names: Vec<String> = (0..5_000).map(|n| format!("p{n}=1")).collect();
                get(&format!("/v1/orders?{}", names.join("&")), "")
            }
            Self::LargestBodies => {
                let ids: Vec<String> = (0..25_000).map(|n| format!("\"{n:06}\"")).collect();
                post(&format!("{{\"orderIds\":[{}]}}", ids.join(",")))
            }
            Self::DeepBodies => {
                let (open, close) = ("[".repeat(125_000), "]".repeat(125_000));
                post(&format!("{{\"orderIds\":{open}{close}}}"))
            }
            Self::LargePages => get("/v1/orders?pageSize=1000", "accept-encoding: gzip\r\n"),
            Self::EmptyFilter => {
                get(&format!("/v1/orders?pickupPointId={POINT}&states=ORDER_STATE_ISSUED"), "")
            }
            _ => get("/v1/packaging", ""),
        }
    }
}

/// Keeps a value until the set is dropped.
fn hold<T: Send + 'static>(clients: &mut JoinSet<()>, held: T) {
    clients.spawn(async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
}

fn get(path: &str, header: &str) -> Bytes {
    format!("GET {path} HTTP/1.1\r\nhost: pvz\r\nconnection: close\r\n{header}\r\n").into()
}

fn post(body: &str) -> Bytes {
    let head = "POST /v1/orders:issue HTTP/1.1\r\nhost: pvz\r\nconnection: close\r\n";
    format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()
}

/// Sends a request repeatedly, each time on a new connection.
async fn repeat(addr: String, request: Bytes) {
    let mut response = Vec::new();
    loop {
        let mut stream = TcpStream::connect(&addr).await.unwrap();
        // A refusal can arrive before the request is complete.
        let _ = stream.write_all(&request).await;
        response.clear();
        let _ = stream.read_to_end(&mut response).await;
    }
}

/// Opens as many import streams as a connection may have, and sends no rows.
async fn empty_imports(addr: String) {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection.map(drop));
    let mut held: Vec<(_, h2::SendStream<Bytes>)> = Vec::new();
    for _ in 0..STREAMS_PER_CONNECTION {
        sender = sender.ready().await.unwrap();
        held.push(sender.send_request(grpc_request("ImportOrders"), false).unwrap());
    }
    std::future::pending::<()>().await;
}

/// Sends rows for as long as the server accepts them, and reads no result.
async fn unread_import(addr: String, import: usize) {
    let row = move |n| {
        let order = Some(parcel(&format!("unread-{import}-{n}"), "7"));
        frame(&v1::ImportOrdersRequest { order }.encode_to_vec())
    };
    let rows = stream::iter((0_usize..).step_by(100)).then(move |first| async move {
        tokio::task::yield_now().await;
        Bytes::from((first..first + 100).map(row).collect::<Vec<_>>().concat())
    });
    let mut connection = UnreadConnection::connect(&addr).await;
    connection.call("ImportOrders", rows.boxed()).await;
    std::future::pending::<()>().await;
}

/// Opens calls and resets them at once. The server closes a connection with too many resets, and
/// the client opens another one.
async fn resets(addr: String) {
    let message = frame(&v1::ListOrdersRequest::default().encode_to_vec());
    loop {
        let stream = TcpStream::connect(&addr).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection.map(drop));
        while let Ok(ready) = sender.ready().await {
            sender = ready;
            let Ok((_, mut body)) = sender.send_request(grpc_request("ListOrders"), false) else { break };
            if body.send_data(message.clone(), true).is_err() {
                break;
            }
            tokio::task::yield_now().await;
            body.send_reset(h2::Reason::CANCEL);
        }
    }
}

fn grpc_request(method: &str) -> Request<()> {
    let request = Request::post(format!("http://pvz/pvz.v1.OrderService/{method}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}
