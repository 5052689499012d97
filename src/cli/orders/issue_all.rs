//! The orders of `pvz issue --all`.

use std::collections::BTreeMap;

use super::MAX_PAGE_SIZE;
use crate::cli::client::Client;
use crate::cli::escape::plain;
use crate::cli::failure::Failure;
use crate::cli::stderr;
use crate::proto::v1::{ListOrdersRequest, Order, OrderState};

/// Number of expired orders to name.
const MAX_NAMED: usize = 20;

/// Returns the ids of the orders that the customer can collect, and reports the expired ones.
///
/// # Errors
/// No pickup point is given, and the orders are stored at several: an issue is for one.
pub(super) async fn order_ids(
    client: &Client,
    customer_id: Option<String>,
    pickup_point_id: Option<String>,
) -> Result<Vec<String>, Failure> {
    let customer = customer_id.clone().unwrap_or_default();
    let (expired, orders): (Vec<_>, Vec<_>) =
        stored(client, customer_id, pickup_point_id).await?.into_iter().partition(|order| order.expired);
    if !expired.is_empty() {
        let names: Vec<_> = expired.iter().take(MAX_NAMED).map(|order| order.order_id.as_str()).collect();
        let more = if expired.len() > MAX_NAMED { " and others" } else { "" };
        stderr::line(plain(&format!(
            "not issued, because the storage deadline has passed: {}{more}",
            names.join(", ")
        )));
    }
    if orders.is_empty() {
        stderr::line(plain(&format!("customer {customer} has no orders to collect")));
    }
    let mut points: BTreeMap<&str, usize> = BTreeMap::new();
    for order in &orders {
        *points.entry(&order.pickup_point_id).or_default() += 1;
    }
    if points.len() > 1 {
        let points: Vec<_> = points.iter().map(|(point, count)| format!("{point} ({count})")).collect();
        return Err(Failure::usage(format!(
            "customer {customer} has orders at several pickup points: {}; choose one with --pickup-point",
            points.join(", ")
        )));
    }
    // The list begins with the most recent order; hand over the oldest first.
    Ok(orders.into_iter().rev().map(|order| order.order_id).collect())
}

/// Returns the stored orders of a customer, also those that are expired.
async fn stored(
    client: &Client,
    customer_id: Option<String>,
    pickup_point_id: Option<String>,
) -> Result<Vec<Order>, Failure> {
    let mut request = ListOrdersRequest {
        customer_id,
        pickup_point_id,
        states: vec![OrderState::Stored.into()],
        page_size: MAX_PAGE_SIZE,
        ..ListOrdersRequest::default()
    };
    let mut orders = Vec::new();
    loop {
        let page =
            client.call(request.clone(), async |mut grpc, request| grpc.list_orders(request).await).await?;
        orders.extend(page.orders);
        if page.next_page_token.is_empty() {
            return Ok(orders);
        }
        request.page_token = page.next_page_token;
    }
}
