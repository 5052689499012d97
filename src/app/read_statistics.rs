//! The use case that reads the statistics of a consumer.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::counted_events::{CountedEvents, counted_events};
use super::page_token::PagePosition;
use super::{PageTokens, refuse};
use crate::domain::{Day, DayStatistics, PickupPointId, Refusal};
use crate::ports::{Clock, EventLog, EventSink, Inbox, PortError, StatisticsFilter, StatisticsPage};

/// Returns the inbox of the consumer, and opens it if necessary.
pub type OpenInbox = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Inbox>, PortError>> + Send + Sync>;

/// The use case that reads statistics.
#[derive(Clone)]
pub struct ReadStatistics(Arc<Shared>);

struct Shared {
    open: OpenInbox,
    log: Arc<dyn EventLog>,
    /// The sink, which is the source of the consumer.
    sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    tokens: PageTokens,
}

/// A page of statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticsFound {
    /// The statistics, one item per pickup point, day and currency.
    pub days: Vec<DayStatistics>,
    /// The token of the next page; empty if this is the last one.
    pub next_page_token: String,
    /// The number of events that were put aside because of a conflict, over all pickup points.
    pub conflicts: u64,
    /// The position up to which the events of the log are counted; `None` if no consumer reads them.
    pub counted: Option<CountedEvents>,
}

impl ReadStatistics {
    /// Creates the use case over the inbox that `open` returns, and the log whose events are published
    /// to `sink`.
    pub fn new(
        open: OpenInbox,
        log: Arc<dyn EventLog>,
        sink: Arc<dyn EventSink>,
        clock: Arc<dyn Clock>,
        tokens: PageTokens,
    ) -> Self {
        Self(Arc::new(Shared { open, log, sink, clock, tokens }))
    }

    /// Returns a page of the statistics that match a filter: pickup points
    /// ascending, the newest day of each first.
    ///
    /// # Errors
    /// Returns `VALIDATION_FAILED` for a page token of another list, and the
    /// failures of the inbox.
    pub async fn page(
        &self,
        filter: &StatisticsFilter,
        limit: usize,
        token: &str,
    ) -> Result<StatisticsFound, Refusal> {
        let bound = describe(filter);
        let after = if token.is_empty() { None } else { Some(self.position(&bound, token)?) };
        let inbox = (self.0.open)().await.map_err(|error| refuse(&error))?;
        // First: what is counted later is in the page as well.
        let counted = counted_events(&*self.0.log, &*inbox, self.0.sink.name(), &*self.0.clock);
        let counted = counted.await.map_err(|error| refuse(&error))?;
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
        let conflicts = inbox.conflicts(0).await.map_err(|error| refuse(&error))?.events;
        Ok(StatisticsFound { days, next_page_token, conflicts, counted })
    }

    /// Decodes a page token to the key of the last item of the previous page.
    fn position(&self, bound: &str, token: &str) -> Result<(PickupPointId, Day, String), Refusal> {
        let position = self.0.tokens.decode(bound, token)?;
        let parse = || {
            let (point, currency) = position.order_id.split_once('|')?;
            let point = PickupPointId::parse(point).ok()?;
            Some((point, Day(i32::try_from(position.key).ok()?), currency.to_owned()))
        };
        // The token is authentic, so only another release can have sealed a
        // position that does not parse.
        parse().ok_or_else(|| Refusal::invalid("page_token", "is not one that this list gave out"))
    }
}

/// Returns a text that differs for each filter: a page token is bound to it.
fn describe(filter: &StatisticsFilter) -> String {
    let point = filter.pickup_point_id.as_ref().map(ToString::to_string).unwrap_or_default();
    let day = |day: Option<Day>| day.map(|day| day.0.to_string()).unwrap_or_default();
    format!("statistics|{point}|{}|{}", day(filter.first_day), day(filter.last_day))
}
