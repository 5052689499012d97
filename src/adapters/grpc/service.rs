//! The `OrderService` of the contract: requests become commands and queries,
//! answers become messages. REST calls the same implementation in process.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::respond::{self, Messages, unary};
use super::{outbox, statistics, status};
use crate::adapters::api::{Answered, Call, CallContext, ImportService, Refused, import_request, requests};
use crate::adapters::proto_mapping;
use crate::app::{Admission, OperateOutbox, OrderPage, ReadEvents, ReadOrders, ReadStatistics, Writer};
use crate::domain::{Answer, Command, Form, Policy, Refusal, RequestId};
use crate::ports::{Outcome, Resolution};
use crate::proto::v1::{self, order_service_server::OrderService};

/// The service over the use cases. Clones share them.
#[derive(Clone)]
pub struct GrpcOrderService {
    /// Call context.
    pub calls: CallContext,
    /// Commands.
    pub writer: Writer,
    /// The import.
    pub imports: ImportService,
    /// Queries of orders.
    pub orders: ReadOrders,
    /// Queries of events.
    pub events: ReadEvents,
    /// Queries of statistics.
    pub statistics: ReadStatistics,
    /// State and dead letters of the outbox.
    pub outbox: OperateOutbox,
    /// The rules of the pickup point; the packaging catalogue is read from it.
    pub policy: Arc<Policy>,
}

impl GrpcOrderService {
    /// Runs a command.
    async fn change(
        &self,
        command: Command,
        request_id: Option<RequestId>,
        call: &Call,
    ) -> Result<Answered<Answer>, Refused> {
        // The call context enforces the deadline.
        let outcome = self.writer.submit(command, &call.caller(), request_id, Admission::Immediate).await?;
        let Outcome { answer, replayed } = outcome;
        match answer {
            Ok(message) => Ok(Answered { message, replayed }),
            Err(refusal) => Err(Refused { refusal, replayed }),
        }
    }
}

/// Returns the order in the answer to a command on one order.
fn one(answer: Answered<Answer>) -> Result<Answered<v1::Order>, Refused> {
    let Answered { message, replayed } = answer;
    match message {
        Answer::Order(view) | Answer::AlreadyExisted(view) => {
            Ok(Answered { message: proto_mapping::order(view), replayed })
        }
        Answer::Results(_) => Err(mismatch()),
    }
}

/// Returns the results in the answer to a batch.
fn many(answer: Answered<Answer>) -> Result<Answered<Vec<v1::OrderResult>>, Refused> {
    let Answered { message, replayed } = answer;
    match message {
        Answer::Results(results) => {
            Ok(Answered { message: results.into_iter().map(proto_mapping::order_result).collect(), replayed })
        }
        Answer::Order(_) | Answer::AlreadyExisted(_) => Err(mismatch()),
    }
}

fn mismatch() -> Refused {
    tracing::error!("a command was answered with the answer type of another command");
    Refusal::internal().into()
}

#[tonic::async_trait]
impl OrderService for GrpcOrderService {
    async fn accept_order(
        &self,
        request: Request<v1::AcceptOrderRequest>,
    ) -> Result<Response<v1::AcceptOrderResponse>, Status> {
        let handle = |message: v1::AcceptOrderRequest, form, call: Call| async move {
            call.names_orders([message.order_id.as_str()]);
            let (accept, key) = requests::accept(form, &message)?;
            let order = one(self.change(Command::Accept(accept), key, &call).await?)?;
            Ok(order.map(|order| v1::AcceptOrderResponse { order: Some(order) }))
        };
        unary(&self.calls, "AcceptOrder", request, handle).await
    }

    async fn issue_orders(
        &self,
        request: Request<v1::IssueOrdersRequest>,
    ) -> Result<Response<v1::IssueOrdersResponse>, Status> {
        let handle = |message: v1::IssueOrdersRequest, form, call: Call| async move {
            call.names_orders(message.order_ids.iter().map(String::as_str));
            let (issue, key) = requests::issue(form, &message)?;
            let results = many(self.change(Command::Issue(issue), key, &call).await?)?;
            Ok(results.map(|results| v1::IssueOrdersResponse { results }))
        };
        unary(&self.calls, "IssueOrders", request, handle).await
    }

