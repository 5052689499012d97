//! Idempotency records as rows of a database.

use std::collections::BTreeMap;

use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use prost::Message as _;

use super::table_row::table_row;
use super::{Fault, instant, order};
use crate::adapters::proto_mapping;
use crate::domain::{
    Answer, BatchRefusal, FieldViolation, Method, OrderId, OrderResult, Reason, Refusal, RequestId,
};
use crate::ports::{CommandResult, IdempotencyKey, IdempotencyRecord};
use crate::proto::storage::v1::{LaterHashes, StoredRefusal, StoredResults, stored_answer};
use crate::proto::{storage, v1};

table_row! {
    /// An idempotency record as a row.
    pub struct IdempotencyRow = "idempotency" {
        /// The scope of the key.
        scope: String = "scope" as Text,
        /// The `request_id`.
        request_id: String = "request_id" as Text,
        /// The name of the RPC.
        method: String = "method" as Text,
        /// 16 bytes for each field of the first release, in message order.
        hashes: Vec<u8> = "hashes" as Binary,
        /// An encoded `pvz.storage.v1.StoredAnswer`.
        answer: Vec<u8> = "answer" as Binary,
        /// When it was decided, in microseconds since the epoch.
        created_at: i64 = "created_at" as BigInt,
        /// The hashes of later fields: an encoded `pvz.storage.v1.LaterHashes`.
        /// `None` if the request had no such field, or if the release that
        /// wrote the record knew none.
        later_hashes: Option<Vec<u8>> = "later_hashes" as Nullable<Binary>,
    }
}

impl From<&(IdempotencyKey, IdempotencyRecord)> for IdempotencyRow {
    fn from((key, record): &(IdempotencyKey, IdempotencyRecord)) -> Self {
        let IdempotencyKey { scope, request_id } = key;
        let IdempotencyRecord { method, hashes, later_hashes, answer, created_at } = record;
        Self {
            scope: scope.clone(),
            request_id: request_id.into(),
            method: method.name().to_owned(),
            hashes: hashes.concat(),
            answer: answer_bytes(answer),
            created_at: created_at.micros(),
            later_hashes: later_hash_bytes(later_hashes),
        }
    }
}

impl TryFrom<IdempotencyRow> for (IdempotencyKey, IdempotencyRecord) {
    type Error = Fault;

    fn try_from(row: IdempotencyRow) -> Result<Self, Fault> {
        let IdempotencyRow { scope, request_id, method, hashes, answer, created_at, later_hashes } = row;
        let request_id = RequestId::parse(&request_id).map_err(|why| Fault::new("request_id", why))?;
        let method = Method::parse(&method)
            .ok_or_else(|| Fault::new("method", format!("has the unknown value {method:?}")))?;
        let (hashes, rest) = hashes.as_chunks::<16>();
        if hashes.len() != method.fields().len() || !rest.is_empty() {
            return Err(Fault::new("hashes", "must hold 16 bytes for each field of the method"));
        }
        let message = storage::v1::StoredAnswer::decode(answer.as_slice())
            .map_err(|error| Fault::new("answer", format!("cannot be decoded: {error}")))?;
        let record = IdempotencyRecord {
            method,
            hashes: hashes.to_vec(),
            later_hashes: later_hashes.as_deref().map(decode_later_hashes).transpose()?.unwrap_or_default(),
            answer: from_message(message).map_err(|fault| fault.within("answer"))?,
            created_at: instant("created_at", created_at)?,
        };
        Ok((IdempotencyKey { scope, request_id }, record))
    }
}

/// Encodes an answer as a `pvz.storage.v1.StoredAnswer`.
pub fn answer_bytes(answer: &CommandResult) -> Vec<u8> {
    to_message(answer).encode_to_vec()
}

/// Encodes the hashes of later fields as a `pvz.storage.v1.LaterHashes`;
/// returns `None` if there are none.
pub fn later_hash_bytes(hashes: &BTreeMap<String, [u8; 16]>) -> Option<Vec<u8>> {
    if hashes.is_empty() {
        return None;
    }
    let hashes = hashes.iter().map(|(field, hash)| (field.clone(), hash.to_vec())).collect();
    Some(LaterHashes { hashes }.encode_to_vec())
}

