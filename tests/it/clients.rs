//! Clients of each interface: the same call over gRPC, REST and the CLI, with
//! replies in a comparable form.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use pvz::adapters::http::metadata_keys;
use pvz::domain::Reason;
use pvz::proto::v1;
use pvz::proto::v1::order_service_client::OrderServiceClient;
use serde::Serialize;
use serde_json::Value;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::process::{Server, pvz};

/// The reply to a call, without values that differ between servers: current
/// times, event ids, page tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Success(Value),
    Refused { reason: String, metadata: BTreeMap<String, String>, violations: Vec<String> },
}

impl Reply {
    fn success(mut response: Value) -> Self {
        mask(&mut response);
        Self::Success(response)
    }

    /// Returns the refusal in a problem of REST or an error of the CLI.
    fn of_json(refusal: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let metadata = refusal["metadata"].as_object().unwrap().iter();
        let violations = refusal["fieldViolations"].as_array().unwrap().iter();
        Self::refused(
            text(&refusal["reason"]),
            metadata.map(|(key, value)| (key.clone(), text(value))),
            violations.map(|one| format!("{} {}", text(&one["field"]), text(&one["description"]))),
        )
    }

    fn refused(
        reason: String,
        metadata: impl IntoIterator<Item = (String, String)>,
        violations: impl IntoIterator<Item = String>,
    ) -> Self {
        let metadata =
            metadata.into_iter().map(|(key, value)| (key, without_current_times(&value))).collect();
        let violations = violations.into_iter().map(|violation| without_current_times(&violation)).collect();
        Self::Refused { reason, metadata, violations }
    }
}

