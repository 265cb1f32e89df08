use super::generator::{ACCOUNT, Plan};
use super::load;
use super::operations::{Operation, Worker};
use super::server::Server;
use super::{SMALL, YEARS};
use common::clock;
use jiff::{SignedDuration, ToSpan, tz::TimeZone};
use tokio_postgres::Client;

/// A row of each kind.
const SHAPES: [(&str, &str); 6] = [
    ("inbound", "select m from sms_messages m where direction = 'inbound' and language = 'en' limit 1"),
    (
        "outbound",
        "select m from sms_messages m where delivery_status = 'delivered' and workflow_id is not null limit 1",
    ),
    (
        "attempt",
        "select a from sms_send_attempts a join sms_messages m on m.id = a.message_id
         where m.delivery_status = 'delivered' limit 1",
    ),
    ("callback", "select c from sms_callbacks c where event_status = 'sent' limit 1"),
    ("status event", "select e from sms_message_status_events e where event_status = 'sent' limit 1"),
    ("event", "select e from sms_events e where event_type = 'conversation.language_changed' limit 1"),
];

/// Rows that contradict each other: each query must return nothing.
const CONTRADICTIONS: [(&str, &str); 10] = [
    (
        "message counts",
        "select c.id from sms_conversations c join (
             select conversation_id, count(*), max(created_at) from sms_messages group by 1
         ) m on m.conversation_id = c.id
         where (m.count, m.max) is distinct from (c.message_count, c.last_message_at)",
    ),
    (
        "language evidence",
        "select c.id from sms_conversations c left join (
             select distinct on (conversation_id) * from sms_messages where language_strength > 0
             order by conversation_id, language_strength desc, created_at desc, twilio_sid desc
         ) m on m.conversation_id = c.id
         where coalesce(m.twilio_sid, '') <> c.language_evidence
            or coalesce(m.language, 'unknown') <> c.language_detected",
    ),
    (
        "SIDs of messages",
        "select m.id from sms_messages m
         left join sms_message_sids s on s.packed_sid = sms_pack_sid(m.twilio_sid)
         where s.message_id is distinct from m.id",
    ),
    (
        "SIDs of attempts",
        "select a.id from sms_send_attempts a
         left join sms_message_sids s on s.packed_sid = sms_pack_sid(a.twilio_sid)
         where (s.message_id, s.attempt_id) is distinct from (a.message_id, a.id)",
    ),
    (
        "callbacks",
        "select e.id from sms_message_status_events e left join sms_callbacks c on c.event_id = e.id
         where (sms_unpack_sid(c.packed_sid), c.event_status, c.error_code, c.message_id, c.created_at)
             is distinct from (e.twilio_sid, e.event_status, e.error_code, e.message_id, e.created_at)",
    ),
    (
        "last statuses",
        "select m.id from sms_messages m where direction = 'outbound' and not exists (
             select from sms_callbacks c where (c.message_id, c.event_status) = (m.id, m.delivery_status))",
    ),
    (
        "payloads",
        "select m.id from sms_messages m left join sms_message_payloads p on p.message_id = m.id
         where (m.direction = 'inbound') <> (p.message_id is not null)
            or p.raw_webhook_data ->> 'MessageSid' <> m.twilio_sid",
    ),
    (
        "numbers of tenants",
        "select c.id from sms_conversations c left join sms_tenant_numbers n on n.conversation_id = c.id
         where n.tenant_id is distinct from c.tenant_id",
    ),
    (
        "sequences of events",
        "select s.conversation_id from sms_conversation_sequences s join (
             select conversation_id, count(*), max((body::json ->> 'conversation_sequence')::bigint)
             from sms_events group by 1
         ) e on e.conversation_id = s.conversation_id
         where (s.last_sequence, s.last_sequence) <> (e.count, e.max)",
    ),
    (
        "rows without a month",
        "select message_id from sms_message_payloads_default
         union all select id from sms_message_status_events_default
         union all select id from sms_events_default",
    ),
];

/// The definitions of all constraints and indexes, except those of partitions.
const DEFINITIONS: &str = "
    select conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) || ' ' || convalidated
    from pg_constraint
    where connamespace = 'public'::regnamespace and conparentid = 0
      and not exists (select from pg_class c where c.oid = conrelid and c.relispartition)
    union all select pg_get_indexdef(indexrelid) || ' ' || indisvalid
    from pg_index join pg_class c on c.oid = indexrelid
    where c.relnamespace = 'public'::regnamespace and not c.relispartition
    order by 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loaded_rows_are_those_that_the_functions_store() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let until = clock::now() - SignedDuration::from_mins(1);
    let since = until.to_zoned(TimeZone::UTC).saturating_sub(load::MONTHS.months()).timestamp();
    let plan = Plan { messages: 1_000, since, until };
    for database in [SMALL, YEARS] {
        server.create(database).await;
    }
    load::load(&server, YEARS, plan).await;
    let loaded = server.connect(Some(YEARS)).await;
    let stored = server.connect(Some(SMALL)).await;

    let count = loaded.query_one("select count(*) from sms_messages", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 1_000);
    for (what, query) in CONTRADICTIONS {
        let rows = loaded.query(query, &[]).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!(rows.is_empty(), "{what}: {} rows", rows.len());
    }
    assert_eq!(texts(&loaded, DEFINITIONS).await, texts(&stored, DEFINITIONS).await);

    let mut worker = Worker::new(server.db(SMALL), plan, 1);
    worker.call(Operation::InboundBatch).await;
    worker.send(Operation::ClaimAndFinish.units()).await;
    stored.batch_execute("select sms_number_events(1000000)").await.unwrap();
    for (what, row) in SHAPES {
        let shape = format!(
            "select string_agg(key || case when value::text = 'null' then ' null' when key in ({FEW_VALUES}) \
                 then ' ' || value::text else '' end, ', ' order by key)
             from ({row}) as t (r), jsonb_each(to_jsonb(t.r))"
        );
        let [loaded, stored] = [texts(&loaded, &shape).await, texts(&stored, &shape).await];
        assert_eq!(loaded, stored, "{what}");
    }

    // A repeated webhook and a repeated callback are recognized.
    let mut worker = Worker::new(server.db(YEARS), plan, 1);
    let sid = "select twilio_sid from sms_messages where direction = 'inbound' order by id limit 1";
    assert_eq!(worker.receive_sid(&texts(&loaded, sid).await[0]).await, 0);
    let sid = "select twilio_sid from sms_messages where delivery_status = 'delivered' order by id limit 1";
    assert_eq!(worker.callback_of(&texts(&loaded, sid).await[0], "delivered").await, 0);
    let accounts = "select distinct account_sid from sms_conversations";
    assert_eq!(texts(&loaded, accounts).await, [ACCOUNT]);
    server.remove().await;
}

/// Columns with the same value in every row of a kind.
const FEW_VALUES: &str = "'direction', 'delivery_status', 'error_code', 'language', 'language_strength',
    'opt_out', 'encoding', 'priority', 'media', 'nul_removed', 'number', 'outcome', 'event_status', 'contradicts',
    'event_type'";

async fn texts(client: &Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}
