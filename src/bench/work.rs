//! The requests and calls of each scenario, and the orders that they need.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::connection::Connection;
use super::error::BenchError;
use super::import_stream::{RowsInFlight, import_rows};
use super::plan::Scenario;
use super::progress::note;
use super::unary_client::UnaryClient;
use crate::proto::Timestamp;
use crate::proto::v1::{
    AcceptOrderRequest, AcceptOrderResponse, AcceptReturnRequest, AcceptReturnResponse, GetOrderRequest,
    IssueOrdersRequest, IssueOrdersResponse, ListOrdersRequest, ListOrdersResponse, ListReturnsRequest,
    ListReturnsResponse, Order,
};

/// Storage period of the orders.
const STORAGE_PERIOD: Duration = Duration::from_hours(30 * 24);
/// Page size of the lists.
const PAGE_SIZE: i32 = 50;
/// Returns to make before the scenario `returns`.
const PREPARED_RETURNS: u64 = 1_000;
/// Rows in flight while orders are imported beforehand.
const IMPORT_WINDOW: usize = 1_024;
/// Batches in flight while returns are made beforehand.
const RETURN_WINDOW: usize = 64;

/// The path of a method of the service.
macro_rules! method {
    ($name:literal) => {
        concat!("/pvz.v1.OrderService/", $name)
    };
}

/// Makes the calls of a run. Order ids and customer ids begin with a prefix
/// that no other run has; every `batch` consecutive orders belong to one
/// customer.
#[derive(Debug)]
pub(super) struct Work {
    scenario: Scenario,
    batch: u64,
    run_id: String,
    prefix: String,
    storage_until: Timestamp,
    /// Orders that were imported beforehand.
    prepared: AtomicU64,
    /// Number of the next order to accept.
    next_new: AtomicU64,
    /// Number of the next order to issue.
    next_unissued: AtomicU64,
    /// Orders that were issued and can be returned.
    issued: Mutex<VecDeque<u64>>,
    /// Send times of accepts, if a task waits for their events.
    send_times: Option<SendTimes>,
}

/// The send time of each accept, by order id.
pub(super) type SendTimes = Arc<Mutex<HashMap<String, Instant>>>;

/// The number of orders in a call that succeeded.
type CallResult = Result<u64, Status>;

impl Work {
    pub(super) fn new(scenario: Scenario, batch: u64) -> Self {
        let run_id = random_id();
        Self {
            scenario,
            batch,
            prefix: format!("bench-{run_id}-"),
            run_id,
            storage_until: storage_deadline(),
            prepared: AtomicU64::new(0),
            next_new: AtomicU64::new(0),
            next_unissued: AtomicU64::new(0),
            issued: Mutex::default(),
            send_times: None,
        }
    }

    /// Also records the send time of each accept.
    pub(super) fn recording(self, send_times: SendTimes) -> Self {
        Self { send_times: Some(send_times), ..self }
    }

    /// Returns the number of orders sent so far.
    pub(super) fn accepted(&self) -> u64 {
        self.next_new.load(Ordering::Relaxed)
    }

    /// Returns the random part of the prefix.
    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Returns the prefix of every id in this run.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns a request for a new order.
    fn next_accept(&self) -> AcceptOrderRequest {
        let number = self.next_new.fetch_add(1, Ordering::Relaxed);
        let order_id = self.order_id(number);
        AcceptOrderRequest {
            request_id: Some(order_id.clone()),
            order_id,
            customer_id: self.customer_id(number),
            storage_until: Some(self.storage_until),
            weight_grams: Some(1_500),
            price_minor: Some(19_990),
            packaging: vec!["box".to_owned(), "film".to_owned()],
            pickup_point_id: None,
        }
    }

    /// Returns a row of an import for a new order. It has no `request_id`: a row
    /// that is sent twice changes nothing.
    pub(super) fn next_row(&self) -> AcceptOrderRequest {
        AcceptOrderRequest { request_id: None, ..self.next_accept() }
    }

    /// Imports the orders that the scenario needs. Returns false if it was
    /// stopped before the end.
    pub(super) async fn prepare(
        &self,
        connection: &Connection,
        orders: u64,
        stop: &CancellationToken,
    ) -> Result<bool, BenchError> {
        if orders == 0 {
            return Ok(true);
        }
        // Whole batches, so that each belongs to one customer.
        let orders = orders.div_ceil(self.batch) * self.batch;
        note(format_args!("preparing: importing {orders} orders"));
        let in_flight = RowsInFlight::new(IMPORT_WINDOW);
        let mut left = orders;
        let next_row = || {
            left = left.checked_sub(1)?;
            (!stop.is_cancelled()).then(|| self.next_row())
        };
        import_rows(connection, &in_flight, next_row, |_, refusal| match refusal {
            None => Ok(()),
            Some(refusal) => Err(BenchError::Refused(Box::new(refusal))),
        })
        .await?;
        self.prepared.store(orders, Ordering::Relaxed);
        if self.scenario == Scenario::Returns {
            let client = UnaryClient::connect(connection.target()).await?;
            let batches = 0..PREPARED_RETURNS.min(orders).div_ceil(self.batch);
            let returned = futures::stream::iter(batches).map(|_| self.issue_and_return(&client));
            returned.buffer_unordered(RETURN_WINDOW).try_collect::<()>().await?;
        }
        Ok(!stop.is_cancelled())
    }

