//! Idempotency records as rows of a database.

use diesel::Queryable;
use prost::Message as _;

use super::{Fault, instant, order};
use crate::adapters::proto_mapping;
use crate::domain::{
    Answer, BatchRefusal, FieldViolation, Method, OrderId, OrderResult, Reason, Refusal, RequestId,
};
use crate::ports::{IdempotencyKey, Record, StoredAnswer};
use crate::proto::record::v1::stored_answer;
use crate::proto::{record, v1};

/// An idempotency record as the columns of its row, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct IdempotencyRow {
    /// Whose key it is.
    pub scope: String,
    /// The key.
    pub request_id: String,
    /// The name of the RPC.
    pub method: String,
    /// 16 bytes for each field that counts, one after the other.
    pub hashes: Vec<u8>,
    /// An encoded `pvz.record.v1.StoredAnswer`.
    pub answer: Vec<u8>,
    /// When it was decided, in microseconds since the epoch.
    pub created_at: i64,
}

impl From<&(IdempotencyKey, Record)> for IdempotencyRow {
    fn from((key, record): &(IdempotencyKey, Record)) -> Self {
        Self {
            scope: key.scope.clone(),
            request_id: (&key.request_id).into(),
            method: record.method.name().to_owned(),
            hashes: record.hashes.concat(),
            answer: answer_bytes(&record.answer),
            created_at: record.created_at.micros(),
        }
    }
}

impl TryFrom<IdempotencyRow> for (IdempotencyKey, Record) {
    type Error = Fault;

    fn try_from(row: IdempotencyRow) -> Result<Self, Fault> {
        let request_id = RequestId::parse(&row.request_id).map_err(|why| Fault::new("request_id", why))?;
        let method = Method::parse(&row.method)
            .ok_or_else(|| Fault::new("method", format!("is no method: {:?}", row.method)))?;
        let (hashes, rest) = row.hashes.as_chunks::<16>();
        if hashes.len() != method.fields().len() || !rest.is_empty() {
            return Err(Fault::new("hashes", "must hold 16 bytes for each field of the method"));
        }
        let message = record::v1::StoredAnswer::decode(row.answer.as_slice())
            .map_err(|error| Fault::new("answer", format!("cannot be decoded: {error}")))?;
        let answer = from_message(message).map_err(|fault| fault.within("answer"))?;
        let created_at = instant("created_at", row.created_at)?;
        let key = IdempotencyKey { scope: row.scope, request_id };
        Ok((key, Record { method, hashes: hashes.to_vec(), answer, created_at }))
    }
}

/// An answer, encoded.
pub fn answer_bytes(answer: &StoredAnswer) -> Vec<u8> {
    to_message(answer).encode_to_vec()
}

fn to_message(answer: &StoredAnswer) -> record::v1::StoredAnswer {
    use stored_answer::Answer as Kept;
    let kept = match answer {
        Ok(Answer::Order(view)) => Kept::Order(proto_mapping::order(view.clone())),
        Ok(Answer::AlreadyExisted(view)) => Kept::AlreadyExisted(proto_mapping::order(view.clone())),
        Ok(Answer::Results(results)) => {
            let results = results.iter().cloned().map(proto_mapping::order_result).collect();
            Kept::Results(record::v1::StoredResults { results })
        }
        Err(refusal) => Kept::Refusal(record::v1::StoredRefusal {
            refusal: Some(proto_mapping::refusal(refusal)),
            batch: refusal.batch.as_ref().map(proto_mapping::batch_refusal),
        }),
    };
    record::v1::StoredAnswer { answer: Some(kept) }
}

fn from_message(message: record::v1::StoredAnswer) -> Result<StoredAnswer, Fault> {
    use stored_answer::Answer as Kept;
    let answer = match message.answer.ok_or_else(|| Fault::new("answer", "is missing"))? {
        Kept::Order(order) => Ok(Answer::Order(order::from_message(&order).map_err(|f| f.within("order"))?)),
        Kept::AlreadyExisted(order) => {
            let view = order::from_message(&order).map_err(|fault| fault.within("already_existed"))?;
            Ok(Answer::AlreadyExisted(view))
        }
        Kept::Results(kept) => Ok(Answer::Results(results(kept.results)?)),
        Kept::Refusal(kept) => {
            let kept_refusal = kept.refusal.ok_or_else(|| Fault::new("refusal", "is missing"))?;
            let batch = kept.batch.map(batch_refusal).transpose()?;
            Err(Refusal { batch, ..refusal(kept_refusal)? })
        }
    };
    Ok(answer)
}

fn results(kept: Vec<v1::OrderResult>) -> Result<Vec<OrderResult>, Fault> {
    kept.into_iter()
        .enumerate()
        .map(|(index, result)| {
            order_result(result).map_err(|fault| fault.within(&format!("results[{index}]")))
        })
        .collect()
}

fn order_result(kept: v1::OrderResult) -> Result<OrderResult, Fault> {
    use v1::order_result::Outcome;
    let outcome = match kept.outcome.ok_or_else(|| Fault::new("outcome", "is missing"))? {
        Outcome::Order(order) => Ok(order::from_message(&order)?),
        Outcome::Refusal(kept) => Err(refusal(kept)?),
    };
    let order_id = OrderId::parse(&kept.order_id).map_err(|why| Fault::new("order_id", why))?;
    Ok(OrderResult { order_id, outcome })
}

fn batch_refusal(kept: v1::BatchRefusal) -> Result<BatchRefusal, Fault> {
    let refused_total = usize::try_from(kept.refused_total)
        .map_err(|_| Fault::new("batch.refused_total", "must not be negative"))?;
    Ok(BatchRefusal { refused_total, results: results(kept.results)? })
}

fn refusal(kept: v1::Refusal) -> Result<Refusal, Fault> {
    let reason = Reason::parse(&kept.reason)
        .ok_or_else(|| Fault::new("refusal.reason", format!("is no reason: {:?}", kept.reason)))?;
    let violation =
        |kept: v1::FieldViolation| FieldViolation { field: kept.field, description: kept.description };
    Ok(Refusal {
        reason,
        message: kept.message,
        metadata: kept.metadata,
        violations: kept.field_violations.into_iter().map(violation).collect(),
        batch: None,
        // A reason that asks for patience is never stored.
        retry_after: None,
    })
}
