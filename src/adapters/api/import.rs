//! The import in messages of the contract, over the use case.

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http::HeaderMap;
use tokio::task::yield_now;

use super::call_context::{Call, CallContext};
use super::{Answers, requests};
use crate::adapters::proto_mapping;
use crate::app::{ImportOrders, ImportRequest, ImportResult};
use crate::domain::{Form, Refusal, echo};
use crate::proto::v1::{self, order_result::Outcome};

/// The number of rows after which the task yields.
const YIELD_AFTER: usize = 32;

/// The import with its call context. Clones share both.
#[derive(Clone)]
pub struct ImportService {
    calls: CallContext,
    orders: ImportOrders,
}

impl ImportService {
    /// Creates the service.
    pub fn new(calls: CallContext, orders: ImportOrders) -> Self {
        Self { calls, orders }
    }

    /// Starts a call.
    pub fn begin(&self, headers: &HeaderMap) -> Call {
        self.calls.begin("ImportOrders", headers)
    }

    /// Imports rows. The stream of results ends with an error if the rows end
    /// with one, the service drains, the store fails, or the deadline of the
    /// caller passes; see [`ImportOrders::run`].
    ///
    /// # Errors
    /// `UNAVAILABLE` while the service drains; `VALIDATION_FAILED` for a
    /// malformed header; `OVERLOADED`. No row has been read.
    pub fn run(
        &self,
        call: &Call,
        rows: impl Stream<Item = Result<ImportRequest, Refusal>> + Send + 'static,
    ) -> Result<Answers<v1::ImportOrdersResponse>, Refusal> {
        let opened = self.calls.admit().and_then(|()| call.form().finish(Some(())));
        call.log(opened.as_ref().err());
        opened?;
        // Rows that have arrived are read without waiting, so nothing else makes the task yield.
        let rows = rows.enumerate().then(|(index, row)| async move {
            if index % YIELD_AFTER == 0 {
                yield_now().await;
            }
            row
        });
        self.calls.stream(call, self.orders.run(call.caller(), rows).map_ok(response))
    }
}

/// Reads a row.
pub fn import_request(row: &v1::AcceptOrderRequest) -> ImportRequest {
    ImportRequest { order_id: echo(&row.order_id), accept: requests::accept(Form::default(), row) }
}

fn response(result: ImportResult) -> v1::ImportOrdersResponse {
    let ImportResult { index, order_id, outcome, already_existed } = result;
    let outcome = match outcome {
        Ok(view) => Outcome::Order(proto_mapping::order(view)),
        Err(refusal) => Outcome::Refusal(proto_mapping::refusal(&refusal)),
    };
    let result = Some(v1::OrderResult { order_id, outcome: Some(outcome) });
    v1::ImportOrdersResponse { index, result, already_existed }
}
