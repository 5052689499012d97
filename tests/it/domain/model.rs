//! A simple model of the rules, independent of the implementation: an order is the list of its
//! transitions, the states are a table, the policy is constants. A difference from the service is a bug
//! in one of the two.

use std::collections::BTreeMap;

use pvz::domain::{Accept, BatchMode, Command, Grams, ImportRow, OrderId, PackagingCode};

use crate::support::time::{DAY, HOUR, at};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    Accepted,
    Issued,
    Returned,
    HandedToCourier,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOrder {
    pub customer: String,
    pub point: String,
    pub storage_until: i64,
    pub weight: Option<i64>,
    pub price: i64,
    pub surcharge: i64,
    pub packaging: Vec<String>,
    pub history: Vec<(Transition, i64)>,
}

/// An order in an answer: its id, the order, and whether it is expired.
pub type ModelView = (String, ModelOrder, bool);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRefusal {
    pub reason: &'static str,
    /// The metadata entries that the documentation of the reason names.
    pub metadata: Vec<(&'static str, String)>,
    /// The refused orders of an ATOMIC batch.
    pub refused_orders: Vec<(String, ModelRefusal)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelAnswer {
    Order(ModelView),
    AlreadyExisted(ModelView),
    Results(Vec<(String, Result<ModelView, ModelRefusal>)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRecord {
    pub content: Vec<(&'static str, String)>,
    pub answer: Result<ModelAnswer, ModelRefusal>,
    pub created_at: i64,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub orders: BTreeMap<String, ModelOrder>,
    pub records: BTreeMap<String, ModelRecord>,
}

/// Every valid packaging, its exclusive weight limit, and its surcharge.
const PACKAGING: [(&[&str], i64, i64); 6] = [
    (&[], i64::MAX, 0),
    (&["bag"], 10_000, 500),
    (&["box"], 30_000, 2_000),
    (&["film"], i64::MAX, 100),
    (&["bag", "film"], 10_000, 600),
    (&["box", "film"], 30_000, 2_100),
];

/// The refusals by state and command; empty if the command is allowed. Columns: issue, accept return,
/// return to courier.
const REFUSALS: [[&str; 3]; 6] = [
    /* stored        */ ["", "ORDER_NOT_ISSUED", "STORAGE_NOT_EXPIRED"],
    /* expired       */ ["STORAGE_EXPIRED", "ORDER_NOT_ISSUED", ""],
    /* issued        */ ["ORDER_ALREADY_ISSUED", "", "ORDER_ALREADY_ISSUED"],
    /* window closed */ ["ORDER_ALREADY_ISSUED", "RETURN_WINDOW_CLOSED", "ORDER_ALREADY_ISSUED"],
    /* returned      */ ["ORDER_RETURNED", "ORDER_RETURNED", ""],
    /* handed over   */ ["ORDER_HANDED_TO_COURIER"; 3],
];

fn refusal(reason: &'static str, metadata: &[(&'static str, &str)]) -> ModelRefusal {
    let metadata = metadata.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    ModelRefusal { reason, metadata, refused_orders: Vec::new() }
}

fn optional_text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

impl ModelOrder {
    /// Returns the row of the order in [`REFUSALS`].
    fn state(&self, now: i64) -> usize {
        match self.history[self.history.len() - 1] {
            (Transition::Accepted, _) => usize::from(now >= self.storage_until),
            (Transition::Issued, since) => 2 + usize::from(now >= since + 48 * HOUR),
            (Transition::Returned, _) => 4,
            (Transition::HandedToCourier, _) => 5,
        }
    }

    pub fn view(&self, id: &str, now: i64) -> ModelView {
        (id.to_owned(), self.clone(), self.state(now) == 1)
    }
}

impl Model {
    /// Executes a command. Returns the expected answer, and whether it is a replayed one.
    pub fn execute(
        &mut self,
        command: &Command,
        key: Option<&str>,
        now: i64,
    ) -> (Result<ModelAnswer, ModelRefusal>, bool) {
        let content = content(command);
        if let Some(record) = key.and_then(|key| self.records.get(key))
            && now - record.created_at <= 7 * DAY
        {
            let differing = record.content.iter().zip(&content).find(|(then, now)| then != now);
            return match differing {
                None => (record.answer.clone(), true),
                Some(((field, _), _)) => (Err(refusal("IDEMPOTENCY_KEY_REUSED", &[("field", field)])), false),
            };
        }
        let answer = match command {
            Command::Accept(accept) => self.accept(accept, now).map(ModelAnswer::Order),
            Command::Import(ImportRow(accept)) => match self.accept(accept, now) {
                Err(refusal) if refusal.metadata.contains(&("identical", "true".to_owned())) => {
                    let id = accept.order_id.as_str();
                    Ok(ModelAnswer::AlreadyExisted(self.orders[id].view(id, now)))
                }
                answer => answer.map(ModelAnswer::Order),
            },
            Command::Issue(issue) => {
                let ids: Vec<&str> = issue.order_ids.as_slice().iter().map(OrderId::as_str).collect();
                let first =
                    ids.iter().find_map(|id| self.orders.get(*id)).map(|order| order.customer.clone());
                let customer_id =
                    issue.customer_id.as_ref().map(ToString::to_string).or(first).unwrap_or_default();
                let point = optional_text(issue.pickup_point_id.as_ref());
                self.batch(&ids, issue.mode, |model, id| {
                    model.transition(0, id, Some(&customer_id), &point, now)
                })
            }
            Command::AcceptReturn(accept_return) => {
                let point = optional_text(accept_return.pickup_point_id.as_ref());
                let (id, customer_id) = (&accept_return.order_id, &accept_return.customer_id);
                let view = self.transition(1, id.as_str(), Some(customer_id.as_str()), &point, now);
                view.map(ModelAnswer::Order)
            }
            Command::ReturnToCourier(return_to_courier) => {
                let ids: Vec<&str> =
                    return_to_courier.order_ids.as_slice().iter().map(OrderId::as_str).collect();
                let point = optional_text(return_to_courier.pickup_point_id.as_ref());
                self.batch(&ids, return_to_courier.mode, |model, id| {
                    model.transition(2, id, None, &point, now)
                })
            }
        };
        let not_recorded = ["VALIDATION_FAILED", "INVALID_PACKAGING", "WEIGHT_TOO_HEAVY"];
        if let Some(key) = key
            && !answer.as_ref().is_err_and(|refusal| not_recorded.contains(&refusal.reason))
        {
            self.records
                .insert(key.to_owned(), ModelRecord { content, answer: answer.clone(), created_at: now });
        }
        (answer, false)
    }

    fn accept(&mut self, accept: &Accept, now: i64) -> Result<ModelView, ModelRefusal> {
        // Every field is named, so a field that is added does not compile until the model knows its
        // rules.
        let Accept { order_id, customer_id, storage_until, weight, price, packaging, pickup_point_id } =
            accept;
        let id = order_id.as_str();
        let packaging = container_first(packaging);
        let rule = PACKAGING.iter().find(|rule| rule.0 == packaging);
        let new = ModelOrder {
            customer: customer_id.to_string(),
            point: pickup_point_id.as_ref().map_or_else(|| "main".to_owned(), ToString::to_string),
            storage_until: storage_until.micros(),
            weight: weight.map(Grams::get),
            price: price.minor(),
            surcharge: rule.map_or(0, |rule| rule.2),
            packaging,
            history: vec![(Transition::Accepted, now)],
        };
        if let Some(stored) = self.orders.get(id) {
            let same = [
                ("customer_id", stored.customer == new.customer),
                ("pickup_point_id", stored.point == new.point),
                ("storage_until", stored.storage_until == new.storage_until),
                ("weight_grams", stored.weight == new.weight),
                ("price_minor", stored.price == new.price),
                ("packaging", stored.packaging == new.packaging),
            ];
            let entry = same
                .iter()
                .find(|(_, same)| !same)
                .map_or(("identical", "true"), |(name, _)| ("field", name));
            return Err(refusal("ORDER_ALREADY_EXISTS", &[("order_id", id), entry]));
        }
        let limit = rule.ok_or_else(|| refusal("INVALID_PACKAGING", &[]))?.1;
        match new.weight {
            None if limit < i64::MAX => {
                return Err(refusal("VALIDATION_FAILED", &[("field", "weight_grams")]));
            }
            Some(weight) if weight >= limit => return Err(refusal("WEIGHT_TOO_HEAVY", &[])),
            _ if new.storage_until <= now || new.storage_until > now + 365 * DAY => {
                return Err(refusal("VALIDATION_FAILED", &[("field", "storage_until")]));
            }
            _ => {}
        }
        self.orders.insert(id.to_owned(), new);
        Ok(self.orders[id].view(id, now))
    }

    /// Applies the command of a column of [`REFUSALS`] to an order.
    fn transition(
        &mut self,
        column: usize,
        id: &str,
        customer_id: Option<&str>,
        point: &str,
        now: i64,
    ) -> Result<ModelView, ModelRefusal> {
        let stored =
            self.orders.get_mut(id).ok_or_else(|| refusal("ORDER_NOT_FOUND", &[("order_id", id)]))?;
        if stored.point != if point.is_empty() { "main" } else { point } {
            return Err(refusal(
                "WRONG_PICKUP_POINT",
                &[("order_id", id), ("pickup_point_id", &stored.point)],
            ));
        }
        if customer_id.is_some_and(|customer_id| customer_id != stored.customer) {
            return Err(refusal("WRONG_CUSTOMER", &[("order_id", id)]));
        }
        match REFUSALS[stored.state(now)][column] {
            "" => {}
            reason @ ("STORAGE_EXPIRED" | "STORAGE_NOT_EXPIRED") => {
                let (storage_until, now) = (at(stored.storage_until).to_string(), at(now).to_string());
                return Err(refusal(
                    reason,
                    &[("order_id", id), ("storage_until", &storage_until), ("now", &now)],
                ));
            }
            reason => return Err(refusal(reason, &[("order_id", id)])),
        }
        let last = stored.history[stored.history.len() - 1].1;
        stored.history.push((
            [Transition::Issued, Transition::Returned, Transition::HandedToCourier][column],
            now.max(last),
        ));
        Ok(stored.view(id, now))
    }

    fn batch(
        &mut self,
        ids: &[&str],
        mode: BatchMode,
        transition: impl Fn(&mut Self, &str) -> Result<ModelView, ModelRefusal>,
    ) -> Result<ModelAnswer, ModelRefusal> {
        let before = self.orders.clone();
        let each: Vec<_> = ids.iter().map(|id| ((*id).to_owned(), transition(self, id))).collect();
        let refused =
            each.iter().filter_map(|(id, result)| Some((id.clone(), result.as_ref().err()?.clone())));
        let refused: Vec<(String, ModelRefusal)> = refused.collect();
        match refused.first() {
            Some((_, first)) if mode == BatchMode::Atomic => {
                self.orders = before;
                Err(ModelRefusal { refused_orders: refused.clone(), ..first.clone() })
            }
            _ => Ok(ModelAnswer::Results(each)),
        }
    }
}

/// Returns packaging codes, the container first.
fn container_first(codes: &[PackagingCode]) -> Vec<String> {
    let mut codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
    codes.sort_by_key(|code| code != "bag" && code != "box");
    codes
}

/// Returns the fields that identify a request, in message order.
fn content(command: &Command) -> Vec<(&'static str, String)> {
    let accept = |method: &str, accept: &Accept| {
        let Accept { order_id, customer_id, storage_until, weight, price, packaging, pickup_point_id } =
            accept;
        vec![
            ("method", method.to_owned()),
            ("order_id", order_id.to_string()),
            ("customer_id", customer_id.to_string()),
            ("storage_until", storage_until.to_string()),
            ("weight_grams", optional_text(*weight)),
            ("price_minor", price.minor().to_string()),
            ("packaging", format!("{:?}", container_first(packaging))),
            ("pickup_point_id", optional_text(pickup_point_id.as_ref())),
        ]
    };
    match command {
        Command::Accept(row) => accept("AcceptOrder", row),
        Command::Import(ImportRow(row)) => accept("ImportOrders", row),
        Command::Issue(issue) => vec![
            ("method", "IssueOrders".to_owned()),
            ("order_ids", format!("{:?}", issue.order_ids)),
            ("customer_id", optional_text(issue.customer_id.as_ref())),
            ("pickup_point_id", optional_text(issue.pickup_point_id.as_ref())),
            ("mode", format!("{:?}", issue.mode)),
        ],
        Command::AcceptReturn(accept_return) => vec![
            ("method", "AcceptReturn".to_owned()),
            ("order_id", accept_return.order_id.to_string()),
            ("customer_id", accept_return.customer_id.to_string()),
            ("pickup_point_id", optional_text(accept_return.pickup_point_id.as_ref())),
        ],
        Command::ReturnToCourier(return_to_courier) => vec![
            ("method", "ReturnToCourier".to_owned()),
            ("order_ids", format!("{:?}", return_to_courier.order_ids)),
            ("pickup_point_id", optional_text(return_to_courier.pickup_point_id.as_ref())),
            ("mode", format!("{:?}", return_to_courier.mode)),
        ],
    }
}
