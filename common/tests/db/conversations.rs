//! Reading conversations.

use common::clock;
use testing::Database;

const MESSAGES: i64 = 3_000;

const CALLS: i64 = 10;

#[tokio::test]
async fn the_rows_read_for_a_page_do_not_depend_on_its_offset() {
    let database = Database::create().await;
    let conversation = clock::new_id();
    let fill = "
        with conversation as (
            insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
            values ($1, 'AC1', '+12025550123', '+12025550123', now())
        )
        insert into sms_messages (id, conversation_id, direction, twilio_sid, to_number, message_content,
            delivery_status, created_at)
        select gen_random_uuid(), $1, 'inbound', 'SM' || n, '+12025550100', 'hello', 'received',
            now() - n * interval '1 minute'
        from generate_series(1, $2::bigint) n";
    database.client.execute(fill, &[&conversation, &MESSAGES]).await.unwrap();
    // A connection may switch to the generic plan after some calls. Use it from the first call on.
    database
        .client
        .batch_execute("analyze sms_messages; set plan_cache_mode = force_generic_plan; begin")
        .await
        .unwrap();
    let page = "select count(*) from sms_conversation_page_2('AC1', array['+12025550123'],
        now() - $1::bigint * interval '1 minute', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 0, 20)";
    for call in 1..=CALLS {
        let row = database.client.query_one(page, &[&(MESSAGES - call * 50)]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 20);
    }
    let read = "select coalesce(idx_tup_fetch, 0) + coalesce(seq_tup_read, 0) from pg_stat_xact_user_tables
        where relname = 'sms_messages'";
    let read: i64 = database.client.query_one(read, &[]).await.unwrap().get(0);
    assert!(read <= CALLS * 25, "{read} rows were read to show {}", CALLS * 20);
}
