//! The calls of each scenario, and the orders that they need.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::import::{Rows, stream};
use super::line::BenchClient;
use crate::cli::client::{Client, Failure, fresh_request_id};
use crate::proto::Timestamp;
use crate::proto::v1::{
    AcceptOrderRequest, AcceptOrderResponse, AcceptReturnRequest, AcceptReturnResponse, GetOrderRequest,
    IssueOrdersRequest, IssueOrdersResponse, ListOrdersRequest, ListOrdersResponse, ListReturnsRequest,
    ListReturnsResponse, Order,
};

/// How long the orders are stored.
const STORAGE: Duration = Duration::from_hours(30 * 24);
/// How long a page is.
const PAGE: i32 = 50;
/// How many returns there are to list.
const RETURNS: u64 = 1_000;
/// Rows on their way while orders are imported beforehand.
const WINDOW: usize = 1_024;
/// Calls at once while returns are made beforehand.
const AT_ONCE: usize = 64;

/// The path of a method of the service.
macro_rules! method {
    ($name:literal) => {
        concat!("/pvz.v1.OrderService/", $name)
    };
}

/// What is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    Accept,
    Issue,
    Get,
    List,
    Returns,
    Import,
    MixedDay,
}

impl Scenario {
    pub(super) const NAMES: [(&'static str, Self); 7] = [
        ("accept", Self::Accept),
        ("issue", Self::Issue),
        ("get", Self::Get),
        ("list", Self::List),
        ("returns", Self::Returns),
        ("import", Self::Import),
        ("mixed-day", Self::MixedDay),
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, scenario)| *scenario)
    }

    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, scenario)| *scenario == self).map_or("", |(name, _)| name)
    }

    /// Whether orders must be there before it begins.
    pub(super) fn needs_orders(self) -> bool {
        !matches!(self, Self::Accept | Self::Import)
    }
}

/// Makes calls. Order n of a run and its customer have names that no other run
/// has; every `batch` orders in a row are one customer's.
#[derive(Debug)]
pub(super) struct Work {
    scenario: Scenario,
    batch: u64,
    prefix: String,
    storage_until: Timestamp,
    /// How many orders were imported beforehand.
    prepared: AtomicU64,
    /// The number of the next order that is accepted.
    fresh: AtomicU64,
    /// The number of the next order that is issued.
    unissued: AtomicU64,
    /// Orders that customers have, to be brought back.
    issued: Mutex<VecDeque<u64>>,
    /// When each order's accept was sent, for whoever waits for its event.
    sent: Option<Sent>,
}

/// When accepts were sent, by order.
pub(super) type Sent = Arc<Mutex<HashMap<String, Instant>>>;

/// What a call came to: how many orders it was about.
type Answer = Result<u64, Status>;

impl Work {
    pub(super) fn new(scenario: Scenario, batch: u64) -> Self {
        let id = fresh_request_id();
        let run = id.split('-').next().unwrap_or(&id);
        Self {
            scenario,
            batch,
            prefix: format!("bench-{run}-"),
            storage_until: deadline(),
            prepared: AtomicU64::new(0),
            fresh: AtomicU64::new(0),
            unissued: AtomicU64::new(0),
            issued: Mutex::default(),
            sent: None,
        }
    }

    /// The same, and it notes there when it sends an accept.
    pub(super) fn noting(self, sent: Sent) -> Self {
        Self { sent: Some(sent), ..self }
    }

    /// Where it notes when it sends an accept.
    pub(super) fn sent(&self) -> Option<&Sent> {
        self.sent.as_ref()
    }

