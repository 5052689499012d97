//! Tests of the configuration: precedence, names, faults, secrets, template.

mod fuzz;
mod origins;
mod secrets;
mod values;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvz::config::{Config, LogFormat, Sources, StoreUrl, Warning, keys, template};
use pvz::domain::{PickupPointId, Policy};

const HOME: &str = "/home/somebody/.local/share/pvz";

fn sources() -> Sources {
    Sources { data_dir: Some(PathBuf::from(HOME)), ..Sources::default() }
}

fn env(pairs: &[(&str, &str)]) -> Sources {
    let env = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Sources { env, ..sources() }
}

fn with_file(text: &str) -> (tempfile::NamedTempFile, Sources) {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let mut sources = sources();
    sources.flags.push(("--config", file.path().display().to_string()));
    (file, sources)
}

fn loaded(sources: &Sources) -> Config {
    Config::load(sources).unwrap_or_else(|faults| panic!("{faults}")).0
}

fn faults(sources: &Sources) -> Vec<String> {
    Config::load(sources).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_as_documented() {
    let config = loaded(&sources());
    assert_eq!(config.data_dir, Path::new(HOME));
    assert_eq!(config.store.url, StoreUrl::Sqlite(Path::new(HOME).join("pvz.db")));
    assert_eq!(config.server.grpc_addr.to_string(), "127.0.0.1:50051");
    assert_eq!(config.server.http_addr.to_string(), "127.0.0.1:8081");
    assert_eq!(config.server.admin_addr.to_string(), "127.0.0.1:9464");
    assert_eq!(config.server.request_timeout, Duration::from_secs(30));
    assert_eq!(config.server.max_message, 256 * 1024);
    assert_eq!(config.server.drain_deadline, Duration::from_secs(30));
    assert_eq!(config.server.cors_origins, Vec::<String>::new());
    assert_eq!((config.writer.workers, config.writer.queue, config.writer.batch), (None, 4096, 512));
    assert_eq!((config.log.filter.as_str(), config.log.format), ("info", LogFormat::Auto));
    let standard = Policy::standard(PickupPointId::parse("main").unwrap());
    assert_eq!(config.policy.to_domain(), standard);
}

#[test]
fn flags_override_variables_and_variables_override_the_file() {
    let (_file, mut sources) = with_file("[store]\nurl = 'sqlite:/file.db'\n");
    let store = |sources: &Sources| loaded(sources).store.url.to_string();
    assert_eq!(store(&sources), "sqlite:/file.db");
    sources.env.push(("PVZ_STORE".into(), "sqlite:/env.db".into()));
    assert_eq!(store(&sources), "sqlite:/env.db");
    sources.flags.push(("--store", "sqlite:/flag.db".to_owned()));
    assert_eq!(store(&sources), "sqlite:/flag.db");
}

#[test]
fn file_is_named_by_the_flag_or_else_by_the_variable() {
    let (file, _) = with_file("[writer]\nqueue = 7\n");
    let mut sources = env(&[("PVZ_CONFIG", file.path().to_str().unwrap())]);
    assert_eq!(loaded(&sources).writer.queue, 7);
    let (_other, flagged) = with_file("[writer]\nqueue = 8\n");
    sources.flags = flagged.flags;
    assert_eq!(loaded(&sources).writer.queue, 8);
}

#[test]
fn data_directory_holds_the_default_store() {
    let mut sources = env(&[("PVZ_DATA_DIR", "/srv/pvz")]);
    assert_eq!(loaded(&sources).store.url.to_string(), "sqlite:/srv/pvz/pvz.db");
    sources.data_dir = None;
    assert_eq!(loaded(&sources).data_dir, Path::new("/srv/pvz"));
    sources.env.clear();
    assert!(faults(&sources)[0].starts_with("data_dir: is not set and this user has no home directory"));
}

/// Returns a value for a key that differs from its default. Panics for a key that has none here.
fn non_default_value(path: &str) -> &'static str {
    match path {
        "data_dir" => "/srv/pvz",
        "consumer.store" => "sqlite:/srv/read.db",
        "consumer.admin_addr" => "127.0.0.1:1009",
        "consumer.lease" => "9s",
        "store.url" => "memory:",
        "store.read_connections" => "7",
        "store.busy_timeout" => "7s",
        "consumer.in_process" | "events.kafka_tls" | "store.allow_empty" | "store.migrate" => "true",
        "store.statement_timeout" => "1s",
        "store.read_url" => "postgres://standby/pvz",
        "cache.url" => "moka:",
        "cache.policy" => "lru",
        "events.url" => "none:",
        "cache.size" | "events.journal_file_size" => "1MiB",
        "events.kafka_partitions" => "12",
        "events.kafka_encoding" => "protobuf",
        "events.kafka_compression" => "lz4",
        "cache.ttl" | "events.kafka_timeout" => "3s",
        "events.kafka_create_topic" => "false",
        "events.kafka_ca_file"
        | "events.kafka_client_cert_file"
        | "events.kafka_client_key_file"
        | "events.kafka_password_file"
        | "store.password_file"
        | "consumer.password_file" => "/srv/a.pem",
        "events.kafka_sasl" => "scram-sha-512",
        "events.kafka_user" => "pvz",
        // The form in which `show` prints it, so that its output can be loaded again.
        "events.kafka_password" => "***",
        "server.grpc_addr" => "127.0.0.1:1001",
        "server.http_addr" => "[::1]:1002",
        "server.admin_addr" => "0.0.0.0:0",
        "server.request_timeout"
        | "server.keep_alive_interval"
        | "server.drain_deadline"
        | "server.header_timeout"
        | "server.write_timeout"
        | "server.idle_timeout" => "1m 30s",
        "server.max_connections" | "consumer.batch" => "77",
        "server.max_message" => "64KiB",
        "server.request_memory" => "2MiB",
        "server.max_concurrent_streams" => "9",
        "server.public_url" => "https://shop.example/pvz",
        "server.cors_origins" => "https://shop.example, http://localhost:3000",
        "events.kafka_replication" | "server.threads" | "store.pool_size" | "writer.workers" => "3",
        "writer.queue" => "10",
        "writer.batch" => "11",
        "writer.retry_budget" => "250ms",
        "cache.negative_ttl" | "policy.return_window" | "policy.idempotency_retention" => "2s",
        "policy.max_storage" => "30d",
        "policy.pickup_point" => "kazan-7",
        "policy.currency" => "KZT",
        "policy.packaging" => "[{ code = \"crate\", role = \"container\", surcharge_minor = 1 }]",
        "log.filter" => "warn,pvz=debug",
        "log.format" => "json",
        other => panic!("no value for {other}"),
    }
}

