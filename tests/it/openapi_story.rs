//! The story of the OpenAPI document: its examples, sent in the order of the document
//! to a new server, get the documented answers.
//!
//! `PVZ_UPDATE=1` records the answers in `build/answers.json`; a second build puts
//! them into the document.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use indexmap::IndexMap;
use pvz::ports::Clock as _;
use serde::Deserialize;
use serde_json::Value;

use crate::http_support::{HttpApp, ScriptedService};
use crate::process::{Server, eventually};
use crate::support::runtime::block_on;
use crate::support::time::{DAY, TestClock};

/// The parts of the document in which the order of the members counts.
#[derive(Deserialize)]
struct Document {
    tags: Vec<Value>,
    paths: IndexMap<String, IndexMap<String, Value>>,
    components: Value,
}

/// An operation, with the request of its examples.
struct Step {
    id: String,
    verb: String,
    /// Path and query.
    target: String,
    /// Media type and text.
    body: Option<(String, String)>,
    operation: Value,
}

impl Document {
    /// Returns the operations as Swagger UI shows them: by tag, then as in the document.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for tag in &self.tags {
            for (path, verbs) in &self.paths {
                for (verb, operation) in verbs.iter().filter(|(_, one)| one["tags"][0] == tag["name"]) {
                    steps.push(Step::new(verb, path, operation));
                }
            }
        }
        assert_eq!(steps.len(), self.paths.values().map(IndexMap::len).sum::<usize>());
        steps
    }
}

impl Step {
    fn new(verb: &str, path: &str, operation: &Value) -> Self {
        let mut target = path.to_owned();
        for parameter in operation["parameters"].as_array().unwrap() {
            let Some(example) = parameter["example"].as_str() else { continue };
            let name = parameter["name"].as_str().unwrap();
            match parameter["in"].as_str() {
                Some("path") => target = target.replace(&format!("{{{name}}}"), example),
                _ => write!(target, "?{name}={example}").unwrap(),
            }
        }
        assert!(!target.contains('{'), "{target}: a variable has no example");
        let content = operation["requestBody"]["content"].as_object();
        let body = content.map(|content| {
            let example = |(media_type, form): (&String, &Value)| {
                let value = form["examples"].get("story")?.get("value")?;
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Some((media_type.clone(), text))
            };
            content.iter().find_map(example).expect("an example of the body")
        });
        let id = operation["operationId"].as_str().unwrap().to_owned();
        Self { id, verb: verb.to_uppercase(), target, body, operation: operation.clone() }
    }

    /// Returns the reason with which the example is refused, if it is.
    fn refusal(&self) -> Option<&str> {
        let example = &self.operation["requestBody"]["content"]["application/json"]["examples"]["story"];
        example["summary"].as_str()?.rsplit(' ').next()
    }

    async fn send(&self, server: &Server) -> (http::response::Parts, Incoming) {
        let stream = tokio::net::TcpStream::connect(&server.http).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::builder().method(self.verb.as_str()).uri(&self.target);
        request = request.header("host", &server.http);
        let mut text = String::new();
        if let Some((media_type, example)) = &self.body {
            request = request.header(CONTENT_TYPE, media_type);
            text.clone_from(example);
        }
        sender.send_request(request.body(Full::new(Bytes::from(text))).unwrap()).await.unwrap().into_parts()
    }

