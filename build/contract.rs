//! The service as described by the descriptors of `proto/`: `google.api.http`
//! annotations, options of `pvz.options.v1`, and comments.

use std::error::Error;

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FileDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, Value,
};

/// The result of reading the contract.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The source of a request message, in addition to path and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// No body.
    None,
    /// The body is the whole message.
    Message,
    /// The body is this field of the message.
    Field(String),
}

/// The kind of a method in gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// One request, one response.
    Unary,
    /// One request, a stream of responses.
    ServerStreaming,
    /// A stream of requests, a stream of responses.
    Bidirectional,
}

/// A method with its HTTP route.
pub struct Operation {
    /// The name in the contract: `AcceptOrder`.
    pub name: String,
    /// The comment.
    pub comment: String,
    /// The HTTP method, in lower case.
    pub verb: String,
    /// The path, with `{order_id}` for a variable.
    pub path: String,
    /// The source of the request message.
    pub body: Body,
    /// The kind of the method.
    pub kind: MethodKind,
    /// The request message.
    pub input: MessageDescriptor,
    /// The response message.
    pub output: MessageDescriptor,
    /// The reasons of its refusals, in addition to those of every method.
    pub reasons: Vec<String>,
    /// True if the method changes orders.
    pub mutation: bool,
    /// The group of the method.
    pub tag: String,
    /// The reason with which a new installation refuses the example of the method.
    pub example_refusal: Option<String>,
}

impl Operation {
    /// Returns true if the method reads a versioned resource, for which the client
    /// can send `If-None-Match`.
    pub fn has_etag(&self) -> bool {
        let has = |name: &str, kind: Kind| {
            self.output.get_field_by_name(name).is_some_and(|field| field.kind() == kind)
        };
        let versioned = has("version", Kind::Int64) && has("expired", Kind::Bool);
        self.kind == MethodKind::Unary && self.verb == "get" && versioned
    }
}

/// The service and its operations, in the order of the contract.
pub struct Contract {
    /// The comment of the service.
    pub comment: String,
    /// The message in a record of the Kafka topic.
    pub event: MessageDescriptor,
    /// The groups of methods, each with its description.
    pub tags: Vec<(String, String)>,
    /// The operations.
    pub operations: Vec<Operation>,
    /// The field options.
    pub options: Options,
}

/// The annotations of methods.
struct MethodOptions {
    http: ExtensionDescriptor,
    mutation: ExtensionDescriptor,
    reasons: ExtensionDescriptor,
    tag: ExtensionDescriptor,
    example_refusal: ExtensionDescriptor,
}

/// The annotations of fields.
pub struct Options {
    schema: ExtensionDescriptor,
    behavior: ExtensionDescriptor,
}

impl Contract {
    /// Reads the contract of one service.
    pub fn read(descriptors: &[u8], service: &str) -> Result<Self> {
        let pool = DescriptorPool::decode(descriptors)?;
        let extension = |name: &str| {
            pool.get_extension_by_name(name).ok_or_else(|| format!("no option {name} in proto/"))
        };
        let options = MethodOptions {
            http: extension("google.api.http")?,
            mutation: extension("pvz.options.v1.mutation")?,
            reasons: extension("pvz.options.v1.reasons")?,
            tag: extension("pvz.options.v1.tag")?,
            example_refusal: extension("pvz.options.v1.example_refusal")?,
        };
        let service =
            pool.get_service_by_name(service).ok_or_else(|| format!("no service {service} in proto/"))?;
        let tags = tags(&service.options().get_extension(&extension("pvz.options.v1.tags")?));
        let mut operations = Vec::new();
        for method in service.methods() {
            if method.options().has_extension(&options.http) {
                let operation = operation(&method, &options)?;
                if !tags.iter().any(|(name, _)| *name == operation.tag) {
                    return Err(
                        format!("{}: the service has no tag {:?}", operation.name, operation.tag).into()
                    );
                }
                operations.push(operation);
            }
        }
        Ok(Self {
            comment: comment(&service.parent_file(), service.path()),
            event: pool.get_message_by_name("pvz.v1.Event").ok_or("no message pvz.v1.Event in proto/")?,
            tags,
            operations,
            options: Options {
                schema: extension("pvz.options.v1.schema")?,
                behavior: extension("google.api.field_behavior")?,
            },
        })
    }
}

