//! The rows that the loader copies, with the values that the functions would have stored.

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{Timestamp as PgTimestamp, ToSql, Type};
use uuid::Uuid;

/// The number of rows that are passed to a connection together.
const BATCH: usize = 2_000;

/// A row of a table that is loaded with `COPY`.
pub trait Copied: Send + Sync + 'static {
    const TABLE: &'static str;
    const COLUMNS: &'static [&'static str];
    const TYPES: &'static [Type];
    /// Whether the table is partitioned. `COPY` cannot freeze its rows.
    const PARTITIONED: bool;

    fn values(&self) -> Vec<&(dyn ToSql + Sync)>;
}

macro_rules! copied {
    ($(
        $table:literal, partitioned: $partitioned:literal,
        struct $name:ident { $($field:ident: $type:ty = $sql:ident,)+ }
    )+) => {
        $(
            #[derive(Debug)]
            pub struct $name { $(pub $field: $type,)+ }

            impl Copied for $name {
                const TABLE: &'static str = $table;
                const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),+];
                const TYPES: &'static [Type] = &[$(Type::$sql),+];
                const PARTITIONED: bool = $partitioned;

                fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
                    vec![$(&self.$field),+]
                }
            }
        )+
    };
}

copied! {
    "sms_conversations", partitioned: false, struct Conversation {
        id: Uuid = UUID,
        account_sid: &'static str = TEXT,
        phone_number_canonical: String = TEXT,
        phone_number_original: String = TEXT,
        message_count: i64 = INT8,
        last_message_at: Timestamp = TIMESTAMPTZ,
        tenant_id: String = TEXT,
        tenant_identified_at: Timestamp = TIMESTAMPTZ,
        tenant_next_check_at: Timestamp = TIMESTAMPTZ,
        language_detected: &'static str = TEXT,
        language_confidence: f64 = FLOAT8,
        language_strength: i16 = INT2,
        language_own: bool = BOOL,
        language_at: PgTimestamp<Timestamp> = TIMESTAMPTZ,
        language_evidence: String = TEXT,
        created_at: Timestamp = TIMESTAMPTZ,
    }

    "sms_tenants", partitioned: false, struct Tenant {
        tenant_id: String = TEXT,
        language_preference: &'static str = TEXT,
        preference_at: Timestamp = TIMESTAMPTZ,
        language_decided: &'static str = TEXT,
    }

    "sms_tenant_numbers", partitioned: false, struct TenantNumber {
        conversation_id: Uuid = UUID,
        tenant_id: String = TEXT,
        last_used_at: Timestamp = TIMESTAMPTZ,
    }

    "sms_messages", partitioned: false, struct Message {
        id: Uuid = UUID,
        conversation_id: Uuid = UUID,
        direction: &'static str = TEXT,
        twilio_sid: String = TEXT,
        from_number: String = TEXT,
        to_number: String = TEXT,
        messaging_service_sid: Option<&'static str> = TEXT,
        message_content: String = TEXT,
        delivery_status: &'static str = TEXT,
        error_code: Option<&'static str> = TEXT,
        created_at: Timestamp = TIMESTAMPTZ,
        request_id: String = TEXT,
        language: &'static str = TEXT,
        language_confidence: f64 = FLOAT8,
        language_strength: i16 = INT2,
        opt_out: Option<&'static str> = TEXT,
        encoding: Option<&'static str> = TEXT,
        segments: Option<i32> = INT4,
        workflow_type: Option<&'static str> = TEXT,
        workflow_id: Option<String> = TEXT,
        api_key_id: Option<Uuid> = UUID,
        next_attempt_at: Option<Timestamp> = TIMESTAMPTZ,
    }

    "sms_message_payloads", partitioned: true, struct Payload {
        message_id: Uuid = UUID,
        raw_webhook_data: Value = JSONB,
        created_at: Timestamp = TIMESTAMPTZ,
    }

    "sms_message_sids", partitioned: false, struct Sid {
        packed_sid: Vec<u8> = BYTEA,
        message_id: Uuid = UUID,
        attempt_id: Option<Uuid> = UUID,
    }

    "sms_send_attempts", partitioned: false, struct Attempt {
        id: Uuid = UUID,
        message_id: Uuid = UUID,
        number: i32 = INT4,
        outcome: &'static str = TEXT,
        twilio_sid: String = TEXT,
        started_at: Timestamp = TIMESTAMPTZ,
        finished_at: Timestamp = TIMESTAMPTZ,
    }

    "sms_message_status_events", partitioned: true, struct StatusEvent {
        id: Uuid = UUID,
        message_id: Uuid = UUID,
        twilio_sid: String = TEXT,
        event_status: &'static str = TEXT,
        error_code: Option<&'static str> = TEXT,
        contradicts: bool = BOOL,
        raw_webhook_data: Value = JSONB,
        nul_removed: bool = BOOL,
        created_at: Timestamp = TIMESTAMPTZ,
    }

    "sms_callbacks", partitioned: false, struct Callback {
        packed_sid: Vec<u8> = BYTEA,
        event_status: &'static str = TEXT,
        error_code: Option<&'static str> = TEXT,
        message_id: Uuid = UUID,
        event_id: Uuid = UUID,
        contradicts: bool = BOOL,
        created_at: Timestamp = TIMESTAMPTZ,
    }

    "sms_events", partitioned: true, struct Event {
        id: Uuid = UUID,
        position: i64 = INT8,
        event_type: &'static str = TEXT,
        conversation_id: Uuid = UUID,
        message_id: Uuid = UUID,
        workflow_type: Option<&'static str> = TEXT,
        body: String = TEXT,
        created_at: Timestamp = TIMESTAMPTZ,
    }

    "sms_conversation_sequences", partitioned: false, struct Sequence {
        conversation_id: Uuid = UUID,
        last_sequence: i64 = INT8,
    }
}

/// Collects the rows of a table for its connection.
#[derive(Debug)]
pub struct Sink<T> {
    rows: Vec<T>,
    connection: Sender<Vec<T>>,
}

impl<T> Sink<T> {
    pub fn new(connection: Sender<Vec<T>>) -> Self {
        Self { rows: Vec::with_capacity(BATCH), connection }
    }

    pub fn push(&mut self, row: T) {
        self.rows.push(row);
        if self.rows.len() == BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(BATCH));
        self.connection.blocking_send(rows).expect("a running COPY");
    }
}

impl<T> Drop for Sink<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.flush();
        }
    }
}

/// Copies rows into their empty table, without triggers and foreign keys. Returns their number.
///
/// The table is truncated in the same transaction: with `wal_level=minimal`, its rows are not logged then.
pub async fn copy<T: Copied>(mut client: Client, mut batches: Receiver<Vec<T>>) -> u64 {
    let table = T::TABLE;
    client.batch_execute("set session_replication_role = replica").await.expect("a superuser");
    let transaction = client.transaction().await.expect("a transaction");
    transaction.batch_execute(&format!("truncate {table}")).await.expect(table);
    let options = if T::PARTITIONED { "format binary" } else { "format binary, freeze true" };
    let statement = format!("copy {table} ({}) from stdin ({options})", T::COLUMNS.join(", "));
    let sink = transaction.copy_in(&statement).await.expect(&statement);
    let mut writer = std::pin::pin!(BinaryCopyInWriter::new(sink, T::TYPES));
    while let Some(rows) = batches.recv().await {
        for row in &rows {
            writer.as_mut().write(&row.values()).await.expect(table);
        }
    }
    let rows = writer.finish().await.expect(table);
    transaction.commit().await.expect(table);
    rows
}
