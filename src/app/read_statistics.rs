//! Reads of daily statistics.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::OnceCell;

use super::page_token::PagePosition;
use super::{PageTokens, refuse};
use crate::domain::{Day, DayStatistics, PickupPointId, Refusal};
use crate::ports::{Clock, Inbox, PortError, StatisticsFilter, StatisticsPage};

/// Opens the inbox of the consumer; `None` as long as no consumer has run.
pub type OpenInbox =
    Box<dyn Fn() -> BoxFuture<'static, Result<Option<Arc<dyn Inbox>>, PortError>> + Send + Sync>;

/// The use case that reads statistics.
#[derive(Clone)]
pub struct ReadStatistics(Arc<Shared>);

struct Shared {
    open: OpenInbox,
    inbox: OnceCell<Arc<dyn Inbox>>,
    clock: Arc<dyn Clock>,
    tokens: PageTokens,
}

/// A page of statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticsFound {
    /// The days.
    pub days: Vec<DayStatistics>,
    /// The token of the next page; empty on the last page.
    pub next_page_token: String,
}

impl ReadStatistics {
    /// Returns the use case over an inbox that is opened on first use.
    pub fn new(open: OpenInbox, clock: Arc<dyn Clock>, tokens: PageTokens) -> Self {
        Self(Arc::new(Shared { open, inbox: OnceCell::new(), clock, tokens }))
    }

    /// Returns a page of the matching days: by pickup point, newest day first.
    ///
    /// # Errors
    /// Returns `VALIDATION_FAILED` for a token of another list, or the store's error.
    pub async fn page(
        &self,
        filter: &StatisticsFilter,
        limit: usize,
        token: &str,
    ) -> Result<StatisticsFound, Refusal> {
        let bound = describe(filter);
        let after = if token.is_empty() { None } else { Some(self.position(&bound, token)?) };
        let Some(inbox) = self.inbox().await.map_err(|error| refuse(&error))? else {
            return Ok(StatisticsFound { days: Vec::new(), next_page_token: String::new() });
        };
        let page = StatisticsPage { after, limit: limit + 1 };
        let mut days = inbox.statistics(filter, &page).await.map_err(|error| refuse(&error))?;
        let mut next_page_token = String::new();
        if days.len() > limit {
            days.truncate(limit);
            if let Some(last) = days.last() {
                let order_id = format!("{}|{}", last.pickup_point_id, last.currency);
                let position = PagePosition { now: self.0.clock.now(), key: last.day.0.into(), order_id };
                next_page_token = self.0.tokens.encode(&bound, &position);
            }
        }
        Ok(StatisticsFound { days, next_page_token })
    }

    /// Returns the inbox; `None` until a consumer has run.
    async fn inbox(&self) -> Result<Option<&Arc<dyn Inbox>>, PortError> {
        if let Some(inbox) = self.0.inbox.get() {
            return Ok(Some(inbox));
        }
        let Some(opened) = (self.0.open)().await? else { return Ok(None) };
        Ok(Some(self.0.inbox.get_or_init(|| std::future::ready(opened)).await))
    }

    fn position(&self, bound: &str, token: &str) -> Result<(PickupPointId, Day, String), Refusal> {
        let position = self.0.tokens.decode(bound, token)?;
        let parse = || {
            let (point, currency) = position.order_id.split_once('|')?;
            let point = PickupPointId::parse(point).ok()?;
            Some((point, Day(i32::try_from(position.key).ok()?), currency.to_owned()))
        };
        // A token of this release can be parsed; one of another release may not be.
        parse().ok_or_else(|| Refusal::invalid("page_token", "was not issued for this list"))
    }
}

fn describe(filter: &StatisticsFilter) -> String {
    let point = filter.pickup_point_id.as_ref().map(ToString::to_string).unwrap_or_default();
    let day = |day: Option<Day>| day.map(|day| day.0.to_string()).unwrap_or_default();
    format!("statistics|{point}|{}|{}", day(filter.first_day), day(filter.last_day))
}
