//! The connection to a server, and what its first bytes say about the server: a gRPC server
//! begins with a SETTINGS frame of HTTP/2, another server with anything else.

use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio_util::io::InspectReader;
use tonic::transport::{Channel, Endpoint, Error};
use tower::ServiceExt as _;
use tower::util::AndThen;

/// Size of the head of an HTTP/2 frame: length, type, flags and stream.
const FRAME_HEAD: usize = 9;
const SETTINGS: u8 = 4;

/// The most that is known about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(in crate::cli) enum Speaks {
    /// No byte has arrived.
    Nothing,
    /// The first bytes are not HTTP/2.
    AnotherProtocol,
    /// A connection began as HTTP/2 does.
    Http2,
}

/// The server at an address, as its connections have shown it.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer(Arc<AtomicU8>);

impl Peer {
    pub(super) fn speaks(&self) -> Speaks {
        let known = self.0.load(Ordering::Relaxed);
        [Speaks::AnotherProtocol, Speaks::Http2]
            .into_iter()
            .find(|speaks| *speaks as u8 == known)
            .unwrap_or(Speaks::Nothing)
    }

    fn learn(&self, speaks: Speaks) {
        self.0.fetch_max(speaks as u8, Ordering::Relaxed);
    }
}

/// An answer over HTTP/2 that is not gRPC.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not gRPC, but HTTP {0}")]
pub(super) struct NotGrpc(pub StatusCode);

type Body = tonic::body::Body;
type Answer = Result<http::Response<Body>, tower::BoxError>;

/// A channel whose answers are gRPC.
pub(in crate::cli) type GrpcChannel = AndThen<
    tower::util::MapErr<Channel, fn(Error) -> tower::BoxError>,
    fn(http::Response<Body>) -> Ready<Answer>,
>;

/// Connects to a server, and learns about it as `peer`.
pub(super) async fn connect(endpoint: Endpoint, address: String, peer: Peer) -> Result<GrpcChannel, Error> {
    let connector = tower::service_fn(move |_| {
        let (address, peer) = (address.clone(), peer.clone());
        async move {
            let stream = open(&address).await?;
            Ok::<_, io::Error>(TokioIo::new(InspectReader::new(stream, observe(peer))))
        }
    });
    let channel = endpoint.connect_with_connector(connector).await?;
    Ok(channel
        .map_err(tower::BoxError::from as fn(Error) -> tower::BoxError)
        .and_then(only_grpc as fn(_) -> _))
}

async fn open(address: &str) -> io::Result<TcpStream> {
    let found = lookup_host(address).await;
    let addresses: Vec<_> = found.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?.collect();
    let stream = TcpStream::connect(addresses.as_slice()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Fails if an answer is not gRPC.
fn only_grpc(answer: http::Response<Body>) -> Ready<Answer> {
    let content_type = answer.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    ready(if content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
        Ok(answer)
    } else {
        Err(NotGrpc(answer.status()).into())
    })
}

/// Returns an observer of the bytes of a connection, which learns about the peer from the first
/// ones.
fn observe(peer: Peer) -> impl FnMut(&[u8]) {
    let mut head = Vec::<u8>::with_capacity(FRAME_HEAD);
    move |arrived: &[u8]| {
        if head.len() == FRAME_HEAD {
            return;
        }
        head.extend(arrived.iter().take(FRAME_HEAD - head.len()));
        if let [_, _, _, kind, _, stream @ ..] = head.as_slice()
            && head.len() == FRAME_HEAD
        {
            let is_settings = *kind == SETTINGS && stream == [0; 4];
            peer.learn(if is_settings { Speaks::Http2 } else { Speaks::AnotherProtocol });
        }
    }
}
