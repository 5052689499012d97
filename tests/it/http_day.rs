//! Imports the same day over REST and the CLI, and compares the results.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::DateTime;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::TokioIo;
use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use serde_json::Value;

use crate::day::generate::Day;
use crate::process::{Server, file};
use crate::support::runtime::block_on;

/// The number of rows per result: `accepted`, `already there`, or the reason.
type Counts = BTreeMap<String, usize>;

async fn import(server: &Server, text: &str) -> (Counts, Vec<Value>) {
    let chunks: Vec<_> = text.as_bytes().chunks(10_007).map(Bytes::copy_from_slice).collect();
    let body = StreamBody::new(futures::stream::iter(
        chunks.into_iter().map(|chunk| Ok::<_, std::io::Error>(Frame::data(chunk))),
    ));
    let stream = tokio::net::TcpStream::connect(&server.http).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/v1/orders:import")
        .header("host", "pvz")
        .header("content-type", "application/x-ndjson")
        .body(body)
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let response = response.into_body().collect().await.unwrap().to_bytes();
    let results: Vec<Value> = response
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let mut counts = Counts::new();
    for result in &results {
        let reason = result["result"]["refusal"]["reason"].as_str();
        let name = match (reason, result["alreadyExisted"].as_bool()) {
            (Some(reason), _) => reason,
            (None, Some(true)) => "already there",
            (None, _) => "accepted",
        };
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    (counts, results)
}

fn import_with_cli(server: &Server, path: &str) -> Counts {
    let output = server.cli(&["import", path, "--output=json"]).output().unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let reasons = summary["refusedByReason"].as_object().unwrap().iter();
    let named = [("accepted", &summary["accepted"]), ("already there", &summary["alreadyThere"])];
    let all = reasons.map(|(reason, count)| (reason.as_str(), count)).chain(named);
    all.map(|(name, count)| (name.to_owned(), usize::try_from(count.as_u64().unwrap()).unwrap()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn an_import_over_rest_has_the_results_of_the_cli() {
    let now = DateTime::from_timestamp_micros(SystemClock.now().micros()).unwrap();
    let day = Day::generate(20_261_231, now);
    let text = day.ndjson();
    let dir = tempfile::tempdir().unwrap();
    let start = |name: &str| {
        let data = dir.path().join(name);
        std::fs::create_dir(&data).unwrap();
        Server::start(&data)
    };
    let (rest, cli) = (start("rest"), start("cli"));
    let path = file(dir.path(), "day.ndjson", &text);
    for _ in 0..2 {
        let (counts, results) = block_on(import(&rest, &text));
        assert_eq!(counts, import_with_cli(&cli, &path));
        // Every row has one result, under its own index.
        assert_eq!(results.len(), day.rows.len());
        for result in results {
            let index: usize = result["index"].as_str().unwrap().parse().unwrap();
            let order_id = result["result"]["orderId"].as_str().unwrap();
            // The result of a malformed row has no order id.
            assert!(order_id.is_empty() || day.rows[index].order_id.starts_with(order_id), "{result}");
            assert_eq!(
                result["result"]["refusal"].is_object(),
                day.rows[index].invalid_kind.is_some(),
                "{result}"
            );
        }
    }
}