#[test]
fn every_key_has_an_environment_variable_named_by_the_rule() {
    for key in keys() {
        let path = key.path();
        let short = pvz::config::FLAGS.iter().any(|(_, flagged)| *flagged == path);
        let whole = format!("PVZ_{}", path.replace('.', "_").to_uppercase());
        let expected = match path.as_str() {
            "store.url" | "cache.url" | "events.url" => whole.trim_end_matches("_URL").to_owned(),
            _ if short => whole.replace("_SERVER_", "_"),
            _ => whole,
        };
        assert_eq!(key.variable, expected);
        let value = non_default_value(&path);
        let loaded = Config::load_with_origins(&env(&[(key.variable, value)])).unwrap();
        assert!(loaded.warnings.is_empty());
        let shown = loaded.show();
        assert!(shown.contains(&format!("# {}\n", key.variable)), "{path}: {shown}");
        assert_ne!(loaded.config, self::loaded(&sources()), "{path}");
        assert!(!key.doc.is_empty(), "{path} is not documented");
    }
}

#[test]
fn empty_variable_counts_as_unset() {
    let sources = env(&[("PVZ_WRITER_QUEUE", ""), ("PVZ_CONFIG", ""), ("PVZ_DATA_DIR", "")]);
    assert_eq!(loaded(&sources), loaded(&self::sources()));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_name_and_the_line() {
    let (file, sources) =
        with_file("[server]\ngprc_addr = '127.0.0.1:1'\n\n[polcy]\nx = 1\n[store]\nqueue = 2\n");
    let name = file.path().display();
    let mut faults = faults(&sources);
    faults.sort();
    assert_eq!(
        faults,
        [
            format!("polcy ({name}:4): unknown key; did you mean policy?"),
            format!("server.gprc_addr ({name}:2): unknown key; did you mean server.grpc_addr?"),
            format!("store.queue ({name}:7): unknown key; did you mean writer.queue?"),
        ]
    );
}

#[test]
fn unknown_variables_cause_warnings() {
    let sources = env(&[
        ("PVZ_WRITER_QEUE", "1"),
        ("PVZ_SERVICE_HOST", "10.0.0.1"),
        ("PVZ_SERVER", "http://127.0.0.1:1"),
        ("PVZ_ACTOR", "courier:7"),
        ("PVZ_TIMEOUT", "1s"),
        ("PVZ_OUTPUT", "json"),
        ("PVZ_NO_COLOR", "1"),
        ("PATH", "/bin"),
    ]);
    let (config, warnings) = Config::load(&sources).unwrap();
    assert_eq!(config, loaded(&self::sources()));
    let texts: Vec<String> = warnings.iter().map(|Warning(text)| text.clone()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].ends_with(
        "unknown environment variable PVZ_WRITER_QEUE is ignored; did you mean PVZ_WRITER_QUEUE?"
    ));
    assert_eq!(texts[1], "unknown environment variable PVZ_SERVICE_HOST is ignored");
}

