//! A connection of the load: unary gRPC right on HTTP/2.
//!
//! The load has the same cores as the server that it measures, and the client
//! of the commands spends more of them than it must: a queue before each
//! connection, a task and several boxes for each call. Here a call is a stream
//! of `h2` and nothing else; the frames on the wire are those of any client.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use http::header::{CONTENT_TYPE, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use prost::Message;
use tokio::net::TcpStream;
use tonic::{Code, Status};

use crate::adapters::write_coalescing::WriteCoalescing;
use crate::cli::client::{Client, Failure};

/// Windows as wide as those of other clients, so that answers need not wait.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;
/// What precedes a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The connection. It is not made again when it breaks: a load ends then.
#[derive(Debug)]
pub(super) struct BenchClient {
    streams: SendRequest<Bytes>,
    authority: Authority,
    headers: HeaderMap,
    /// Where the server is.
    pub server: String,
    /// How long a call may take.
    pub timeout: Duration,
}

impl BenchClient {
    /// Connects to the server of that client, as that client.
    pub(super) async fn connect(client: &Client) -> Result<Self, Failure> {
        let failed = |status: Status| Failure::from_status(&client.server, &status);
        let authority = Authority::try_from(client.server.as_str())
            .map_err(|error| Failure::usage(format!("--server {:?}: {error}", client.server)))?;
        let streams = tokio::time::timeout(client.timeout, handshake(&client.server))
            .await
            .map_err(|_| Failure::deadline(&client.server, client.timeout))?
            .map_err(failed)?;
        let mut headers = client.request(()).into_parts().0.into_headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        Ok(Self { streams, authority, headers, server: client.server.clone(), timeout: client.timeout })
    }

    /// Makes a call.
    pub(super) async fn call<A: Message + Default>(
        &self,
        method: &'static str,
        message: &impl Message,
    ) -> Result<A, Status> {
        let mut streams = self.streams.clone().ready().await.map_err(broken)?;
        let (answer, mut body) = streams.send_request(self.head(method), false).map_err(broken)?;
        body.send_data(framed(message), true).map_err(broken)?;
        let (head, mut body) = answer.await.map_err(broken)?.into_parts();
        if !head.status.is_success() {
            return Err(Status::unknown(format!("the server answered with HTTP status {}", head.status)));
        }
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Err(status);
        }
        let mut bytes = Bytes::new();
        while let Some(data) = poll_fn(|context| body.poll_data(context)).await {
            let data = data.map_err(broken)?;
            body.flow_control().release_capacity(data.len()).map_err(broken)?;
            bytes = if bytes.is_empty() { data } else { [bytes, data].concat().into() };
        }
        let trailers = poll_fn(|context| body.poll_trailers(context)).await.map_err(broken)?;
        match trailers.as_ref().and_then(Status::from_header_map) {
            Some(status) if status.code() == Code::Ok => message_of(bytes),
            Some(status) => Err(status),
            None => Err(Status::unknown("the server answered without a status")),
        }
    }

    fn head(&self, method: &'static str) -> Request<()> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = Some(PathAndQuery::from_static(method));
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = Uri::from_parts(uri).expect("a scheme, an authority and a path are a URI");
        *head.headers_mut() = self.headers.clone();
        head
    }
}

async fn handshake(server: &str) -> Result<SendRequest<Bytes>, Status> {
    let stream = TcpStream::connect(server).await.map_err(|error| Status::from_error(error.into()))?;
    stream.set_nodelay(true).map_err(|error| Status::from_error(error.into()))?;
    let (streams, connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(WriteCoalescing::new(stream))
        .await
        .map_err(broken)?;
    // What it ends with, each call that is under way is told too.
    tokio::spawn(connection);
    Ok(streams)
}

fn broken(error: h2::Error) -> Status {
    Status::from_error(error.into())
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a request of less than 4 GiB"));
    message.encode(&mut bytes).expect("a buffer that grows");
    bytes.freeze()
}

fn message_of<A: Message + Default>(mut bytes: Bytes) -> Result<A, Status> {
    let whole = bytes.len() >= PREFIX && bytes.get_u8() == 0 && bytes.get_u32() as usize == bytes.len();
    if !whole {
        return Err(Status::internal("the server's answer is not one uncompressed message"));
    }
    A::decode(bytes).map_err(|error| Status::internal(error.to_string()))
}
