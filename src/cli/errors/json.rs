//! Failures as JSON for programs: one object on one line (`docs/api.md`, CLI). Names, metadata
//! and instants are those of the contract.

use std::collections::BTreeMap;

use serde::Serialize;

use super::flags::Flags;
use super::text::sentence;
use crate::adapters::status::{Reason, status_codes};
use crate::cli::failure::Failure;
use crate::proto::v1::{OrderResult, Refusal, order_result};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorObject<'a> {
    #[serde(flatten)]
    error: RefusalObject<'a>,
    /// The refused orders of a batch, as many as the server lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<OrderObject<'a>>,
    /// Their number.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_total: Option<i32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    advice: &'a [String],
    exit_code: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusalObject<'a> {
    reason: &'a str,
    message: String,
    metadata: &'a BTreeMap<String, String>,
    field_violations: Vec<ViolationObject<'a>>,
}

#[derive(Serialize)]
struct ViolationObject<'a> {
    field: &'a str,
    /// The flag or argument that the field comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<String>,
    description: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderObject<'a> {
    order_id: &'a str,
    #[serde(flatten)]
    refusal: RefusalObject<'a>,
}

/// Returns the object, with a line end.
pub(super) fn render(failure: &Failure, flags: &Flags) -> String {
    let mut error = refusal(&failure.refusal, flags);
    if error.reason.is_empty() {
        let of_exit = |reason: &&Reason| status_codes(**reason).exit == failure.exit;
        error.reason = Reason::ALL.iter().find(of_exit).map_or("", |reason| reason.name());
    }
    let orders = failure.batch.iter().flat_map(|batch| &batch.results);
    let object = ErrorObject {
        error,
        errors: orders.filter_map(|result| order(result, flags)).collect(),
        refused_total: failure.batch.as_ref().map(|batch| batch.refused_total),
        advice: &failure.advice,
        exit_code: failure.exit,
    };
    let text = serde_json::to_string(&object).unwrap_or_else(|error| format!("{{\"message\":\"{error}\"}}"));
    text + "\n"
}

fn refusal<'a>(refusal: &'a Refusal, flags: &Flags) -> RefusalObject<'a> {
    let violations = refusal.field_violations.iter().map(|violation| {
        let name = violation.field.split('[').next().unwrap_or_default();
        ViolationObject {
            field: &violation.field,
            flag: flags.of_field(name),
            description: &violation.description,
        }
    });
    RefusalObject {
        reason: &refusal.reason,
        message: sentence(refusal, flags),
        metadata: &refusal.metadata,
        field_violations: violations.collect(),
    }
}

fn order<'a>(result: &'a OrderResult, flags: &Flags) -> Option<OrderObject<'a>> {
    let Some(order_result::Outcome::Refusal(refused)) = &result.outcome else { return None };
    Some(OrderObject { order_id: &result.order_id, refusal: refusal(refused, flags) })
}