    async fn accept_return(
        &self,
        request: Request<v1::AcceptReturnRequest>,
    ) -> Result<Response<v1::AcceptReturnResponse>, Status> {
        let handle = |message: v1::AcceptReturnRequest, form, call: Call| async move {
            call.names_orders([message.order_id.as_str()]);
            let (accept_return, key) = requests::accept_return(form, &message)?;
            let order = one(self.change(Command::AcceptReturn(accept_return), key, &call).await?)?;
            Ok(order.map(|order| v1::AcceptReturnResponse { order: Some(order) }))
        };
        unary(&self.calls, "AcceptReturn", request, handle).await
    }

    async fn return_to_courier(
        &self,
        request: Request<v1::ReturnToCourierRequest>,
    ) -> Result<Response<v1::ReturnToCourierResponse>, Status> {
        let handle = |message: v1::ReturnToCourierRequest, form, call: Call| async move {
            call.names_orders(message.order_ids.iter().map(String::as_str));
            let (to_courier, key) = requests::return_to_courier(form, &message)?;
            let results = many(self.change(Command::ReturnToCourier(to_courier), key, &call).await?)?;
            Ok(results.map(|results| v1::ReturnToCourierResponse { results }))
        };
        unary(&self.calls, "ReturnToCourier", request, handle).await
    }

    type ImportOrdersStream = Messages<v1::ImportOrdersResponse>;

    async fn import_orders(
        &self,
        request: Request<Streaming<v1::ImportOrdersRequest>>,
    ) -> Result<Response<Self::ImportOrdersStream>, Status> {
        let (metadata, _, rows) = request.into_parts();
        let call = self.imports.begin(metadata.as_ref());
        let rows = rows.map(|row| match row {
            Ok(row) => Ok(import_request(&row.order.unwrap_or_default())),
            Err(error) => Err(status::broken_stream(&error)),
        });
        respond::stream(&call, self.imports.run(&call, rows))
    }

    async fn get_order(&self, request: Request<v1::GetOrderRequest>) -> Result<Response<v1::Order>, Status> {
        let handle = |message: v1::GetOrderRequest, form, call: Call| async move {
            call.names_orders([message.order_id.as_str()]);
            let order_id = requests::order_id(form, &message.order_id)?;
            Ok(proto_mapping::order(self.orders.get(&order_id).await?).into())
        };
        unary(&self.calls, "GetOrder", request, handle).await
    }

    async fn list_orders(
        &self,
        request: Request<v1::ListOrdersRequest>,
    ) -> Result<Response<v1::ListOrdersResponse>, Status> {
        let handle = |message, form, _| async move {
            let list = requests::list_orders(form, message)?;
            let OrderPage { orders, next_page_token } = self.orders.list(&list).await?;
            let orders = orders.into_iter().map(proto_mapping::order).collect();
            Ok(v1::ListOrdersResponse { orders, next_page_token }.into())
        };
        unary(&self.calls, "ListOrders", request, handle).await
    }

    async fn get_order_history(
        &self,
        request: Request<v1::GetOrderHistoryRequest>,
    ) -> Result<Response<v1::GetOrderHistoryResponse>, Status> {
        let handle = |message: v1::GetOrderHistoryRequest, form, call: Call| async move {
            call.names_orders([message.order_id.as_str()]);
            let (order_id, limit, token) = requests::history(form, message)?;
            let page = self.events.history(&order_id, limit, &token).await?;
            // The history of one order carries no cursors of the feed.
            let events = page.events.iter().map(|logged| proto_mapping::event(&logged.event)).collect();
            Ok(v1::GetOrderHistoryResponse { events, next_page_token: page.next }.into())
        };
        unary(&self.calls, "GetOrderHistory", request, handle).await
    }

    async fn list_returns(
        &self,
        request: Request<v1::ListReturnsRequest>,
    ) -> Result<Response<v1::ListReturnsResponse>, Status> {
        let handle = |message, form, _| async move {
            let list = requests::list_returns(form, message)?;
            let OrderPage { orders, next_page_token } = self.orders.returns(&list).await?;
            let orders = orders.into_iter().map(proto_mapping::order).collect();
            Ok(v1::ListReturnsResponse { orders, next_page_token }.into())
        };
        unary(&self.calls, "ListReturns", request, handle).await
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let handle = |message, form, _| async move {
            let (after, limit) = requests::list_events(form, &message)?;
            let page = self.events.feed(after, limit).await?;
            let events = page.events.iter().map(proto_mapping::logged_event).collect();
            Ok(v1::ListEventsResponse { events, next_cursor: page.next }.into())
        };
        unary(&self.calls, "ListEvents", request, handle).await
    }

