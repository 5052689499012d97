//! Messages as JSON schemas (draft 2020-12, the dialect of OpenAPI 3.1).

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::contract::{Bounds, Options, comment};

/// The direction of a message. Requests are closed and allow null; responses
/// are open, so that later releases can add fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Sent by clients.
    Request,
    /// Sent by the service.
    Response,
}

/// The schemas of messages and enums, by name.
#[derive(Default)]
pub struct Schemas {
    pub named: BTreeMap<String, Value>,
}

impl Schemas {
    /// Adds a message with all its parts, and returns a reference to it.
    pub fn message(&mut self, message: &MessageDescriptor, direction: Direction, options: &Options) -> Value {
        let name = message.name().to_owned();
        let reference = reference(&name);
        if self.named.contains_key(&name) {
            return reference;
        }
        self.named.insert(name.clone(), Value::Null);
        let description = comment(&message.parent_file(), message.path());
        let fields = in_order(message);
        let (alternatives, common): (Vec<_>, Vec<_>) = fields.into_iter().partition(is_alternative);
        let schema = if alternatives.is_empty() {
            self.object(&common, &description, direction, options)
        } else {
            let mut references = Vec::new();
            for alternative in alternatives {
                let name = format!("{name}{}", upper_first(alternative.name()));
                let description = comment(&message.parent_file(), alternative.path());
                let fields = [common.as_slice(), &[alternative]].concat();
                let schema = self.object(&fields, &description, direction, options);
                references.push(self::reference(&name));
                self.named.insert(name, schema);
            }
            json!({"description": description, "oneOf": references})
        };
        self.named.insert(name, schema);
        reference
    }

    /// Returns the schema of an object with these fields.
    fn object(
        &mut self,
        fields: &[FieldDescriptor],
        description: &str,
        direction: Direction,
        options: &Options,
    ) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in fields {
            let bounds = options.bounds(field);
            let always = field.containing_oneof().is_none() || is_alternative(field);
            if if direction == Direction::Request { bounds.required } else { always } {
                required.push(Value::from(field.json_name()));
            }
            let schema = self.field_schema(field, &bounds, direction, options);
            properties.insert(field.json_name().to_owned(), schema);
        }
        let mut schema = json!({"type": "object", "description": description, "properties": properties});
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        if direction == Direction::Request {
            schema["additionalProperties"] = false.into();
        }
        schema
    }

    /// Returns the schema of a field.
    fn field_schema(
        &mut self,
        field: &FieldDescriptor,
        bounds: &Bounds,
        direction: Direction,
        options: &Options,
    ) -> Value {
        let text = comment(&field.parent_message().parent_file(), field.path());
        let mut schema = self.type_schema(field, bounds, direction, options);
        if direction == Direction::Request && !bounds.required {
            schema = nullable(schema);
        }
        describe(&mut schema, &text, bounds);
        schema
    }

    fn type_schema(
        &mut self,
        field: &FieldDescriptor,
        bounds: &Bounds,
        direction: Direction,
        options: &Options,
    ) -> Value {
        if field.is_map() {
            return json!({"type": "object", "additionalProperties": {"type": "string"}});
        }
        let mut item = self.kind_schema(&field.kind(), direction, options);
        apply_bounds(&mut item, bounds);
        if !field.is_list() {
            return item;
        }
        let mut list = json!({"type": "array", "items": item});
        set_number(&mut list, "minItems", bounds.min_items);
        set_number(&mut list, "maxItems", bounds.max_items);
        if bounds.unique_items {
            list["uniqueItems"] = true.into();
        }
        list
    }

    fn kind_schema(&mut self, kind: &Kind, direction: Direction, options: &Options) -> Value {
        const DIGITS: &str = "^-?[0-9]{1,19}$";
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int32 | Kind::Sint32 | Kind::Uint32 => json!({"type": "integer", "format": "int32"}),
            // JSON numbers are doubles, which cannot represent 64 bits: strings in
            // output, strings or numbers in input.
            Kind::Int64 | Kind::Sint64 | Kind::Uint64 if direction == Direction::Request => {
                json!({"type": ["integer", "string"], "format": "int64", "pattern": DIGITS})
            }
            Kind::Int64 | Kind::Sint64 | Kind::Uint64 => {
                json!({"type": "string", "format": "int64", "pattern": DIGITS})
            }
            Kind::Enum(values) => self.enum_schema(values),
            Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
                json!({"type": "string", "format": "date-time"})
            }
            Kind::Message(message) => self.message(message, direction, options),
            _ => json!({"type": "string"}),
        }
    }

    fn enum_schema(&mut self, values: &EnumDescriptor) -> Value {
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

    /// Returns the query or path parameter of a field.
    pub fn parameter(&mut self, field: &FieldDescriptor, location: &str, options: &Options) -> Value {
        let bounds = options.bounds(field);
        let mut schema = self.type_schema(field, &bounds, Direction::Response, options);
        let text = comment(&field.parent_message().parent_file(), field.path());
        describe(&mut schema, "", &bounds);
        let name = if location == "path" { field.name() } else { field.json_name() };
        json!({
            "name": name,
            "in": location,
            "required": location == "path",
            "description": text,
            "schema": schema,
        })
    }
}

/// Returns true for a field of a `oneof`: each of them makes another form of the
/// message. A field is required in its form.
fn is_alternative(field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_some_and(|group| !group.is_synthetic())
}

fn upper_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Returns the fields in the order of the file.
pub fn in_order(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    fields.sort_by(|one, other| one.path().cmp(other.path()));
    fields
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Allows null, which means that the field is absent.
fn nullable(mut schema: Value) -> Value {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(one) => *one = json!([one.clone(), "null"]),
        None => return json!({"anyOf": [schema, {"type": "null"}]}),
    }
    schema
}

fn apply_bounds(schema: &mut Value, bounds: &Bounds) {
    if let Some(pattern) = &bounds.pattern {
        schema["pattern"] = pattern.as_str().into();
    }
    set_number(schema, "minLength", bounds.min_length);
    set_number(schema, "maxLength", bounds.max_length);
    // The bounds of a number in a string are in the description.
    let is_number = schema["type"].as_str() == Some("integer") || schema["type"].is_array();
    if is_number {
        set_number(schema, "minimum", bounds.minimum);
        set_number(schema, "maximum", bounds.maximum);
    }
}

fn set_number(schema: &mut Value, key: &str, value: Option<i64>) {
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
    if let Some(example) = &bounds.example {
        schema["examples"] = json!([example]);
    }
}
