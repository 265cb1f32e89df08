//! The response body.

use common::http::ValidationError;
use serde::Serialize;
use utoipa::ToSchema;

/// The longest reason, in characters. It may repeat names of fields, and a response is limited to 6 MB.
const MAX_REASON: usize = 200;

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConsentImport {
    /// The number of rows that have a new entry in the ledger.
    pub imported: usize,
    /// The number of rows that the ledger states already.
    pub unchanged: usize,
    /// The number of these opt-outs that apply to all messages although they have another scope, because such scopes
    /// are not configured. Present if there are any.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub widened: usize,
    /// The invalid rows, in their order.
    pub rejected: Vec<RejectedRow>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A row that was not imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RejectedRow {
    /// Its position in the request, from 1. The header of a CSV document and empty lines are not counted.
    pub row: usize,
    /// The invalid fields, each with its reason.
    pub reason: String,
}

impl RejectedRow {
    pub(crate) fn new(row: usize, problems: &ValidationError) -> Self {
        Self { row, reason: problems.sentences().chars().take(MAX_REASON).collect() }
    }
}
