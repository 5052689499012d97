//! The payloads of notifications: `1 ORDER:VERSION ORDER:VERSION …`. The first word is the number of
//! the format. A version is absent if the outcome of a commit is unknown, and `*` means any order.
//! Earlier releases send an empty payload and read none.

use std::fmt::Write as _;

use crate::domain::OrderId;
use crate::ports::{ChangedOrders, StaleOrder};

const FORMAT: &str = "1";
const ANY: &str = "*";
/// The limit of PostgreSQL is 7,999 bytes.
const MAX_BYTES: usize = 7_900;

/// Returns the payloads of a notification, at least one.
pub(super) fn encode(changed: &ChangedOrders) -> Vec<String> {
    let ChangedOrders::Named(orders) = changed else { return vec![format!("{FORMAT} {ANY}")] };
    let mut payloads = Vec::new();
    let mut payload = FORMAT.to_owned();
    for StaleOrder { order_id, version } in orders {
        // An id has at most 64 characters, a version 20.
        if payload.len() > MAX_BYTES - 100 {
            payloads.push(std::mem::replace(&mut payload, FORMAT.to_owned()));
        }
        let _ = write!(payload, " {}:", order_id.as_str());
        if let Some(version) = version {
            let _ = write!(payload, "{version}");
        }
    }
    payloads.push(payload);
    payloads
}

/// Returns the changed orders of a payload. One of another release may mean any order.
pub(super) fn decode(payload: &str) -> ChangedOrders {
    let mut words = payload.split(' ');
    let named = if words.next() == Some(FORMAT) { words.map(order).collect() } else { None };
    named.map_or(ChangedOrders::Any, ChangedOrders::Named)
}

fn order(word: &str) -> Option<StaleOrder> {
    let (order_id, version) = word.split_once(':')?;
    let version = if version.is_empty() { None } else { Some(version.parse().ok()?) };
    Some(StaleOrder { order_id: OrderId::parse(order_id).ok()?, version })
}

#[cfg(test)]
mod tests {
    use super::{ChangedOrders, MAX_BYTES, OrderId, StaleOrder, decode, encode};

    fn stale(order_id: &str, version: Option<i64>) -> StaleOrder {
        StaleOrder { order_id: OrderId::parse(order_id).unwrap(), version }
    }

    #[test]
    fn payloads_name_every_order_and_fit() {
        let longest =
            |number: i64| stale(&format!("{number:0>64}"), (number % 2 == 0).then_some(i64::MAX - number));
        for count in [0, 1, 89, 90, 1_000] {
            let changed = ChangedOrders::Named((0..count).map(longest).collect());
            let payloads = encode(&changed);
            assert!(payloads.iter().all(|payload| payload.len() <= MAX_BYTES));
            let mut decoded = ChangedOrders::default();
            for payload in &payloads {
                decoded.add(decode(payload), 1_000);
            }
            assert_eq!(decoded, changed, "{count}");
        }
        assert_eq!(
            encode(&ChangedOrders::Named(vec![stale("o-1", Some(7)), stale("p.2", None)])),
            ["1 o-1:7 p.2:"]
        );
        assert_eq!(decode(&encode(&ChangedOrders::Any)[0]), ChangedOrders::Any);
    }

    #[test]
    fn payloads_of_other_releases_mean_any_order() {
        for payload in ["", "2 o:1", "1 *", "1 o", "1 o:x", "1 :1", "1  o:1", "1 o:1 "] {
            assert_eq!(decode(payload), ChangedOrders::Any, "{payload:?}");
        }
    }
}