    /// How many orders it has made, if all were accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.fresh.load(Ordering::Relaxed)
    }

    /// What the ids of this run begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The next order that nobody accepted yet.
    pub(super) fn accept(&self) -> AcceptOrderRequest {
        let number = self.fresh.fetch_add(1, Ordering::Relaxed);
        let order_id = self.order(number);
        AcceptOrderRequest {
            request_id: Some(order_id.clone()),
            order_id,
            customer_id: self.customer(number),
            storage_until: Some(self.storage_until),
            weight_grams: Some(1_500),
            price_minor: Some(19_990),
            packaging: vec!["box".to_owned(), "film".to_owned()],
            pickup_point_id: None,
        }
    }

    /// The same as a row of a file, which has no `request_id`: to send it again
    /// is harmless anyway.
    pub(super) fn row(&self) -> AcceptOrderRequest {
        AcceptOrderRequest { request_id: None, ..self.accept() }
    }

    /// Imports the orders that the scenario needs. Whether it got to the end.
    pub(super) async fn prepare(
        &self,
        client: &Client,
        orders: u64,
        stop: &CancellationToken,
    ) -> Result<bool, Failure> {
        if orders == 0 {
            return Ok(true);
        }
        // Whole batches, so that each is one customer's.
        let orders = orders.div_ceil(self.batch) * self.batch;
        anstream::eprintln!("importing {orders} orders first");
        let rows = Rows::new(WINDOW);
        let mut left = orders;
        let more = || {
            left = left.checked_sub(1)?;
            (!stop.is_cancelled()).then(|| self.row())
        };
        stream(client, &rows, more, |_, answer| match answer {
            None => Ok(()),
            Some(refusal) => Err(Failure::of(refusal)),
        })
        .await?;
        self.prepared.store(orders, Ordering::Relaxed);
        if self.scenario == Scenario::Returns {
            let line = BenchClient::connect(client).await?;
            let calls = 0..RETURNS.min(orders).div_ceil(self.batch);
            let returned = futures::stream::iter(calls).map(|_| self.come_and_go(&line));
            returned.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        Ok(!stop.is_cancelled())
    }

    /// A customer collects a batch and brings all of it back.
    async fn come_and_go(&self, line: &BenchClient) -> Result<(), Failure> {
        let failed = |status| Failure::from_status(&line.server, &status);
        let Some(issued) = self.issue(line, self.batch).await.transpose().map_err(failed)? else {
            return Ok(());
        };
        for _ in 0..issued {
            self.bring_back(line).await.transpose().map_err(failed)?;
        }
        Ok(())
    }

    /// Makes the call of that number; `None` when no order is left for it.
    pub(super) async fn call(&self, line: &BenchClient, number: u64) -> Option<Answer> {
        match self.scenario {
            Scenario::Accept | Scenario::Import => Some(self.accept_one(line).await),
            Scenario::Issue => self.issue(line, self.batch).await,
            Scenario::Get => Some(self.get(line, number).await),
            Scenario::List => Some(self.list(line, number).await),
            Scenario::Returns => Some(returns(line).await),
            Scenario::MixedDay => self.mixed(line, number).await,
        }
    }

    /// Of twenty calls of a day eight accept, five issue one order, one brings
    /// one back, and six only look.
    async fn mixed(&self, line: &BenchClient, number: u64) -> Option<Answer> {
        match number % 20 {
            0 | 3 | 5 | 8 | 10 | 13 | 15 | 18 => Some(self.accept_one(line).await),
            1 | 6 | 11 | 16 | 19 => self.issue(line, 1).await,
            2 | 7 | 12 => Some(self.get(line, number).await),
            4 | 9 => Some(self.list(line, number).await),
            14 => match self.bring_back(line).await {
                None => Some(self.get(line, number).await),
                answer => answer,
            },
            _ => Some(returns(line).await),
        }
    }

    async fn accept_one(&self, line: &BenchClient) -> Answer {
        let request = self.accept();
        if let Some(sent) = &self.sent {
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.insert(request.order_id.clone(), Instant::now());
        }
        line.call::<AcceptOrderResponse>(method!("AcceptOrder"), &request).await.map(|_| 1)
    }

    async fn issue(&self, line: &BenchClient, batch: u64) -> Option<Answer> {
        let first = self.unissued.fetch_add(batch, Ordering::Relaxed);
        if first + batch > self.prepared.load(Ordering::Relaxed) {
            return None;
        }
        let request = IssueOrdersRequest {
            order_ids: (first..first + batch).map(|number| self.order(number)).collect(),
            customer_id: Some(self.customer(first)),
            request_id: Some(format!("{}i{first}", self.prefix)),
            ..IssueOrdersRequest::default()
        };
        let answer = line.call::<IssueOrdersResponse>(method!("IssueOrders"), &request).await;
        if answer.is_ok() && matches!(self.scenario, Scenario::MixedDay | Scenario::Returns) {
            let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
            issued.extend(first..first + batch);
        }
        Some(answer.map(|_| batch))
    }

    async fn bring_back(&self, line: &BenchClient) -> Option<Answer> {
        let number = self.issued.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        let request = AcceptReturnRequest {
            order_id: self.order(number),
            customer_id: self.customer(number),
            pickup_point_id: None,
            request_id: Some(format!("{}r{number}", self.prefix)),
        };
        Some(line.call::<AcceptReturnResponse>(method!("AcceptReturn"), &request).await.map(|_| 1))
    }

    async fn get(&self, line: &BenchClient, number: u64) -> Answer {
        let request = GetOrderRequest { order_id: self.order(self.somewhere(number)) };
        line.call::<Order>(method!("GetOrder"), &request).await.map(|_| 1)
    }

    async fn list(&self, line: &BenchClient, number: u64) -> Answer {
        let customer_id = Some(self.customer(self.somewhere(number)));
        let request = ListOrdersRequest { customer_id, page_size: PAGE, ..ListOrdersRequest::default() };
        let page: ListOrdersResponse = line.call(method!("ListOrders"), &request).await?;
        Ok(page.orders.len() as u64)
    }

    /// A prepared order, all over the place and not one after the other.
    fn somewhere(&self, number: u64) -> u64 {
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % self.prepared.load(Ordering::Relaxed).max(1)
    }

    fn order(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    fn customer(&self, number: u64) -> String {
        format!("{}c{}", self.prefix, number / self.batch)
    }
}

async fn returns(line: &BenchClient) -> Answer {
    let request = ListReturnsRequest { page_size: PAGE, ..ListReturnsRequest::default() };
    let page: ListReturnsResponse = line.call(method!("ListReturns"), &request).await?;
    Ok(page.orders.len() as u64)
}

/// When storage ends.
#[expect(clippy::disallowed_methods, reason = "the load is not the application: nothing is decided here")]
fn deadline() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: i64::try_from((now + STORAGE).as_secs()).unwrap_or(i64::MAX), nanos: 0 }
}
