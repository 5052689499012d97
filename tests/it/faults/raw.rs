//! gRPC by hand over HTTP/2: bytes that no client library would send.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tonic::Status;

use super::asks::Refused;

/// A connection.
pub struct Raw {
    sender: SendRequest<Full<Bytes>>,
}

/// An answer as it came.
pub struct RawAnswer {
    /// Of the trailers, or of the headers when there are no others.
    pub status: Status,
    pub headers: HeaderMap,
}

impl RawAnswer {
    pub fn refused(&self) -> Refused {
        Refused::read(&self.status).unwrap_or_else(|| panic!("no ErrorInfo: {:?}", self.status))
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        value.or_else(|| self.status.metadata().get(name).map(|value| value.to_str().unwrap())).unwrap_or("")
    }
}

impl Raw {
    pub async fn connect(addr: &str) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// Calls a method of the service.
    pub async fn ask(&self, method: &str, message: &impl Message, headers: &[(&str, &str)]) -> RawAnswer {
        self.bytes(&format!("/pvz.v1.OrderService/{method}"), &frame(&message.encode_to_vec()), headers).await
    }

    /// Sends any bytes to any path.
    pub async fn bytes(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> RawAnswer {
        let mut request = Request::post(format!("http://pvz{path}"));
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("te", "trailers").body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let mut sender = self.sender.clone();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        let headers = response.headers().clone();
        let http = response.status();
        let body = response.into_body().collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let status = Status::from_header_map(&trailers)
            .or_else(|| Status::from_header_map(&headers))
            .unwrap_or_else(|| panic!("HTTP {http} without a gRPC status: {headers:?}"));
        assert_eq!(headers["content-type"], "application/grpc");
        RawAnswer { status, headers }
    }
}

/// A message in its frame: not compressed, and its length.
pub fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}
