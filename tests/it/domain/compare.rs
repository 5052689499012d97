//! The product's answers and rows in the words of the model.

use pvz::domain::{Answer, Grams, Order, OrderView, Refusal};
use pvz::ports::CommandResult;

use super::model::{No, Parcel, Step, View, Yes};

/// An order in the words of the model.
pub fn parcel(order: &Order) -> Parcel {
    let life = [
        (Step::Accepted, Some(order.accepted_at)),
        (Step::Issued, order.issued_at()),
        (Step::Returned, order.returned_at()),
        (Step::Handed, order.handed_to_courier_at()),
    ];
    let life: Vec<_> = life.into_iter().filter_map(|(step, at)| Some((step, at?.micros()))).collect();
    assert_eq!(order.version, i64::try_from(life.len()).unwrap(), "a version counts the events");
    assert_eq!(order.currency.as_str(), "RUB");
    Parcel {
        customer: order.customer_id.to_string(),
        point: order.pickup_point_id.to_string(),
        until: order.storage_until.micros(),
        weight: order.weight.map(Grams::get),
        price: order.price.minor(),
        surcharge: order.surcharge.minor(),
        packaging: order.packaging.iter().map(ToString::to_string).collect(),
        life,
    }
}

fn view(view: &OrderView) -> View {
    (view.order.order_id.to_string(), parcel(&view.order), view.expired)
}

/// A refusal in the words of the model: of its metadata only what the model
/// names is kept.
fn no(refusal: &Refusal, expected: &No) -> No {
    well_formed(refusal);
    let fact = |key: &'static str| Some((key, refusal.metadata.get(key)?.clone()));
    let orders = refusal.batch.as_ref().map_or_else(Vec::new, |batch| {
        assert_eq!(batch.refused_total, batch.results.len());
        let each = batch.results.iter().zip(&expected.orders).map(|(result, (_, expected))| {
            let refused = result.outcome.as_ref().expect_err("only refused orders are listed");
            (result.order_id.to_string(), no(refused, expected))
        });
        assert_eq!(batch.results.len(), expected.orders.len(), "every refused order is listed");
        each.collect()
    });
    No {
        reason: refusal.reason.name(),
        facts: expected.facts.iter().filter_map(|(key, _)| fact(key)).collect(),
        orders,
    }
}

/// The values that a sentence mentions are in the metadata, so once those are
/// taken out no digit is left: every id and number of the tests has one.
fn well_formed(refusal: &Refusal) {
    assert!(refusal.metadata.values().all(|value| value.chars().count() <= 64), "{refusal:?}");
    let mut values: Vec<&String> = refusal.metadata.values().filter(|value| !value.is_empty()).collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let rest = values.iter().fold(refusal.message.clone(), |rest, value| rest.replace(*value, ""));
    assert!(!rest.contains(|c: char| c.is_ascii_digit()), "{rest:?} is left of {refusal:?}");
}

/// Panics unless the product answers as the model.
pub fn same(answer: &CommandResult, expected: &Result<Yes, No>) {
    let found = match (answer, expected) {
        (Ok(Answer::Order(order)), _) => Ok(Yes::Order(view(order))),
        (Ok(Answer::AlreadyExisted(order)), _) => Ok(Yes::AlreadyThere(view(order))),
        (Ok(Answer::Results(results)), Ok(Yes::Each(each))) => {
            assert_eq!(results.len(), each.len(), "a result for each order");
            let results = results.iter().zip(each).map(|(result, (_, expected))| {
                let outcome = match (&result.outcome, expected) {
                    (Ok(order), _) => Ok(view(order)),
                    (Err(refusal), Err(expected)) => Err(no(refusal, expected)),
                    (Err(refusal), Ok(expected)) => panic!("{refusal:?}\ninstead of {expected:?}"),
                };
                (result.order_id.to_string(), outcome)
            });
            Ok(Yes::Each(results.collect()))
        }
        (Err(refusal), Err(expected)) => Err(no(refusal, expected)),
        (answer, expected) => panic!("{answer:?}\ninstead of {expected:?}"),
    };
    assert_eq!(&found, expected, "left: the product, right: the model");
}
