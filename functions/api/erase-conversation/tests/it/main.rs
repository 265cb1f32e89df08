//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod in_flight;
mod waiting;
mod world;

use common::clock;
use common::db::sends;
use common::db::statuses;
use common::twilio::RenewalPolicy;
use serde_json::json;
use std::time::Duration;
use testing::{ApiRequest, Database, Function, body, environment, refusal};
use world::{BINARY, OTHER, TENANT, World, callback, inbound};

/// A text that is nowhere else.
const SECRET: &str = "xyzzy-plugh";

/// Returns the tables and partitions that contain a text anywhere.
async fn tables_with(database: &Database, text: &str) -> Vec<String> {
    let tables = "select c.oid::regclass::text from pg_class c where c.relnamespace = 'public'::regnamespace
        and c.relkind = 'r' order by 1";
    let mut found = Vec::new();
    for table in database.client.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let hits = format!("select count(*) from {table} t where t::text like '%{text}%'");
        if database.scalar(&hits).await != "0" {
            found.push(table);
        }
    }
    found
}

#[tokio::test]
async fn erased_content_is_in_no_table_and_everything_else_stays() {
    let mut world = World::start().await;
    let db = world.database.db();
    let url = format!("https://api.twilio.com/{SECRET}");
    let picture = [("NumMedia", "1"), ("MediaUrl0", url.as_str()), ("MediaContentType0", "image/png")];
    world.store(&[inbound("SM1", TENANT, SECRET, &picture)]).await;
    world.store(&[inbound("SM2", TENANT, &format!("Please stop texting me, {SECRET}"), &[])]).await;
    let mut send = testing::new_send(TENANT);
    send.message_content = SECRET.to_owned();
    send.media = json!([{"url": url}]);
    send.workflow_type = Some(SECRET.to_owned());
    send.workflow_id = Some(SECRET.to_owned());
    send.trace_context = Some(SECRET.to_owned());
    send.metadata = serde_json::from_value(json!({"note": SECRET})).unwrap();
    world.run("update sms_conversations set opted_out_at = null").await;
    sends::create(&db, &send, None).await.unwrap();
    let sent =
        "update sms_messages set delivery_status = 'sent', twilio_sid = 'SM3' where direction = 'outbound'";
    world.run(sent).await;
    let mut delivered = callback("SM3", "delivered", TENANT);
    delivered.raw_webhook_data = json!({"To": TENANT, "Extra": SECRET});
    let mut early = callback("SM99", "sent", TENANT);
    early.raw_webhook_data = json!({"To": TENANT, "Extra": SECRET});
    statuses::record(&db, &[delivered, early], &RenewalPolicy::default(), clock::now()).await.unwrap();
    world
        .run(&format!("update sms_conversations set workflow_type = '{SECRET}', workflow_id = '{SECRET}'"))
        .await;
    world.run("update sms_conversations set opted_out_at = now()").await;
    world.spool("inbound", &[("MessageSid", "SM4"), ("From", TENANT), ("Body", SECRET)]).await;
    let status = [("MessageSid", "SM3"), ("MessageStatus", "read"), ("To", TENANT), ("Extra", SECRET)];
    world.spool("status", &status).await;
    world.await_media("SM5", TENANT, SECRET).await;
    world.store(&[inbound("SM6", OTHER, "another conversation", &[])]).await;

    let planted = tables_with(&world.database, SECRET).await;
    let partition = |table: &str| planted.iter().any(|name| name.starts_with(table));
    for table in [
        "sms_conversations",
        "sms_messages",
        "sms_message_payloads",
        "sms_message_status_events",
        "sms_opt_out_events",
        "twilio_awaiting_media",
        "webhook_spool",
    ] {
        assert!(partition(table), "{table} has none: {planted:?}");
    }
    let ledger = "select string_agg(action || evidence || source, ',' order by id) from sms_opt_out_events";
    let ledger_before = world.database.scalar(ledger).await;

    let reply = world.erase(TENANT).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    assert_eq!(tables_with(&world.database, SECRET).await, Vec::<String>::new());
    let erasure = body(&reply);
    assert_eq!(
        erasure["erased"],
        json!({
            "messages": 3, "canceled": 0, "in_flight": 0, "media": 1, "webhooks": 2, "status_callbacks": 2,
            "opt_out_texts": 1,
            "waiting_webhooks": 3, "archived_rows": 0,
        })
    );
    assert_eq!(erasure["remaining"], 0);
    let statuses =
        "select string_agg(twilio_sid || ' ' || delivery_status, ',' order by twilio_sid) from sms_messages";
    assert_eq!(
        world.database.scalar(statuses).await,
        "SM1 received,SM2 received,SM3 delivered,SM4 received,SM5 received,SM6 received"
    );
    assert_eq!(world.database.scalar(ledger).await, ledger_before);
    let conversation = format!(
        "select message_count || ' ' || (opted_out_at is not null) from sms_conversations \
         where phone_number_canonical = '{TENANT}'"
    );
    assert_eq!(world.database.scalar(&conversation).await, "5 true");
    assert_eq!(
        tables_with(&world.database, "another conversation").await.len(),
        2,
        "the message and its webhook"
    );

    let audit = "select concat_ws(' ', id, conversation_id, api_key_id, completed_at is not null, counts ->> 'messages')
        from sms_erasures";
    let key = testing::KEY_ID;
    let (id, conversation) =
        (erasure["erasure_id"].as_str().unwrap(), erasure["conversation_id"].as_str().unwrap());
    assert_eq!(world.database.scalar(audit).await, format!("{id} {conversation} {key} t 3"));
    let log = json!(world.function.log().await).to_string();
    assert!(log.contains("content erased") && log.contains("\"0123\"") && log.contains(id), "{log}");
    assert!(!log.contains("5550123") && !log.contains(SECRET), "{log}");
}