/// Removes the current times, which have fractions of a second, from a text.
fn without_current_times(text: &str) -> String {
    let is_current_time = |word: &&str| {
        word.trim_end_matches([')', ',']).ends_with('Z') && word.contains('T') && word.contains('.')
    };
    text.split(' ').filter(|word| !is_current_time(word)).collect::<Vec<_>>().join(" ")
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // The CLI generates a request_id if none is given, and messages contain
            // the current time.
            members.retain(|name, _| name != "requestId" && name != "message");
            for (name, member) in members {
                if name == "eventId" || name == "now" || name.ends_with("At") || name.ends_with("_at") {
                    *member = "masked".into();
                } else if name == "nextPageToken" {
                    *member = member.as_str().is_some_and(|token| !token.is_empty()).into();
                } else if name != "storageUntil" {
                    mask(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// A gRPC client.
pub struct Grpc(OrderServiceClient<Channel>);

macro_rules! calls {
    ($($method:ident: $request:ident;)*) => {
        /// A call of a unary method.
        #[derive(Debug, Clone)]
        #[expect(non_camel_case_types, reason = "named like the methods")]
        pub enum ApiCall { $($method(v1::$request),)* }

        impl Grpc {
            pub async fn call(&mut self, call: ApiCall, actor: Option<&str>) -> Reply {
                match call {
                    $(ApiCall::$method(message) => {
                        let mut request = tonic::Request::new(message);
                        if let Some(actor) = actor {
                            request.metadata_mut().insert("pvz-actor", actor.parse().unwrap());
                        }
                        reply(self.0.$method(request).await)
                    })*
                }
            }
        }
    };
}

calls! {
    accept_order: AcceptOrderRequest;
    issue_orders: IssueOrdersRequest;
    accept_return: AcceptReturnRequest;
    return_to_courier: ReturnToCourierRequest;
    get_order: GetOrderRequest;
    list_orders: ListOrdersRequest;
    get_order_history: GetOrderHistoryRequest;
    list_returns: ListReturnsRequest;
    list_packaging: ListPackagingRequest;
}

fn reply<T: Serialize>(result: Result<tonic::Response<T>, tonic::Status>) -> Reply {
    match result {
        Ok(response) => Reply::success(serde_json::to_value(response.into_inner()).unwrap()),
        Err(status) => {
            let info = status.get_details_error_info().unwrap_or_else(|| panic!("no details: {status:?}"));
            let violations = status.get_details_bad_request().map(|request| request.field_violations);
            let violations = violations.unwrap_or_default().into_iter();
            let violations = violations.map(|one| format!("{} {}", one.field, one.description));
            Reply::refused(info.reason, info.metadata, violations)
        }
    }
}

impl Grpc {
    pub async fn connect(server: &Server) -> Self {
        Self(OrderServiceClient::connect(format!("http://{}", server.grpc)).await.unwrap())
    }
}

/// A REST client.
pub struct Rest(SendRequest<Full<Bytes>>);

impl Rest {
    pub async fn connect(server: &Server) -> Self {
        let stream = tokio::net::TcpStream::connect(&server.http).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub async fn call(&mut self, call: ApiCall, actor: Option<&str>, key_in_header: bool) -> Reply {
        let (parts, response) = self.send(call, actor, key_in_header).await;
        if parts.status.is_success() {
            return Reply::success(response);
        }
        assert_eq!(parts.headers["content-type"], "application/problem+json");
        let reason = response["reason"].as_str().unwrap();
        let documented = metadata_keys(Reason::parse(reason).unwrap());
        for key in response["metadata"].as_object().unwrap().keys() {
            assert!(documented.contains(&key.as_str()), "the page of {reason} does not have the key {key}");
        }
        Reply::of_json(&response)
    }

    /// Sends a request, and returns the head and the JSON of the response.
    pub async fn send(
        &mut self,
        call: ApiCall,
        actor: Option<&str>,
        key_in_header: bool,
    ) -> (http::response::Parts, Value) {
        let (builder, body) = rest_request(call, key_in_header);
        let mut request = builder.header("host", "pvz").body(Full::new(Bytes::from(body))).unwrap();
        if let Some(actor) = actor {
            request.headers_mut().insert("pvz-actor", actor.parse().unwrap());
        }
        self.0.ready().await.unwrap();
        let (parts, body) = self.0.send_request(request).await.unwrap().into_parts();
        (parts, serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap())
    }
}

fn rest_request(call: ApiCall, key_in_header: bool) -> (http::request::Builder, Vec<u8>) {
    let post = |path: &str, message: &dyn erased::Json, key: Option<String>| {
        let request = Request::post(path).header("content-type", "application/json");
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        (request, message.json())
    };
    let take = |key: &mut Option<String>| if key_in_header { key.take() } else { None };
    match call {
        ApiCall::accept_order(mut message) => {
            let key = take(&mut message.request_id);
            post("/v1/orders", &message, key)
        }
        ApiCall::issue_orders(mut message) => {
            let key = take(&mut message.request_id);
            post("/v1/orders:issue", &message, key)
        }
        ApiCall::accept_return(mut message) => {
            let key = take(&mut message.request_id);
            post("/v1/orders:acceptReturn", &message, key)
        }
        ApiCall::return_to_courier(mut message) => {
            let key = take(&mut message.request_id);
            post("/v1/orders:returnToCourier", &message, key)
        }
        ApiCall::get_order(message) => {
            (Request::get(format!("/v1/orders/{}", encode(&message.order_id))), Vec::new())
        }
        ApiCall::get_order_history(message) => {
            let path = format!("/v1/orders/{}/history", encode(&message.order_id));
            (Request::get(format!("{path}?pageSize={}", message.page_size)), Vec::new())
        }
        ApiCall::list_orders(message) => {
            (Request::get(format!("/v1/orders?{}", query(&message))), Vec::new())
        }
        ApiCall::list_returns(message) => {
            (Request::get(format!("/v1/returns?{}", query(&message))), Vec::new())
        }
        ApiCall::list_packaging(_) => (Request::get("/v1/packaging"), Vec::new()),
    }
}

mod erased {
    /// A message that can be written as JSON.
    pub trait Json {
        fn json(&self) -> Vec<u8>;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> Vec<u8> {
            serde_json::to_vec(self).unwrap()
        }
    }
}

/// Percent-encodes everything except letters and digits.
pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Returns a message as query parameters.
fn query(message: &impl Serialize) -> String {
    let mut pairs = Vec::new();
    for (name, value) in serde_json::to_value(message).unwrap().as_object().unwrap() {
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            pairs.push(format!("{name}={}", encode(&text)));
        }
    }
    pairs.join("&")
}

/// The CLI as a client.
pub struct Cli<'s>(pub &'s Server);

impl Cli<'_> {
    pub fn call(&self, call: ApiCall, actor: Option<&str>) -> Reply {
        let mut command = pvz();
        command.env("PVZ_SERVER", &self.0.grpc).args(cli_arguments(call)).arg("--output=json");
        if let Some(actor) = actor {
            command.arg(format!("--actor={actor}"));
        }
        let output = command.output().unwrap();
        if let Ok(response) = serde_json::from_slice(&output.stdout) {
            return Reply::success(response);
        }
        let text = String::from_utf8(output.stderr).unwrap();
        let last = text.lines().last().unwrap_or_else(|| panic!("{command:?} printed no error"));
        let error: Value =
            serde_json::from_str(last).unwrap_or_else(|fault| panic!("{command:?}: {fault}: {last}"));
        Reply::of_json(&error)
    }
}

/// Returns the arguments of the CLI for a call.
fn cli_arguments(call: ApiCall) -> Vec<String> {
    let mut arguments = Arguments(Vec::new());
    match call {
        ApiCall::accept_order(message) => {
            arguments.begin("accept").flag("order-id", Some(message.order_id));
            arguments.flag("customer-id", Some(message.customer_id));
            let until = message.storage_until.map(|until| serde_json::to_value(until).unwrap());
            let until = until.map(|until| until.as_str().unwrap().to_owned());
            // The option is required; the server refuses an empty value as a missing one.
            arguments.flag("storage-until", Some(until.unwrap_or_default()));
            arguments.flag("weight", message.weight_grams);
            let price = message.price_minor.map(|price| {
                let sign = if price < 0 { "-" } else { "" };
                format!("{sign}{}.{:02}", price.abs() / 100, price.abs() % 100)
            });
            arguments.flag("price", price);
            let packaging = Some(message.packaging.join("+")).filter(|packaging| !packaging.is_empty());
            arguments.flag("packaging", packaging);
            arguments.flag("pickup-point", message.pickup_point_id).flag("request-id", message.request_id);
        }
        ApiCall::issue_orders(message) => {
            arguments.begin("issue").batch(&message.order_ids, message.mode, message.pickup_point_id);
            arguments.flag("customer-id", message.customer_id).flag("request-id", message.request_id);
        }
        ApiCall::return_to_courier(message) => {
            arguments.begin("return-to-courier").batch(
                &message.order_ids,
                message.mode,
                message.pickup_point_id,
            );
            arguments.flag("request-id", message.request_id);
        }
        ApiCall::accept_return(message) => {
            arguments.begin("accept-return").flag("order-id", Some(message.order_id));
            arguments.flag("customer-id", Some(message.customer_id));
            arguments.flag("pickup-point", message.pickup_point_id).flag("request-id", message.request_id);
        }
        ApiCall::get_order(message) => {
            arguments.begin("get").flag("order-id", Some(message.order_id));
        }
        ApiCall::get_order_history(message) => {
            arguments.begin("history").flag("order-id", Some(message.order_id));
            arguments.flag("page-size", Some(message.page_size));
        }
        ApiCall::list_orders(message) => {
            arguments.begin("list").flag("customer-id", message.customer_id);
            arguments.flag("pickup-point", message.pickup_point_id).flag("expired", message.expired);
            arguments.flag("last-n", message.last_n).flag("page-size", Some(message.page_size));
            let names: Vec<String> = message
                .states
                .iter()
                .map(|state| v1::OrderState::try_from(*state).unwrap().as_str_name().to_ascii_lowercase())
                .map(|name| name.trim_start_matches("order_state_").to_owned())
                .collect();
            arguments.flag("states", Some(names.join(",")).filter(|names| !names.is_empty()));
        }
        ApiCall::list_returns(message) => {
            arguments.begin("returns").flag("pickup-point", message.pickup_point_id);
            arguments.flag("page-size", Some(message.page_size));
        }
        ApiCall::list_packaging(_) => {
            arguments.begin("packaging");
        }
    }
    arguments.0
}

struct Arguments(Vec<String>);

impl Arguments {
    fn begin(&mut self, command: &str) -> &mut Self {
        self.0.push(command.to_owned());
        self
    }

    fn flag(&mut self, name: &str, value: Option<impl ToString>) -> &mut Self {
        self.0.extend(value.map(|value| format!("--{name}={}", value.to_string())));
        self
    }

    fn batch(&mut self, order_ids: &[String], mode: i32, point: Option<String>) -> &mut Self {
        self.flag("order-ids", Some(order_ids.join(","))).flag("pickup-point", point);
        if mode == v1::BatchMode::Partial as i32 {
            self.0.push("--partial".to_owned());
        }
        self
    }
}
