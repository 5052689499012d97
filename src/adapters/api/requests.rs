//! Requests as commands and queries. All fields are checked, and all violations
//! are reported at once. Every request is destructured, so a field that is added
//! to the contract does not compile until it is read.

use std::collections::BTreeSet;

use crate::adapters::proto_mapping;
use crate::app::{ListOrders, ListReturns, PageSpec, page_limit};
use crate::domain::{
    Accept, AcceptReturn, CustomerId, Day, Form, Grams, Issue, Money, OrderId, OrderIds, PackagingCode,
    PickupPointId, Refusal, RequestId, ReturnToCourier, StateName, Timestamp,
};
use crate::ports::{Position, StatisticsFilter};
use crate::proto::{self, v1};

/// A command and its `request_id`.
pub type Keyed<C> = (C, Option<RequestId>);

/// Returns an optional string. An empty one counts as absent.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn point(form: &mut Form, text: Option<&String>) -> Option<Option<PickupPointId>> {
    form.optional("pickup_point_id", given(text).map(PickupPointId::parse))
}

fn request_id(form: &mut Form, text: Option<&String>) -> Option<Option<RequestId>> {
    form.optional("request_id", given(text).map(RequestId::parse))
}

fn instant(value: Option<&proto::Timestamp>) -> Result<Timestamp, &'static str> {
    let value = value.ok_or("is required")?;
    Timestamp::from_parts(value.seconds, value.nanos).ok_or("must be between the years 1 and 9999")
}

/// Reads `AcceptOrder`, and a row of `ImportOrders`.
pub fn accept(mut form: Form, request: &v1::AcceptOrderRequest) -> Result<Keyed<Accept>, Refusal> {
    let v1::AcceptOrderRequest {
        order_id,
        customer_id,
        storage_until,
        weight_grams,
        price_minor,
        packaging,
        pickup_point_id,
        request_id: key,
    } = request;
    let order_id = form.field("order_id", OrderId::parse(order_id));
    let customer_id = form.field("customer_id", CustomerId::parse(customer_id));
    let storage_until = form.field("storage_until", instant(storage_until.as_ref()));
    let weight = form.optional("weight_grams", weight_grams.map(Grams::new));
    let price = form.optional("price_minor", price_minor.map(Money::price));
    let pickup_point_id = point(&mut form, pickup_point_id.as_ref());
    let key = request_id(&mut form, key.as_ref());
    let packaging = packaging.iter().map(|code| PackagingCode::new(code)).collect();
    let command = (|| {
        Some(Accept {
            order_id: order_id?,
            customer_id: customer_id?,
            storage_until: storage_until?,
            weight: weight?,
            price: price?.unwrap_or_default(),
            packaging,
            pickup_point_id: pickup_point_id?,
        })
    })();
    form.finish(command.zip(key))
}

/// Reads `IssueOrders`.
pub fn issue(mut form: Form, request: &v1::IssueOrdersRequest) -> Result<Keyed<Issue>, Refusal> {
    let v1::IssueOrdersRequest { order_ids, customer_id, pickup_point_id, mode, request_id: key } = request;
    let order_ids = OrderIds::parse(&mut form, order_ids);
    let customer = form.optional("customer_id", given(customer_id.as_ref()).map(CustomerId::parse));
    let pickup_point_id = point(&mut form, pickup_point_id.as_ref());
    let mode = form.field("mode", proto_mapping::batch_mode(*mode).ok_or("is not a known batch mode"));
    let key = request_id(&mut form, key.as_ref());
    let command = (|| {
        Some(Issue {
            order_ids: order_ids?,
            customer_id: customer?,
            pickup_point_id: pickup_point_id?,
            mode: mode?,
        })
    })();
    form.finish(command.zip(key))
}

/// Reads `AcceptReturn`.
pub fn accept_return(
    mut form: Form,
    request: &v1::AcceptReturnRequest,
) -> Result<Keyed<AcceptReturn>, Refusal> {
    let v1::AcceptReturnRequest { order_id, customer_id, pickup_point_id, request_id: key } = request;
    let order_id = form.field("order_id", OrderId::parse(order_id));
    let customer_id = form.field("customer_id", CustomerId::parse(customer_id));
    let pickup_point_id = point(&mut form, pickup_point_id.as_ref());
    let key = request_id(&mut form, key.as_ref());
    let command = (|| {
        Some(AcceptReturn {
            order_id: order_id?,
            customer_id: customer_id?,
            pickup_point_id: pickup_point_id?,
        })
    })();
    form.finish(command.zip(key))
}

/// Reads `ReturnToCourier`.
pub fn return_to_courier(
    mut form: Form,
    request: &v1::ReturnToCourierRequest,
) -> Result<Keyed<ReturnToCourier>, Refusal> {
    let v1::ReturnToCourierRequest { order_ids, pickup_point_id, mode, request_id: key } = request;
    let order_ids = OrderIds::parse(&mut form, order_ids);
    let pickup_point_id = point(&mut form, pickup_point_id.as_ref());
    let mode = form.field("mode", proto_mapping::batch_mode(*mode).ok_or("is not a known batch mode"));
    let key = request_id(&mut form, key.as_ref());
    let command =
        (|| Some(ReturnToCourier { order_ids: order_ids?, pickup_point_id: pickup_point_id?, mode: mode? }))(
        );
    form.finish(command.zip(key))
}

/// Reads a request whose only field is `order_id`.
pub fn order_id(mut form: Form, text: &str) -> Result<OrderId, Refusal> {
    let order_id = form.field("order_id", OrderId::parse(text));
    form.finish(order_id)
}

