//! `pvz bench` as users run it: short runs of every scenario, and its error
//! messages.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::kafka::broker::Broker;
use crate::postgres::cluster::cluster;
use crate::process::pvz;

/// Runs a scenario for 300 ms on the store and returns its report.
fn bench(scenario: &str, store: &str, flags: &[&str]) -> Value {
    let mut command = pvz();
    command.args(["bench", scenario, "--duration=300ms", "--warm-up=0s", "--orders=300"]);
    command.args(["--output=json", "--store", store]).args(flags);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let log = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{scenario}: {status}\n{log}");
    serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{scenario}: {error}\n{log}"))
}

fn verify(store: &str) {
    let verified = pvz().args(["verify", "--store", store]).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

fn file(folder: &Path, name: &str) -> String {
    format!("sqlite:{}", folder.join(name).display())
}

#[test]
fn every_scenario_succeeds_and_leaves_a_consistent_store() {
    let folder = tempfile::tempdir().unwrap();
    for scenario in ["accept", "issue", "get", "list", "returns", "import", "mixed-day"] {
        let store = file(folder.path(), scenario);
        let report = bench(scenario, &store, &["--embedded", "--in-flight=4"]);
        assert_eq!(report["scenario"], scenario);
        assert_eq!(report["errors"], serde_json::json!({}), "{report}");
        let calls = report["calls"].as_u64().unwrap();
        assert!(calls > 0, "{report}");
        let latency = |name: &str| report["latency_ms"][name].as_f64().unwrap();
        assert!(latency("p50") > 0.0 && latency("p50") <= latency("p99"), "{report}");
        assert!(latency("p99") <= latency("max"), "{report}");
        assert!(report["server"]["peak_rss_mib"].as_f64().unwrap() > 1.0, "{report}");
        verify(&store);
    }
}

#[test]
fn calls_at_a_rate_begin_when_they_are_due() {
    let folder = tempfile::tempdir().unwrap();
    let report = bench("accept", &file(folder.path(), "rate"), &["--embedded", "--rate=200"]);
    assert_eq!(report["rate"], 200.0);
    // 60 calls are due in 300 ms.
    assert!((1..=60).contains(&report["calls"].as_u64().unwrap()), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baselines_run_on_the_same_database_and_leave_nothing_behind() {
    let database = cluster().database(true).await;
    let store = format!("postgres://pvz@127.0.0.1:{}/{}", database.port, database.name);
    let report = bench("accept", &store, &["--embedded", "--baseline"]);
    let ratio = |name: &str| report["baseline"][name].as_f64().unwrap();
    let rate = report["orders_per_second"].as_f64().unwrap();
    let per_command = ratio("per_command_orders_per_second");
    assert!(per_command > 0.0 && ratio("raw_orders_per_second") > 0.0, "{report}");
    assert!((ratio("to_per_command") * per_command / rate - 1.0).abs() < 0.01, "{report}");
    let left = "SELECT FROM pg_namespace WHERE nspname = 'pvz_bench'";
    assert_eq!(database.shell().await.execute(left, &[]).await.unwrap(), 0);
    verify(&store);
}

/// Measures the path of events. The command itself fails if an event of the
/// backlog or of the later accepts is not published and read.
fn measure_relay(flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let report = bench("relay", &file(folder.path(), "orders"), flags);
    assert_eq!(report["drain"]["events"], 300, "{report}");
    let arrived = report["arrival"]["events"].as_u64().unwrap();
    assert!(arrived > 0, "{report}");
    assert_eq!(report["consumer"]["events"], 300 + arrived, "{report}");
    assert!(report["consumer"]["events_per_second"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn relay_is_measured_through_a_journal() {
    measure_relay(&["--rate=100"]);
}

#[test]
fn relay_is_measured_through_kafka() {
    measure_relay(&["--rate=100", &format!("--events=kafka://{}/bench", Broker::shared().address())]);
}

#[test]
fn wrong_options_are_refused_with_one_line() {
    for (arguments, line) in [
        (&["leap"][..], "unknown scenario \"leap\"; must be one of accept, "),
        (&["accept", "--rate=0"], "--rate must be from 0.001 to 1000000"),
        (&["accept", "--rate=5", "--in-flight=5"], "--rate and --in-flight cannot be combined"),
        (&["import", "--rate=5"], "import has no --rate"),
        (&["accept", "--duration=0s"], "--duration must be longer than 0s"),
        (&["accept", "--baseline"], "--baseline needs --embedded and a PostgreSQL --store"),
        (&["accept", "--events=none:"], "--events and --inbox are for the scenario relay"),
        (&["relay", "--server=127.0.0.1:1"], "relay starts its own servers"),
        (&["accept", "--server=127.0.0.1:1"], "cannot connect to 127.0.0.1:1: connection refused"),
    ] {
        let output = pvz().arg("bench").args(arguments).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(printed.contains(line), "{arguments:?}: {printed}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_server_with_orders_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = file(folder.path(), "used");
    bench("accept", &store, &["--embedded"]);
    let again = pvz().args(["bench", "accept", "--embedded", "--store", &store]).output().unwrap();
    let printed = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && printed.contains("already has orders"), "{printed}");
}
