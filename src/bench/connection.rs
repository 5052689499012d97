//! The generated client: for the import stream, and for calls that are not
//! measured.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::error::BenchError;
use super::plan::Target;
use crate::proto::v1::order_service_client::OrderServiceClient;
use crate::proto::v1::{GetOutboxRequest, ListOrdersRequest, Outbox};

/// Connect timeout, even if calls may take longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before a call that was answered with UNAVAILABLE is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A connection to the server under load.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    grpc: OrderServiceClient<Channel>,
    target: Target,
}

impl Connection {
    /// Connects. Fails at once if no server listens.
    pub(super) async fn open(target: Target) -> Result<Self, BenchError> {
        let endpoint = Endpoint::from_shared(format!("http://{}", target.server))
            .map_err(|error| BenchError::Failed(format!("--server {:?}: {error}", target.server)))?
            .connect_timeout(CONNECT_TIMEOUT.min(target.timeout))
            .tcp_nodelay(true);
        match endpoint.connect().await {
            Ok(channel) => Ok(Self { grpc: OrderServiceClient::new(channel), target }),
            Err(cause) => Err(BenchError::Connect { server: target.server, cause }),
        }
    }

    /// Returns the target of the calls.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the generated client.
    pub(super) fn grpc(&self) -> OrderServiceClient<Channel> {
        self.grpc.clone()
    }

    /// Returns the request with the metadata of the run.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.target.metadata.clone();
        request
    }

    /// Fails if the server has orders, unless `force`, so that a run does not
    /// fill a production store by accident.
    pub(super) async fn require_empty(&self, force: bool) -> Result<(), BenchError> {
        if force {
            return Ok(());
        }
        let request = ListOrdersRequest { page_size: 1, ..ListOrdersRequest::default() };
        let page = self.call(request, async |mut grpc, request| grpc.list_orders(request).await).await?;
        if page.orders.is_empty() {
            return Ok(());
        }
        Err(BenchError::Failed(format!(
            "{} already has orders, and a benchmark adds many more; pass --yes to write to it anyway",
            self.target.server
        )))
    }

    /// Returns the progress of the server's relay.
    pub(super) async fn outbox(&self) -> Result<Outbox, BenchError> {
        self.call(GetOutboxRequest {}, async |mut grpc, request| grpc.get_outbox(request).await).await
    }

    /// Makes a call, and repeats it while the server answers UNAVAILABLE, for at
    /// most the timeout of a call.
    async fn call<Q: Clone, A>(
        &self,
        message: Q,
        call: impl AsyncFn(OrderServiceClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, BenchError> {
        let give_up_at = Instant::now() + self.target.timeout;
        loop {
            let mut request = self.request(message.clone());
            request.set_timeout(self.target.timeout);
            match call(self.grpc(), request).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if status.code() == Code::Unavailable && Instant::now() < give_up_at => {
                    sleep(RETRY_PAUSE).await;
                }
                Err(status) => return Err(self.failed(status)),
            }
        }
    }

    /// Returns the error of a failed call to this server.
    pub(super) fn failed(&self, status: Status) -> BenchError {
        BenchError::call(&self.target.server, status)
    }
}
