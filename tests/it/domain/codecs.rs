//! Tests of the text forms of domain values: they round-trip, and malformed text is refused.

use chrono::{DateTime, SecondsFormat};
use proptest::prelude::*;
use pvz::domain::{
    Actor, ActorKind, Currency, CustomerId, EventId, Method, OrderId, PickupPointId, Reason, RequestId,
    Timestamp,
};
use pvz::proto;

use crate::support::property;

/// 0001-01-01T00:00:00Z and the last second of 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

fn second() -> impl Strategy<Value = i64> {
    let edges = [*SECONDS.start(), -86_401, -86_400, -1, 0, 951_782_400, 4_107_542_400, *SECONDS.end()];
    prop_oneof![3 => SECONDS, 1 => prop::sample::select(edges.to_vec())]
}

fn nanos() -> impl Strategy<Value = i32> {
    prop_oneof![
        0..1_000_000_000,
        Just(0),
        (0..1_000).prop_map(|millis| millis * 1_000_000),
        (0..1_000_000).prop_map(|micros| micros * 1_000),
        Just(999_999_999)
    ]
}

#[test]
fn timestamps_are_formatted_like_chrono_and_truncated_to_microseconds() {
    let test = "domain::codecs::timestamps_are_formatted_like_chrono_and_truncated_to_microseconds";
    property::check(test, 20_000, &(second(), nanos()), |(second, nanos)| {
        let instant = Timestamp::from_parts(second, nanos).expect("in range");
        let truncated = nanos / 1_000 * 1_000;
        assert_eq!(instant.parts(), (second, truncated));
        assert_eq!(Timestamp::from_micros(instant.micros()), Some(instant));
        let chrono = DateTime::from_timestamp(second, u32::try_from(truncated).unwrap()).unwrap();
        assert_eq!(instant.to_string(), chrono.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        assert_eq!(instant.micros(), chrono.timestamp_micros());

        let wire = proto::Timestamp { seconds: second, nanos };
        let json = serde_json::to_string(&wire).unwrap();
        assert_eq!(serde_json::from_str::<proto::Timestamp>(&json).unwrap(), wire);
        if nanos == truncated {
            assert_eq!(json, format!("\"{instant}\""), "JSON and metadata have the same form");
        }
    });
}

#[test]
fn timestamps_cover_the_years_1_to_9999() {
    for second in [*SECONDS.start() - 1, *SECONDS.end() + 1, i64::MIN, i64::MAX] {
        assert_eq!(Timestamp::from_parts(second, 0), None);
        assert!(serde_json::to_string(&proto::Timestamp { seconds: second, nanos: 0 }).is_err());
    }
    for nanos in [-1, 1_000_000_000, i32::MIN, i32::MAX] {
        assert_eq!(Timestamp::from_parts(0, nanos), None);
    }
    for micros in [*SECONDS.start() * 1_000_000 - 1, (*SECONDS.end() + 1) * 1_000_000, i64::MIN, i64::MAX] {
        assert_eq!(Timestamp::from_micros(micros), None);
    }
    assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
    assert_eq!(Timestamp::MAX.plus(std::time::Duration::MAX), Timestamp::MAX);
}

#[test]
fn timestamp_without_an_offset_is_refused() {
    for text in [
        "2026-12-31",
        "2026-12-31T10:00:00",
        "2026-12-31T10:00:00 MSK",
        "2026-12-31T10:00:00\u{2212}03:00",
        "2026-12-31T10:00:00+24:00",
        "",
        "now",
        "1793491200",
    ] {
        assert!(proto::Timestamp::parse_rfc3339(text).is_err(), "{text:?}");
    }
    let moscow = proto::Timestamp::parse_rfc3339("2026-12-31T13:00:00.123456789+03:00").unwrap();
    assert_eq!(moscow, proto::Timestamp::parse_rfc3339("2026-12-31T10:00:00.123456789Z").unwrap());
    assert_eq!(Timestamp::from_parts(moscow.seconds, moscow.nanos).unwrap().parts().1, 123_456_000);
}

#[test]
fn leap_second_is_refused() {
    for text in [
        "2016-12-31T23:59:60Z",
        "2016-12-31T23:59:60.999999999Z",
        "2017-01-01T02:59:60+03:00",
        "2026-06-15T10:00:60Z",
        "2016-12-31T23:59:61Z",
    ] {
        assert!(proto::Timestamp::parse_rfc3339(text).is_err(), "{text:?}");
    }
    let last = proto::Timestamp::parse_rfc3339("2016-12-31T23:59:59.999999999Z").unwrap();
    assert_eq!((last.seconds, last.nanos), (1_483_228_799, 999_999_999));
}

/// Returns true for a valid id, independently of the implementation.
fn is_valid_id(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|character| character.is_ascii_alphanumeric() || "._-".contains(character))
        && text.chars().count() <= 64
}

