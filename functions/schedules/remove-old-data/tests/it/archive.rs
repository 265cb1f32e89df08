//! Months that are archived and dropped.

use super::*;

/// Small parts, so that a few rows give several.
const SMALL_PARTS: (&str, &str) = ("ARCHIVE_PART_BYTES", "2048");

#[tokio::test]
async fn a_month_is_archived_verified_and_dropped_and_the_disk_space_is_free() {
    let world = World::start().await;
    world.events("2024-01", 20_000).await;
    world.events("2024-02", 0).await;
    let expected =
        world.database.scalar("select json_agg(row_to_json(e) order by id) from sms_events e").await;
    let before = world.size().await;
    let mut function = world.function(&[("ARCHIVE_PART_BYTES", "100000")]).await;
    let removed = function.call(event()).await;
    let after = world.size().await;
    assert_eq!(removed["months"], json!(["sms_events_2024_01", "sms_events_2024_02"]));
    let bytes = removed["bytes"].as_i64().unwrap();
    println!("database before {before}, after {after} bytes; removed {bytes}");
    assert!(bytes > 8_000_000 && before - after > bytes * 9 / 10, "{before} {after} {bytes}");
    let log = function.log().await;
    assert!(
        log.iter().any(|line| line["old_months_dropped"] == 2.0 && line["old_data_removed"] == bytes as f64)
    );

    let manifest = world.manifest("sms_events", "2024-01");
    assert_eq!((&manifest["rows"], &manifest["format"]), (&json!(20_000), &json!(1)));
    assert!(manifest["parts"].as_array().unwrap().len() > 3, "{manifest}");
    assert_eq!(manifest["columns"][0], json!({"name": "id", "type": "uuid"}));
    let expected: Vec<Value> = serde_json::from_str(&expected).unwrap();
    assert_eq!(world.archived("sms_events", "2024-01"), expected);
    // Nothing is left to do.
    let idle = json!({"months": [], "rows": 0, "erased": 0, "bytes": 0, "unfinished": false});
    assert_eq!(function.call(event()).await, idle);
}

#[tokio::test]
async fn without_a_bucket_a_month_is_dropped_without_an_archive() {
    let world = World::start().await;
    world.events("2024-01", 100).await;
    let removed = world.function(&[("ARCHIVE_BUCKET", "")]).await.call(event()).await;
    assert_eq!(removed["months"], json!(["sms_events_2024_01"]));
    assert!(!world.s3.file("archive").exists());
}

#[tokio::test]
async fn a_killed_run_is_continued_with_the_next_part() {
    let world = World::start().await;
    world.events("2024-01", 30_000).await;
    let mut function = world.function(&[SMALL_PARTS]).await;
    let parts = "select count(*) from sms_archive_parts";
    tokio::select! {
        outcome = function.invoke(event()) => panic!("ended before it was killed: {outcome:?}"),
        () = eventually("some parts", async || (world.database.scalar(parts).await != "0").then_some(())) => {}
    }
    function.kill().await;
    assert!(world.exists("sms_events_2024_01").await);
    let first = "select sha256 || ' ' || first_id from sms_archive_parts where number = 1";
    let first_part = world.database.scalar(first).await;
    let written =
        std::fs::metadata(world.s3.file("archive/sms_events/2024-01/part-00001.ndjson.gz")).unwrap();

    let removed = world.function(&[SMALL_PARTS]).await.call(event()).await;
    assert_eq!(removed["months"], json!(["sms_events_2024_01"]));
    assert_eq!(world.database.scalar(first).await, first_part);
    let now = std::fs::metadata(world.s3.file("archive/sms_events/2024-01/part-00001.ndjson.gz")).unwrap();
    assert_eq!(now.modified().unwrap(), written.modified().unwrap(), "the first part was written again");
    let rows = world.archived("sms_events", "2024-01");
    let body = |row: &Value| serde_json::from_str::<Value>(row["body"].as_str().unwrap()).unwrap();
    let numbers: Vec<_> = rows.iter().map(|row| body(row)["n"].as_i64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..30_000), "each row once, in order");
}

