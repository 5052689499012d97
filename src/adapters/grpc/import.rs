//! The import stream: rows in, results out as they are done. It reads only as
//! fast as the writers take rows, so memory stays bounded whatever its length.

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, stream};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};

use super::call_context::{Call, decorate, failed, stopping};
use super::request;
use super::service::GrpcOrderService;
use crate::adapters::proto_mapping;
use crate::app::{Admission, Caller};
use crate::domain::{Answer, Command, ImportRow, OrderView, Reason, Refusal, echo};
use crate::ports::Outcome;
use crate::proto::v1::{self, order_result::Outcome as ResultOutcome};

/// How many rows of one stream are under way at once: enough to fill two
/// batches of the writers.
const WINDOW: usize = 1_024;
/// How long a row may wait for a place and for its commit. Rows wait as long as
/// it takes; this only ends a stream whose store has stopped to answer.
const ROW_TIMEOUT: Duration = Duration::from_mins(10);

/// An import under way.
pub struct Importer {
    service: GrpcOrderService,
    call: Call,
}

type Results = BoxStream<'static, Result<v1::ImportOrdersResponse, Status>>;

impl Importer {
    /// An import with that metadata.
    pub fn new(service: &GrpcOrderService, metadata: &MetadataMap) -> Self {
        Self { service: service.clone(), call: service.call_context.begin("ImportOrders", metadata) }
    }

    /// Imports rows until they end, the service drains, or the store fails;
    /// then the stream ends with the refusal, and rows without a result may be
    /// sent again.
    pub fn run(
        self,
        rows: impl Stream<Item = Result<v1::AcceptOrderRequest, Status>> + Send + 'static,
    ) -> Result<Response<Results>, Status> {
        let opened = self.service.call_context.admit().and_then(|()| self.call.form().finish(Some(())));
        self.call.log(opened.as_ref().err());
        if let Err(refusal) = opened {
            return Err(failed(&refusal, &self.call.correlation));
        }
        let Self { service, call } = self;
        let drain = service.call_context.drain().clone();
        let caller = call.caller();
        let results = rows
            .take_until(drain.clone().cancelled_owned())
            .enumerate()
            .map(move |(index, row)| import_row(service.clone(), caller.clone(), index, row))
            .buffer_unordered(WINDOW)
            .chain(stream::once(async move { Err(stopping()) }).take_while(move |_| {
                let drained = drain.is_cancelled();
                async move { drained }
            }));
        let mut response = Response::new(call.bound(results));
        decorate(response.metadata_mut(), &call.correlation, false);
        Ok(response)
    }
}

/// Imports a row. An error ends the stream: the row may or may not have been
/// imported.
async fn import_row(
    service: GrpcOrderService,
    caller: Caller,
    index: usize,
    row: Result<v1::AcceptOrderRequest, Status>,
) -> Result<v1::ImportOrdersResponse, Refusal> {
    let row = row.map_err(|status| broken(&status))?;
    let index = i64::try_from(index).unwrap_or(i64::MAX);
    let caller = Caller { deadline: Instant::now() + ROW_TIMEOUT, ..caller };
    let refused = |refusal: Refusal| v1::ImportOrdersResponse {
        index,
        result: Some(v1::OrderResult {
            order_id: echo(&row.order_id),
            outcome: Some(ResultOutcome::Refusal(proto_mapping::refusal(&refusal))),
        }),
        already_existed: false,
    };
    let done = |view: OrderView, already_existed| v1::ImportOrdersResponse {
        index,
        result: Some(v1::OrderResult {
            order_id: row.order_id.clone(),
            outcome: Some(ResultOutcome::Order(proto_mapping::order(view))),
        }),
        already_existed,
    };
    let (accept, key) = match request::accept(crate::domain::Form::default(), &row) {
        Ok(parsed) => parsed,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let command = Command::Import(ImportRow(accept));
    let submitted = service.writer.submit(command, &caller, key, Admission::Patient).await;
    let answer = match submitted {
        Ok(Outcome { answer, .. }) => answer,
        // A bug that one row meets is that row's; the others go on.
        Err(refusal) if refusal.reason == Reason::Internal => Err(refusal),
        Err(refusal) => return Err(refusal),
    };
    match answer {
        Ok(Answer::Order(view)) => Ok(done(view, false)),
        Ok(Answer::AlreadyExisted(view)) => Ok(done(view, true)),
        Ok(Answer::Results(_)) => Err(Refusal::internal()),
        Err(refusal) => Ok(refused(refusal)),
    }
}

/// What the transport says of a stream that cannot be read on.
pub fn broken(status: &Status) -> Refusal {
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            Refusal::new(Reason::TooLarge, "a message is larger than the service takes")
        }
        Code::Internal | Code::InvalidArgument => {
            Refusal::new(Reason::ValidationFailed, "a message cannot be decoded")
        }
        _ => Refusal::unavailable("the stream of rows broke off", Duration::from_secs(1)),
    }
}
