//! Which columns an erasure has to care about. functions/api/erase-conversation/tests searches for erased texts.

use std::collections::BTreeMap;
use testing::Database;

/// Columns that can hold what people wrote, or what identifies them by more than their number. All are emptied.
const ERASED: &[(&str, &str)] = &[
    ("sms_conversations.workflow_id", "by sms_begin_erasure: free text of a router"),
    ("sms_conversations.workflow_type", "by sms_begin_erasure: free text of a router"),
    ("sms_media.declared_type", "by sms_erase_media"),
    ("sms_media.detected_type", "by sms_erase_media"),
    ("sms_media.error", "by sms_erase_media"),
    ("sms_media.sha256", "by sms_erase_media: shows who got the same file"),
    ("sms_media.url", "by sms_erase_media: where Twilio has the file"),
    ("sms_message_payloads.raw_webhook_data", "deleted by sms_erase_payloads"),
    (
        "sms_message_status_events.raw_webhook_data",
        "by sms_erase_payloads; early callbacks by sms_begin_erasure",
    ),
    ("sms_messages.media", "by sms_empty_erased"),
    ("sms_messages.message_content", "by sms_empty_erased"),
    ("sms_messages.metadata", "by sms_empty_erased"),
    ("sms_messages.trace_context", "by sms_empty_erased: tracestate is text of the caller"),
    ("sms_messages.workflow_id", "by sms_empty_erased: free text of the caller"),
    ("sms_messages.workflow_type", "by sms_empty_erased: free text of the caller"),
    (
        "sms_opt_out_events.words",
        "by sms_begin_erasure; other sources than texts have Twilio's words or a code",
    ),
    ("twilio_awaiting_media.message", "stored as messages without content, then deleted"),
    (
        "webhook_spool.message",
        "stored as messages without content, then deleted; a status keeps its SID and status",
    ),
];

/// Columns that can hold the number. They stay.
const NUMBERS: &[(&str, &str)] = &[
    ("sms_conversations.phone_number_canonical", "opt-outs apply to it"),
    ("sms_conversations.phone_number_original", "a spelling of the same number"),
    ("sms_messages.from_number", "the conversation has the number anyway"),
    ("sms_messages.to_number", "the conversation has the number anyway"),
    ("sms_messages.sender", "one of our numbers, from from_number of outbound messages"),
];

