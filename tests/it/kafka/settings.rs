//! The validation of the Kafka configuration.

use pvz::config::{Config, Sources};

/// Returns the errors and warnings of a configuration with some variables.
fn check(variables: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let env = variables.iter().map(|(name, value)| (format!("PVZ_EVENTS{name}").into(), value.into()));
    let sources = Sources { env: env.collect(), data_dir: Some("/srv/pvz".into()), ..Sources::default() };
    match Config::load(&sources) {
        Ok((_, warnings)) => (Vec::new(), warnings.iter().map(ToString::to_string).collect()),
        Err(faults) => (faults.0.iter().map(ToString::to_string).collect(), Vec::new()),
    }
}

#[test]
fn inconsistent_keys_are_errors() {
    let faults = |variables: &[(&str, &str)]| {
        let with_url = [&[("", "kafka://broker:9092/x")][..], variables].concat();
        check(&with_url).0.join("\n")
    };
    for (variables, wrong) in [
        (&[("_KAFKA_SASL", "plain")][..], "events.kafka_user: must be set"),
        (&[("_KAFKA_SASL", "plain"), ("_KAFKA_USER", "a")], "events.kafka_password: must be set"),
        (
            &[("_KAFKA_PASSWORD", "hunter2")],
            "events.kafka_password: has no effect because events.kafka_sasl is none",
        ),
        (
            &[("_KAFKA_CA_FILE", "/a")],
            "events.kafka_ca_file: has no effect because events.kafka_tls is false",
        ),
        (
            &[("_KAFKA_TLS", "true"), ("_KAFKA_CLIENT_CERT_FILE", "/a")],
            "events.kafka_client_key_file: must be set together with events.kafka_client_cert_file",
        ),
        (&[("_KAFKA_SASL", "kerberos")], "must be none, plain, scram-sha-256 or scram-sha-512"),
    ] {
        let faults = faults(variables);
        assert!(faults.contains(wrong), "{variables:?}: {faults}");
        assert!(!faults.contains("hunter2"), "{faults}");
    }
    let bracketed = [("", "kafka://[::1]:9092/x"), ("_KAFKA_TLS", "true")];
    assert!(check(&bracketed).0[0].starts_with("events.url: must not contain IPv6 addresses"));
}

#[test]
fn password_without_tls_is_a_warning() {
    let login = [("_KAFKA_SASL", "plain"), ("_KAFKA_USER", "pvz"), ("_KAFKA_PASSWORD", "hunter2")];
    let warnings = |more: &[(&'static str, &'static str)]| {
        let (faults, warnings) = check(&[&login[..], more].concat());
        assert_eq!(faults, [] as [String; 0]);
        warnings
    };
    let remote = warnings(&[("", "kafka://localhost:9092,broker:9092/x")]);
    assert!(remote[0].contains("broker:9092") && remote[0].contains("without TLS"), "{remote:?}");
    for safe in [
        &[("", "kafka://localhost:9092,127.0.0.1:9,[::1]:9/x")][..],
        &[("", "kafka://broker:9092/x"), ("_KAFKA_TLS", "true")],
        &[("", "none:")],
    ] {
        assert_eq!(warnings(safe), [] as [String; 0], "{safe:?}");
    }
}

#[test]
fn password_is_never_shown() {
    for (value, code) in [("hunter2", 0), ("[\"hunter2\"]", 2)] {
        let mut show = crate::process::pvz();
        show.args(["config", "show", "--events=kafka://localhost:9092/x"]);
        show.env("PVZ_EVENTS_KAFKA_SASL", "plain").env("PVZ_EVENTS_KAFKA_USER", "pvz");
        let output = show.env("PVZ_EVENTS_KAFKA_PASSWORD", value).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("***") && !text.contains("hunter2"), "{text}");
    }
}