#[test]
fn faults_of_all_layers_are_reported_together() {
    let (file, mut sources) =
        with_file("[writer]\nbatch = 0\n[log]\nformat = true\n[policy]\ncurrency = 'rub'\n");
    sources.env.push(("PVZ_POLICY_RETURN_WINDOW".into(), "two days".into()));
    sources
        .env
        .push(("PVZ_POLICY_PACKAGING".into(), "[{ code = 'a', role = 'lid', surcharge_minor = 1 }]".into()));
    sources.flags.push(("--grpc-addr", "localhost:1".to_owned()));
    sources.flags.push(("--cache", "redis://cache".to_owned()));
    let name = file.path().display().to_string();
    let text = faults(&sources).join("\n").replace(&name, "FILE");
    insta::assert_snapshot!(text, @r#"
    cache.url = "redis://cache" (--cache): is not supported by this version: use moka: or none:
    server.grpc_addr = "localhost:1" (--grpc-addr): must be an IP address and a port, such as 127.0.0.1:8081 or [::1]:8081
    writer.batch = 0 (FILE:2): must be a whole number from 1 to 10000
    policy.return_window = "two days" (PVZ_POLICY_RETURN_WINDOW): must be a duration from 0s to 3650d, such as 30s or 48h
    policy.currency = "rub" (FILE:6): must be an ISO 4217 code: three capital letters
    policy.packaging = [{ code = "a", role = "lid", surcharge_minor = 1 }] (PVZ_POLICY_PACKAGING): row 1: unknown variant `lid`, expected `container` or `wrap`
    log.format = true (FILE:4): must be auto, human or json
    "#);
}

#[test]
fn syntax_fault_names_the_line_and_does_not_quote_it() {
    let (file, sources) = with_file("[store]\nurl = \"postgres://pvz:hunter2@db/pvz\" oops\n");
    let faults = faults(&sources);
    assert!(faults[0].starts_with(&format!("{}:2: ", file.path().display())), "{faults:?}");
    assert!(!faults.join("\n").contains("hunter2"), "{faults:?}");
}

#[test]
fn byte_order_mark_at_the_start_of_the_file_is_skipped() {
    let (_file, sources) = with_file("\u{feff}[server]\ngrpc_addr = \"127.0.0.1:7\"\n");
    assert_eq!(loaded(&sources).server.grpc_addr.to_string(), "127.0.0.1:7");
    let (_file, sources) = with_file("\u{feff}[server]\nnonsense = 1\n");
    assert!(faults(&sources)[0].contains(":2"), "{:?}", faults(&sources));
}

#[test]
fn unreadable_file_is_a_fault() {
    for path in ["/nonexistent/pvz.toml", "/", "/dev/zero"] {
        let mut sources = sources();
        sources.flags.push(("--config", path.to_owned()));
        assert!(faults(&sources)[0].starts_with(&format!("{path} (--config): ")));
    }
}

#[test]
fn secrets_are_hidden_in_faults() {
    let (_file, mut sources) = with_file("[cache]\nurl = 'redis://:hunter2@cache/'\n");
    sources.env.push(("PVZ_GRPC_ADDR".into(), "postgres://pvz:hunter2@db/pvz".into()));
    sources.flags.push(("--store", "postgres://pvz:hunter2@db:x/pvz?password=hunter2".to_owned()));
    let faults = faults(&sources).join("\n");
    assert!(!faults.contains("hunter2"), "{faults}");
    assert!(faults.contains("postgres://pvz:***@db:x/pvz?password=***"), "{faults}");
}

#[test]
fn database_url_is_checked_and_shown_without_its_password() {
    let url = |url: &str| loaded(&env(&[("PVZ_STORE", url)])).store.url;
    let shown = url("postgres://pvz:hunter2@db:5433/pvz?sslmode=disable");
    assert_eq!(shown.to_string(), "postgres://pvz:***@db:5433/pvz?sslmode=disable");
    assert!(!format!("{shown:?}").contains("hunter2"));
    for wrong in [
        "postgres:pvz",
        "postgres://pvz@db:x/pvz",
        "postgres://db/pvz?unknown=1",
        "postgres://",
        "postgres://db/pvz?sslmode=on",
        "postgres://db/pvz?sslmode=allow",
        "postgres://db/pvz?sslrootcert=ca.pem",
        "postgres://db/pvz?sslmode=verify-ca",
        "postgres://db/pvz?sslmode=verify-ca&sslrootcert=system",
        "postgres://db/pvz?sslmode=require&sslcert=pvz.pem",
        "postgres://db/pvz?sslmode=require&sslpassword=hunter2",
    ] {
        let faults = faults(&env(&[("PVZ_STORE", wrong)]));
        assert!(faults.len() == 1 && faults[0].starts_with("store.url"), "{wrong}: {faults:?}");
    }
}

#[test]
fn read_url_names_one_host() {
    let sources = env(&[("PVZ_STORE_READ_URL", "postgres://pvz:hunter2@one,two/pvz")]);
    assert_eq!(
        faults(&sources),
        [
            "store.read_url = \"postgres://pvz:***@one,two/pvz\" (PVZ_STORE_READ_URL): must name exactly one host"
        ]
    );
    assert!(loaded(&env(&[("PVZ_STORE_READ_URL", "postgresql://db/pvz")])).store.read_url.is_some());
}

#[test]
fn two_listeners_cannot_share_a_port() {
    let sources = env(&[("PVZ_HTTP_ADDR", "0.0.0.0:50051")]);
    assert_eq!(
        faults(&sources),
        [
            "server.http_addr = \"0.0.0.0:50051\" (PVZ_HTTP_ADDR): must differ from server.grpc_addr, which has the same port"
        ]
    );
    loaded(&env(&[("PVZ_HTTP_ADDR", "127.0.0.1:0"), ("PVZ_GRPC_ADDR", "127.0.0.1:0")]));
}

#[test]
fn shown_configuration_loads_as_the_same_configuration() {
    let mut sources = sources();
    for key in keys() {
        sources.env.push((key.variable.into(), non_default_value(&key.path()).into()));
    }
    let loaded = Config::load_with_origins(&sources).unwrap();
    let (_file, shown) = with_file(&loaded.show());
    assert_eq!(self::loaded(&shown), loaded.config);
}

#[test]
fn template_equals_the_committed_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml");
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(file == template(), "config/default.toml is stale: pvz config template > config/default.toml");
}

