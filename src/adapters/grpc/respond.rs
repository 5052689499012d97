//! Answers and refusals as gRPC responses, with the correlation id in their
//! metadata.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use super::status::to_status;
use crate::adapters::api::{Answered, Answers, CORRELATION_ID, Call, CallContext, REPLAYED, Refused};
use crate::domain::{Form, Refusal};

/// A stream of messages that may end with a status.
pub type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// Runs a unary call.
pub async fn unary<Q, A, F>(
    calls: &CallContext,
    method: &'static str,
    request: Request<Q>,
    handler: impl FnOnce(Q, Form, Call) -> F,
) -> Result<Response<A>, Status>
where
    F: Future<Output = Result<Answered<A>, Refused>>,
{
    let (metadata, _, message) = request.into_parts();
    let call = calls.begin(method, metadata.as_ref());
    drop(metadata);
    let correlation_id = call.correlation_id.clone();
    match calls.run(call, |form, call| handler(message, form, call)).await {
        Ok(Answered { message, replayed }) => {
            let mut response = Response::new(message);
            decorate(response.metadata_mut(), &correlation_id, replayed);
            Ok(response)
        }
        Err(Refused { refusal, replayed }) => Err(refuse(refusal, &correlation_id, replayed)),
    }
}

/// Answers a call with a stream, or with the refusal to start it.
pub fn stream<T: Send + 'static>(
    call: &Call,
    started: Result<Answers<T>, Refusal>,
) -> Result<Response<Messages<T>>, Status> {
    let correlation_id = call.correlation_id.clone();
    let items = started.map_err(|refusal| refuse(refusal, &correlation_id, false))?;
    let mut metadata = MetadataMap::new();
    decorate(&mut metadata, &correlation_id, false);
    let messages =
        items.map(move |item| item.map_err(|refusal| refuse(refusal, &correlation_id, false))).boxed();
    Ok(Response::from_parts(metadata, messages, tonic::Extensions::default()))
}

/// Returns the status of a refused call.
pub fn refuse(refusal: Refusal, correlation_id: &str, replayed: bool) -> Status {
    let mut status = to_status(refusal);
    decorate(status.metadata_mut(), correlation_id, replayed);
    status
}

fn decorate(metadata: &mut MetadataMap, correlation_id: &str, replayed: bool) {
    if let Ok(value) = MetadataValue::try_from(correlation_id) {
        metadata.insert(CORRELATION_ID, value);
    }
    if replayed {
        metadata.insert(REPLAYED, MetadataValue::from_static("true"));
    }
}
