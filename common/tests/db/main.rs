//! The statements against a real Postgres, one migrated database per test.
#![expect(clippy::unwrap_used, reason = "a failed test setup should stop the test")]

mod activity;
mod batches;
mod bulk;
mod clarifications;
mod consent_import;
mod consent_scopes;
mod conversations;
mod deactivations;
mod deliveries;
mod erasure;
mod errors;
mod event_log;
mod event_types;
mod growth;
mod inbound;
mod languages;
mod lost_responses;
mod media;
mod migrations;
mod partitions;
mod rate_limits;
mod renewals;
mod sender_limits;
mod senders;
mod sends;
mod statements;
mod statuses;
mod subscriptions;
mod tenants;
mod timeouts;

use common::db::inbound::NewInbound;
use common::domain::keywords::OptOut;
use common::domain::language::Language;
use common::domain::phone::InboundSender;
use serde_json::json;

/// The current time in tests.
pub fn now() -> jiff::Timestamp {
    "2026-11-01T12:00:00Z".parse().unwrap()
}

/// An inbound message from a tenant.
pub fn inbound(sid: &str, from: &str) -> NewInbound {
    NewInbound {
        id: common::clock::new_id().into(),
        conversation_id: common::clock::new_id().into(),
        account_sid: "AC1".parse().unwrap(),
        phone_number_canonical: InboundSender::from_canonical(from),
        twilio_sid: sid.parse().unwrap(),
        from_number: from.to_owned(),
        to_number: "+15550100".to_owned(),
        messaging_service_sid: None,
        message_content: "the sink leaks".to_owned(),
        media: json!([]),
        raw_webhook_data: json!({"MessageSid": sid, "From": from}),
        nul_removed: false,
        language: Language::En,
        language_confidence: 0.9,
        opt_out_result: OptOut::None,
        opt_out: None,
        request_id: "r-1".to_owned(),
        received_at: now(),
    }
}
