//! Retention while others write.

use super::*;
use std::time::Instant;

/// Whether a statement waits for a lock. `pg_stat_activity` would not change within a transaction.
const DROP_WAITS: &str = "select exists (select from pg_locks l join pg_database d on d.oid = l.database
    where d.datname = current_database() and not l.granted)";

#[tokio::test(flavor = "multi_thread")]
async fn writers_and_readers_continue_while_months_are_archived_and_dropped() {
    let world = World::start().await;
    for month in ["2024-01", "2024-02", "2024-03"] {
        world.events(month, 3_000).await;
    }
    let writer = testing::connect(&world.database.url()).await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let (mut written, mut longest) = (0_u32, Duration::ZERO);
        let insert = "insert into sms_events (id, event_type, position, body, created_at)
                      values (sms_new_id(), 'message.status', 1, '{}', now())";
        while stopped.try_recv().is_err() {
            let begun = Instant::now();
            writer.batch_execute(insert).await.unwrap();
            longest = longest.max(begun.elapsed());
            written += 1;
        }
        (written, longest)
    });
    // A reader with an old month open: the drop must wait for it, and must not make others wait.
    let reader = testing::connect(&world.database.url()).await;
    reader.batch_execute("begin; select count(*) from sms_events_2024_01").await.unwrap();
    let reading = async {
        // Until the drop has given up on its lock once, and waits again.
        for is_waiting in [true, false, true] {
            eventually("the drop waits for the reader", async || {
                let waits = reader.query_one(DROP_WAITS, &[]).await.unwrap().get::<_, bool>(0);
                (waits == is_waiting).then_some(())
            })
            .await;
        }
        reader.batch_execute("commit").await.unwrap();
    };
    let mut function = world.function(&[]).await;
    let (removed, ()) = tokio::join!(function.call(event()), reading);
    stop.send(()).unwrap();
    let (written, longest) = writing.await.unwrap();
    println!("{written} rows written, the longest insert took {longest:?}");
    assert_eq!(removed["months"].as_array().unwrap().len(), 3);
    assert_eq!(world.database.scalar("select count(*) from sms_events").await, written.to_string());
    // lock_timeout is 500 ms; the rest is for busy machines.
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}
