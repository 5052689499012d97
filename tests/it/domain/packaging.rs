//! Tests of the packaging catalogue, and of the bounds of weight, price and batch size.

use pvz::domain::{Accept, Answer, Form, Grams, MAX_BATCH, Money, OrderIds, PackagingCode};

use crate::support::commands::{accept, codes};
use crate::support::order_situations::{accepted, orders_in_every_situation};

/// Every valid packaging, its exclusive weight limit, and its surcharge.
const VALID_PACKAGING: [(&[&str], Option<i64>, i64); 6] = [
    (&[], None, 0),
    (&["bag"], Some(10_000), 500),
    (&["box"], Some(30_000), 2_000),
    (&["film"], None, 100),
    (&["bag", "film"], Some(10_000), 600),
    (&["box", "film"], Some(30_000), 2_100),
];

/// Accepts an order. Returns its surcharge and packaging, or the reason and the field of the refusal.
fn accept_packaged(packaging: &[&str], weight: Option<i64>) -> Result<(i64, Vec<String>), String> {
    let weight = weight.map(|grams| Grams::new(grams).unwrap());
    let price = Money::price(19_990).unwrap();
    let row = Accept { packaging: codes(packaging), weight, price, ..accepted("none1") };
    match orders_in_every_situation().run_one(accept(row)).answer {
        Ok(Answer::Order(view)) => {
            let order = view.order;
            assert_eq!((order.price, order.currency.as_str()), (price, "RUB"));
            assert_eq!((order.price + order.surcharge).minor(), 19_990 + order.surcharge.minor());
            Ok((order.surcharge.minor(), order.packaging.iter().map(PackagingCode::to_string).collect()))
        }
        Ok(answer) => panic!("{answer:?}"),
        Err(refusal) => Err(match refusal.violations.first() {
            None => refusal.reason.name().to_owned(),
            Some(fault) => format!("{} {}", refusal.reason.name(), fault.field),
        }),
    }
}

#[test]
fn weight_limits_are_exclusive_and_surcharges_add_up() {
    for (packaging, too_heavy, surcharge) in VALID_PACKAGING {
        let accepted_as = Ok((surcharge, packaging.iter().map(ToString::to_string).collect()));
        let reversed: Vec<&str> = packaging.iter().rev().copied().collect();
        assert_eq!(accept_packaged(packaging, Some(1)), accepted_as);
        assert_eq!(accept_packaged(&reversed, Some(1)), accepted_as, "the container first");
        match too_heavy {
            None => {
                assert_eq!(accept_packaged(packaging, None), accepted_as);
                assert_eq!(accept_packaged(packaging, Some(100_000)), accepted_as);
            }
            Some(grams) => {
                assert_eq!(accept_packaged(packaging, Some(grams - 1)), accepted_as);
                assert_eq!(accept_packaged(packaging, Some(grams)), Err("WEIGHT_TOO_HEAVY".to_owned()));
                assert_eq!(accept_packaged(packaging, Some(grams + 1)), Err("WEIGHT_TOO_HEAVY".to_owned()));
                assert_eq!(
                    accept_packaged(packaging, None),
                    Err("VALIDATION_FAILED weight_grams".to_owned())
                );
            }
        }
    }
}

#[test]
fn every_list_of_up_to_three_codes_is_valid_or_refused() {
    const CODES: [&str; 7] = ["bag", "box", "film", "", "Bag", "box ", "silk"];
    let mut lists: Vec<Vec<&str>> = vec![Vec::new()];
    let mut longer = lists.clone();
    for _ in 0..3 {
        longer =
            longer.iter().flat_map(|list| CODES.map(|code| [list.as_slice(), &[code]].concat())).collect();
        lists.extend(longer.iter().cloned());
    }
    for list in lists {
        let mut sorted = list.clone();
        // In alphabetical order, the container is before the film.
        sorted.sort_unstable();
        let valid = VALID_PACKAGING.iter().find(|(packaging, ..)| *packaging == sorted);
        match (valid, accept_packaged(&list, Some(1))) {
            (Some((_, _, surcharge)), Ok(packed)) => {
                assert_eq!(packed, (*surcharge, sorted.iter().map(ToString::to_string).collect()));
            }
            (None, Err(reason)) => assert_eq!(reason, "INVALID_PACKAGING", "{list:?}"),
            (_, packed) => panic!("{list:?}: {packed:?}"),
        }
    }
}

#[test]
fn weights_and_prices_have_bounds() {
    for (grams, valid) in [(i64::MIN, false), (-1, false), (0, false), (1, true), (100_000, true)] {
        assert_eq!(Grams::new(grams).is_ok(), valid, "{grams}");
    }
    assert!(Grams::new(100_001).is_err() && Grams::new(i64::MAX).is_err());
    let most = 1_000_000_000_000;
    for (minor, valid) in [(i64::MIN, false), (-1, false), (0, true), (most, true), (most + 1, false)] {
        assert_eq!(Money::price(minor).is_ok(), valid, "{minor}");
        assert_eq!(Money::from_minor(minor).is_some(), valid, "{minor}");
    }
}

/// Returns the invalid fields of a list of order ids.
fn invalid_fields(ids: &[&str]) -> Vec<String> {
    let mut form = Form::default();
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let parsed = OrderIds::parse(&mut form, &ids);
    match form.finish(parsed) {
        Ok(parsed) => {
            assert!(parsed.as_slice().iter().map(pvz::domain::OrderId::as_str).eq(&ids));
            Vec::new()
        }
        Err(refusal) => {
            assert_eq!(refusal.reason.name(), "VALIDATION_FAILED");
            refusal.violations.into_iter().map(|fault| fault.field).collect()
        }
    }
}

#[test]
fn batch_has_1_to_100_unique_order_ids() {
    let many: Vec<String> = (0..=MAX_BATCH).map(|index| format!("order-{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(MAX_BATCH, 100);
    assert_eq!(invalid_fields(&many[..100]), [""; 0]);
    assert_eq!(invalid_fields(&many), ["order_ids"]);
    assert_eq!(invalid_fields(&[]), ["order_ids"]);
    assert_eq!(
        invalid_fields(&["a", "", "b", "b", "-c", "a", "b"]),
        ["order_ids[1]", "order_ids[3]", "order_ids[4]", "order_ids[5]", "order_ids[6]"]
    );
}
