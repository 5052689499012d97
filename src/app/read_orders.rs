//! Reads of orders: GetOrder, ListOrders, ListReturns.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::page_token::PagePosition;
use super::{CachedOrders, PageTokens, refuse};
use crate::domain::{CustomerId, Order, OrderId, OrderView, PickupPointId, Refusal, StateName, Timestamp};
use crate::ports::{Clock, OrderFilter, OrderStore, Page};

/// The use cases that read orders.
#[derive(Clone)]
pub struct ReadOrders {
    single: CachedOrders,
    store: Arc<dyn OrderStore>,
    clock: Arc<dyn Clock>,
    tokens: PageTokens,
}

/// The requested part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageSpec {
    /// The newest n items, in one page.
    LastN(usize),
    /// A page after the token; an empty token means the first page.
    Page {
        /// The maximum number of items.
        limit: usize,
        /// The token.
        token: String,
    },
}

/// The request of [`ReadOrders::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOrders {
    /// The customer.
    pub customer_id: Option<CustomerId>,
    /// The pickup point.
    pub pickup_point_id: Option<PickupPointId>,
    /// The states; empty means any.
    pub states: BTreeSet<StateName>,
    /// Only expired orders (true) or only others (false).
    pub expired: Option<bool>,
    /// The requested part.
    pub page: PageSpec,
}

/// The request of [`ReadOrders::returns`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListReturns {
    /// The pickup point.
    pub pickup_point_id: Option<PickupPointId>,
    /// The requested part.
    pub page: PageSpec,
}

/// A page of orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPage {
    /// The orders.
    pub orders: Vec<OrderView>,
    /// The token of the next page; empty on the last page.
    pub next_page_token: String,
}

impl ReadOrders {
    /// Returns the use cases: single orders are read through a cache, lists from a store.
    pub fn new(
        single: CachedOrders,
        store: Arc<dyn OrderStore>,
        clock: Arc<dyn Clock>,
        tokens: PageTokens,
    ) -> Self {
        Self { single, store, clock, tokens }
    }

    /// Returns an order.
    ///
    /// # Errors
    /// Returns `ORDER_NOT_FOUND`, or the store's error.
    pub async fn get(&self, order_id: &OrderId) -> Result<OrderView, Refusal> {
        let order = self.single.get(order_id).await?;
        let order = order.ok_or_else(|| Refusal::order_not_found(order_id))?;
        Ok(order.at(self.clock.now()))
    }

    /// Returns a page of the matching orders, newest accepted first.
    ///
    /// # Errors
    /// Returns `VALIDATION_FAILED` for a token of another list, or the store's error.
    pub async fn list(&self, request: &ListOrders) -> Result<OrderPage, Refusal> {
        let bound = request.describe();
        let (now, page) = self.begin(&bound, &request.page)?;
        let filter = OrderFilter {
            customer_id: request.customer_id.clone(),
            pickup_point_id: request.pickup_point_id.clone(),
            states: request.states.clone(),
            expired: request.expired.map(|expired| (expired, now)),
        };
        let orders = self.store.orders(&filter, &page).await.map_err(|error| refuse(&error))?;
        Ok(self.finish(&bound, &request.page, now, orders, |order| Some(order.accepted_at)))
    }

    /// Returns a page of the orders in state RETURNED, newest returned first.
    ///
    /// # Errors
    /// See [`ReadOrders::list`].
    pub async fn returns(&self, request: &ListReturns) -> Result<OrderPage, Refusal> {
        let bound = format!("returns|{}", text(request.pickup_point_id.as_ref()));
        let (now, page) = self.begin(&bound, &request.page)?;
        let point = request.pickup_point_id.as_ref();
        let orders = self.store.returns(point, &page).await.map_err(|error| refuse(&error))?;
        Ok(self.finish(&bound, &request.page, now, orders, Order::returned_at))
    }

    /// Returns the time of the traversal and the page to request from the store: one item more than
    /// requested, to know whether there is a next page.
    fn begin(&self, bound: &str, spec: &PageSpec) -> Result<(Timestamp, Page), Refusal> {
        match spec {
            PageSpec::LastN(limit) => Ok((self.clock.now(), Page { below: None, limit: *limit })),
            PageSpec::Page { limit, token } if token.is_empty() => {
                Ok((self.clock.now(), Page { below: None, limit: limit + 1 }))
            }
            PageSpec::Page { limit, token } => {
                let position = self.tokens.decode(bound, token)?;
                Ok((position.now, Page { below: position.below(), limit: limit + 1 }))
            }
        }
    }

    fn finish(
        &self,
        bound: &str,
        spec: &PageSpec,
        now: Timestamp,
        mut orders: Vec<Order>,
        key: impl Fn(&Order) -> Option<Timestamp>,
    ) -> OrderPage {
        let mut next_page_token = String::new();
        if let PageSpec::Page { limit, .. } = spec
            && orders.len() > *limit
        {
            orders.truncate(*limit);
            if let Some(last) = orders.last() {
                let key = key(last).unwrap_or(last.accepted_at).micros();
                let position = PagePosition { now, key, order_id: last.order_id.to_string() };
                next_page_token = self.tokens.encode(bound, &position);
            }
        }
        OrderPage { orders: orders.into_iter().map(|order| order.at(now)).collect(), next_page_token }
    }
}

impl ListOrders {
    /// Formats the filter as a text for the token. Keys do not contain `|`.
    fn describe(&self) -> String {
        let mut bound = format!(
            "orders|{}|{}|{:?}",
            text(self.customer_id.as_ref()),
            text(self.pickup_point_id.as_ref()),
            self.expired
        );
        for state in &self.states {
            let _ = write!(bound, "|{state:?}");
        }
        bound
    }
}

fn text(key: Option<&impl ToString>) -> String {
    key.map(ToString::to_string).unwrap_or_default()
}
