//! The consent ledger of the API.

use crate::db::consent;
use crate::domain::opt_out::OptOutAction;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// An entry of the consent ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConsentEntry {
    /// Whether messages are refused or allowed from then on.
    pub action: OptOutAction,
    /// Always `all`: an entry applies to all messages to the number.
    pub scope: &'static str,
    /// How it was stated, or how this service detected it: `keyword`, `free_text`, `opt_out_type` or `twilio_error`.
    pub source: String,
    /// What proves it: as it was stated, or the SID of the message or callback.
    pub evidence: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Id of the API key that recorded it; null if this service detected it.
    pub recorded_by: Option<Uuid>,
}

impl From<consent::Entry> for ConsentEntry {
    fn from(entry: consent::Entry) -> Self {
        let consent::Entry { action, source, evidence, recorded_at, recorded_by } = entry;
        Self { action, scope: "all", source, evidence, recorded_at, recorded_by }
    }
}
