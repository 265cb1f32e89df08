//! The cost of activity: updates of conversations, and their list by latest activity.

use crate::{inbound, now};
use common::db::all_statements;
use common::db::inbound::store;
use jiff::ToSpan;
use testing::Database;

#[tokio::test]
async fn messages_of_one_hour_update_their_conversations_without_writing_an_index() {
    let database = Database::create().await;
    let message = |n: usize| {
        // A batch has messages of conversations in all parts of the table, like traffic.
        let mut message = inbound(&format!("SM{n}"), &format!("+1203555{:04}", n * 77 % 200));
        message.received_at = now() + (n as i64).seconds();
        message
    };
    let counts = "select n_tup_upd::text || ' ' || n_tup_hot_upd::text from pg_stat_user_tables, \
        pg_stat_clear_snapshot() where relname = 'sms_conversations'";
    // All updates and the HOT ones, once a closed connection has reported that there were so many.
    let updates = async |expected: u32| {
        testing::eventually("the statistics are reported", async || {
            let counts = database.scalar(counts).await;
            let (all, hot) = counts.split_once(' ').unwrap();
            let (all, hot) = (all.parse::<u32>().unwrap(), hot.parse::<u32>().unwrap());
            (all >= expected).then_some((all, hot))
        })
        .await
    };
    let store_all = async |numbers: std::ops::Range<usize>| {
        let db = database.db();
        for batch in numbers.collect::<Vec<_>>().chunks(10) {
            store(&db, &batch.iter().map(|n| message(*n)).collect::<Vec<_>>()).await.unwrap();
            // Updates remove old versions from a full page themselves, unless a transaction is open in any database of
            // the server. Other tests have some, and only `vacuum` does not care.
            database.client.batch_execute("vacuum sms_conversations").await.unwrap();
        }
    };
    store_all(0..200).await;
    let (all_before, hot_before) = updates(200).await;
    store_all(200..1200).await;
    let (all, hot) = updates(all_before + 1000).await;
    let (all, hot) = (all - all_before, hot - hot_before);
    assert!(hot * 100 >= all * 95, "{hot} of {all}");
}

/// Stores conversations one minute apart. Every hundredth is in Portuguese, has opted out and has a workflow.
async fn with_conversations(count: usize) -> Database {
    let database = Database::create().await;
    let rows = format!(
        "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, tenant_id, \
            workflow_type, language_detected, opted_out_at, created_at, last_message_at) \
         select gen_random_uuid(), 'AC1', '+1' || n, '+1' || n, case when n % 100 > 0 then 't-' || n end, \
            case when n % 100 = 0 then 'collections' end, case when n % 100 = 0 then 'pt' else 'en' end, \
            case when n % 100 = 0 then now() end, '2026-01-01T00:00:00Z', \
            '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 minute' \
         from generate_series(1, {count}) n; \
         analyze sms_conversations"
    );
    database.client.batch_execute(&rows).await.unwrap();
    let list = all_statements()
        .into_iter()
        .find(|statement| statement.name.ends_with("::LIST") && statement.name.contains("conversations"))
        .unwrap();
    let prepare = format!(
        "set plan_cache_mode = force_custom_plan; \
         prepare list(text, text, text, text, bool, bool, timestamptz, timestamptz, uuid, bigint) as {}",
        list.sql()
    );
    database.client.batch_execute(&prepare).await.unwrap();
    database
}

/// Returns the plan of a list, with the number of rows that it read.
async fn plan(database: &Database, arguments: &str) -> String {
    let explain =
        format!("explain (analyze, costs off, timing off, summary off) execute list('AC1', {arguments})");
    let rows = database.client.simple_query(&explain).await.unwrap();
    let lines = rows.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_list_reads_an_index_in_its_order_and_sorts_only_the_hours_of_a_page() {
    let database = with_conversations(50_000).await;
    let none = "null, null, null, null, null, null, null, null, 21";
    let middle = "'2026-01-15T12:30:30Z', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 21";
    for (arguments, index) in [
        (none.to_owned(), "sms_conversations_active"),
        (format!("null, null, null, null, null, null, {middle}"), "sms_conversations_active"),
        (format!("null, null, null, false, false, '2026-01-02', {middle}"), "sms_conversations_active"),
        (none.replacen("null, null", "null, 'collections'", 1), "sms_conversations_of_workflow"),
        (format!("null, null, 'pt', null, null, null, {middle}"), "sms_conversations_in_language"),
        (format!("null, null, null, true, null, null, {middle}"), "sms_conversations_without_tenant"),
        (format!("null, null, null, null, true, null, {middle}"), "sms_conversations_opted_out"),
    ] {
        let plan = plan(&database, &arguments).await;
        assert!(plan.contains(&format!("Index Scan using {index} ")), "{arguments}: {plan}");
        assert!(plan.contains("Incremental Sort") && plan.contains("Presorted Key: active_hour"), "{plan}");
        let scan = plan.lines().find(|line| line.contains("Index Scan using")).unwrap();
        let rows = scan.split("rows=").nth(1).unwrap().split(['.', ' ']).next().unwrap();
        assert!(rows.parse::<u32>().unwrap() <= 200, "{arguments}: {plan}");
    }
    let of_tenant = plan(&database, &none.replacen("null", "'t-77'", 1)).await;
    assert!(of_tenant.contains("sms_conversations_of_tenant"), "{of_tenant}");
}
