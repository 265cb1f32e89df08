use common::db::{DatabaseConfig, Db, migrations};
use testing::Database;

#[tokio::test]
async fn migrating_again_applies_nothing() {
    let database = Database::create().await;
    assert!(migrations::migrate(&database.db()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_side_by_side_applies_each_once() {
    let database = Database::create().await;
    database.client.batch_execute("drop schema public cascade; create schema public").await.unwrap();
    let url = database.url();
    let runs = (0..4).map(|_| {
        let db = Db::new(&DatabaseConfig::for_url(&url)).unwrap();
        tokio::spawn(async move { migrations::migrate(&db).await.unwrap() })
    });
    let mut applied = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        applied.extend(run.await.unwrap());
    }
    let total = applied.len();
    applied.sort_unstable();
    applied.dedup();
    assert_eq!(applied.len(), total, "none was applied twice");
    assert_eq!(database.scalar("select count(*) from schema_migrations").await, total.to_string());
}

#[tokio::test]
async fn a_migration_that_was_changed_after_the_fact_stops_the_run() {
    let database = Database::create().await;
    database
        .client
        .batch_execute("update schema_migrations set checksum = 'x' where name like '0002%'")
        .await
        .unwrap();
    let error = migrations::migrate(&database.db()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "migration 0002_opt_outs was changed after it was applied to this database"
    );
}

/// Messages that were stored before conversations had a language, as a deployment finds them.
const BEFORE: &str = "
insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at, tenant_id,
                               language_detected, language_confidence, language_strength, language_own, language_at)
values ('00000000-0000-0000-0000-000000000001', 'AC1', '+12025550101', '+12025550101', now(), 'T-1', 'unknown', 0, 0, false, '-infinity'),
       ('00000000-0000-0000-0000-000000000002', 'AC1', '+12025550102', '+12025550102', now(), null, 'en', 0.6, 1, true, now()),
       ('00000000-0000-0000-0000-000000000003', 'AC1', '+12025550103', '+12025550103', now(), null, 'en', 0.95, 3, true, now()),
       ('00000000-0000-0000-0000-000000000004', 'AC1', '+12025550104', '+12025550104', now(), 'T-2', 'unknown', 0, 0, false, '-infinity'),
       ('00000000-0000-0000-0000-000000000005', 'AC1', '+12025550105', '+12025550105', now(), 'T-3', 'unknown', 0, 0, false, '-infinity');
insert into sms_events (id, event_type, conversation_id, data, created_at)
values (gen_random_uuid(), 'conversation.tenant_identified', '00000000-0000-0000-0000-000000000004',
        '{\"tenant_id\":\"T-2\",\"previous_tenant_id\":\"T-1\"}', now()),
       (gen_random_uuid(), 'conversation.tenant_identified', '00000000-0000-0000-0000-000000000005',
        '{\"tenant_id\":\"T-3\",\"previous_tenant_id\":null}', now());
insert into sms_messages (id, conversation_id, direction, twilio_sid, to_number, message_content, delivery_status,
                          language, language_confidence, created_at)
select gen_random_uuid(), ('00000000-0000-0000-0000-00000000000' || c)::uuid, direction, 'SM' || c || m, '+15550100', 'x',
       'received', language, confidence, now() - make_interval(days => age)
from (values (1, 1, 'inbound', 'es', 0.9::float4::float8, 9), (1, 2, 'inbound', 'en', 0.89, 8), (1, 3, 'inbound', 'pt', 0.9, 10),
             (1, 4, 'outbound', 'en', 0.99, 1), (1, 5, 'inbound', 'unknown', 0.98, 1),
             (2, 1, 'inbound', 'es', 0.7, 9), (3, 1, 'inbound', 'es', 0.99, 9), (4, 1, 'inbound', 'es', 0.99, 9),
             (5, 1, 'inbound', 'pt', 0.75, 9))
    as t (c, m, direction, language, confidence, age)";

#[tokio::test]
async fn what_was_written_before_languages_were_decided_decides_them_too() {
    let database = Database::create().await;
    database.client.batch_execute("drop schema public cascade; create schema public").await.unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let is_backfill = |file: &std::path::PathBuf| file.to_str().unwrap().contains("0013_settled_tenants");
    let at = files.iter().position(is_backfill).unwrap();
    for file in &files[..at] {
        database.client.batch_execute(&std::fs::read_to_string(file).unwrap()).await.unwrap();
    }
    database.client.batch_execute(BEFORE).await.unwrap();
    let backfill = std::fs::read_to_string(&files[at]).unwrap();
    database.client.batch_execute(&format!("begin; {backfill}; commit")).await.unwrap();
    let held = database
        .scalar(
            "select string_agg(concat_ws(' ', right(phone_number_canonical, 1), language_detected,
                round(language_confidence::numeric, 2), language_strength, case when language_own then 'own' end,
                nullif(language_evidence, ''), case when tenant_unsettled_at is not null then 'unsettled' end),
                ', ' order by phone_number_canonical) from sms_conversations",
        )
        .await;
    assert_eq!(
        held,
        "1 es 0.90 3 own SM11 unsettled, 2 es 0.70 2 own SM21, 3 en 0.95 3 own, 4 unknown 0.00 0, 5 pt 0.75 2 own SM51 unsettled"
    );
    assert_eq!(
        database.scalar("select count(*) from sms_events where event_type like '%language%'").await,
        "0"
    );
}