#[tokio::test]
async fn a_run_without_time_ends_and_the_next_one_continues() {
    let world = World::start().await;
    world.events("2024-01", 30_000).await;
    let mut function = world.function(&[SMALL_PARTS, ("RETENTION_BUDGET_SECONDS", "1")]).await;
    let (mut runs, mut is_dropped) = (0, false);
    loop {
        let removed = function.call(event()).await;
        runs += 1;
        is_dropped |= removed["months"] == json!(["sms_events_2024_01"]);
        assert_eq!(world.exists("sms_events_2024_01").await, !is_dropped, "{removed}");
        // The run that drops the month may have no time left for the other kinds.
        if removed["unfinished"] == false {
            break;
        }
        assert!(runs < 100, "{runs} runs");
    }
    assert!(runs > 1 && is_dropped, "{runs} runs");
    println!("{runs} runs of one second");
    assert_eq!(world.archived("sms_events", "2024-01").len(), 30_000);
}

#[tokio::test]
async fn a_part_that_s3_returns_differently_stops_the_drop_and_is_written_again() {
    let world = World::start().await;
    world.events("2024-01", 100).await;
    // As if a crashed run had written the part and S3 had lost a part of it.
    let key = "archive/sms_events/2024-01/part-00001.ndjson.gz";
    world.s3.storage().put(key, vec![0x1f, 0x8b, 0].into(), "application/gzip").await.unwrap();
    world
        .run(
            "insert into sms_archive_parts
                 (archived_table, month, number, name, first_id, last_id, row_count, byte_count, sha256)
             select 'sms_events', '2024-01', 1, 'part-00001.ndjson.gz', sms_first_id('2024-01-01Z'),
                 (select id from sms_events order by id offset 49 limit 1), 50, 1234, 'x'",
        )
        .await;
    let mut function = world.function(&[]).await;
    fails(&mut function).await;
    assert_eq!(
        logged(&function).await,
        "the archive of sms_events 2024-01 has 3 bytes instead of 1234 in part-00001.ndjson.gz"
    );
    assert!(world.exists("sms_events_2024_01").await);
    let removed = function.call(event()).await;
    assert_eq!(removed["months"], json!(["sms_events_2024_01"]));
    assert_eq!(world.archived("sms_events", "2024-01").len(), 100);
}

#[tokio::test]
async fn rows_that_change_after_their_part_was_written_are_archived_again() {
    let world = World::start().await;
    world.events("2024-01", 5_000).await;
    let mut function = world.function(&[SMALL_PARTS]).await;
    let parts = "select count(*) from sms_archive_parts";
    tokio::select! {
        outcome = function.invoke(event()) => panic!("ended before it was killed: {outcome:?}"),
        () = eventually("some parts", async || (world.database.scalar(parts).await != "0").then_some(())) => {}
    }
    function.kill().await;
    world
        .run(
            "delete from sms_events where position = 3;
             insert into sms_events (id, event_type, position, body, created_at)
             values (sms_first_id('2024-01-01 00:00:30Z'), 'message.status', 1000, '{\"n\": \"late\"}', '2024-01-01Z'),
                 (sms_first_id('2024-01-01 00:01:30Z'), 'message.status', 1000, '{\"n\": \"late\"}', '2024-01-01Z')",
        )
        .await;
    let expected =
        world.database.scalar("select json_agg(row_to_json(e) order by id) from sms_events e").await;
    let mut function = world.function(&[SMALL_PARTS]).await;
    assert_eq!(function.call(event()).await["months"], json!(["sms_events_2024_01"]));
    let expected: Vec<Value> = serde_json::from_str(&expected).unwrap();
    assert_eq!(world.archived("sms_events", "2024-01"), expected);
    let log = function.log().await;
    assert!(log.iter().any(|line| line["message"] == "archived rows changed, archiving them again"));
}

