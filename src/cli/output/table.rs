//! The rows of each table, and lists of fields.

use std::fmt::Write as _;

use super::text::{instant, money, number, state_name, weight};
use crate::cli::escape::plain;
use crate::proto::v1::{
    DayStatistics, DeadLetter, DeadLetterResolution, Event, EventType, Order, OrderResult, Outbox,
    PackagingKind, order_result,
};

/// A column: its title, and true if it holds numbers.
pub(in crate::cli) type Column = (&'static str, bool);

/// A value that is a row of a table.
pub(in crate::cli) trait Row {
    /// The columns.
    const COLUMNS: &'static [Column];
    /// The columns that a terminal which is too narrow does not show, by title, the least important first.
    const OMITTED: &'static [&'static str] = &[];
    /// The column whose text continues on the next line if the terminal is still too narrow.
    const WRAPPED: Option<&'static str> = None;

    /// Returns the text of each column.
    fn cells(&self) -> Vec<String>;
}

/// Returns the fields of an order, one per line.
pub(in crate::cli) fn card(order: &Order) -> String {
    // Every field is named, so a field that is added does not compile until it
    // has a line.
    let Order {
        order_id,
        customer_id,
        pickup_point_id,
        state: _,
        expired: _,
        storage_until,
        accepted_at,
        issued_at,
        returned_at,
        handed_to_courier_at,
        weight_grams,
        price_minor,
        surcharge_minor,
        total_price_minor,
        currency,
        packaging: _,
        version: _,
    } = order;
    let mut lines = vec![
        ("order", order_id.clone()),
        ("customer", customer_id.clone()),
        ("pickup point", pickup_point_id.clone()),
        ("state", state(order)),
        ("storage until", instant(storage_until.as_ref())),
        ("accepted at", instant(accepted_at.as_ref())),
    ];
    for (label, at) in
        [("issued at", issued_at), ("returned at", returned_at), ("handed over at", handed_to_courier_at)]
    {
        if at.is_some() {
            lines.push((label, instant(at.as_ref())));
        }
    }
    lines.extend([
        ("weight", weight(*weight_grams)),
        ("packaging", packaging(order)),
        ("price", money(*price_minor, currency)),
        ("surcharge", money(*surcharge_minor, currency)),
        ("total", money(*total_price_minor, currency)),
    ]);
    lines.into_iter().fold(String::new(), |mut text, (label, value)| {
        let _ = writeln!(text, "{label:<15}{}", plain(&value));
        text
    })
}

fn state(order: &Order) -> String {
    let expired = if order.expired { ", expired" } else { "" };
    format!("{}{expired}", state_name(order.state))
}

fn packaging(order: &Order) -> String {
    if order.packaging.is_empty() { "-".to_owned() } else { order.packaging.join("+") }
}

impl Row for Order {
    const COLUMNS: &'static [Column] = &[
        ("ORDER", false),
        ("CUSTOMER", false),
        ("POINT", false),
        ("STATE", false),
        ("STORAGE UNTIL", false),
        ("WEIGHT", true),
        ("TOTAL", true),
        ("PACKAGING", false),
    ];
    const OMITTED: &'static [&'static str] = &["PACKAGING", "WEIGHT", "POINT", "TOTAL", "CUSTOMER"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.order_id.clone(),
            self.customer_id.clone(),
            self.pickup_point_id.clone(),
            state(self),
            instant(self.storage_until.as_ref()),
            weight(self.weight_grams),
            money(self.total_price_minor, &self.currency),
            packaging(self),
        ]
    }
}

impl Row for OrderResult {
    const COLUMNS: &'static [Column] =
        &[("ORDER", false), ("RESULT", false), ("CUSTOMER", false), ("TOTAL", true), ("MESSAGE", false)];
    const OMITTED: &'static [&'static str] = &["TOTAL", "CUSTOMER"];
    const WRAPPED: Option<&'static str> = Some("MESSAGE");

    fn cells(&self) -> Vec<String> {
        let order = self.order_id.clone();
        match &self.outcome {
            Some(order_result::Outcome::Order(done)) => vec![
                order,
                state_name(done.state),
                done.customer_id.clone(),
                money(done.total_price_minor, &done.currency),
                String::new(),
            ],
            Some(order_result::Outcome::Refusal(refusal)) => {
                vec![order, refusal.reason.clone(), "-".to_owned(), "-".to_owned(), refusal.message.clone()]
            }
            None => vec![order, "-".to_owned(), "-".to_owned(), "-".to_owned(), String::new()],
        }
    }
}