/// Reads `ListOrders`.
pub fn list_orders(mut form: Form, request: v1::ListOrdersRequest) -> Result<ListOrders, Refusal> {
    let v1::ListOrdersRequest {
        customer_id,
        pickup_point_id,
        states: names,
        expired,
        page_size,
        page_token,
        last_n,
    } = request;
    let customer = form.optional("customer_id", given(customer_id.as_ref()).map(CustomerId::parse));
    let pickup_point_id = point(&mut form, pickup_point_id.as_ref());
    let states = states(&mut form, &names);
    let page = match last_n {
        None => page(&mut form, page_size, page_token),
        Some(last_n) => last(&mut form, last_n, page_size, &page_token),
    };
    let list = (|| {
        Some(ListOrders {
            customer_id: customer?,
            pickup_point_id: pickup_point_id?,
            states,
            expired,
            page: page?,
        })
    })();
    form.finish(list)
}

/// Reads `ListReturns`.
pub fn list_returns(mut form: Form, request: v1::ListReturnsRequest) -> Result<ListReturns, Refusal> {
    let v1::ListReturnsRequest { pickup_point_id, page_size, page_token } = request;
    let pickup_point_id = point(&mut form, pickup_point_id.as_ref());
    let page = page(&mut form, page_size, page_token);
    let list = (|| Some(ListReturns { pickup_point_id: pickup_point_id?, page: page? }))();
    form.finish(list)
}

/// Reads `GetOrderHistory`: order id, page size and page token.
pub fn history(
    mut form: Form,
    request: v1::GetOrderHistoryRequest,
) -> Result<(OrderId, usize, String), Refusal> {
    let v1::GetOrderHistoryRequest { order_id, page_size, page_token } = request;
    let order_id = form.field("order_id", OrderId::parse(&order_id));
    let limit = form.field("page_size", page_limit(page_size));
    let page = order_id.zip(limit).map(|(order_id, limit)| (order_id, limit, page_token));
    form.finish(page)
}

/// Reads `ListEvents`: cursor and page size.
pub fn list_events(
    mut form: Form,
    request: &v1::ListEventsRequest,
) -> Result<(Option<Position>, usize), Refusal> {
    let v1::ListEventsRequest { after, page_size } = request;
    let after = cursor(&mut form, after.as_ref());
    let limit = form.field("page_size", page_limit(*page_size));
    form.finish(after.zip(limit))
}

/// Reads `WatchEvents`: cursor.
pub fn watch_events(mut form: Form, request: &v1::WatchEventsRequest) -> Result<Option<Position>, Refusal> {
    let v1::WatchEventsRequest { after } = request;
    let after = cursor(&mut form, after.as_ref());
    form.finish(after)
}

/// Reads `GetStatistics`: filter, page size and page token.
pub fn statistics(
    mut form: Form,
    request: v1::GetStatisticsRequest,
) -> Result<(StatisticsFilter, usize, String), Refusal> {
    let v1::GetStatisticsRequest { pickup_point_id, first_day, last_day, page_size, page_token } = request;
    let pickup_point_id = point(&mut form, pickup_point_id.as_ref());
    let first_day = form.optional("first_day", given(first_day.as_ref()).map(Day::parse));
    let last_day = form.optional("last_day", given(last_day.as_ref()).map(Day::parse));
    let limit = form.field("page_size", page_limit(page_size));
    let filter = (|| {
        Some(StatisticsFilter {
            pickup_point_id: pickup_point_id?,
            first_day: first_day?,
            last_day: last_day?,
        })
    })();
    form.finish(filter.zip(limit).map(|(filter, limit)| (filter, limit, page_token)))
}

/// Reads `ListDeadLetters`: page size and page token.
pub fn dead_letters(mut form: Form, request: v1::ListDeadLettersRequest) -> Result<(usize, String), Refusal> {
    let v1::ListDeadLettersRequest { page_size, page_token } = request;
    let limit = form.field("page_size", page_limit(page_size));
    form.finish(limit.map(|limit| (limit, page_token)))
}

/// Reads `RepublishEvents`: the position of the first event.
pub fn republish_events(mut form: Form, request: &v1::RepublishEventsRequest) -> Result<Position, Refusal> {
    let v1::RepublishEventsRequest { from } = request;
    let first = match position(from) {
        Ok(Position(..1)) => Err("must be at least 1"),
        parsed => parsed,
    };
    let first = form.field("from", first);
    form.finish(first)
}

fn cursor(form: &mut Form, text: Option<&String>) -> Option<Option<Position>> {
    form.optional("after", given(text).map(position))
}

fn position(text: &str) -> Result<Position, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let position = if digits { text.parse().ok() } else { None };
    position.map(Position).ok_or("is not a valid cursor")
}

fn states(form: &mut Form, numbers: &[i32]) -> BTreeSet<StateName> {
    let mut states = BTreeSet::new();
    for (index, number) in numbers.iter().enumerate() {
        let name = StateName::ALL.into_iter().find(|name| i32::from(proto_mapping::state(*name)) == *number);
        match name {
            Some(name) => {
                states.insert(name);
            }
            None => form.fault(format!("states[{index}]"), "is not a known state"),
        }
    }
    states
}

fn page(form: &mut Form, page_size: i32, token: String) -> Option<PageSpec> {
    let limit = form.field("page_size", page_limit(page_size))?;
    Some(PageSpec::Page { limit, token })
}

fn last(form: &mut Form, last_n: i32, page_size: i32, token: &str) -> Option<PageSpec> {
    if page_size != 0 || !token.is_empty() {
        form.fault("last_n", "cannot be combined with page_size or page_token");
    }
    let range = "must be 1 to 1000";
    let limit = usize::try_from(last_n).ok().filter(|last_n| (1..=1_000).contains(last_n)).ok_or(range);
    form.field("last_n", limit).map(PageSpec::LastN)
}
