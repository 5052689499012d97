//! A gRPC client that reads no response.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// An HTTP/2 connection with the smallest usual window. Its responses are never read.
pub struct UnreadConnection {
    sender: SendRequest<Body>,
    responses: Vec<Response<Incoming>>,
}

impl UnreadConnection {
    pub async fn connect(addr: &str) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(65_535)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self { sender, responses: Vec::new() }
    }

    /// Calls a streaming method and waits for the head of its response.
    pub async fn call(&mut self, method: &str, data: BoxStream<'static, Bytes>) {
        let request = Request::post(format!("http://pvz/pvz.v1.OrderService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(StreamBody::new(data.map(|data| Ok(Frame::data(data))).boxed()))
            .unwrap();
        self.sender.ready().await.unwrap();
        self.responses.push(self.sender.send_request(request).await.unwrap());
    }
}
