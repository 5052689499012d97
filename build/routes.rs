//! The route table: one axum route for each annotated method, typed, so that a
//! request costs no reflection.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prost_reflect::{Kind, MessageDescriptor};

use crate::contract::{Body, Contract, Operation, Result, Streams};

/// The Rust text of the route table, to be included in `src/adapters/http`.
pub fn table(contract: &Contract) -> Result<String> {
    let mut paths: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &contract.operations {
        paths.entry(&operation.path).or_default().push(operation);
    }
    let mut text = String::from(
        "/// The routes of `proto/`, written by `build/routes.rs`.\n\
         pub(super) fn routes<S: OrderService>() -> Router<Shared<S>> {\n    Router::new()\n",
    );
    for (path, operations) in paths {
        let allow = allowed(&operations);
        write!(text, "        .route({path:?}, resource({allow:?})")?;
        for operation in operations {
            write!(text, "\n            .on(MethodFilter::{}, ", operation.verb.to_uppercase())?;
            text.push_str(&handler(operation)?);
            text.push(')');
        }
        text.push_str(")\n");
    }
    text.push_str("}\n");
    Ok(text)
}

/// The value of `allow` for a path. A path that is read has HEAD too.
fn allowed(operations: &[&Operation]) -> String {
    let mut methods: Vec<String> = operations.iter().map(|operation| operation.verb.to_uppercase()).collect();
    if methods.iter().any(|method| method == "GET") {
        methods.push("HEAD".to_owned());
    }
    methods.push("OPTIONS".to_owned());
    methods.sort();
    methods.join(", ")
}

fn handler(operation: &Operation) -> Result<String> {
    let (function, rules) = match operation.streams {
        Streams::Unary => ("unary", unary(operation)?),
        Streams::Out => ("watch", stream_out(operation)?),
        Streams::Both => ("import", stream_both(operation)?),
    };
    let method = snake(&operation.name);
    Ok(format!(
        "|State(shared): State<Shared<S>>, request: Request| {function}(shared, request, {rules}, \
         |service: std::sync::Arc<S>, request| async move {{ service.{method}(request).await }})"
    ))
}

fn unary(operation: &Operation) -> Result<String> {
    let whole = match &operation.body {
        Body::Message => true,
        Body::None => false,
        Body::Field(field) => {
            return Err(
                format!("{}: the body {field} of a unary method is not supported", operation.name).into()
            );
        }
    };
    let key = if operation.mutation {
        require(operation, &operation.input, "request_id", &Kind::String)?;
        format!("Some(|message: &mut v1::{}| &mut message.request_id)", operation.input.name())
    } else {
        "None".to_owned()
    };
    let tag = if operation.has_etag() {
        format!("Some(|answer: &v1::{}| etag(answer.version, answer.expired))", operation.output.name())
    } else {
        "None".to_owned()
    };
    Ok(format!("Unary {{ has_body: {whole}, request_id: {key}, etag: {tag} }}"))
}

/// A stream out resumes with the cursor of its items, if they have one.
fn stream_out(operation: &Operation) -> Result<String> {
    if operation.body != Body::None {
        return Err(format!("{}: a stream out with a body is not supported", operation.name).into());
    }
    require(operation, &operation.input, "after", &Kind::String)?;
    require(operation, &operation.output, "cursor", &Kind::String)?;
    let (request, item) = (operation.input.name(), operation.output.name());
    Ok(format!(
        "Watch {{ \
         after: |message: &mut v1::{request}| &mut message.after, \
         cursor: |item: &v1::{item}| item.cursor.as_deref() }}"
    ))
}

/// A stream both ways: rows in, a result with the row's index out.
fn stream_both(operation: &Operation) -> Result<String> {
    let Body::Field(row) = &operation.body else {
        return Err(format!("{}: the body of a stream in must be a field, the row", operation.name).into());
    };
    let input = operation.input.get_field_by_name(row);
    let Some(Kind::Message(message)) = input.map(|field| field.kind()) else {
        return Err(format!("{}: the row {row} is no message", operation.name).into());
    };
    require(operation, &message, "order_id", &Kind::String)?;
    require(operation, &operation.output, "index", &Kind::Int64)?;
    let (request, answer) = (operation.input.name(), operation.output.name());
    Ok(format!(
        "Import {{ \
         wrap: |row| v1::{request} {{ {row}: Some(row) }}, \
         index: |answer: &mut v1::{answer}| &mut answer.index, \
         refused: |index, result| v1::{answer} {{ index, result: Some(result), ..v1::{answer}::default() }} }}"
    ))
}

fn field(message: &MessageDescriptor, name: &str, kind: &Kind) -> bool {
    message.get_field_by_name(name).is_some_and(|field| field.kind() == *kind && !field.is_list())
}

fn require(operation: &Operation, message: &MessageDescriptor, name: &str, kind: &Kind) -> Result<()> {
    if field(message, name, kind) {
        return Ok(());
    }
    Err(format!("{}: {} needs a field {name}: {kind:?}", operation.name, message.full_name()).into())
}

/// `AcceptOrder` → `accept_order`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
