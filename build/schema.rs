//! Messages as JSON schemas (draft 2020-12, the dialect of OpenAPI 3.1).

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::contract::{Bounds, Options, comment};

/// Which way a message goes: what is sent is closed and may say null, what is
/// answered is open, so that fields can be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// The schemas of messages and enums, by name.
#[derive(Default)]
pub struct Schemas {
    pub named: BTreeMap<String, Value>,
}

impl Schemas {
    /// A reference to the message, which is added with everything in it.
    pub fn message(&mut self, message: &MessageDescriptor, way: Way, options: &Options) -> Value {
        let name = message.name().to_owned();
        let reference = reference(&name);
        if self.named.contains_key(&name) {
            return reference;
        }
        self.named.insert(name.clone(), Value::Null);
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in in_order(message) {
            let bounds = options.bounds(&field);
            let always = field.containing_oneof().is_none();
            if if way == Way::In { bounds.required } else { always } {
                required.push(Value::from(field.json_name()));
            }
            let schema = self.field(&field, &bounds, way, options);
            properties.insert(field.json_name().to_owned(), schema);
        }
        let mut schema = json!({
            "type": "object",
            "description": comment(&message.parent_file(), message.path()),
            "properties": properties,
        });
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        if way == Way::In {
            schema["additionalProperties"] = false.into();
        }
        self.named.insert(name, schema);
        reference
    }

    /// The schema of a field.
    fn field(&mut self, field: &FieldDescriptor, bounds: &Bounds, way: Way, options: &Options) -> Value {
        let text = comment(&field.parent_message().parent_file(), field.path());
        let mut schema = self.typed(field, bounds, way, options);
        if way == Way::In && !bounds.required {
            schema = nullable(schema);
        }
        describe(&mut schema, &text, bounds);
        schema
    }

    fn typed(&mut self, field: &FieldDescriptor, bounds: &Bounds, way: Way, options: &Options) -> Value {
        if field.is_map() {
            return json!({"type": "object", "additionalProperties": {"type": "string"}});
        }
        let mut item = self.kind(&field.kind(), way, options);
        limit(&mut item, bounds);
        if !field.is_list() {
            return item;
        }
        let mut list = json!({"type": "array", "items": item});
        set(&mut list, "minItems", bounds.min_items);
        set(&mut list, "maxItems", bounds.max_items);
        if bounds.unique_items {
            list["uniqueItems"] = true.into();
        }
        list
    }

    fn kind(&mut self, kind: &Kind, way: Way, options: &Options) -> Value {
        const DIGITS: &str = "^-?[0-9]{1,19}$";
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int32 | Kind::Sint32 | Kind::Uint32 => json!({"type": "integer", "format": "int32"}),
            // 64 bits do not fit a double: written as text, read as either.
            Kind::Int64 | Kind::Sint64 | Kind::Uint64 if way == Way::In => {
                json!({"type": ["integer", "string"], "format": "int64", "pattern": DIGITS})
            }
            Kind::Int64 | Kind::Sint64 | Kind::Uint64 => {
                json!({"type": "string", "format": "int64", "pattern": DIGITS})
            }
            Kind::Enum(values) => self.values(values),
            Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
                json!({"type": "string", "format": "date-time"})
            }
            Kind::Message(message) => self.message(message, way, options),
            _ => json!({"type": "string"}),
        }
    }

    fn values(&mut self, values: &EnumDescriptor) -> Value {
        let name = values.name().to_owned();
        let file = values.parent_file();
        let lines: Vec<String> = values
            .values()
            .map(|value| format!("- `{}`: {}", value.name(), comment(&file, value.path())))
            .collect();
        let names: Vec<String> = values.values().map(|value| value.name().to_owned()).collect();
        let text = format!("{}\n\n{}", comment(&file, values.path()), lines.join("\n"));
        self.named.insert(name.clone(), json!({"type": "string", "enum": names, "description": text}));
        reference(&name)
    }

    /// The parameter of a query or path that is that field.
    pub fn parameter(&mut self, field: &FieldDescriptor, place: &str, options: &Options) -> Value {
        let bounds = options.bounds(field);
        let mut schema = self.typed(field, &bounds, Way::Out, options);
        let text = comment(&field.parent_message().parent_file(), field.path());
        describe(&mut schema, "", &bounds);
        let name = if place == "path" { field.name() } else { field.json_name() };
        json!({
            "name": name,
            "in": place,
            "required": place == "path",
            "description": text,
            "schema": schema,
        })
    }
}

/// The fields in the order of the file.
pub fn in_order(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    fields.sort_by(|one, other| one.path().cmp(other.path()));
    fields
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// JSON null is an absent field.
fn nullable(mut schema: Value) -> Value {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(one) => *one = json!([one.clone(), "null"]),
        None => return json!({"anyOf": [schema, {"type": "null"}]}),
    }
    schema
}

fn limit(schema: &mut Value, bounds: &Bounds) {
    if let Some(pattern) = &bounds.pattern {
        schema["pattern"] = pattern.as_str().into();
    }
    set(schema, "minLength", bounds.min_length);
    set(schema, "maxLength", bounds.max_length);
    // Of a number that is written as text, the description tells the bounds.
    let is_number = schema["type"].as_str() == Some("integer") || schema["type"].is_array();
    if is_number {
        set(schema, "minimum", bounds.minimum);
        set(schema, "maximum", bounds.maximum);
    }
}

fn set(schema: &mut Value, key: &str, value: Option<i64>) {
    if let Some(value) = value {
        schema[key] = value.into();
    }
}

fn describe(schema: &mut Value, text: &str, bounds: &Bounds) {
    let unit = bounds.unit.as_ref().map(|unit| format!("Unit: {unit}."));
    let range = match (bounds.minimum, bounds.maximum) {
        (Some(minimum), Some(maximum)) => Some(format!("From {minimum} to {maximum}.")),
        (Some(minimum), None) => Some(format!("At least {minimum}.")),
        _ => None,
    };
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    let text = [text, unit, range].into_iter().flatten().collect::<Vec<_>>().join(" ");
    if !text.is_empty() {
        schema["description"] = text.into();
    }
    if let Some(example) = bounds.example.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok())
    {
        schema["examples"] = json!([example]);
    }
}