#[test]
fn uncommented_template_is_the_default_configuration() {
    let mut text = String::new();
    for line in template().lines() {
        let uncommented =
            line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') || rest.starts_with("  {"));
        let unset = uncommented.is_some_and(|rest| rest.trim_end().ends_with('='));
        writeln!(text, "{}", if unset { line } else { uncommented.unwrap_or(line) }).unwrap();
    }
    let (_file, sources) = with_file(&text);
    assert_eq!(loaded(&sources), loaded(&self::sources()));
    assert!(text.contains("\npackaging = [\n"));
}

#[test]
fn production_file_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/production.toml");
    let mut sources = sources();
    sources.flags.push(("--config", path.display().to_string()));
    let (config, warnings) = Config::load(&sources).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(warnings.is_empty());
    assert_eq!(config.log.format, LogFormat::Json);
    let first = std::fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
    assert!(first.contains("WARNING") && first.contains("no authentication"), "{first}");
}

#[test]
fn config_commands_print_values_and_faults_and_set_the_exit_code() {
    let run = |args: &[&str]| {
        let output = crate::process::pvz().arg("config").args(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(run(&["template"]), (Some(0), template(), String::new()));
    let (code, shown, _) = run(&["show", "--data-dir=/srv/pvz"]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("url = \"sqlite:/srv/pvz/pvz.db\" # default\n"), "{shown}");
    assert!(shown.contains("data_dir = \"/srv/pvz\" # --data-dir\n"), "{shown}");
    let valid = "the configuration is valid\n".to_owned();
    assert_eq!(run(&["check", "--store=memory:"]), (Some(0), valid, String::new()));
    let (code, out, faults) = run(&["check", "--store=postgres://u:hunter2@h:x/d", "--grpc-addr=x"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(faults.lines().filter(|line| line.starts_with("error: ")).count(), 2, "{faults}");
    assert!(!faults.contains("hunter2"), "{faults}");
}
