//! Plants a password in every place where one can be configured, provokes errors, and looks for it in
//! everything that is printed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::fake_postgres::FakePostgres;
use super::{Printed, fetch, run};
use crate::process::{Server, eventually};

const SECRET: &str = "hunter2";

/// URLs of stores with the password, most of them malformed. Nothing listens on port 1.
const STORES: [&str; 15] = [
    "postgres://u:hunter2@127.0.0.1:1/pvz",
    "postgres://127.0.0.1:1/pvz?user=u&password=hunter2",
    "postgres://u:x@hunter2@127.0.0.1:1/pvz",
    "postgres://u:hunter2/x?y@127.0.0.1:1/pvz",
    "postgres://u:hunter2",
    "postgres:/u:hunter2@127.0.0.1:1/pvz",
    "postgres//u:hunter2@127.0.0.1:1/pvz",
    "u:hunter2@127.0.0.1:1/pvz",
    "mysql://u:hunter2@127.0.0.1:1/pvz",
    "host=127.0.0.1 port=1 user=u password=hunter2",
    "host=127.0.0.1 user=u password = 'x \\' hunter2'",
    "postgres://u:hunter2@127.0.0.1:port/pvz",
    "postgres://u:hunter2@127.0.0.1:1/pvz?sslmode=nonsense",
    "postgres://u:hunter2@127.0.0.1:1/pvz?sslmode=verify-full&sslrootcert=/nonexistent.pem",
    "postgres://u:hunter2@127.0.0.1:1/pvz?unknown=1",
];

const EVENTS: [&str; 4] = [
    "kafka:/u:hunter2@127.0.0.1:1",
    "kafka:u:hunter2@127.0.0.1:1",
    "kafka://u:hunter2@127.0.0.1:1/topic",
    "amqp://u:hunter2@127.0.0.1:1/topic",
];

/// The commands that open a store.
const STORE_COMMANDS: [&[&str]; 7] = [
    &["serve", "--events=none:"],
    &["migrate"],
    &["migrate", "status"],
    &["verify"],
    &["config", "show"],
    &["config", "check"],
    &["bench", "accept", "--embedded", "--duration=1s", "--baseline"],
];

fn assert_no_secret(case: &str, printed: &Printed) {
    let Printed { stdout, stderr, .. } = printed;
    assert!(!stdout.contains(SECRET) && !stderr.contains(SECRET), "{case}:\n{stdout}\n{stderr}");
}

#[test]
fn no_command_prints_the_password_of_a_url() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let variables = [("PVZ_LOG_FILTER", "trace"), ("PVZ_DATA_DIR", data), ("HOME", data)];
    let config = folder.path().join("pvz.toml");
    for store in STORES {
        for command in STORE_COMMANDS {
            let flag = format!("--store={store}");
            let printed = run(&[command, &[flag.as_str()]].concat(), &variables);
            assert_no_secret(&format!("{command:?} {flag}"), &printed);
            assert!(printed.exit == Some(0) || !printed.stderr.is_empty(), "{command:?} {flag}");
        }
        for name in ["PVZ_STORE", "PVZ_STORE_READ_URL", "PVZ_CONSUMER_STORE", "PVZ_EVENTS", "PVZ_CACHE"] {
            let variables = [&variables[..], &[(name, store)]].concat();
            assert_no_secret(&format!("{name}={store}"), &run(&["config", "show"], &variables));
        }
        let inbox = format!("--inbox={store}");
        let consume = ["consume", "--once", "--admin-addr=127.0.0.1:0", &inbox];
        assert_no_secret(&inbox, &run(&consume, &variables));
        fs::write(&config, format!("[store]\nurl = {}\n", toml::Value::from(store))).unwrap();
        let from_file = ["verify", "--config", config.to_str().unwrap()];
        assert_no_secret(store, &run(&from_file, &variables));
        // In the wrong place.
        for arguments in [
            &["serve", store][..],
            &[store],
            &["serve", "--stroe", store],
            &["get", "1", "--server", store],
            &["get", "1", "--timeout", store],
            &["accept", "1", "--customer-id=1", "--storage-until", store, "--weight", store],
            &["bench", "get", "--batch", store],
        ] {
            assert_no_secret(&format!("{arguments:?}"), &run(arguments, &variables));
        }
    }
    for events in EVENTS {
        let flag = format!("--events={events}");
        for command in ["serve", "consume"] {
            assert_no_secret(&flag, &run(&[command, &flag], &variables));
        }
    }
    let client = run(&["get", "1", "--server=http://u:hunter2@127.0.0.1:1"], &variables);
    assert_no_secret("--server", &client);
    assert_eq!(client.exit, Some(2));
}