    /// Returns the answer as JSON: that of a stream as an array of its first lines.
    async fn answer(&self, server: &Server, lines: usize) -> (http::StatusCode, String) {
        let (parts, mut body) = self.send(server).await;
        if parts.headers[CONTENT_TYPE] != "application/x-ndjson" {
            let text = body.collect().await.unwrap().to_bytes();
            return (parts.status, String::from_utf8(text.to_vec()).unwrap());
        }
        let mut text = String::new();
        let written = |text: &str| text.lines().filter(|line| !line.is_empty()).count();
        while written(&text) < lines || !text.ends_with('\n') {
            let Some(frame) = body.frame().await else { break };
            text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
        // An empty line is a heartbeat. The results of an import come in any order.
        let written = text.lines().filter(|line| !line.is_empty());
        let mut lines: Vec<(i64, &str)> = written.map(|line| (index(line), line)).collect();
        lines.sort_by_key(|(index, _)| *index);
        let lines: Vec<&str> = lines.into_iter().map(|(_, line)| line).collect();
        (parts.status, format!("[{}]", lines.join(",")))
    }

    /// Returns the documented answer in the form of [`Self::answer`].
    fn documented(&self) -> Value {
        let content = self.operation["responses"]["200"]["content"].as_object().unwrap();
        let form = content.get("application/json").or(content.get("application/x-ndjson")).unwrap();
        match &form["examples"]["story"]["value"] {
            Value::String(lines) => {
                lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
            }
            value => value.clone(),
        }
    }
}

fn index(line: &str) -> i64 {
    let line: Value = serde_json::from_str(line).unwrap();
    line["index"].as_str().map_or(0, |index| index.parse().unwrap())
}

/// Members that differ between servers, with the values of the document.
const DIFFERENT: [(&str, &str); 9] = [
    ("acceptedAt", "2026-12-01T09:15:00.123456Z"),
    ("issuedAt", "2026-12-01T18:02:11.456789Z"),
    ("returnedAt", "2026-12-02T12:40:07.654321Z"),
    ("handedToCourierAt", "2026-12-03T08:00:31.987654Z"),
    ("ledSince", "2026-12-01T09:00:00.000001Z"),
    ("leader", "counter-1:4242"),
    ("sink", "journal:/var/lib/pvz/events"),
    ("occurredAt", ""),
    ("eventId", ""),
];

/// Hides the members that differ between servers.
fn masked(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            for (name, member) in members {
                let differs = DIFFERENT.iter().any(|(known, _)| known == name);
                *member = if differs { "different".into() } else { masked(member.take()) };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = masked(item.take())),
        _ => {}
    }
    value
}

/// Replaces the values that differ between servers by those of the document. The time
/// of an event is that of its order.
fn canonical(text: &str, event_ids: &mut Vec<String>, deadline: &str) -> String {
    let mut text = text.replace(deadline, "2026-12-31T10:00:00Z");
    for (name, value) in DIFFERENT {
        for found in values(&text.clone(), name) {
            let value = match name {
                "eventId" => {
                    let number = event_ids.iter().position(|id| *id == found).unwrap_or_else(|| {
                        event_ids.push(found.clone());
                        event_ids.len() - 1
                    });
                    format!("0193a5b0-7c1e-7000-8000-{:012}", number + 1)
                }
                "occurredAt" => found.clone(),
                _ => value.to_owned(),
            };
            text = text.replace(&format!("\"{found}\""), &format!("\"{value}\""));
        }
    }
    text
}

/// Returns the values of a member in a JSON text.
fn values(text: &str, name: &str) -> Vec<String> {
    let start = format!("\"{name}\":\"");
    text.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

async fn served(server: &Server) -> Document {
    let step = Step {
        id: String::new(),
        verb: "GET".to_owned(),
        target: "/openapi.json".to_owned(),
        body: None,
        operation: Value::Null,
    };
    serde_json::from_str(&step.answer(server, 0).await.1).unwrap()
}

#[test]
fn the_examples_get_the_documented_answers_in_the_order_of_the_document() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let record = std::env::var_os("PVZ_UPDATE").is_some();
    let (mut recorded, mut event_ids, mut events) = (Vec::new(), Vec::new(), 0);
    let document = block_on(served(&server));
    for step in document.steps() {
        if step.target.starts_with("/v1/outbox") {
            eventually("all events are published", || {
                let outbox = server.json(&["outbox", "status"]);
                outbox["publishedCursor"] == outbox["headCursor"]
            });
        }
        let lines = if step.id == "watchEvents" { events } else { usize::MAX };
        let (status, text) = block_on(step.answer(&server, lines));
        let answer: Value = serde_json::from_str(&text).unwrap();
        if let Some(refusal) = step.refusal() {
            assert_eq!(answer["reason"], refusal, "{}: {text}", step.id);
            let documented =
                &step.operation["responses"][status.as_str()]["content"]["application/problem+json"];
            assert!(documented["examples"].get(refusal).is_some(), "{}", step.id);
            continue;
        }
        assert_eq!(status, 200, "{}: {text}", step.id);
        if step.id == "listEvents" {
            events = answer["events"].as_array().unwrap().len();
        }
        if record {
            let deadline = values(&text, "storageUntil").pop().unwrap_or("-".to_owned());
            recorded.push(format!("\"{}\": {}", step.id, canonical(&text, &mut event_ids, &deadline)));
        } else {
            assert_eq!(masked(step.documented()), masked(answer), "{}", step.id);
        }
    }
    if record {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("build/answers.json");
        std::fs::write(path, format!("{{\n{}\n}}\n", recorded.join(",\n"))).unwrap();
    }
    server.stop();
}

