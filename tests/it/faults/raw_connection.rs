//! gRPC over a plain HTTP/2 connection, to send bytes that no client library would
//! send.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tonic::Status;

use super::requests::DecodedRefusal;

/// An HTTP/2 connection to the gRPC port.
pub struct RawConnection {
    sender: SendRequest<Full<Bytes>>,
}

/// A gRPC response.
pub struct RawResponse {
    /// The status in the trailers, or in the headers of a response without trailers.
    pub status: Status,
    pub headers: HeaderMap,
}

impl RawResponse {
    pub fn refusal(&self) -> DecodedRefusal {
        DecodedRefusal::from_status(&self.status).unwrap_or_else(|| panic!("no ErrorInfo: {:?}", self.status))
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        value.or_else(|| self.status.metadata().get(name).map(|value| value.to_str().unwrap())).unwrap_or("")
    }
}

impl RawConnection {
    pub async fn connect(addr: &str) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// Calls a method of the service.
    pub async fn call(&self, method: &str, message: &impl Message, headers: &[(&str, &str)]) -> RawResponse {
        self.send(&format!("/pvz.v1.OrderService/{method}"), &frame(&message.encode_to_vec()), headers).await
    }

    /// Sends a body to a path.
    pub async fn send(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> RawResponse {
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
        RawResponse { status, headers }
    }
}

/// Returns an uncompressed gRPC frame: flag, length, message.
pub fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}
