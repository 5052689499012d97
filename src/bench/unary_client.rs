//! A lean client for unary gRPC calls, directly on HTTP/2.
//!
//! The load runs on the same cores as the server under measurement. The
//! generated client spends more of them than necessary: a queue in front of
//! each connection, a task and several allocations for each call. Here a call
//! is a stream of `h2` and nothing else; the frames on the wire are those of any
//! gRPC client.

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

use super::error::BenchError;
use super::plan::Target;
use crate::adapters::write_coalescing::WriteCoalescing;

/// Flow-control windows as large as those of other clients, so that responses
/// do not wait for window updates.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;
/// Length of the prefix of a gRPC message: the compression flag and the length.
const PREFIX_LEN: usize = 5;

/// A connection for unary calls. It does not reconnect: a run ends when a
/// connection breaks.
#[derive(Debug)]
pub(super) struct UnaryClient {
    streams: SendRequest<Bytes>,
    authority: Authority,
    headers: HeaderMap,
    target: Target,
}

impl UnaryClient {
    /// Connects to the server.
    pub(super) async fn connect(target: &Target) -> Result<Self, BenchError> {
        let server = target.server.as_str();
        let authority = Authority::try_from(server)
            .map_err(|error| BenchError::Failed(format!("--server {server:?}: {error}")))?;
        let timed_out = |_| BenchError::Timeout { server: server.to_owned(), timeout: target.timeout };
        let streams = tokio::time::timeout(target.timeout, handshake(server))
            .await
            .map_err(timed_out)?
            .map_err(|status| BenchError::call(server, status))?;
        let mut headers = target.metadata.clone().into_headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        Ok(Self { streams, authority, headers, target: target.clone() })
    }

    /// Returns the address of the server.
    pub(super) fn server(&self) -> &str {
        &self.target.server
    }

    /// Returns the timeout of a call, for the caller to apply.
    pub(super) fn timeout(&self) -> Duration {
        self.target.timeout
    }

    /// Makes a call.
    pub(super) async fn call<R: Message + Default>(
        &self,
        method: &'static str,
        message: &impl Message,
    ) -> Result<R, Status> {
        let mut streams = self.streams.clone().ready().await.map_err(broken)?;
        let (response, mut body) = streams.send_request(self.request_head(method), false).map_err(broken)?;
        body.send_data(encode(message), true).map_err(broken)?;
        let (head, mut body) = response.await.map_err(broken)?.into_parts();
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
            Some(status) if status.code() == Code::Ok => decode(bytes),
            Some(status) => Err(status),
            None => Err(Status::unknown("the server answered without a gRPC status")),
        }
    }

    fn request_head(&self, method: &'static str) -> Request<()> {
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
    // Its error needs no handling here: every call in flight receives it too.
    tokio::spawn(connection);
    Ok(streams)
}

/// Returns the status of a call whose connection or stream broke.
fn broken(error: h2::Error) -> Status {
    Status::from_error(error.into())
}

fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_LEN + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a request of less than 4 GiB"));
    message.encode(&mut bytes).expect("a buffer that grows");
    bytes.freeze()
}

fn decode<R: Message + Default>(mut bytes: Bytes) -> Result<R, Status> {
    let whole = bytes.len() >= PREFIX_LEN && bytes.get_u8() == 0 && bytes.get_u32() as usize == bytes.len();
    if !whole {
        return Err(Status::internal("the server's answer is not one uncompressed message"));
    }
    R::decode(bytes).map_err(|error| Status::internal(error.to_string()))
}
