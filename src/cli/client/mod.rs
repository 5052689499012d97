//! The gRPC client of the commands: connection, actor, deadlines, retries.

mod common;
mod failure;
mod retry;

pub(super) use common::{COMMON_OPTIONS, Common, client_command};
pub(super) use failure::{Failure, Fields, Outcome, Stop, exit_code, plain};
pub(super) use retry::Backoff;

use std::time::{Duration, Instant};

use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_types::StatusExt as _;

use crate::proto::v1::order_service_client::OrderServiceClient;

use super::output::Format;

/// The generated client.
pub(super) type Grpc = OrderServiceClient<Channel>;

/// How long to wait for a connection at most, however long the call may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle stream asks whether the server is still there, and how
/// long it waits for the answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The largest answer that is read: a page of 1,000 events is below 2 MiB.
const MAX_ANSWER: usize = 16 << 20;

/// A connection to a server, and how the user wants to be answered.
#[derive(Debug)]
pub(super) struct Client {
    grpc: Grpc,
    /// Where the server is, as the user wrote it.
    pub server: String,
    /// Metadata of every call: actor and trace.
    metadata: MetadataMap,
    /// How long a call may take, with all its retries.
    pub timeout: Duration,
    /// How to print answers.
    pub format: Format,
}

impl Client {
    /// Connects. A server that is not there is not waited for.
    pub(super) async fn connect(common: Common) -> Result<Self, Failure> {
        let settings = common.resolve()?;
        let endpoint = Endpoint::from_shared(format!("http://{}", settings.server))
            .map_err(|error| Failure::usage(format!("--server {:?}: {error}", settings.server)))?
            .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let channel =
            endpoint.connect().await.map_err(|error| Failure::no_server(&settings.server, &error))?;
        let metadata = settings.metadata();
        Ok(Self {
            grpc: OrderServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER),
            server: settings.server,
            metadata,
            timeout: settings.timeout,
            format: settings.format,
        })
    }

    /// The generated client, for a stream.
    pub(super) fn grpc(&self) -> Grpc {
        self.grpc.clone()
    }

    /// A request that says who asks.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    /// Makes a unary call, and repeats it while waiting helps and the timeout
    /// allows. The message of a mutation carries its `request_id`, so that
    /// repeating it is safe.
    pub(super) async fn call<Req: Clone, Res>(
        &self,
        message: Req,
        rpc: impl AsyncFn(Grpc, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Res, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut backoff = Backoff::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut request = self.request(message.clone());
            request.set_timeout(left);
            let failure = match tokio::time::timeout(left, rpc(self.grpc(), request)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                // Whichever side counts down first, it is the same deadline.
                Ok(Err(status)) if Instant::now() < deadline || has_reason(&status) => {
                    Failure::from_status(&self.server, &status)
                }
                Ok(Err(_)) | Err(_) => return Err(Failure::deadline(&self.server, self.timeout)),
            };
            if !failure.is_retryable() {
                return Err(failure);
            }
            let pause = backoff.next(failure.retry_after);
            if Instant::now() + pause >= deadline {
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The same for a call that changes orders: when it is not known whether
    /// it took effect, the failure says how to ask again.
    pub(super) async fn mutate<Req: Clone, Res>(
        &self,
        request_id: &str,
        message: Req,
        rpc: impl AsyncFn(Grpc, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Res, Failure> {
        self.call(message, rpc).await.map_err(|failure| failure.of_request(request_id))
    }
}

/// Whether a service answered, and not something on the way to it.
fn has_reason(status: &Status) -> bool {
    status.get_details_error_info().is_some()
}

/// The key of a command: the user's, or else a fresh one.
pub(super) fn request_id(given: Option<String>) -> String {
    given.filter(|given| !given.is_empty()).unwrap_or_else(fresh_request_id)
}

/// A key that no other command has.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line is not the application: nothing here is decided by an id"
)]
pub(super) fn fresh_request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
