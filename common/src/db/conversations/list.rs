//! Lists conversations by latest activity.

use super::Conversation;
use crate::db::{Db, DbError, Statement, params, row};
use crate::domain::ids::ConversationId;
use crate::domain::language::Language;
use crate::domain::sids::AccountSid;
use jiff::Timestamp;

/// A filter for conversations. Fields that are not set match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The tenant.
    pub tenant_id: Option<String>,
    /// The workflow.
    pub workflow_type: Option<String>,
    /// The detected language.
    pub language: Option<Language>,
    /// Whether the number has no tenant, or several.
    pub unknown: Option<bool>,
    /// Whether the number has opted out.
    pub opted_out: Option<bool>,
    /// Active at or after.
    pub since: Option<Timestamp>,
}

row! {
    /// The position of a conversation in the list. It only moves to the front.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Position {
        /// The time of its latest message, or of its creation.
        pub active_at: Timestamp,
        /// Its id.
        pub id: ConversationId,
    }
}

/// Postgres plans each run for its filters: a partial index serves those that may match few conversations. Each index
/// has the order of hours; the conversations of an hour are sorted. Both conditions on the hour follow from the exact
/// ones on the activity, and find the place in the index.
pub(super) const LIST: Statement<(Conversation, Position)> = Statement::new(
    "list conversations",
    "
select c.id as conversation_id, c.phone_number_canonical, c.phone_number_original, c.tenant_id, c.tenant_candidates,
    c.workflow_type, c.workflow_id, c.conversation_status, c.time_zone, c.language_detected,
    c.language_confidence as conversation_language_confidence, c.opted_out_at, c.carrier_blocked_at, c.deactivated_at,
    c.last_message_at, c.message_count, coalesce(c.last_message_at, c.created_at) as active_at, c.id
from sms_conversations c
where c.account_sid = $account_sid
  and ($tenant_id::text is null or c.tenant_id = $tenant_id)
  and ($workflow_type::text is null or c.workflow_type = $workflow_type)
  and ($language::text is null or c.language_detected = $language)
  and ($unknown::bool is null or (c.tenant_id is null) = $unknown)
  and ($opted_out::bool is null or (c.opted_out_at is not null) = $opted_out)
  and ($since::timestamptz is null
       or (c.active_hour > $since - interval '1 hour' and coalesce(c.last_message_at, c.created_at) >= $since))
  and ($before::timestamptz is null
       or (c.active_hour <= $before
           and (coalesce(c.last_message_at, c.created_at), c.id) < ($before, $before_id::uuid)))
order by c.active_hour desc, coalesce(c.last_message_at, c.created_at) desc, c.id desc
limit $limit",
);

/// Lists conversations, the latest activity first, after a position.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn list(
    db: &Db,
    account_sid: &AccountSid,
    filter: &Filter,
    after: Option<Position>,
    limit: i64,
) -> Result<Vec<(Conversation, Position)>, DbError> {
    let Filter { tenant_id, workflow_type, language, unknown, opted_out, since } = filter;
    let (before, before_id) = after.map(|position| (position.active_at, position.id)).unzip();
    let params = params! {
        account_sid, tenant_id, workflow_type, language, unknown, opted_out, since, before, before_id, limit,
    };
    db.query_idempotent(&LIST, &params).await
}
