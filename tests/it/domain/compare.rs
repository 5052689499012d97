//! Comparison of answers and orders with the model.

use pvz::domain::{Answer, Grams, Order, OrderView, Refusal};
use pvz::ports::CommandResult;

use super::model::{ModelAnswer, ModelOrder, ModelRefusal, ModelView, Transition};

/// Converts an order to the model's type.
pub fn model_order(order: &Order) -> ModelOrder {
    let history = [
        (Transition::Accepted, Some(order.accepted_at)),
        (Transition::Issued, order.issued_at()),
        (Transition::Returned, order.returned_at()),
        (Transition::HandedToCourier, order.handed_to_courier_at()),
    ];
    let history: Vec<_> =
        history.into_iter().filter_map(|(transition, at)| Some((transition, at?.micros()))).collect();
    // Every field is named, so a field that is added does not compile until the model has it.
    let Order {
        order_id: _,
        customer_id,
        pickup_point_id,
        state: _,
        storage_until,
        accepted_at: _,
        weight,
        price,
        surcharge,
        currency,
        packaging,
        version,
    } = order;
    assert_eq!(*version, i64::try_from(history.len()).unwrap(), "the version is the number of events");
    assert_eq!(currency.as_str(), "RUB");
    ModelOrder {
        customer: customer_id.to_string(),
        point: pickup_point_id.to_string(),
        storage_until: storage_until.micros(),
        weight: weight.map(Grams::get),
        price: price.minor(),
        surcharge: surcharge.minor(),
        packaging: packaging.iter().map(ToString::to_string).collect(),
        history,
    }
}

fn model_view(view: &OrderView) -> ModelView {
    (view.order.order_id.to_string(), model_order(&view.order), view.expired)
}

/// Converts a refusal to the model's type, with the metadata keys that the model names.
fn model_refusal(refusal: &Refusal, expected: &ModelRefusal) -> ModelRefusal {
    assert_well_formed(refusal);
    let entry = |key: &'static str| Some((key, refusal.metadata.get(key)?.clone()));
    let refused_orders = refusal.batch.as_ref().map_or_else(Vec::new, |batch| {
        assert_eq!(batch.refused_total, batch.results.len());
        let each = batch.results.iter().zip(&expected.refused_orders).map(|(result, (_, expected))| {
            let refused = result.outcome.as_ref().expect_err("only refused orders are listed");
            (result.order_id.to_string(), model_refusal(refused, expected))
        });
        assert_eq!(batch.results.len(), expected.refused_orders.len(), "every refused order is listed");
        each.collect()
    });
    ModelRefusal {
        reason: refusal.reason.name(),
        metadata: expected.metadata.iter().filter_map(|(key, _)| entry(key)).collect(),
        refused_orders,
    }
}

/// Asserts that the metadata contains every value in the message. Every id and number of the tests
/// contains a digit, so without the metadata values the message contains none.
fn assert_well_formed(refusal: &Refusal) {
    assert!(refusal.metadata.values().all(|value| value.chars().count() <= 64), "{refusal:?}");
    let mut values: Vec<&String> = refusal.metadata.values().filter(|value| !value.is_empty()).collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let rest = values.iter().fold(refusal.message.clone(), |rest, value| rest.replace(*value, ""));
    assert!(!rest.contains(|c: char| c.is_ascii_digit()), "{rest:?} is not in the metadata of {refusal:?}");
}

/// Asserts that the service answers as the model.
pub fn assert_same_answer(answer: &CommandResult, expected: &Result<ModelAnswer, ModelRefusal>) {
    let found = match (answer, expected) {
        (Ok(Answer::Order(order)), _) => Ok(ModelAnswer::Order(model_view(order))),
        (Ok(Answer::AlreadyExisted(order)), _) => Ok(ModelAnswer::AlreadyExisted(model_view(order))),
        (Ok(Answer::Results(results)), Ok(ModelAnswer::Results(each))) => {
            assert_eq!(results.len(), each.len(), "a result for each order");
            let results = results.iter().zip(each).map(|(result, (_, expected))| {
                let outcome = match (&result.outcome, expected) {
                    (Ok(order), _) => Ok(model_view(order)),
                    (Err(refusal), Err(expected)) => Err(model_refusal(refusal, expected)),
                    (Err(refusal), Ok(expected)) => panic!("{refusal:?}\ninstead of {expected:?}"),
                };
                (result.order_id.to_string(), outcome)
            });
            Ok(ModelAnswer::Results(results.collect()))
        }
        (Err(refusal), Err(expected)) => Err(model_refusal(refusal, expected)),
        (answer, expected) => panic!("{answer:?}\ninstead of {expected:?}"),
    };
    assert_eq!(&found, expected, "left: the service, right: the model");
}
