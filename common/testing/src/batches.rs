//! A batch of a bulk request.

use super::Database;

/// The id of the batch that [`store_batch`] stores.
pub const BATCH: &str = "01900000-0000-7000-8000-0000000000bb";

const STORE: &str = "
    insert into sms_batches (id, state, total, segments, created_at, changed_at)
    values ('01900000-0000-7000-8000-0000000000bb', 'STATE', 3, 5, now(), now());
    insert into sms_batch_counts (batch_id, status, messages)
    select '01900000-0000-7000-8000-0000000000bb', c.* from (values ('pending', 2), ('queued', 1), ('failed', 0)) c;
    insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
    values (sms_new_id(), 'AC1', '+12035550123', '+12035550123', now());
    insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content, delivery_status,
        encoding, segments, priority, next_attempt_at, claimed_at, twilio_sid, created_at, batch_id)
    select sms_new_id(), c.id, 'outbound', '+18605550100', '+12035550123', 'x', m.status, 'GSM-7', 1, 'bulk', DUE,
        m.claimed_at, m.sid, now(), '01900000-0000-7000-8000-0000000000bb'
    from sms_conversations c, (values ('pending', null, null), ('queued', null, 'SM1'), ('pending', now(), null))
        as m (status, claimed_at, sid)";

/// Stores a batch with three messages: one is pending, one was handed over, one is claimed. `due` is the SQL of the
/// time at which they are due.
///
/// # Panics
///
/// When Postgres refuses a statement.
pub async fn store_batch(database: &Database, state: &str, due: &str) {
    let sql = STORE.replace("STATE", state).replace("DUE", due);
    database.client.batch_execute(&sql).await.expect("a batch");
}
