//! The rules of the contract a second time, in another style than the product:
//! a parcel is the list of what happened to it, the states are a table, the
//! policy is written out. Where the two disagree, one of them has a bug.

use std::collections::BTreeMap;

use pvz::domain::{Accept, BatchMode, Command, Grams, ImportRow, OrderId};

use crate::support::time::{DAY, HOUR, at};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Accepted,
    Issued,
    Returned,
    Handed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    pub customer: String,
    pub point: String,
    pub until: i64,
    pub weight: Option<i64>,
    pub price: i64,
    pub surcharge: i64,
    pub packaging: Vec<String>,
    pub life: Vec<(Step, i64)>,
}

/// An order as an answer shows it: its id, itself, whether it is expired.
pub type View = (String, Parcel, bool);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No {
    pub reason: &'static str,
    /// The metadata that the contract names.
    pub facts: Vec<(&'static str, String)>,
    /// The refused orders of an ATOMIC batch.
    pub orders: Vec<(String, No)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Yes {
    Order(View),
    AlreadyThere(View),
    Each(Vec<(String, Result<View, No>)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    pub content: Vec<(&'static str, String)>,
    pub answer: Result<Yes, No>,
    pub at: i64,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub parcels: BTreeMap<String, Parcel>,
    pub memories: BTreeMap<String, Memory>,
}

/// The packaging there is: the weight that must be below, the surcharge.
const PACKAGING: [(&[&str], i64, i64); 6] = [
    (&[], i64::MAX, 0),
    (&["bag"], 10_000, 500),
    (&["box"], 30_000, 2_000),
    (&["film"], i64::MAX, 100),
    (&["bag", "film"], 10_000, 600),
    (&["box", "film"], 30_000, 2_100),
];

/// What answers an order's own state; empty: it moves on. Columns: issue,
/// accept return, return to courier.
const STATES: [[&str; 3]; 6] = [
    /* stored        */ ["", "ORDER_NOT_ISSUED", "STORAGE_NOT_EXPIRED"],
    /* expired       */ ["STORAGE_EXPIRED", "ORDER_NOT_ISSUED", ""],
    /* issued        */ ["ORDER_ALREADY_ISSUED", "", "ORDER_ALREADY_ISSUED"],
    /* window closed */ ["ORDER_ALREADY_ISSUED", "RETURN_WINDOW_CLOSED", "ORDER_ALREADY_ISSUED"],
    /* returned      */ ["ORDER_RETURNED", "ORDER_RETURNED", ""],
    /* handed over   */ ["ORDER_HANDED_TO_COURIER"; 3],
];

fn no(reason: &'static str, facts: &[(&'static str, &str)]) -> No {
    let facts = facts.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    No { reason, facts, orders: Vec::new() }
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

impl Parcel {
    fn row(&self, now: i64) -> usize {
        match self.life[self.life.len() - 1] {
            (Step::Accepted, _) => usize::from(now >= self.until),
            (Step::Issued, since) => 2 + usize::from(now >= since + 48 * HOUR),
            (Step::Returned, _) => 4,
            (Step::Handed, _) => 5,
        }
    }

    pub fn view(&self, id: &str, now: i64) -> View {
        (id.to_owned(), self.clone(), self.row(now) == 1)
    }
}

impl Model {
    /// What the service answers, and whether it is a stored answer.
    pub fn hear(&mut self, command: &Command, key: Option<&str>, now: i64) -> (Result<Yes, No>, bool) {
        let content = content(command);
        if let Some(memory) = key.and_then(|key| self.memories.get(key))
            && now - memory.at <= 7 * DAY
        {
            let differing = memory.content.iter().zip(&content).find(|(then, now)| then != now);
            return match differing {
                None => (memory.answer.clone(), true),
                Some(((field, _), _)) => (Err(no("IDEMPOTENCY_KEY_REUSED", &[("field", field)])), false),
            };
        }
        let answer = match command {
            Command::Accept(accept) => self.accept(accept, now).map(Yes::Order),
            Command::Import(ImportRow(accept)) => match self.accept(accept, now) {
                Err(no) if no.facts.contains(&("identical", "true".to_owned())) => {
                    let id = accept.order_id.as_str();
                    Ok(Yes::AlreadyThere(self.parcels[id].view(id, now)))
                }
                answer => answer.map(Yes::Order),
            },
            Command::Issue(issue) => {
                let ids: Vec<&str> = issue.order_ids.as_slice().iter().map(OrderId::as_str).collect();
                let first =
                    ids.iter().find_map(|id| self.parcels.get(*id)).map(|parcel| parcel.customer.clone());
                let whose = issue.customer_id.as_ref().map(ToString::to_string).or(first).unwrap_or_default();
                let point = text(issue.pickup_point_id.as_ref());
                self.batch(&ids, issue.mode, |model, id| model.step(0, id, Some(&whose), &point, now))
            }
            Command::AcceptReturn(back) => {
                let (whose, point) = (back.customer_id.as_str(), text(back.pickup_point_id.as_ref()));
                self.step(1, back.order_id.as_str(), Some(whose), &point, now).map(Yes::Order)
            }
            Command::ReturnToCourier(away) => {
                let ids: Vec<&str> = away.order_ids.as_slice().iter().map(OrderId::as_str).collect();
                let point = text(away.pickup_point_id.as_ref());
                self.batch(&ids, away.mode, |model, id| model.step(2, id, None, &point, now))
            }
        };
        let fleeting = ["VALIDATION_FAILED", "INVALID_PACKAGING", "WEIGHT_TOO_HEAVY"];
        if let Some(key) = key
            && !answer.as_ref().is_err_and(|no| fleeting.contains(&no.reason))
        {
            self.memories.insert(key.to_owned(), Memory { content, answer: answer.clone(), at: now });
        }
        (answer, false)
    }

    fn accept(&mut self, accept: &Accept, now: i64) -> Result<View, No> {
        let id = accept.order_id.as_str();
        let packaging = packaging(accept);
        let kind = PACKAGING.iter().find(|kind| kind.0 == packaging);
        let wish = Parcel {
            customer: accept.customer_id.to_string(),
            point: accept.pickup_point_id.as_ref().map_or_else(|| "main".to_owned(), ToString::to_string),
            until: accept.storage_until.micros(),
            weight: accept.weight.map(Grams::get),
            price: accept.price.minor(),
            surcharge: kind.map_or(0, |kind| kind.2),
            packaging,
            life: vec![(Step::Accepted, now)],
        };
        if let Some(there) = self.parcels.get(id) {
            let same = [
                ("customer_id", there.customer == wish.customer),
                ("pickup_point_id", there.point == wish.point),
                ("storage_until", there.until == wish.until),
                ("weight_grams", there.weight == wish.weight),
                ("price_minor", there.price == wish.price),
                ("packaging", there.packaging == wish.packaging),
            ];
            let fact = same
                .iter()
                .find(|(_, same)| !same)
                .map_or(("identical", "true"), |(name, _)| ("field", name));
            return Err(no("ORDER_ALREADY_EXISTS", &[("order_id", id), fact]));
        }
        let limit = kind.ok_or_else(|| no("INVALID_PACKAGING", &[]))?.1;
        match wish.weight {
            None if limit < i64::MAX => return Err(no("VALIDATION_FAILED", &[("field", "weight_grams")])),
            Some(weight) if weight >= limit => return Err(no("WEIGHT_TOO_HEAVY", &[])),
            _ if wish.until <= now || wish.until > now + 365 * DAY => {
                return Err(no("VALIDATION_FAILED", &[("field", "storage_until")]));
            }
            _ => {}
        }
        self.parcels.insert(id.to_owned(), wish);
        Ok(self.parcels[id].view(id, now))
    }

    /// Moves an order on, by the column of the table of states.
    fn step(
        &mut self,
        column: usize,
        id: &str,
        whose: Option<&str>,
        point: &str,
        now: i64,
    ) -> Result<View, No> {
        let there = self.parcels.get_mut(id).ok_or_else(|| no("ORDER_NOT_FOUND", &[("order_id", id)]))?;
        if there.point != if point.is_empty() { "main" } else { point } {
            return Err(no("WRONG_PICKUP_POINT", &[("order_id", id), ("pickup_point_id", &there.point)]));
        }
        if whose.is_some_and(|whose| whose != there.customer) {
            return Err(no("WRONG_CUSTOMER", &[("order_id", id)]));
        }
        match STATES[there.row(now)][column] {
            "" => {}
            reason @ ("STORAGE_EXPIRED" | "STORAGE_NOT_EXPIRED") => {
                let (until, now) = (at(there.until).to_string(), at(now).to_string());
                return Err(no(reason, &[("order_id", id), ("storage_until", &until), ("now", &now)]));
            }
            reason => return Err(no(reason, &[("order_id", id)])),
        }
        let last = there.life[there.life.len() - 1].1;
        there.life.push(([Step::Issued, Step::Returned, Step::Handed][column], now.max(last)));
        Ok(there.view(id, now))
    }

    fn batch(
        &mut self,
        ids: &[&str],
        mode: BatchMode,
        step: impl Fn(&mut Self, &str) -> Result<View, No>,
    ) -> Result<Yes, No> {
        let before = self.parcels.clone();
        let each: Vec<_> = ids.iter().map(|id| ((*id).to_owned(), step(self, id))).collect();
        let refused =
            each.iter().filter_map(|(id, result)| Some((id.clone(), result.as_ref().err()?.clone())));
        let refused: Vec<(String, No)> = refused.collect();
        match refused.first() {
            Some((_, first)) if mode == BatchMode::Atomic => {
                self.parcels = before;
                Err(No { orders: refused.clone(), ..first.clone() })
            }
            _ => Ok(Yes::Each(each)),
        }
    }
}

/// The packaging, the container first.
fn packaging(accept: &Accept) -> Vec<String> {
    let mut codes: Vec<String> = accept.packaging.iter().map(ToString::to_string).collect();
    codes.sort_by_key(|code| code != "bag" && code != "box");
    codes
}

/// What makes two requests the same, in message order.
fn content(command: &Command) -> Vec<(&'static str, String)> {
    let accept = |method: &str, accept: &Accept| {
        vec![
            ("method", method.to_owned()),
            ("order_id", accept.order_id.to_string()),
            ("customer_id", accept.customer_id.to_string()),
            ("storage_until", accept.storage_until.to_string()),
            ("weight_grams", text(accept.weight)),
            ("price_minor", accept.price.minor().to_string()),
            ("packaging", format!("{:?}", packaging(accept))),
            ("pickup_point_id", text(accept.pickup_point_id.as_ref())),
        ]
    };
    match command {
        Command::Accept(row) => accept("AcceptOrder", row),
        Command::Import(ImportRow(row)) => accept("ImportOrders", row),
        Command::Issue(issue) => vec![
            ("method", "IssueOrders".to_owned()),
            ("order_ids", format!("{:?}", issue.order_ids)),
            ("customer_id", text(issue.customer_id.as_ref())),
            ("pickup_point_id", text(issue.pickup_point_id.as_ref())),
            ("mode", format!("{:?}", issue.mode)),
        ],
        Command::AcceptReturn(back) => vec![
            ("method", "AcceptReturn".to_owned()),
            ("order_id", back.order_id.to_string()),
            ("customer_id", back.customer_id.to_string()),
            ("pickup_point_id", text(back.pickup_point_id.as_ref())),
        ],
        Command::ReturnToCourier(away) => vec![
            ("method", "ReturnToCourier".to_owned()),
            ("order_ids", format!("{:?}", away.order_ids)),
            ("pickup_point_id", text(away.pickup_point_id.as_ref())),
            ("mode", format!("{:?}", away.mode)),
        ],
    }
}
