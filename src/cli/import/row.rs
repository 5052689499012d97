//! A row of an import, and what can be wrong with it.

use crate::cli::client::{Failure, Fields};
use crate::proto::v1::{AcceptOrderRequest, Refusal};

/// The formats of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object on each line.
    Ndjson,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowLocation {
    /// Its number among the rows, from 0.
    pub index: i64,
    /// The line it begins on, from 1.
    pub line: u64,
    /// Where it ends in the file, in bytes.
    pub end: u64,
}

/// A row as it was read.
#[derive(Debug)]
pub(super) struct Row {
    pub location: RowLocation,
    /// The request, or why there is none.
    pub content: Result<AcceptOrderRequest, BadRow>,
}

/// A row that cannot be sent.
#[derive(Debug)]
pub(super) struct BadRow {
    /// The order's id, if that much could be read.
    pub order_id: String,
    pub refusal: Refusal,
}

impl BadRow {
    /// A row of that order, refused.
    pub(super) fn refused(order_id: String, failure: &Failure) -> Self {
        Self { order_id, refusal: failure.refusal().clone() }
    }

    /// `VALIDATION_FAILED` for one fault of a row that has no order.
    pub(super) fn of(field: &str, description: impl Into<String>) -> Self {
        let mut fields = Fields::default();
        fields.fault(field, description);
        Self::refused(String::new(), &fields.into_failure())
    }

    /// A line, or a record of several, that is longer than it may be.
    pub(super) fn too_long() -> Self {
        Self::of("line", "must be at most 64 KiB long")
    }
}
