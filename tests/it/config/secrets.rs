//! Passwords in files and in the variables of libpq, and the hints for passwords in URLs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pvz::config::{Config, PostgresUrl, Secret, StoreUrl};

use super::{env, faults, loaded};

/// Writes a file with a mode, and returns its path.
fn file(folder: &Path, name: &str, text: &str, mode: u32) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Returns the password of the store with these variables.
fn password(variables: &[(&str, &str)]) -> Option<String> {
    let StoreUrl::Postgres(url) = loaded(&env(variables)).store.url else { panic!("not PostgreSQL") };
    password_of(&url)
}

fn password_of(url: &PostgresUrl) -> Option<String> {
    url.server.get_password().map(|password| String::from_utf8(password.to_owned()).unwrap())
}

const STORE: (&str, &str) = ("PVZ_STORE", "postgres://pvz@db:5433/orders");

#[test]
fn password_comes_from_the_first_place_that_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let key = file(folder.path(), "key", "of the key\n", 0o444);
    let passfile = file(folder.path(), "passfile", "db:5433:orders:pvz:of PGPASSFILE\n", 0o600);
    file(folder.path(), ".pgpass", "*:*:*:*:of the home\n", 0o600);
    let home = ("HOME", folder.path().to_str().unwrap());
    let mut variables = vec![STORE];
    assert_eq!(password(&variables), None);
    for (variable, expected) in [
        (home, "of the home"),
        (("PGPASSFILE", passfile.as_str()), "of PGPASSFILE"),
        (("PGPASSWORD", "of PGPASSWORD"), "of PGPASSWORD"),
        (("PVZ_STORE_PASSWORD_FILE", key.as_str()), "of the key"),
    ] {
        variables.push(variable);
        assert_eq!(password(&variables).as_deref(), Some(expected));
    }
    let url = ("PVZ_STORE", "postgres://pvz:of%20the%20URL@db:5433/orders");
    assert_eq!(password(&[url, home, ("PGPASSWORD", "other")]).as_deref(), Some("of the URL"));
    assert_eq!(password(&[STORE, home, ("PGPASSWORD", "")]).as_deref(), Some("of the home"));
}

#[test]
fn password_file_of_libpq_matches_host_port_database_and_user() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "localhost:*:*:*:socket\none:5432:pvz:pvz:one\ntwo:6000:*:pvz:two\n/srv/run:5432:pvz:pvz:folder\n";
    let passfile = file(folder.path(), "passfile", text, 0o600);
    let found = |url: &str| password(&[("PVZ_STORE", url), ("PGPASSFILE", &passfile)]);
    for (url, expected) in [
        ("postgres://pvz@one/pvz", Some("one")),
        ("postgres://pvz@one", Some("one")),
        ("postgres://pvz@one:6000/pvz", None),
        ("postgres://pvz@two:6000/any", Some("two")),
        ("postgres://pvz@other:6000,two:6000/any", Some("two")),
        ("postgres://pvz@%2Fvar%2Frun%2Fpostgresql/pvz", Some("socket")),
        ("postgres://pvz@%2Fsrv%2Frun/pvz", Some("folder")),
        ("postgres://pvz@localhost/pvz", Some("socket")),
    ] {
        assert_eq!(found(url).as_deref(), expected, "{url}");
    }
}

#[test]
fn password_file_of_libpq_must_be_private() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o640, 0o604, 0o660] {
        let passfile = file(folder.path(), "passfile", "*:*:*:*:hunter2\n", mode);
        let (config, warnings) = Config::load(&env(&[STORE, ("PGPASSFILE", &passfile)])).unwrap();
        let StoreUrl::Postgres(url) = config.store.url else { panic!("not PostgreSQL") };
        assert_eq!(password_of(&url), None);
        let warning = warnings[0].to_string();
        assert!(warning.contains(&passfile) && warning.contains("group or others"), "{warning}");
    }
    // As in libpq, a missing file is no mistake.
    let missing = folder.path().join("missing");
    let (_, warnings) = Config::load(&env(&[STORE, ("PGPASSFILE", missing.to_str().unwrap())])).unwrap();
    assert!(warnings.is_empty());
    let (_, warnings) =
        Config::load(&env(&[STORE, ("PGPASSFILE", folder.path().to_str().unwrap())])).unwrap();
    assert!(warnings[0].to_string().contains("not a plain file"), "{warnings:?}");
}

#[test]
fn every_secret_has_a_key_for_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "password", "hunter2\r\n", 0o600);
    let config = loaded(&env(&[
        STORE,
        ("PVZ_STORE_READ_URL", "postgres://pvz@standby/orders"),
        ("PVZ_STORE_PASSWORD_FILE", &path),
        ("PVZ_CONSUMER_STORE", "postgres://pvz@db/inbox"),
        ("PVZ_CONSUMER_PASSWORD_FILE", &path),
        ("PVZ_EVENTS", "kafka://127.0.0.1:9092"),
        ("PVZ_EVENTS_KAFKA_SASL", "plain"),
        ("PVZ_EVENTS_KAFKA_USER", "pvz"),
        ("PVZ_EVENTS_KAFKA_PASSWORD_FILE", &path),
    ]));
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.events.kafka_password.as_ref().map(Secret::expose), Some("hunter2"));
    let urls = [config.store.url, config.consumer.store].map(|url| match url {
        StoreUrl::Postgres(url) => url,
        other => panic!("{other}"),
    });
    for url in urls.iter().chain(&config.store.read_url) {
        assert_eq!(password_of(url).as_deref(), Some("hunter2"));
    }
}