#[test]
fn every_error_has_an_example_with_its_status() {
    let document: Document = serde_json::from_str(&pvz::adapters::http::openapi_document()).unwrap();
    let mut shown = 0;
    for step in document.steps() {
        for (status, response) in step.operation["responses"].as_object().unwrap() {
            let Some(form) = response["content"].get("application/problem+json") else { continue };
            let reasons = form["schema"]["properties"]["reason"]["enum"].as_array().unwrap();
            let examples = form["examples"].as_object().unwrap();
            assert_eq!(examples.len(), reasons.len(), "{} {status}", step.id);
            for (name, reference) in examples {
                assert!(reasons.contains(&name.as_str().into()), "{} {status} {name}", step.id);
                assert_eq!(reference["$ref"], format!("#/components/examples/{name}"));
                let problem = &document.components["examples"][name]["value"];
                assert_eq!(
                    (&problem["status"].to_string(), &problem["reason"]),
                    (status, &name.as_str().into())
                );
                shown += 1;
            }
        }
    }
    assert!(shown > 100, "{shown}");
}

/// A second press of "Execute" must not be taken for the first, and nothing must end a story.
#[test]
fn no_example_names_an_idempotency_key() {
    let document = pvz::adapters::http::openapi_document();
    let document: Document = serde_json::from_str(&document).unwrap();
    for step in document.steps() {
        let body = step.body.as_ref().map_or("", |(_, text)| text);
        assert!(!body.contains("requestId"), "{}: {body}", step.id);
        assert!(!step.documented().to_string().contains("requestId"), "{}", step.id);
    }
    for header in ["Idempotency-Key", "If-None-Match", "Last-Event-ID"] {
        assert!(document.components["parameters"][header]["schema"].get("examples").is_none(), "{header}");
    }
}

#[tokio::test]
async fn the_deadline_of_the_examples_is_ahead_on_every_day() {
    let clock = Arc::new(TestClock::default());
    let app = HttpApp::start_with(ScriptedService::default(), |options| {
        options.clock = Arc::<TestClock>::clone(&clock);
    })
    .await;
    let mut etags = Vec::new();
    for days in [0, 1, 400, 4_000] {
        clock.advance(days * DAY);
        let served = app.get("/openapi.json").await;
        let form =
            &served.json()["paths"]["/v1/orders"]["post"]["requestBody"]["content"]["application/json"];
        let deadline = form["examples"]["story"]["value"]["storageUntil"].as_str().unwrap().to_owned();
        let deadline = chrono::DateTime::parse_from_rfc3339(&deadline).unwrap().timestamp_micros();
        let ahead = deadline - clock.now().micros();
        assert!((DAY..365 * DAY).contains(&ahead), "{ahead}");
        etags.push(served.header("etag").to_owned());
    }
    etags.sort();
    etags.dedup();
    assert_eq!(etags.len(), 4, "{etags:?}");
}
