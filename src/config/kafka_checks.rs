//! Validation of combinations of the `events.kafka_*` keys.

use super::events::Events;
use super::fault::{Fault, Warning};
use super::kafka::{KafkaSasl, KafkaUrl};

/// Checks the combination of the `events.kafka_*` keys. Only called when Kafka
/// is the sink.
pub(super) fn check(events: &Events, url: &KafkaUrl, faults: &mut Vec<Fault>, warnings: &mut Vec<Warning>) {
    let mut fault = |key: &str, problem: &str| faults.push(Fault::new(format!("events.{key}"), problem));
    let login = events.kafka_sasl != KafkaSasl::None;
    let password_file = events.kafka_password_file.is_some();
    let password_key = if password_file { "kafka_password_file" } else { "kafka_password" };
    let password = password_file || events.kafka_password.is_some();
    for (key, given) in [("kafka_user", events.kafka_user.is_some()), (password_key, password)] {
        if login && !given {
            fault(key, "must be set because events.kafka_sasl is set");
        } else if given && !login {
            fault(key, "has no effect because events.kafka_sasl is none: remove it or set events.kafka_sasl");
        }
    }
    let files = [
        ("kafka_ca_file", &events.kafka_ca_file),
        ("kafka_client_cert_file", &events.kafka_client_cert_file),
        ("kafka_client_key_file", &events.kafka_client_key_file),
    ];
    for (key, _) in files.iter().filter(|(_, path)| path.is_some() && !events.kafka_tls) {
        fault(
            key,
            "has no effect because events.kafka_tls is false: remove it or set events.kafka_tls = true",
        );
    }
    match (&events.kafka_client_cert_file, &events.kafka_client_key_file) {
        (Some(_), None) => {
            fault("kafka_client_key_file", "must be set together with events.kafka_client_cert_file");
        }
        (None, Some(_)) => {
            fault("kafka_client_cert_file", "must be set together with events.kafka_client_key_file");
        }
        _ => {}
    }
    if events.kafka_tls && url.brokers.iter().any(|broker| broker.starts_with('[')) {
        fault(
            "url",
            "must not contain IPv6 addresses when events.kafka_tls is true: use host names or IPv4 addresses",
        );
    }
    let far = url.brokers.iter().find(|broker| !is_loopback(broker));
    if let (true, false, Some(broker)) = (login, events.kafka_tls, far) {
        let problem = "the password is sent without TLS: set events.kafka_tls = true";
        warnings.push(Warning(format!("events.kafka_sasl with {broker}: {problem}")));
    }
}

fn is_loopback(broker: &str) -> bool {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
