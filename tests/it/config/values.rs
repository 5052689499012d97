//! Values that look right and are not, and values that look odd and are right.

use pvz::adapters::kafka::DEAD_LETTER_SUFFIX;
use pvz::config::{EventsUrl, MAX_TOPIC};

use super::{env, faults, loaded};

#[test]
fn log_filter_consists_of_levels_and_of_modules_with_levels() {
    for filter in [
        "info",
        "OFF",
        "warn,pvz=debug",
        "info,pvz::app=debug,h2=off",
        "error,pvz::app[call{order_id=1}]=trace",
        "debug,pvz[call]=info",
        "info,",
    ] {
        assert_eq!(loaded(&env(&[("PVZ_LOG_FILTER", filter)])).log.filter, filter);
    }
    for filter in [
        "loud",
        "pvz",
        "info,pvz",
        ",",
        "=debug",
        "pvz=",
        "pvz=loud",
        "pvz:app=debug",
        "pvz::=debug",
        "pvz/app=debug",
        "tower-http=debug",
        "info;warn",
        "info warn",
        "info, warn",
        "pvz[call]",
        "pvz[call]=loud",
        "pvz[call=debug",
        "\u{10366}[call]=info",
        " \u{a7d5}\u{10366}=\u{c4d}{q\\==\u{cde}/.Q",
    ] {
        let faults = faults(&env(&[("PVZ_LOG_FILTER", filter)]));
        let must_be = "must be a level (off, error, warn, info, debug, trace) or levels by module";
        assert!(faults.len() == 1 && faults[0].contains(must_be), "{filter}: {faults:?}");
    }
}

#[test]
fn repeated_slashes_of_a_path_count_once() {
    for (url, path) in [
        ("sqlite:/srv/pvz.db", "/srv/pvz.db"),
        ("sqlite:///srv/pvz.db", "/srv/pvz.db"),
        ("sqlite:////srv//pvz.db", "/srv/pvz.db"),
        ("sqlite://srv/pvz.db", "/srv/pvz.db"),
        ("sqlite:srv//pvz.db", "srv/pvz.db"),
        ("sqlite:/srv/a #%20b.db", "/srv/a #%20b.db"),
    ] {
        let config = loaded(&env(&[("PVZ_STORE", url), ("PVZ_CONSUMER_STORE", url)]));
        assert_eq!(config.store.url.to_string(), format!("sqlite:{path}"), "{url}");
        assert_eq!(config.consumer.store.to_string(), format!("sqlite:{path}"), "{url}");
        let url = url.replace("sqlite:", "journal:");
        let config = loaded(&env(&[("PVZ_EVENTS", url.as_str())]));
        assert_eq!(config.events.url.to_string(), format!("journal:{path}"), "{url}");
    }
    let config = loaded(&env(&[("PVZ_DATA_DIR", "//srv//what?/")]));
    assert_eq!(config.data_dir.as_os_str(), "/srv/what?");
    assert_eq!(config.store.url.to_string(), "sqlite:/srv/what?/pvz.db");
    let EventsUrl::Kafka(url) = loaded(&env(&[("PVZ_EVENTS", "kafka://a:1//orders")])).events.url else {
        panic!("not Kafka")
    };
    assert_eq!(url.topic, "orders");
}

#[test]
fn url_of_a_path_has_no_parameters() {
    for (name, url) in [
        ("PVZ_STORE", "sqlite:/srv/pvz.db?mode=ro"),
        ("PVZ_CONSUMER_STORE", "sqlite:///srv/pvz.db?immutable=1"),
        ("PVZ_EVENTS", "journal:/srv/events?"),
    ] {
        let faults = faults(&env(&[(name, url)]));
        assert!(faults.len() == 1 && faults[0].contains("must not contain ?"), "{url}: {faults:?}");
    }
    for url in ["sqlite::memory:", "sqlite://:memory:"] {
        let faults = faults(&env(&[("PVZ_STORE", url)]));
        assert!(faults[0].contains("for a store in memory use memory:"), "{url}: {faults:?}");
    }
}

#[test]
fn name_of_a_topic_leaves_room_for_its_dead_letter_topic() {
    assert_eq!(MAX_TOPIC + DEAD_LETTER_SUFFIX.len(), 249, "Kafka's limit");
    let url = |length: usize| format!("kafka://a:1/{}", "t".repeat(length));
    loaded(&env(&[("PVZ_EVENTS", url(MAX_TOPIC).as_str())]));
    let faults = faults(&env(&[("PVZ_EVENTS", url(MAX_TOPIC + 1).as_str())]));
    assert!(faults[0].contains(&format!("up to {MAX_TOPIC} letters")), "{faults:?}");
}