fn id_like_texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        "[A-Za-z0-9._-]{0,66}",
        "[a-z0-9а-я _.:/\u{0}-]{0,8}",
        any::<String>(),
    ]
}

#[test]
fn ids_are_validated_and_kept_byte_for_byte() {
    let test = "domain::codecs::ids_are_validated_and_kept_byte_for_byte";
    property::check(test, 20_000, &id_like_texts(), |text| {
        let valid = is_valid_id(&text);
        assert_eq!(OrderId::parse(&text).is_ok(), valid, "{text:?}");
        assert_eq!(CustomerId::parse(&text).is_ok(), valid, "{text:?}");
        assert_eq!(PickupPointId::parse(&text).is_ok(), valid, "{text:?}");
        if let Ok(id) = OrderId::parse(&text) {
            assert_eq!((id.as_str(), id.to_string().as_str()), (text.as_str(), text.as_str()));
        }
    });
    assert!(OrderId::parse("a").unwrap() != OrderId::parse("A").unwrap());
}

#[test]
fn a_refused_id_names_the_character_even_if_it_cannot_be_seen() {
    for (text, named) in [
        ("1\u{a0}", r"'\u{a0}'"),
        ("1\u{200b}2", r"'\u{200b}'"),
        ("\u{feff}1", r"'\u{feff}'"),
        ("1 ", "' '"),
        ("1\t", r"'\t'"),
        ("заказ", "'з'"),
    ] {
        let fault = OrderId::parse(text).unwrap_err();
        assert!(fault.ends_with(named), "{fault}");
        let fault = RequestId::parse(text).unwrap_err();
        assert!(fault.ends_with(named), "{fault}");
    }
}

#[test]
fn request_id_is_1_to_128_visible_ascii_characters() {
    let test = "domain::codecs::request_id_is_1_to_128_visible_ascii_characters";
    let texts = prop_oneof!["[!-~]{0,130}", "[ -~]{0,8}", any::<String>()];
    property::check(test, 20_000, &texts, |text| {
        let valid = (1..=128).contains(&text.len()) && text.chars().all(|c| ('!'..='~').contains(&c));
        assert_eq!(RequestId::parse(&text).is_ok(), valid, "{text:?}");
    });
}

#[test]
fn actor_is_a_kind_and_an_id() {
    let test = "domain::codecs::actor_is_a_kind_and_an_id";
    let kinds = prop_oneof!["courier|operator|customer|system", "[a-zA-Z]{0,9}"];
    let texts = (kinds, prop_oneof![Just(":"), Just(""), Just("::")], id_like_texts());
    property::check(test, 20_000, &texts, |(kind, colon, id)| {
        let actor = format!("{kind}{colon}{id}");
        let known = |kind: &str| ActorKind::ALL.iter().any(|known| known.name() == kind);
        let valid = actor.split_once(':').is_some_and(|(kind, id)| known(kind) && is_valid_id(id));
        let parsed = Actor::parse(&actor).ok();
        let written = parsed.map(|actor| format!("{}:{}", actor.kind.name(), actor.id));
        assert_eq!(written, valid.then_some(actor));
    });
    assert_eq!(Actor::parse("operator:anonymous"), Ok(Actor::anonymous()));
    for text in ["operator", ":x", "operator:", "Operator:x", "operator:x:y", " operator:x", "operator::x"] {
        assert!(Actor::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn event_ids_are_formatted_as_uuids() {
    let test = "domain::codecs::event_ids_are_formatted_as_uuids";
    property::check(test, 5_000, &any::<u128>(), |id| {
        assert_eq!(EventId(id).to_string(), uuid::Uuid::from_u128(id).to_string());
    });
}

#[test]
fn names_round_trip() {
    for reason in Reason::ALL {
        assert_eq!(Reason::parse(reason.name()), Some(*reason));
    }
    for method in Method::ALL {
        assert_eq!(Method::parse(method.name()), Some(method));
    }
    for kind in ActorKind::ALL {
        assert_eq!(ActorKind::parse(kind.name()), Some(kind));
    }
    for text in ["RUB", "EUR"] {
        assert_eq!(Currency::parse(text).unwrap().as_str(), text);
    }
    for text in ["", "RU", "rub", "RUBL", "RU1", "РУБ"] {
        assert!(Currency::parse(text).is_err(), "{text:?}");
    }
}
