//! The gRPC client of the commands: connection, metadata, deadlines, retries.

mod common;
pub(super) mod faults;
mod peer;
mod retry;

pub(super) use common::{ACTOR_HEADER, COMMON_OPTIONS, Common, client_command};
pub(super) use retry::Backoff;

use std::time::{Duration, Instant};

use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use tonic_types::StatusExt as _;

use crate::proto::v1::order_service_client::OrderServiceClient;

pub(super) use self::peer::Speaks;
use self::peer::{GrpcChannel, Peer};
use super::failure::Failure;
use super::output::Format;

/// The generated client.
pub(super) type Grpc = OrderServiceClient<GrpcChannel>;

/// Connect timeout, even if calls may take longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of keep-alive pings on idle streams, and their timeout.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Largest message to receive: a page of 1,000 events is smaller than 2 MiB.
const MAX_MESSAGE: usize = 16 << 20;

/// A connection to a server, and the output format that the user chose.
#[derive(Debug)]
pub(super) struct Client {
    grpc: Grpc,
    /// Address of the server.
    server: String,
    peer: Peer,
    /// Metadata of every call: actor and trace.
    metadata: MetadataMap,
    /// Timeout of a call, including its retries.
    pub timeout: Duration,
    /// Output format.
    pub format: Format,
}

impl Client {
    /// Connects. Fails at once if no server listens.
    pub(super) async fn connect(common: Common) -> Result<Self, Failure> {
        let settings = common.resolve()?;
        let endpoint = Endpoint::from_shared(format!("http://{}", settings.server))
            .map_err(|error| Failure::usage(format!("--server {:?}: {error}", settings.server)))?
            .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout))
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let peer = Peer::default();
        let channel = peer::connect(endpoint, settings.server.clone(), peer.clone())
            .await
            .map_err(|error| faults::unreachable(&settings.server, &error))?;
        let metadata = settings.metadata();
        Ok(Self {
            grpc: OrderServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
            server: settings.server,
            peer,
            metadata,
            timeout: settings.timeout,
            format: settings.format,
        })
    }

    /// Returns the generated client, for streams.
    pub(super) fn grpc(&self) -> Grpc {
        self.grpc.clone()
    }

    /// Returns the failure for the status of a call.
    pub(super) fn failure(&self, status: &Status) -> Failure {
        faults::of_status(&self.server, self.peer.speaks(), status)
    }

    /// Returns the failure for a response that did not arrive within the timeout.
    pub(super) fn no_response(&self) -> Failure {
        faults::no_response(&self.server, self.peer.speaks(), self.timeout)
    }

    /// Returns the failure for a stream that the server ended too early.
    pub(super) fn stream_ended(&self) -> Failure {
        faults::stream_ended(&self.server)
    }

    /// Returns a request with the metadata of this client.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    /// Makes a unary call, and retries it until the timeout if the failure is
    /// retryable. Retrying a mutation is safe, because its message has a
    /// `request_id`.
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
                // Server and client have the same deadline; report it the same way,
                // whichever notices first.
                Ok(Err(status)) if Instant::now() < deadline || has_reason(&status) => self.failure(&status),
                Ok(Err(_)) | Err(_) => return Err(self.no_response()),
            };
            if !failure.is_retryable {
                return Err(failure);
            }
            let pause = backoff.next(failure.retry_after);
            if Instant::now() + pause >= deadline {
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes a call that changes orders. If it is unknown whether the call took
    /// effect, the failure names the `request_id`.
    pub(super) async fn mutate<Req: Clone, Res>(
        &self,
        request_id: &str,
        message: Req,
        rpc: impl AsyncFn(Grpc, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Res, Failure> {
        self.call(message, rpc).await.map_err(|failure| failure.of_request(request_id))
    }
}

/// Returns true if the status comes from the service, not from a proxy or from
/// this client.
fn has_reason(status: &Status) -> bool {
    status.get_details_error_info().is_some()
}

/// Returns the `request_id` of a command: the given one, or a random one.
pub(super) fn request_id(given: Option<String>) -> String {
    given.filter(|given| !given.is_empty()).unwrap_or_else(random_request_id)
}

/// Returns a random `request_id`.
#[expect(clippy::disallowed_methods, reason = "the command line is a client: no rule depends on this id")]
pub(super) fn random_request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