/// Columns that hold neither.
const NEITHER: &[(&str, &str)] = &[
    ("idempotency_keys.response", "ids, and reasons why messages were refused; for 24 hours"),
    ("sms_batch_counts.status", "status"),
    ("sms_batches.state", "status"),
    ("api_keys.key_hash", "hash"),
    ("api_keys.name", "of an API key"),
    ("api_keys.scopes", "names"),
    ("idempotency_keys.idempotency_key", "chosen by the caller; deleted after a day"),
    ("idempotency_keys.payload_hash", "hash; deleted after a day"),
    ("schema_migrations.checksum", "hash"),
    ("schema_migrations.name", "file name"),
    ("sms_callbacks.error_code", "code"),
    ("sms_callbacks.event_status", "status"),
    ("sms_callbacks.packed_sid", "SID"),
    ("sms_conversations.account_sid", "our account"),
    ("sms_conversations.conversation_status", "name of a status"),
    ("sms_conversations.language_detected", "language"),
    ("sms_conversations.language_evidence", "SID"),
    ("sms_conversations.opted_out_scopes", "names of workflows and purposes; opt-outs must be kept"),
    ("sms_conversations.tenant_candidates", "tenant ids"),
    (
        "sms_conversations.tenant_found_by",
        "name of a spelling or the number in another spelling, until the lookup ends",
    ),
    ("sms_conversations.tenant_id", "tenant id"),
    ("sms_conversations.time_zone", "IANA name"),
    ("sms_deliveries.kind", "name"),
    ("sms_delivery_attempts.error", "description of an HTTP error"),
    (
        "sms_delivery_attempts.response_body",
        "of a receiver that got neither text nor number; dropped with its month",
    ),
    ("sms_delivery_streams.kind", "name"),
    ("sms_delivery_streams.types", "names"),
    ("sms_erased_archive_rows.table_name", "table name"),
    ("sms_erasures.counts", "numbers"),
    ("sms_erasures.request_id", "id"),
    ("sms_media.status", "status"),
    ("sms_events.body", "ids, statuses, codes and languages"),
    ("sms_events.event_type", "name"),
    ("sms_events.tenant_id", "tenant id"),
    ("sms_events.workflow_type", "name of a workflow; dropped with its month"),
    ("sms_events_pending.body", "as in sms_events, for moments"),
    ("sms_events_pending.event_type", "name"),
    ("sms_events_pending.tenant_id", "tenant id"),
    ("sms_events_pending.workflow_type", "as in sms_events, for moments"),
    ("sms_health.result", "names of checks"),
    ("sms_message_sids.packed_sid", "SID"),
    ("sms_message_status_events.error_code", "code"),
    ("sms_message_status_events.event_status", "status"),
    ("sms_message_status_events.twilio_sid", "SID"),
    ("sms_messages.delivery_status", "status"),
    ("sms_messages.direction", "direction"),
    ("sms_messages.encoding", "encoding"),
    ("sms_messages.error_code", "code"),
    ("sms_messages.language", "language"),
    ("sms_messages.messaging_service_sid", "SID"),
    ("sms_messages.opt_out", "result of the classification"),
    ("sms_messages.priority", "priority"),
    ("sms_messages.purpose", "name"),
    ("sms_messages.replaced_from", "one of our numbers"),
    ("sms_messages.request_id", "id"),
    ("sms_messages.twilio_sid", "SID"),
    ("sms_opt_out_events.action", "name"),
    ("sms_opt_out_events.evidence", "SID or id"),
    ("sms_opt_out_events.scope", "name of a workflow or purpose; opt-outs must be kept"),
    ("sms_opt_out_events.stated_evidence", "proof of consent, which must be kept"),
    ("sms_opt_out_events.stated_source", "name of a way to state consent"),
    ("sms_opt_out_events.our_number", "one of our numbers"),
    ("sms_opt_out_events.source", "name"),
    ("sms_send_attempts.detail", "error description without text and number"),
    ("sms_send_attempts.error_code", "code"),
    ("sms_send_attempts.outcome", "name"),
    ("sms_send_attempts.twilio_sid", "SID"),
    ("sms_senders.held_code", "code"),
    ("sms_senders.held_reason", "name"),
    ("sms_senders.sender", "one of our numbers"),
    ("sms_subscriptions.description", "of a subscription, by its owner"),
    ("sms_subscriptions.disabled_reason", "name"),
    ("sms_subscriptions.event_types", "names"),
    ("sms_subscriptions.previous_secret", "secret"),
    ("sms_subscriptions.queue_arn", "ARN"),
    ("sms_subscriptions.secret", "secret"),
    ("sms_subscriptions.status", "name"),
    ("sms_subscriptions.tenant_id", "tenant id"),
    ("sms_subscriptions.url", "URL of a service"),
    ("sms_subscriptions.workflow_type", "name of a workflow"),
    ("sms_template_versions.en", "text for many recipients, without the values of its variables"),
    ("sms_template_versions.es", "as en"),
    ("sms_template_versions.fallback", "language"),
    ("sms_template_versions.name", "of a template, by its author"),
    ("sms_template_versions.pt", "as en"),
    ("sms_templates.name", "of a template, by its author"),
    ("sms_tenant_numbers.tenant_id", "tenant id"),
    ("sms_archive_parts.archived_table", "name"),
    ("sms_archive_parts.month", "month"),
    ("sms_archive_parts.name", "name of an object"),
    ("sms_archive_parts.sha256", "hash"),
    ("sms_archives.archived_table", "name"),
    ("sms_archives.month", "month"),
    ("sms_archives.sha256", "hash"),
    ("sms_retention_cursors.kind", "name"),
    ("sms_retention_skipped.kind", "name"),
    ("stream_tokens.token_hash", "hash; deleted after a minute"),
    ("sms_tenants.language_decided", "language"),
    ("sms_tenants.language_preference", "language"),
    ("sms_tenants.push_language", "language"),
    ("sms_tenants.tenant_id", "tenant id"),
    ("twilio_awaiting_media.twilio_sid", "SID"),
    ("twilio_reconciliation_cursors.part", "name"),
    ("twilio_reconciliation_cursors.position", "Twilio's page URL with dates and a token, or an id"),
    ("webhook_spool.queue", "name"),
    ("webhook_spool.request_id", "id"),
];

#[tokio::test]
async fn every_column_that_can_hold_text_is_known_to_the_erasure() {
    let database = Database::create().await;
    let columns = "select c.relname || '.' || a.attname
        from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_type t on t.oid = a.atttypid
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'm') and not c.relispartition
          and a.attnum > 0 and not a.attisdropped
          and (t.typcategory in ('S', 'A', 'C', 'E')
              or t.typname in ('json', 'jsonb', 'bytea', 'xml', 'inet', 'name'))";
    let live: Vec<String> =
        database.client.query(columns, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let mut listed = BTreeMap::new();
    for (column, reason) in [ERASED, NUMBERS, NEITHER].concat() {
        assert!(!reason.is_empty() && listed.insert(column, reason).is_none(), "{column} is listed twice");
    }
    let unlisted: Vec<_> = live.iter().filter(|column| !listed.contains_key(column.as_str())).collect();
    assert!(
        unlisted.is_empty(),
        "add to a list in this file, and erase it if it can hold content: {unlisted:#?}"
    );
    let gone: Vec<_> = listed.keys().filter(|column| !live.iter().any(|known| known == *column)).collect();
    assert!(gone.is_empty(), "no such column: {gone:#?}");
}