#[tokio::test]
async fn a_repeated_request_finds_nothing_and_is_recorded() {
    let mut world = World::start().await;
    world.store(&[inbound("SM1", TENANT, "hello", &[])]).await;
    let first = body(&world.erase(TENANT).await);
    assert_eq!(first["erased"]["messages"], 1);
    let second = world.erase("(203) 555-0123").await;
    assert_eq!(second["statusCode"], 200);
    let second = body(&second);
    assert!(second["erased"].as_object().unwrap().values().all(|count| count == 0), "{second}");
    assert_eq!(second["erased"].as_object().unwrap().len(), first["erased"].as_object().unwrap().len());
    assert_eq!(world.database.scalar("select count(*) from sms_erasures").await, "2");
}

#[tokio::test]
async fn a_message_that_arrives_after_the_erasure_is_stored_as_usual() {
    let mut world = World::start().await;
    world.store(&[inbound("SM1", TENANT, "before", &[])]).await;
    world.erase(TENANT).await;
    world.store(&[inbound("SM2", TENANT, "after", &[])]).await;
    sends::create(&world.database.db(), &testing::new_send(TENANT), None).await.unwrap();
    let contents = "select string_agg(message_content, ',' order by created_at, id) from sms_messages";
    assert_eq!(world.database.scalar(contents).await, ",after,rent is due");
    assert_eq!(world.database.scalar("select count(*) from sms_message_payloads").await, "1");
    assert_eq!(body(&world.erase(TENANT).await)["erased"]["messages"], 2);
}

#[tokio::test]
async fn a_long_conversation_is_erased_by_several_requests() {
    let mut world = World::start_with(&[("ERASE_BUDGET_MS", "1")]).await;
    world.store(&[inbound("SM1", TENANT, "first", &[])]).await;
    world
        .run("insert into sms_messages (id, conversation_id, direction, from_number, to_number, twilio_sid, \
                message_content, delivery_status, created_at) \
              select sms_new_id(), conversation_id, 'inbound', from_number, to_number, 'SMx' || n, 'text', 'received', \
                created_at from sms_messages, generate_series(1, 2499) n")
        .await;
    let mut left = Vec::new();
    for status in [202, 202, 200, 200] {
        let reply = world.erase(TENANT).await;
        let erasure = body(&reply);
        left.push((erasure["erased"]["messages"].as_i64().unwrap(), erasure["remaining"].as_i64().unwrap()));
        assert_eq!(reply["statusCode"], status, "{erasure}");
        if left.len() == 4 {
            break;
        }
    }
    assert_eq!(left, [(1000, 1500), (1000, 500), (500, 0), (0, 0)]);
    assert_eq!(
        world.database.scalar("select count(*) from sms_messages where message_content <> ''").await,
        "0"
    );
    let incomplete = "select count(*) from sms_erasures where completed_at is null";
    assert_eq!(world.database.scalar(incomplete).await, "2");
}