impl Row for Event {
    const COLUMNS: &'static [Column] = &[
        ("CURSOR", true),
        ("OCCURRED AT", false),
        ("ORDER", false),
        ("SEQ", true),
        ("EVENT", false),
        ("ACTOR", false),
    ];
    const OMITTED: &'static [&'static str] = &["ACTOR", "SEQ", "CURSOR"];

    fn cells(&self) -> Vec<String> {
        let actor = self.actor.as_ref().map(|actor| format!("{}:{}", actor.kind, actor.id));
        vec![
            self.cursor.clone().unwrap_or_else(|| "-".to_owned()),
            instant(self.occurred_at.as_ref()),
            self.order.as_ref().map(|order| order.order_id.clone()).unwrap_or_default(),
            number(self.sequence),
            event_name(self.r#type),
            actor.unwrap_or_default(),
        ]
    }
}

/// Returns the name of an event type on the command line: `accepted`.
fn event_name(event_type: i32) -> String {
    let name = EventType::try_from(event_type).unwrap_or_default().as_str_name();
    name.trim_start_matches("EVENT_TYPE_ORDER_").trim_start_matches("EVENT_TYPE_").to_ascii_lowercase()
}

impl Row for PackagingKind {
    const COLUMNS: &'static [Column] =
        &[("CODE", false), ("ROLE", false), ("WEIGHT BELOW", true), ("SURCHARGE", true)];

    fn cells(&self) -> Vec<String> {
        vec![
            self.code.clone(),
            self.role.clone(),
            weight(self.weight_below_grams),
            money(self.surcharge_minor, ""),
        ]
    }
}

/// Returns the fields of the outbox, one per line.
pub(in crate::cli) fn outbox_card(outbox: &Outbox) -> String {
    let leader = match (&outbox.leader, outbox.led) {
        (Some(leader), true) => leader.clone(),
        (Some(leader), false) => format!("none (last: {leader})"),
        (None, _) => "none".to_owned(),
    };
    let mut lines = vec![
        ("sink", outbox.sink.clone()),
        ("published", format!("{} of {}", outbox.published_cursor, outbox.head_cursor)),
        ("events waiting", number(outbox.lag_events)),
        ("oldest waits", format!("{} s", number(outbox.lag_seconds))),
        ("leader", leader),
    ];
    if outbox.led_since.is_some() {
        lines.push(("leader since", instant(outbox.led_since.as_ref())));
    }
    if let Some(error) = &outbox.last_error {
        lines.push(("last error", error.clone()));
        lines.push(("failed at", instant(outbox.last_error_at.as_ref())));
    }
    if let Some(reason) = &outbox.stopped {
        lines.push(("stopped", reason.clone()));
    }
    lines.push(("dead letters", number(outbox.dead_letters)));
    lines.into_iter().fold(String::new(), |mut text, (label, value)| {
        let _ = writeln!(text, "{label:<16}{}", plain(&value));
        text
    })
}

impl Row for DeadLetter {
    const COLUMNS: &'static [Column] = &[
        ("ORDER", false),
        ("SEQ", true),
        ("CURSOR", true),
        ("REFUSED AT", false),
        ("RESOLUTION", false),
        ("CAUSE", false),
    ];
    const OMITTED: &'static [&'static str] = &["CURSOR", "REFUSED AT"];
    const WRAPPED: Option<&'static str> = Some("CAUSE");

    fn cells(&self) -> Vec<String> {
        let resolution = match self.resolution() {
            DeadLetterResolution::Unspecified => "-",
            DeadLetterResolution::Retry => "retry",
            DeadLetterResolution::Drop => "drop",
        };
        vec![
            self.order_id.clone(),
            number(self.sequence),
            self.cursor.clone(),
            instant(self.buried_at.as_ref()),
            resolution.to_owned(),
            self.cause.clone(),
        ]
    }
}

impl Row for DayStatistics {
    const COLUMNS: &'static [Column] = &[
        ("POINT", false),
        ("DAY", false),
        ("ACCEPTED", true),
        ("ISSUED", true),
        ("RETURNED", true),
        ("TO COURIER", true),
        ("ACCEPTED AMOUNT", true),
        ("ISSUED AMOUNT", true),
        ("RETURNED AMOUNT", true),
    ];
    const OMITTED: &'static [&'static str] =
        &["RETURNED AMOUNT", "ACCEPTED AMOUNT", "ISSUED AMOUNT", "TO COURIER"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.pickup_point_id.clone(),
            self.day.clone(),
            number(self.accepted),
            number(self.issued),
            number(self.returned),
            number(self.handed_to_courier),
            money(self.accepted_minor, &self.currency),
            money(self.issued_minor, &self.currency),
            money(self.returned_minor, &self.currency),
        ]
    }
}