fn decode_later_hashes(bytes: &[u8]) -> Result<BTreeMap<String, [u8; 16]>, Fault> {
    let message = LaterHashes::decode(bytes)
        .map_err(|error| Fault::new("later_hashes", format!("cannot be decoded: {error}")))?;
    let hash = |(field, bytes): (String, Vec<u8>)| {
        <[u8; 16]>::try_from(bytes)
            .map(|hash| (field, hash))
            .map_err(|_| Fault::new("later_hashes", "must hold 16 bytes for each field"))
    };
    message.hashes.into_iter().map(hash).collect()
}

fn to_message(answer: &CommandResult) -> storage::v1::StoredAnswer {
    use stored_answer::Answer as Stored;
    let stored = match answer {
        Ok(Answer::Order(view)) => Stored::Order(proto_mapping::order(view.clone())),
        Ok(Answer::AlreadyExisted(view)) => Stored::AlreadyExisted(proto_mapping::order(view.clone())),
        Ok(Answer::Results(results)) => {
            let results = results.iter().cloned().map(proto_mapping::order_result).collect();
            Stored::Results(StoredResults { results })
        }
        Err(refusal) => Stored::Refusal(StoredRefusal {
            refusal: Some(proto_mapping::refusal(refusal)),
            batch: refusal.batch.as_ref().map(proto_mapping::batch_refusal),
        }),
    };
    storage::v1::StoredAnswer { answer: Some(stored) }
}

fn from_message(message: storage::v1::StoredAnswer) -> Result<CommandResult, Fault> {
    use stored_answer::Answer as Stored;
    let answer = match message.answer.ok_or_else(|| Fault::new("answer", "is missing"))? {
        Stored::Order(order) => {
            Ok(Answer::Order(order::from_message(&order).map_err(|f| f.within("order"))?))
        }
        Stored::AlreadyExisted(order) => {
            let view = order::from_message(&order).map_err(|fault| fault.within("already_existed"))?;
            Ok(Answer::AlreadyExisted(view))
        }
        Stored::Results(StoredResults { results }) => Ok(Answer::Results(order_results(results)?)),
        Stored::Refusal(StoredRefusal { refusal: stored, batch }) => {
            let stored = stored.ok_or_else(|| Fault::new("refusal", "is missing"))?;
            let batch = batch.map(batch_refusal).transpose()?;
            Err(Refusal { batch, ..refusal(stored)? })
        }
    };
    Ok(answer)
}

fn order_results(stored: Vec<v1::OrderResult>) -> Result<Vec<OrderResult>, Fault> {
    stored
        .into_iter()
        .enumerate()
        .map(|(index, result)| {
            order_result(result).map_err(|fault| fault.within(&format!("results[{index}]")))
        })
        .collect()
}

fn order_result(stored: v1::OrderResult) -> Result<OrderResult, Fault> {
    use v1::order_result::Outcome;
    let outcome = match stored.outcome.ok_or_else(|| Fault::new("outcome", "is missing"))? {
        Outcome::Order(order) => Ok(order::from_message(&order)?),
        Outcome::Refusal(stored) => Err(refusal(stored)?),
    };
    let order_id = OrderId::parse(&stored.order_id).map_err(|why| Fault::new("order_id", why))?;
    Ok(OrderResult { order_id, outcome })
}

fn batch_refusal(stored: v1::BatchRefusal) -> Result<BatchRefusal, Fault> {
    let v1::BatchRefusal { refused_total, results } = stored;
    let refused_total = usize::try_from(refused_total)
        .map_err(|_| Fault::new("batch.refused_total", "must not be negative"))?;
    Ok(BatchRefusal { refused_total, results: order_results(results)? })
}

fn refusal(stored: v1::Refusal) -> Result<Refusal, Fault> {
    let v1::Refusal { reason, message, metadata, field_violations } = stored;
    let reason = Reason::parse(&reason)
        .ok_or_else(|| Fault::new("refusal.reason", format!("has the unknown value {reason:?}")))?;
    let violation = |v1::FieldViolation { field, description }| FieldViolation { field, description };
    Ok(Refusal {
        reason,
        message,
        metadata,
        violations: field_violations.into_iter().map(violation).collect(),
        batch: None,
        // A refusal that asks the client to wait is never stored.
        retry_after: None,
    })
}