fn operation(method: &MethodDescriptor, annotations: &MethodOptions) -> Result<Operation> {
    let name = method.name().to_owned();
    let options = method.options();
    let text = |option| options.get_extension(option).as_str().map(str::to_owned).unwrap_or_default();
    let rule = options.get_extension(&annotations.http);
    let rule = rule.as_message().ok_or("google.api.http is not a message")?;
    let (verb, path) = ["get", "put", "post", "delete", "patch"]
        .into_iter()
        .find_map(|verb| Some((verb.to_owned(), string_field(rule, verb).filter(|path| !path.is_empty())?)))
        .ok_or_else(|| format!("{name}: google.api.http has no path"))?;
    let body = match string_field(rule, "body").unwrap_or_default().as_str() {
        "" => Body::None,
        "*" => Body::Message,
        field => Body::Field(field.to_owned()),
    };
    let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
        (false, false) => MethodKind::Unary,
        (false, true) => MethodKind::ServerStreaming,
        (true, true) => MethodKind::Bidirectional,
        (true, false) => {
            return Err(format!("{name}: a client-streaming method cannot be mapped to HTTP").into());
        }
    };
    for variable in variables(&path) {
        let field = method
            .input()
            .get_field_by_name(variable)
            .ok_or_else(|| format!("{name}: a variable of {path} is not a field of the request"))?;
        if field.is_list() || !matches!(field.kind(), Kind::String) {
            return Err(format!("{name}: the variable {variable} of {path} is not a string").into());
        }
        if body == Body::Message {
            return Err(format!("{name}: a path variable together with the body '*' is not supported").into());
        }
    }
    Ok(Operation {
        comment: comment(&method.parent_file(), method.path()),
        name,
        verb,
        path,
        body,
        kind,
        input: method.input(),
        output: method.output(),
        reasons: string_list(&options.get_extension(&annotations.reasons)),
        mutation: options.get_extension(&annotations.mutation).as_bool().unwrap_or_default(),
        tag: text(&annotations.tag),
        example_refusal: Some(text(&annotations.example_refusal)).filter(|reason| !reason.is_empty()),
    })
}

/// Returns the names of tags with their descriptions.
fn tags(value: &Value) -> Vec<(String, String)> {
    let tags = value.as_list().unwrap_or_default().iter().filter_map(Value::as_message);
    tags.filter_map(|tag| Some((string_field(tag, "name")?, string_field(tag, "description")?))).collect()
}

/// Returns the variables of a path: `order_id` of `/v1/orders/{order_id}`.
pub fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

/// Returns the leading comment of a declaration, with one line per paragraph.
pub fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let file = file.file_descriptor_proto();
    let Some(info) = &file.source_code_info else { return String::new() };
    let location = info.location.iter().find(|location| location.path == path);
    let text = location.map(prost_types::source_code_info::Location::leading_comments).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let paragraphs = lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty());
    paragraphs.map(|lines| lines.join(" ")).collect::<Vec<_>>().join("\n\n")
}

fn string_field(message: &DynamicMessage, field: &str) -> Option<String> {
    message.get_field_by_name(field)?.as_str().map(str::to_owned)
}

fn string_list(value: &Value) -> Vec<String> {
    value.as_list().unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The values that a field allows.
#[derive(Debug, Default)]
pub struct Bounds {
    /// A regular expression that the whole value matches.
    pub pattern: Option<String>,
    /// The smallest and the largest value, inclusive.
    pub minimum: Option<i64>,
    pub maximum: Option<i64>,
    /// The length in characters.
    pub min_length: Option<i64>,
    pub max_length: Option<i64>,
    /// The number of items.
    pub min_items: Option<i64>,
    pub max_items: Option<i64>,
    /// True if the items must be unique.
    pub unique_items: bool,
    /// An example.
    pub example: Option<serde_json::Value>,
    /// The unit of a number.
    pub unit: Option<String>,
    /// True if the field is required.
    pub required: bool,
}

impl Options {
    /// Returns the annotations of a field.
    pub fn bounds(&self, field: &prost_reflect::FieldDescriptor) -> Bounds {
        const REQUIRED: i32 = 2;
        let options = field.options();
        let schema = options.get_extension(&self.schema);
        let mut bounds = Bounds::default();
        if let Some(schema) = schema.as_message() {
            let number = |name: &str| {
                let value = schema.get_field_by_name(name)?;
                let given = schema.has_field_by_name(name);
                given.then(|| value.as_i64().or(value.as_i32().map(i64::from)))?
            };
            let string = |name: &str| string_field(schema, name).filter(|text| !text.is_empty());
            bounds = Bounds {
                pattern: string("pattern"),
                minimum: number("minimum"),
                maximum: number("maximum"),
                min_length: number("min_length"),
                max_length: number("max_length"),
                min_items: number("min_items"),
                max_items: number("max_items"),
                unique_items: schema
                    .get_field_by_name("unique_items")
                    .and_then(|value| value.as_bool())
                    .unwrap_or_default(),
                example: string("example").and_then(|text| serde_json::from_str(&text).ok()),
                unit: string("unit"),
                required: false,
            };
        }
        let behavior = options.get_extension(&self.behavior);
        bounds.required = behavior
            .as_list()
            .unwrap_or_default()
            .iter()
            .any(|value| value.as_enum_number() == Some(REQUIRED));
        bounds
    }
}