#[tokio::test]
async fn an_unavailable_s3_stops_the_drop_and_not_the_other_kinds() {
    let world = World::start().await;
    world.events("2024-01", 10).await;
    world
        .run(
            "insert into sms_events (id, event_type, position, body, created_at)
             values (sms_first_id('1975-01-01Z'), 'message.status', 1, '{}', '2024-01-01Z')",
        )
        .await;
    let changes = [("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"), ("RETENTION_BODIES_DAYS", "30")];
    let mut function = world.function(&changes).await;
    fails(&mut function).await;
    assert!(logged(&function).await.starts_with("could not store an object"));
    assert!(world.exists("sms_events_2024_01").await);
    assert_eq!(world.database.scalar("select count(*) from sms_retention_cursors").await, "1");
}

#[tokio::test]
async fn a_restored_month_is_kept_as_asked_and_then_dropped_without_changing_its_archive() {
    let world = World::start().await;
    world.events("2024-01", 100).await;
    world.function(&[]).await.call(event()).await;
    let manifest = world.manifest("sms_events", "2024-01");
    world.events("2024-01", 60).await;
    world.run("update sms_archives set keep_until = now() + interval '1 day'").await;
    let mut function = world.function(&[]).await;
    assert_eq!(function.call(event()).await["months"], json!([]));
    world
        .run("update sms_archives set keep_until = now(); update sms_archive_parts set verified_at = null")
        .await;
    assert_eq!(function.call(event()).await["months"], json!(["sms_events_2024_01"]));
    assert_eq!(world.manifest("sms_events", "2024-01"), manifest);
    assert_eq!(world.archived("sms_events", "2024-01").len(), 100);

    // Rows that the archive does not have are not lost.
    world.events("2024-01", 101).await;
    fails(&mut function).await;
    assert_eq!(
        logged(&function).await,
        "the archive of sms_events 2024-01 lacks rows of the restored partition"
    );
    assert!(world.exists("sms_events_2024_01").await);
}

#[tokio::test]
async fn rows_that_are_erased_later_are_emptied_in_their_archive() {
    let world = World::start().await;
    world
        .run(
            "select sms_add_partition('sms_message_payloads', '2024-01-01');
             insert into sms_message_payloads (message_id, raw_webhook_data, created_at)
             select sms_first_id(at), jsonb_build_object('Body', 'text ' || repeat(md5(n::text), 10)), at
             from (select n, timestamptz '2024-01-01Z' + n * interval '1 minute' as at
                   from generate_series(1, 6000) n) n",
        )
        .await;
    let changes = [("RETENTION_RAW_WEBHOOKS_DAYS", "90"), SMALL_PARTS];
    let mut function = world.function(&changes).await;
    function.call(event()).await;
    let before = world.archived("sms_message_payloads", "2024-01");
    let parts = |world: &World| {
        world.manifest("sms_message_payloads", "2024-01")["parts"].as_array().unwrap().clone()
    };
    let old = parts(&world);
    assert!(old.len() >= 3, "{old:?}");
    // Two rows of the first part, one of the last, and one that was erased before it was archived.
    world
        .run(
            "insert into sms_erased_archive_rows (table_name, row_id, erased_at)
             select 'sms_message_payloads', sms_first_id(timestamptz '2024-01-01Z' + n * interval '1 minute'), now()
             from unnest(array[3, 7, 5900, 5900.5]) n",
        )
        .await;
    assert_eq!(function.call(event()).await["erased"], 4);
    let after = world.archived("sms_message_payloads", "2024-01");
    for (row, (before, after)) in (1..).zip(before.iter().zip(&after)) {
        let mut expected = before.clone();
        if [3, 7, 5900].contains(&row) {
            expected["raw_webhook_data"] = json!({});
        }
        assert_eq!(after, &expected);
    }
    let new = parts(&world);
    assert_eq!(new.len(), old.len());
    let last = old.len() - 1;
    for (number, (old, new)) in old.iter().zip(&new).enumerate() {
        let is_changed = number == 0 || number == last;
        assert_eq!(old["name"] != new["name"], is_changed, "{old} {new}");
        let old_object = format!("archive/sms_message_payloads/2024-01/{}", old["name"].as_str().unwrap());
        assert_eq!(world.s3.file(&old_object).exists(), !is_changed, "{old}");
    }
    assert_eq!(world.database.scalar("select count(*) from sms_erased_archive_rows").await, "0");
    assert_eq!(function.call(event()).await["erased"], 0);
}