#[tokio::test]
async fn rows_that_an_archive_may_have_are_listed_for_deletion() {
    let mut world = World::start().await;
    world.store(&[inbound("SM1", TENANT, "this month", &[])]).await;
    // One of an earlier month that is still stored, and one whose month was dropped.
    let old = "insert into sms_messages (id, conversation_id, direction, from_number, to_number, twilio_sid, \
            message_content, delivery_status, created_at) \
        select sms_first_id('2020-01-02'), conversation_id, 'inbound', from_number, to_number, 'SM2', 'kept', \
            'received', \
            '2020-01-02' from sms_messages where twilio_sid = 'SM1'; \
        insert into sms_messages (id, conversation_id, direction, from_number, to_number, twilio_sid, \
            message_content, delivery_status, created_at) \
        select sms_first_id('2020-02-02'), conversation_id, 'inbound', from_number, to_number, 'SM3', \
            'dropped', 'received', \
            '2020-02-02' from sms_messages where twilio_sid = 'SM1'; \
        insert into sms_message_payloads select id, '{}', created_at from sms_messages where twilio_sid = 'SM2'; \
        insert into sms_callbacks (packed_sid, event_status, message_id, event_id, created_at) \
        select sms_pack_sid('SM2'), 'sent', id, sms_first_id('2020-03-02'), '2020-03-02' from sms_messages \
        where twilio_sid = 'SM2'";
    world.run(old).await;
    assert_eq!(body(&world.erase(TENANT).await)["erased"]["archived_rows"], 3);
    let listed =
        "select string_agg(table_name || ' ' || coalesce(m.twilio_sid, 'callback'), ',' order by row_id)
        from sms_erased_archive_rows r left join sms_messages m on m.id = r.row_id";
    assert_eq!(
        world.database.scalar(listed).await,
        "sms_message_payloads SM2,sms_message_payloads SM3,sms_message_status_events callback"
    );
    assert_eq!(body(&world.erase(TENANT).await)["erased"]["archived_rows"], 0);
}

#[tokio::test]
async fn an_unknown_number_is_404_an_invalid_one_400_and_another_scope_403() {
    let mut world = World::start().await;
    world.store(&[inbound("SM1", TENANT, "hello", &[])]).await;
    assert_eq!(refusal(&world.erase(OTHER).await), "404 sms.not_found");
    let nul = refusal(&world.erase("+1203\u{0}").await);
    assert_eq!(nul, "400 sms.validation_error\n  phone_number: contains a NUL character");
    let scopes = "messages:send messages:read conversations:read conversations:write";
    let reply = world.function.call(world::request(TENANT).scopes(scopes).event()).await;
    assert_eq!(refusal(&reply), "403 sms.forbidden");
    world.run("update sms_conversations set account_sid = 'AC2'").await;
    assert_eq!(refusal(&world.erase(TENANT).await), "404 sms.not_found");
    assert_eq!(world.database.scalar("select message_content from sms_messages").await, "hello");
    assert_eq!(world.database.scalar("select count(*) from sms_erasures").await, "0");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503() {
    let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", "postgres://u@127.0.0.1:1/x")];
    let mut function = Function::start(BINARY, &variables).await;
    let request = ApiRequest::new("DELETE", "/").path_parameter("phone_number", TENANT);
    assert_eq!(refusal(&function.call(request.event()).await), "503 sms.unavailable");
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let log = Function::start(BINARY, &[("ERASE_BUDGET_MS", "0")]).await.ended().await;
    assert_eq!(
        log.last().unwrap()["error"],
        "invalid configuration: TWILIO_ACCOUNT_SID is missing; DATABASE_URL is missing; \
         ERASE_BUDGET_MS must be between 1 and 20000"
    );
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    // The last batch, and the end of the audit, each on a new connection.
    let waits = &[("DATABASE_CONNECT_TIMEOUT_MS", 2), ("DATABASE_STATEMENT_TIMEOUT_MS", 3)];
    environment::check::<erase_conversation::Config>("erase-conversation", Duration::from_secs(10), waits);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_erasures_erase_each_message_once() {
    let mut world = World::start().await;
    let messages: Vec<_> = (0..40).map(|n| inbound(&format!("SM{n}"), TENANT, "text", &[])).collect();
    world.store(&messages).await;
    let mut other = Function::start(BINARY, &world.variables()).await;
    let event = world::request(TENANT).event();
    let (first, second) = tokio::join!(world.function.call(event.clone()), other.call(event));
    let erased = |reply: &serde_json::Value| {
        assert_eq!(reply["statusCode"], 200, "{reply}");
        body(reply)["erased"]["messages"].as_i64().unwrap()
    };
    assert_eq!(erased(&first) + erased(&second), 40);
    assert_eq!(
        world.database.scalar("select count(*) from sms_messages where message_content <> ''").await,
        "0"
    );
    let counted = "select sum((counts ->> 'webhooks')::int) from sms_erasures";
    assert_eq!(world.database.scalar(counted).await, "40");
}