    /// Issues a batch to its customer and takes all of it back.
    async fn issue_and_return(&self, client: &UnaryClient) -> Result<(), BenchError> {
        let failed = |status| BenchError::call(client.server(), status);
        let Some(issued) = self.issue(client, self.batch).await.transpose().map_err(failed)? else {
            return Ok(());
        };
        for _ in 0..issued {
            self.return_one(client).await.transpose().map_err(failed)?;
        }
        Ok(())
    }

    /// Makes call `number` of the scenario. Returns `None` if no prepared order
    /// is left for it.
    pub(super) async fn call(&self, client: &UnaryClient, number: u64) -> Option<CallResult> {
        match self.scenario {
            Scenario::Accept | Scenario::Import => Some(self.accept_one(client).await),
            Scenario::Issue => self.issue(client, self.batch).await,
            Scenario::Get => Some(self.get(client, number).await),
            Scenario::List => Some(self.list(client, number).await),
            Scenario::Returns => Some(list_returns(client).await),
            Scenario::MixedDay => self.mixed(client, number).await,
        }
    }

    /// Makes a call of the mixed day. Of twenty calls eight accept an order,
    /// five issue one, one takes one back and six read.
    async fn mixed(&self, client: &UnaryClient, number: u64) -> Option<CallResult> {
        match number % 20 {
            0 | 3 | 5 | 8 | 10 | 13 | 15 | 18 => Some(self.accept_one(client).await),
            1 | 6 | 11 | 16 | 19 => self.issue(client, 1).await,
            2 | 7 | 12 => Some(self.get(client, number).await),
            4 | 9 => Some(self.list(client, number).await),
            14 => match self.return_one(client).await {
                None => Some(self.get(client, number).await),
                result => result,
            },
            _ => Some(list_returns(client).await),
        }
    }

    async fn accept_one(&self, client: &UnaryClient) -> CallResult {
        let request = self.next_accept();
        if let Some(send_times) = &self.send_times {
            let mut send_times = send_times.lock().unwrap_or_else(PoisonError::into_inner);
            send_times.insert(request.order_id.clone(), Instant::now());
        }
        client.call::<AcceptOrderResponse>(method!("AcceptOrder"), &request).await.map(|_| 1)
    }

    async fn issue(&self, client: &UnaryClient, batch: u64) -> Option<CallResult> {
        let first = self.next_unissued.fetch_add(batch, Ordering::Relaxed);
        if first + batch > self.prepared.load(Ordering::Relaxed) {
            return None;
        }
        let request = IssueOrdersRequest {
            order_ids: (first..first + batch).map(|number| self.order_id(number)).collect(),
            customer_id: Some(self.customer_id(first)),
            request_id: Some(format!("{}i{first}", self.prefix)),
            ..IssueOrdersRequest::default()
        };
        let result = client.call::<IssueOrdersResponse>(method!("IssueOrders"), &request).await;
        if result.is_ok() && matches!(self.scenario, Scenario::MixedDay | Scenario::Returns) {
            let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
            issued.extend(first..first + batch);
        }
        Some(result.map(|_| batch))
    }

    async fn return_one(&self, client: &UnaryClient) -> Option<CallResult> {
        let number = self.issued.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        let request = AcceptReturnRequest {
            order_id: self.order_id(number),
            customer_id: self.customer_id(number),
            pickup_point_id: None,
            request_id: Some(format!("{}r{number}", self.prefix)),
        };
        Some(client.call::<AcceptReturnResponse>(method!("AcceptReturn"), &request).await.map(|_| 1))
    }

    async fn get(&self, client: &UnaryClient, number: u64) -> CallResult {
        let request = GetOrderRequest { order_id: self.order_id(self.scattered(number)) };
        client.call::<Order>(method!("GetOrder"), &request).await.map(|_| 1)
    }

    async fn list(&self, client: &UnaryClient, number: u64) -> CallResult {
        let customer_id = Some(self.customer_id(self.scattered(number)));
        let request = ListOrdersRequest { customer_id, page_size: PAGE_SIZE, ..ListOrdersRequest::default() };
        let page: ListOrdersResponse = client.call(method!("ListOrders"), &request).await?;
        Ok(page.orders.len() as u64)
    }

    /// Returns a prepared order, spread over all of them so that consecutive
    /// calls do not read neighbouring rows.
    fn scattered(&self, number: u64) -> u64 {
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % self.prepared.load(Ordering::Relaxed).max(1)
    }

    fn order_id(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    fn customer_id(&self, number: u64) -> String {
        format!("{}c{}", self.prefix, number / self.batch)
    }
}

async fn list_returns(client: &UnaryClient) -> CallResult {
    let request = ListReturnsRequest { page_size: PAGE_SIZE, ..ListReturnsRequest::default() };
    let page: ListReturnsResponse = client.call(method!("ListReturns"), &request).await?;
    Ok(page.orders.len() as u64)
}

/// Returns the storage deadline of every order of the run.
#[expect(
    clippy::disallowed_methods,
    reason = "the load generator is a client: no rule depends on this clock"
)]
fn storage_deadline() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: i64::try_from((now + STORAGE_PERIOD).as_secs()).unwrap_or(i64::MAX), nanos: 0 }
}

/// Returns eight random hexadecimal digits.
#[expect(clippy::disallowed_methods, reason = "the load generator is a client: no rule depends on this id")]
fn random_id() -> String {
    let id = uuid::Uuid::new_v4().to_string();
    id.split('-').next().unwrap_or(&id).to_owned()
}