#[test]
fn running_server_never_prints_the_password_of_kafka_or_of_the_standby() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, SECRET).unwrap();
    let variables = [
        "PVZ_LOG_FILTER=trace",
        "PVZ_EVENTS=kafka://127.0.0.1:1/topic",
        "PVZ_EVENTS_KAFKA_SASL=plain",
        "PVZ_EVENTS_KAFKA_USER=u",
        &format!("PVZ_EVENTS_KAFKA_PASSWORD_FILE={}", file.display()),
    ];
    let server = Server::start_with_env(folder.path(), &[], &variables);
    let accept = ["accept", "--order-id=1", "--customer-id=1", "--storage-until=2027-10-01T10:00:00Z"];
    server.json(&accept);
    eventually("the failure of the relay is logged", || {
        server.log().iter().any(|line| line.contains("publish failed") || line.contains("cannot be reached"))
    });
    let shown = server.cli(&["outbox", "status"]).output().unwrap();
    let mut printed = vec![String::from_utf8(shown.stdout).unwrap(), fetch(&server.admin, "/readyz")];
    printed.push(fetch(&server.admin, "/metrics"));
    printed.extend(server.log());
    assert!(!printed.iter().any(|text| text.contains(SECRET)), "{printed:#?}");
    server.kill();
}

/// Runs a command on a database that refuses the password, and checks which password it sent.
fn assert_sent(database: &FakePostgres, command: &[&str], variables: &[(&str, &str)]) {
    let printed = run(command, variables);
    let case = format!("{command:?} {variables:?}");
    assert!(printed.exit.is_some_and(|exit| exit != 0), "{case}: {}", printed.stderr);
    assert!(printed.stderr.contains("password authentication failed"), "{case}: {}", printed.stderr);
    assert_no_secret(&case, &printed);
    let sent = database.take_passwords();
    assert!(!sent.is_empty() && sent.iter().all(|password| password == SECRET), "{case}: {sent:?}");
}

#[test]
fn every_command_takes_the_password_from_files_and_variables() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let private = |name: &str, text: &str| {
        fs::write(path(name), text).unwrap();
        fs::set_permissions(Path::new(&path(name)), fs::Permissions::from_mode(0o600)).unwrap();
        path(name)
    };
    let database = FakePostgres::start();
    let url = format!("postgres://pvz@127.0.0.1:{}/pvz", database.port);
    let file = private("password", &format!("{SECRET}\n"));
    let passfile = private("passfile", &format!("127.0.0.1:{}:pvz:pvz:{SECRET}\n", database.port));
    private(".pgpass", &format!("*:*:*:*:{SECRET}\n"));
    let home = folder.path().to_str().unwrap();
    let common = [("PVZ_LOG_FILTER", "trace"), ("PVZ_DATA_DIR", home), ("PVZ_EVENTS", "none:")];
    let with = |variables: &[(&'static str, &str)]| {
        common.iter().chain(variables).map(|(name, value)| (*name, (*value).to_owned())).collect::<Vec<_>>()
    };
    for source in [
        with(&[("PVZ_STORE_PASSWORD_FILE", &file), ("HOME", "/nonexistent")]),
        with(&[("PGPASSWORD", SECRET), ("HOME", "/nonexistent")]),
        with(&[("PGPASSFILE", &passfile), ("HOME", "/nonexistent")]),
        with(&[("HOME", home)]),
    ] {
        let variables: Vec<(&str, &str)> =
            source.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let flag = format!("--store={url}");
        for command in [&["serve"][..], &["migrate"], &["migrate", "status"], &["verify"]] {
            assert_sent(&database, &[command, &[flag.as_str()]].concat(), &variables);
        }
    }
    let inbox = format!("--inbox={url}");
    let consumer = ["consume", "--events=journal:", "--admin-addr=127.0.0.1:0", &inbox];
    assert_sent(&database, &consumer, &[common[0], common[1], ("PVZ_CONSUMER_PASSWORD_FILE", &file)]);
}
