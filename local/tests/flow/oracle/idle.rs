//! Waits until the stack is idle.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::twilio::{TwilioState, letters_of, sent_only};
use crate::client::Sql;
use crate::stack::Stack;

/// Waits until the stack is idle. Messages may remain `unknown`.
pub async fn wait_until_idle(stack: &Stack, deadline: Duration) {
    wait(stack, deadline, false).await;
}

/// Waits until the stack is idle and reconciled with Twilio's lists.
pub async fn wait_until_resolved(stack: &Stack, deadline: Duration) {
    wait(stack, deadline, true).await;
}

async fn wait(stack: &Stack, deadline: Duration, is_resolved: bool) {
    let sql = stack.sql().await;
    // Messages without a final callback are not counted here. `check` decides whether that is correct.
    let open = "select
        (select count(*) from sms_messages where delivery_status = 'pending') as pending,
        (select count(*) from sms_messages where claimed_at is not null) as claims,
        (select count(*) from sms_send_attempts where outcome is null) as attempts,
        (select count(*) from webhook_spool) as spooled,
        (select count(*) from sms_messages where delivery_status = 'unknown' and $1) as unknown,
        (select count(*) from sms_events_pending) + (select count(*) from sms_deliveries)
            + (select count(*) from sms_delivery_streams where position < target) as events";
    let begun = Instant::now();
    let mut idle_since = None;
    loop {
        let row = sql.row(open, &[&is_resolved]).await;
        let counts: [i64; 6] = [0, 1, 2, 3, 4, 5].map(|position| row.get(position));
        let queued = stack.queue_sizes().await;
        let is_idle = counts == [0; 6] && queued.is_empty();
        let in_progress = if is_idle { in_progress(stack, &sql, is_resolved).await } else { 0 };
        if is_idle && in_progress == 0 {
            // Check again after a moment, because a running function may still publish a message.
            let since = *idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() > Duration::from_millis(500) {
                return;
            }
        } else {
            idle_since = None;
        }
        if begun.elapsed() >= deadline {
            panic!(
                "not idle after {} s: pending, claims, attempts, spooled, unknown, events {counts:?}, queues \
                 {queued:?}, {in_progress} messages in progress at Twilio or not reconciled\n{}",
                deadline.as_secs(),
                unfinished(&sql).await
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns unfinished messages with their attempts, for debugging.
async fn unfinished(sql: &Sql) -> String {
    let rows = "select jsonb_build_object('id', m.id, 'status', m.delivery_status, 'sid', m.twilio_sid,
            'claimed_at', m.claimed_at, 'next_attempt_at', m.next_attempt_at, 'resolve_at', m.resolve_at,
            'parked_at', m.parked_at, 'attempts', (select jsonb_agg(to_jsonb(a) - 'message_id' order by a.number)
                from sms_send_attempts a where a.message_id = m.id))::text
        from sms_messages m
        where m.delivery_status in ('pending', 'unknown') or m.claimed_at is not null limit 10";
    let rows = sql.client.query(rows, &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

/// Counts messages that are in progress at Twilio, and with `is_resolved` also those that are not reconciled.
async fn in_progress(stack: &Stack, sql: &Sql, is_resolved: bool) -> usize {
    let twilio = TwilioState::read(stack).await;
    let sent_only = sent_only(&twilio.creates);
    let is_open = |message: &&Value| {
        let status = message["status"].as_str().unwrap_or_default();
        matches!(status, "accepted" | "scheduled" | "queued" | "sending")
            || (status == "sent" && !sent_only.contains(&letters_of(message)))
    };
    let open = twilio.messages.iter().filter(is_open).count();
    if is_resolved { open + unreconciled(&twilio, sql).await } else { open }
}

/// Counts missing inbound messages and outbound messages with an outdated status.
async fn unreconciled(twilio: &TwilioState, sql: &Sql) -> usize {
    let rows = "select twilio_sid, direction, delivery_status from sms_messages where twilio_sid is not null";
    let rows = sql.client.query(rows, &[]).await.unwrap();
    let known: HashMap<&str, (&str, &str)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    let differs = |message: &&Value| {
        let of = |key: &str| message[key].as_str().unwrap_or_default();
        match (of("direction"), known.get(of("sid"))) {
            ("inbound", row) => row.is_none(),
            (_, Some((_, "queued" | "sending" | "sent"))) => of("status") != "sent",
            // The message may now have the SID of a later create call.
            _ => false,
        }
    };
    twilio.messages.iter().filter(differs).count()
}
