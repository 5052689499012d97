//! TLS and login. With a wrong certificate or password, events wait and each cause is
//! logged once; with the right ones, the events are published.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::broker::{Broker, BrokerConfig, free_ports};
use super::topic;
use crate::process::{Server, eventually, file};
use crate::support::runtime::block_on;

/// Writes an authority to `<name>-ca.pem`, and a certificate for `localhost` with its
/// key, in one file for Kafka and in two.
fn certify(folder: &Path, name: &str) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&key).unwrap();
    fs::write(folder.join(format!("{name}-ca.pem")), certificate.pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let host = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = host.signed_by(&key, &issuer).unwrap();
    let (key, certificate) = (key.serialize_pem(), certificate.pem());
    fs::write(folder.join(format!("{name}.pem")), format!("{key}{certificate}")).unwrap();
    fs::write(folder.join(format!("{name}-key.pem")), key).unwrap();
    fs::write(folder.join(format!("{name}-cert.pem")), certificate).unwrap();
}

/// Configures listeners on the ports: TLS, TLS with client certificates, TLS with a
/// password, a password without TLS.
fn secured(folder: &Path, ports: [u16; 4]) -> BrokerConfig {
    certify(folder, "broker");
    certify(folder, "stranger");
    let path = |name: &str| folder.join(name).display().to_string();
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required user_pvz=\"right\";";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let mut properties = vec![
        "ssl.keystore.type=PEM".to_owned(),
        format!("ssl.keystore.location={}", path("broker.pem")),
        "ssl.truststore.type=PEM".to_owned(),
        format!("ssl.truststore.location={}", path("broker-ca.pem")),
        "listener.name.mutual.ssl.client.auth=required".to_owned(),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
    ];
    for listener in ["login", "clear"] {
        for (mechanism, module) in [("plain", plain), ("scram-sha-256", scram), ("scram-sha-512", scram)] {
            properties.push(format!("listener.name.{listener}.{mechanism}.sasl.jaas.config={module}"));
        }
    }
    let names = [("TLS", "SSL"), ("MUTUAL", "SSL"), ("LOGIN", "SASL_SSL"), ("CLEAR", "SASL_PLAINTEXT")];
    let listeners = names.into_iter().zip(ports);
    let scram = |mechanism| ["--add-scram".to_owned(), format!("{mechanism}=[name=pvz,password=right]")];
    BrokerConfig {
        listeners: listeners
            .map(|((name, protocol), port)| (name, protocol, port, format!("localhost:{port}")))
            .collect(),
        properties,
        format: [scram("SCRAM-SHA-256"), scram("SCRAM-SHA-512")].concat(),
        controller: None,
    }
}

/// A case: a wrong configuration, the cause that is logged, and the right
/// configuration.
struct Case {
    name: &'static str,
    wrong: String,
    cause: &'static str,
    right: String,
}

fn cases(folder: &Path, [tls, mutual, login, clear]: [u16; 4]) -> Vec<Case> {
    let secured = |host: &str, port: u16, ca: &str, more: &str| {
        let ca = folder.join(ca).display().to_string();
        format!("url = 'kafka://{host}:{port}/TOPIC'\nkafka_tls = true\nkafka_ca_file = '{ca}'\n{more}")
    };
    let trusted = |port, more: &str| secured("localhost", port, "broker-ca.pem", more);
    let user = |sasl: &str, password: &str| {
        format!("kafka_sasl = '{sasl}'\nkafka_user = 'pvz'\nkafka_password = '{password}'\n")
    };
    let client = |name: &str| {
        let path = |part: &str| folder.join(format!("{name}-{part}.pem")).display().to_string();
        format!("kafka_client_cert_file = '{}'\nkafka_client_key_file = '{}'\n", path("cert"), path("key"))
    };
    let mut cases = vec![
        Case {
            name: "untrusted",
            wrong: secured("localhost", tls, "stranger-ca.pem", ""),
            cause: "invalid peer certificate: ",
            right: trusted(tls, ""),
        },
        Case {
            name: "wrong-host",
            wrong: secured("127.0.0.1", tls, "broker-ca.pem", ""),
            cause: "certificate not valid for name",
            right: trusted(tls, ""),
        },
        Case {
            name: "unknown-client",
            wrong: trusted(mutual, &client("stranger")),
            cause: "the Kafka client failed",
            right: trusted(mutual, &client("broker")),
        },
        Case {
            name: "without-tls",
            wrong: format!("url = 'kafka://localhost:{clear}/TOPIC'\n{}", user("scram-sha-256", "wrong")),
            cause: "SaslAuthenticationFailed",
            right: format!("url = 'kafka://localhost:{clear}/TOPIC'\n{}", user("scram-sha-256", "right")),
        },
    ];
    for sasl in ["plain", "scram-sha-256", "scram-sha-512"] {
        cases.push(Case {
            name: sasl,
            wrong: trusted(login, &user(sasl, "wrong")),
            cause: "SaslAuthenticationFailed",
            right: trusted(login, &user(sasl, "right")),
        });
    }
    cases
}

