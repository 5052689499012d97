//! Handlers of unary methods: request into message, call of the service in
//! process, answer into HTTP.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::large_texts::LargeTexts;
use super::problem::{Failure, ProblemContext};
use super::{HttpOptions, body, call, idempotency};
use crate::adapters::api::ImportService;
use crate::proto::json;

/// State shared by all handlers.
pub struct Gateway<S> {
    /// The same service that gRPC serves.
    pub service: Arc<S>,
    /// The import.
    pub imports: ImportService,
    /// Limits and timeouts.
    pub options: HttpOptions,
    /// Parses large bodies and serializes large answers.
    pub large_texts: LargeTexts,
    /// Cancelled when the service begins to stop.
    pub shutdown: CancellationToken,
}

/// The shared state, as handlers hold it.
pub type Shared<S> = Arc<Gateway<S>>;

/// The properties of a unary method in the contract.
pub struct Unary<Q, A> {
    /// True if the body is the message. Otherwise path and query are.
    pub has_body: bool,
    /// The field of the idempotency key, for a method that changes orders.
    pub request_id: Option<fn(&mut Q) -> &mut Option<String>>,
    /// The entity tag of the answer, for a method that reads a versioned
    /// resource.
    pub etag: Option<fn(&A) -> String>,
}

/// Handles a unary method.
pub async fn unary<S, Q, A, F, R>(
    shared: Shared<S>,
    request: Request,
    rules: Unary<Q, A>,
    method: F,
) -> Response
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + prost::Message + 'static,
    F: FnOnce(Arc<S>, tonic::Request<Q>) -> R,
    R: Future<Output = Result<tonic::Response<A>, Status>>,
{
    let context = ProblemContext::of(request.extensions());
    let answered = async {
        let (headers, message) = read(&shared, request, &rules).await?;
        let conditional = if rules.etag.is_some() { headers.clone() } else { HeaderMap::new() };
        let reply = method(shared.service.clone(), call::request(headers, message)).await?;
        call::answer(reply, rules.etag, &conditional, &shared.large_texts).await
    };
    answered.await.unwrap_or_else(|failure| failure.into_response(&context))
}

async fn read<S, Q: DeserializeOwned + Send + 'static, A>(
    shared: &Gateway<S>,
    request: Request,
    rules: &Unary<Q, A>,
) -> Result<(HeaderMap, Q), Failure> {
    let (mut parts, body) = request.into_parts();
    let mut message = if rules.has_body {
        body::check_type(&parts.headers, &["application/json"])?;
        call::no_query(&parts)?;
        let text = body::read(&parts.headers, body, &shared.options, &shared.shutdown).await?;
        let size = text.len();
        let parse = move || json::parse(json::without_byte_order_mark(&text));
        let parsed = shared.large_texts.run(size, parse).await?;
        parsed.map_err(|faults| call::refusal(faults, "the body"))?
    } else {
        call::bind(&mut parts).await?
    };
    if let Some(request_id) = rules.request_id {
        idempotency::apply(&parts.headers, request_id(&mut message))?;
    }
    Ok((parts.headers, message))
}
