//! Conversations, events and subscriptions, written with SQL.

use super::Database;

/// The secret of the subscriptions: `test secret` in Base64.
pub const SUBSCRIPTION_SECRET: &str = "whsec_dGVzdCBzZWNyZXQ=";

impl Database {
    /// Creates conversations with the tenant `T-1` and returns their ids.
    ///
    /// # Panics
    ///
    /// If the statement fails.
    pub async fn conversations(&self, number: usize) -> Vec<String> {
        let create = format!(
            "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original,
                 tenant_id, created_at)
             select sms_new_id(), 'AC1', '+1' || c.created || n, '+1', 'T-1', now()
             from generate_series(1, {number}) n, (select count(*) as created from sms_conversations) c
             returning id::text"
        );
        let rows = self.client.query(&create, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Writes a `message.status` event for each of these conversations, in this order, without numbering it. As after a
    /// crash before the hint.
    ///
    /// # Panics
    ///
    /// If the statement fails.
    pub async fn write_events(&self, conversations: &[&String]) {
        let n = conversations.len();
        let ids: Vec<String> = conversations.iter().map(|id| format!("'{id}'::uuid")).collect();
        let sql = format!(
            "select sms_emit_events(array_fill('message.status'::text, array[{n}]), array[{}],
                 array_fill(null::uuid, array[{n}]), array_fill('{{\"a\":1}}'::text, array[{n}]), now())",
            ids.join(",")
        );
        self.client.batch_execute(&sql).await.unwrap();
    }

    /// Creates a subscription to all events of tenants, with these changes of its columns, and its live stream at the
    /// end of the log. Returns its id.
    ///
    /// # Panics
    ///
    /// If a statement fails.
    pub async fn subscribe(&self, url: &str, change: &str) -> String {
        let id = common::clock::new_id();
        let change = if change.is_empty() { "description = null" } else { change };
        let sql = format!(
            "insert into sms_subscriptions (id, url, event_types, include_unknown, content, max_in_flight,
                 max_hold_seconds, secret, api_key_id, status, created_at, updated_at)
             values ('{id}', '{url}', '{{}}', false, false, 10, 300, '{SUBSCRIPTION_SECRET}', gen_random_uuid(),
                 'active', now(), now());
             insert into sms_delivery_streams (subscription_id, kind, position, target)
             select '{id}', 'live', last_position, last_position from sms_event_counter;
             update sms_subscriptions set {change} where id = '{id}'"
        );
        self.client.batch_execute(&sql).await.unwrap();
        id.to_string()
    }
}
