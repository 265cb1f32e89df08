//! Columns of messages that are emptied in place.

use super::*;

/// Stores messages from 40 days ago, one second apart, with texts, metadata and media.
async fn messages(world: &World, rows: u32) {
    world
        .run(&format!(
            "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
             values (gen_random_uuid(), 'AC1', '+12025550143', '+12025550143', now());
             insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content, media,
                 metadata, delivery_status, created_at)
             select sms_first_id(at), (select id from sms_conversations), 'outbound', '+15005550006', '+12025550143',
                 'The heating is off ' || n, '[{{\"url\": \"https://example.com/1\"}}]', '{{\"case\": 7}}',
                 'delivered', at
             from (select n, now() - interval '40 days' + n * interval '1 second' as at
                   from generate_series(1, {rows}) n) n"
        ))
        .await;
}

async fn left(world: &World) -> String {
    let sql = "select concat_ws(' ', count(*) filter (where message_content <> ''),
        count(*) filter (where metadata is not null), count(*) filter (where media <> '[]')) from sms_messages";
    world.database.scalar(sql).await
}

const BODIES: (&str, &str) = ("RETENTION_BODIES_DAYS", "30");
const MEDIA: (&str, &str) = ("RETENTION_MEDIA_DAYS", "30");

#[tokio::test]
async fn old_bodies_and_media_are_emptied_and_young_ones_are_not() {
    let world = World::start().await;
    messages(&world, 1_201).await;
    let young = "update sms_messages set id = sms_first_id(now() - interval '29 days') where message_content = \
                 'The heating is off 7'";
    world.run(young).await;
    let mut function = world.function(&[BODIES]).await;
    let removed = function.call(event()).await;
    assert_eq!((&removed["rows"], &removed["unfinished"]), (&json!(1_200), &json!(false)));
    assert_eq!(left(&world).await, "1 1 1201");
    let removed = world.function(&[MEDIA]).await.call(event()).await;
    assert_eq!(removed["rows"], 1_200);
    assert_eq!(left(&world).await, "1 1 1");
    assert_eq!(function.call(event()).await["rows"], 0);
    assert_eq!(world.database.scalar("select count(*) from sms_messages").await, "1201");
}

#[tokio::test]
async fn a_message_that_may_still_be_sent_keeps_its_text_until_it_has_settled() {
    let world = World::start().await;
    messages(&world, 10).await;
    world
        .run(
            "update sms_messages set delivery_status = 'pending', send_at = now() + interval '1 hour'
             where message_content like '% 3';
             update sms_messages set delivery_status = 'unknown' where message_content like '% 5';
             update sms_messages set claimed_at = now() where message_content like '% 7'",
        )
        .await;
    let mut function = world.function(&[BODIES]).await;
    assert_eq!(function.call(event()).await["rows"], 7);
    assert_eq!(function.call(event()).await["rows"], 0);
    let texts =
        "select string_agg(message_content, ',' order by id) from sms_messages where message_content <> ''";
    assert_eq!(
        world.database.scalar(texts).await,
        "The heating is off 3,The heating is off 5,The heating is off 7"
    );
    world.run("update sms_messages set delivery_status = 'delivered', claimed_at = null").await;
    assert_eq!(function.call(event()).await["rows"], 3);
    assert_eq!(left(&world).await, "0 0 10");
    assert_eq!(world.database.scalar("select count(*) from sms_retention_skipped").await, "0");
}

#[tokio::test]
async fn a_locked_message_blocks_nothing_and_is_emptied_later() {
    let world = World::start().await;
    messages(&world, 10).await;
    let other = testing::connect(&world.database.url()).await;
    other
        .batch_execute("begin; select from sms_messages where message_content like '% 4' for update")
        .await
        .unwrap();
    let mut function = world.function(&[BODIES]).await;
    assert_eq!(function.call(event()).await["rows"], 9);
    other.batch_execute("commit").await.unwrap();
    assert_eq!(function.call(event()).await["rows"], 1);
    assert_eq!(left(&world).await, "0 0 10");
}

#[tokio::test]
async fn a_killed_run_is_continued_at_its_cursor() {
    let world = World::start().await;
    messages(&world, 50_000).await;
    let mut function = world.function(&[BODIES]).await;
    let cursor = "select count(*) from sms_retention_cursors";
    tokio::select! {
        outcome = function.invoke(event()) => panic!("ended before it was killed: {outcome:?}"),
        () = eventually("a step", async || (world.database.scalar(cursor).await != "0").then_some(())) => {}
    }
    function.kill().await;
    let emptied = "select count(*) from sms_messages where message_content = ''";
    // The statement of the killed function may still run.
    world.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sms-foundation'").await;
    let before: i64 = world.database.scalar(emptied).await.parse().unwrap();
    assert!(before > 0 && before < 50_000 && before % 500 == 0, "{before}");
    let behind = "select count(*) from sms_messages m, sms_retention_cursors c
                  where (m.id <= c.position) <> (m.message_content = '')";
    assert_eq!(world.database.scalar(behind).await, "0", "the cursor and the texts changed together");
    let removed = world.function(&[BODIES]).await.call(event()).await;
    assert_eq!(removed["rows"], 50_000 - before);
    assert_eq!(left(&world).await, "0 0 50000");
}