fn serve(dir: &Path, name: &str, events: &str) -> Server {
    let log = "[log]\nfilter = 'info,pvz::app=debug'\n";
    let text = format!("[events]\nkafka_timeout = '5s'\n{}\n{log}", events.replace("TOPIC", name));
    let config = file(dir, "pvz.toml", &text);
    Server::start_with(dir, &[&format!("--config={config}")])
}

fn accept(server: &Server, order_id: &str) {
    let args = ["accept", "--order-id", order_id, "--customer-id=7", "--storage-until=2027-06-01T00:00:00Z"];
    server.json(&args);
}

fn try_wrong_then_right(broker: &Broker, case: &Case) {
    let Case { name, wrong, cause, right } = case;
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), name, wrong);
    accept(&server, "early");
    let logged = |level: &str, message: &str| {
        let log = server.log();
        log.iter().filter(|line| line.contains(level) && line.contains(message)).count()
    };
    eventually(&format!("{name}: publishing is retried"), || {
        logged(cause, "publish failed, events wait") >= 1 && logged("DEBUG", "publish failed, retrying") >= 2
    });
    let log = server.log();
    let waits = |line: &&String| line.contains("publish failed, events wait");
    assert!(log.iter().filter(waits).any(|line| line.contains(cause)), "{name}: {log:?}");
    // A slow machine may add a timeout; no cause is logged twice.
    let causes = || log.iter().filter(waits).map(|line| line.split_once("\"cause\":").unwrap().1);
    assert_eq!(causes().collect::<BTreeSet<_>>().len(), causes().count(), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("'wrong'") || line.contains("\"wrong\"")), "{log:?}");
    assert_eq!(block_on(topic::read(&broker.address(), name)).len(), 0, "{name}: no event is published");
    server.stop();

    let server = serve(dir.path(), name, right);
    accept(&server, "late");
    let mut ids = Vec::new();
    eventually(&format!("{name}: both events are published: {:?}", server.log()), || {
        ids = topic::ids(&block_on(topic::read(&broker.address(), name)));
        ids.len() >= 2
    });
    ids.sort();
    assert_eq!(ids, [("early".to_owned(), 1), ("late".to_owned(), 1)]);
    server.stop();
}

#[test]
fn events_wait_until_certificate_and_password_are_right() {
    let ports = free_ports();
    let mut folder = None;
    let mut broker = Broker::with(|path| {
        folder = Some(path.to_owned());
        secured(path, ports)
    });
    broker.start();
    let (broker, cases) = (&broker, cases(&folder.unwrap(), ports));
    std::thread::scope(|scope| {
        for case in &cases {
            scope.spawn(move || try_wrong_then_right(broker, case));
        }
    });
}

#[test]
fn unusable_file_is_reported_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let empty = file(dir.path(), "empty.pem", "not PEM");
    for (key, path, message) in [
        ("kafka_ca_file", "/nonexistent/ca.pem", "/nonexistent/ca.pem (events.kafka_ca_file) cannot be read"),
        ("kafka_ca_file", &empty, "empty.pem (events.kafka_ca_file) holds no certificate in PEM"),
    ] {
        let url = "url = 'kafka://localhost:9093/x'\nkafka_tls = true";
        let config = file(dir.path(), "pvz.toml", &format!("[events]\n{url}\n{key} = '{path}'\n"));
        let output = Server::spawn(dir.path(), &[&format!("--config={config}")]).wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code().is_some_and(|code| code != 0) && text.contains(message), "{text}");
    }
}