    type WatchEventsStream = Messages<v1::Event>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let (metadata, _, message) = request.into_parts();
        let call = self.calls.begin("WatchEvents", metadata.as_ref());
        drop(metadata);
        let opened = async {
            self.calls.admit()?;
            let after = requests::watch_events(call.form(), &message)?;
            self.events.watch(after).await
        };
        let opened: Result<_, Refusal> = opened.await;
        let events = opened.and_then(|events| {
            self.calls.stream(&call, events.map_ok(|logged| proto_mapping::logged_event(&logged)))
        });
        call.log(events.as_ref().err());
        respond::stream(&call, events)
    }

    async fn list_packaging(
        &self,
        request: Request<v1::ListPackagingRequest>,
    ) -> Result<Response<v1::ListPackagingResponse>, Status> {
        let handle = |_, form: Form, _| async move {
            form.finish(Some(()))?;
            let kinds = self.policy.catalogue.kinds().iter().map(proto_mapping::packaging_kind).collect();
            Ok(v1::ListPackagingResponse { kinds }.into())
        };
        unary(&self.calls, "ListPackaging", request, handle).await
    }

    async fn get_statistics(
        &self,
        request: Request<v1::GetStatisticsRequest>,
    ) -> Result<Response<v1::GetStatisticsResponse>, Status> {
        let handle = |message, form, _| async move {
            let (filter, limit, token) = requests::statistics(form, message)?;
            let found = self.statistics.page(&filter, limit, &token).await?;
            Ok(statistics::message(found).into())
        };
        unary(&self.calls, "GetStatistics", request, handle).await
    }

    async fn get_outbox(
        &self,
        request: Request<v1::GetOutboxRequest>,
    ) -> Result<Response<v1::Outbox>, Status> {
        let handle = |_, form: Form, _| async move {
            form.finish(Some(()))?;
            Ok(outbox::message(self.outbox.report().await?).into())
        };
        unary(&self.calls, "GetOutbox", request, handle).await
    }

    async fn accept_fork(
        &self,
        request: Request<v1::AcceptForkRequest>,
    ) -> Result<Response<v1::AcceptForkResponse>, Status> {
        let handle = |_, form: Form, _| async move {
            form.finish(Some(()))?;
            let accepted = self.outbox.accept_fork().await?;
            Ok(v1::AcceptForkResponse { accepted: i64::try_from(accepted).unwrap_or(i64::MAX) }.into())
        };
        unary(&self.calls, "AcceptFork", request, handle).await
    }

    async fn republish_events(
        &self,
        request: Request<v1::RepublishEventsRequest>,
    ) -> Result<Response<v1::RepublishEventsResponse>, Status> {
        let handle = |message, form, _| async move {
            self.outbox.republish(requests::republish_events(form, &message)?).await?;
            Ok(v1::RepublishEventsResponse {}.into())
        };
        unary(&self.calls, "RepublishEvents", request, handle).await
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let handle = |message, form, _| async move {
            let (limit, token) = requests::dead_letters(form, message)?;
            let page = self.outbox.letters(limit, &token).await?;
            let letters = page.letters.iter().map(proto_mapping::dead_letter).collect();
            let next_page_token = page.next_page_token;
            Ok(v1::ListDeadLettersResponse { letters, next_page_token }.into())
        };
        unary(&self.calls, "ListDeadLetters", request, handle).await
    }

    async fn retry_dead_letter(
        &self,
        request: Request<v1::RetryDeadLetterRequest>,
    ) -> Result<Response<v1::RetryDeadLetterResponse>, Status> {
        let handle = |message: v1::RetryDeadLetterRequest, form, call: Call| async move {
            call.names_orders([message.order_id.as_str()]);
            let order_id = requests::order_id(form, &message.order_id)?;
            self.outbox.resolve(&order_id, Resolution::Retry).await?;
            Ok(v1::RetryDeadLetterResponse {}.into())
        };
        unary(&self.calls, "RetryDeadLetter", request, handle).await
    }

    async fn drop_dead_letter(
        &self,
        request: Request<v1::DropDeadLetterRequest>,
    ) -> Result<Response<v1::DropDeadLetterResponse>, Status> {
        let handle = |message: v1::DropDeadLetterRequest, form, call: Call| async move {
            call.names_orders([message.order_id.as_str()]);
            let order_id = requests::order_id(form, &message.order_id)?;
            self.outbox.resolve(&order_id, Resolution::Drop).await?;
            Ok(v1::DropDeadLetterResponse {}.into())
        };
        unary(&self.calls, "DropDeadLetter", request, handle).await
    }
}