#[test]
fn files_that_hold_no_password_are_faults() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").display().to_string();
    let empty = file(folder.path(), "empty", "\n", 0o600);
    let long = file(folder.path(), "long", &"x".repeat(5000), 0o600);
    let lines = file(folder.path(), "lines", "hunter2\nhunter2\n", 0o600);
    let one_line = "must be a file with one line of at most 4096 bytes: the password";
    for (path, problem) in [
        (&missing, "cannot be read: No such file"),
        (&empty, one_line),
        (&long, one_line),
        (&lines, one_line),
    ] {
        for (variables, key) in [
            (&[STORE][..], "STORE_PASSWORD_FILE"),
            (&[("PVZ_CONSUMER_STORE", "postgres://pvz@db/inbox")], "CONSUMER_PASSWORD_FILE"),
            (
                &[
                    ("PVZ_EVENTS", "kafka://127.0.0.1:9092"),
                    ("PVZ_EVENTS_KAFKA_SASL", "plain"),
                    ("PVZ_EVENTS_KAFKA_USER", "pvz"),
                ],
                "EVENTS_KAFKA_PASSWORD_FILE",
            ),
        ] {
            let variable = format!("PVZ_{key}");
            let faults = faults(&env(&[variables, &[(variable.as_str(), path.as_str())]].concat()));
            assert_eq!(faults.len(), 1, "{faults:?}");
            let expected = format!("= \"{path}\" ({variable}): {problem}");
            assert!(faults[0].contains(&expected) && !faults[0].contains("hunter2"), "{faults:?}");
        }
    }
}

#[test]
fn two_passwords_are_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "password", "hunter2", 0o600);
    let store = env(&[("PVZ_STORE", "postgres://u:hunter2@db/pvz"), ("PVZ_STORE_PASSWORD_FILE", &path)]);
    let problem = "has no effect because store.url has a password: remove one of them";
    assert_eq!(
        faults(&store),
        [format!("store.password_file = \"{path}\" (PVZ_STORE_PASSWORD_FILE): {problem}")]
    );
    let kafka = env(&[
        ("PVZ_EVENTS", "kafka://127.0.0.1:9092"),
        ("PVZ_EVENTS_KAFKA_SASL", "plain"),
        ("PVZ_EVENTS_KAFKA_USER", "pvz"),
        ("PVZ_EVENTS_KAFKA_PASSWORD", "hunter2"),
        ("PVZ_EVENTS_KAFKA_PASSWORD_FILE", &path),
    ]);
    assert!(faults(&kafka)[0].ends_with("because events.kafka_password is set: remove one of them"));
}

#[test]
fn password_on_the_command_line_causes_a_warning() {
    let mut sources = super::sources();
    sources.flags.push(("--store", "postgres://pvz:hunter2@db/pvz".to_owned()));
    let (_, warnings) = Config::load(&sources).unwrap();
    assert_eq!(warnings.len(), 1);
    let warning = warnings[0].to_string();
    assert!(warning.starts_with("--store has a password") && !warning.contains("hunter2"), "{warning}");
    assert!(warning.contains("store.password_file"), "{warning}");
    sources.flags = vec![("--store", "postgres://pvz@db/pvz".to_owned())];
    assert!(Config::load(&sources).unwrap().1.is_empty());
}

#[test]
fn unencoded_at_sign_is_named() {
    for url in [
        "postgres://pvz:hunter@2@db/pvz",
        "postgres://pvz:hunter@2/3@db/pvz",
        "postgres://pvz:hunter@2?3@db/pvz",
        "postgres://pvz@azure:hunter2@db/pvz",
    ] {
        for variable in ["PVZ_STORE", "PVZ_STORE_READ_URL", "PVZ_CONSUMER_STORE"] {
            let faults = faults(&env(&[(variable, url)]));
            assert!(faults.len() == 1 && faults[0].contains("write it as %40"), "{url}: {faults:?}");
            assert!(!faults[0].contains("hunter") && !faults[0].contains("2@"), "{faults:?}");
        }
    }
    assert_eq!(password(&[("PVZ_STORE", "postgres://pvz:p%40ss/?x@db/pvz")]).as_deref(), Some("p@ss/?x"));
}

#[test]
fn urls_show_everything_but_the_password() {
    for (given, shown) in [
        (
            "postgres://pvz:hunter2@db/pvz?application_name=a%40b",
            "postgres://pvz:***@db/pvz?application_name=a%40b",
        ),
        ("postgres://pvz:hun/ter?2@db/pvz", "postgres://pvz:***@db/pvz"),
        ("postgres://db/pvz?user=pvz&password=hunter2", "postgres://db/pvz?user=pvz&password=***"),
    ] {
        assert_eq!(loaded(&env(&[("PVZ_STORE", given)])).store.url.to_string(), shown);
    }
}

#[test]
fn libpq_strings_and_users_in_broker_lists_are_explained() {
    let store = faults(&env(&[("PVZ_STORE", "host=db password=hunter2")]));
    assert_eq!(
        store,
        ["store.url = \"host=db password=***\" (PVZ_STORE): must be sqlite:PATH, memory: or a URL such as \
          postgres://user@host:5432/database"]
    );
    for url in ["kafka:/u:hunter2@one:9092", "kafka://u:hunter2@one:9092/topic"] {
        let faults = faults(&env(&[("PVZ_EVENTS", url)])).join("\n");
        assert!(faults.contains("u:***@one:9092") && !faults.contains("hunter2"), "{faults}");
    }
    let user = faults(&env(&[("PVZ_EVENTS", "kafka://u:hunter2@one:9092/topic")]));
    assert!(user[0].contains("events.kafka_user and events.kafka_password_file"), "{user:?}");
}
