//! Files of inbound messages: which rows an inbound message gets, who has a file, and what an erasure leaves.

use crate::{inbound, now};
use common::clock;
use common::db::conversations::{self, PageStart};
use common::db::erasure::{self, NewErasure};
use common::db::inbound::{NewInbound, StoredInbound, store};
use common::db::media::{self, LEASE, StoredFile};
use common::db::retention::{self, Column};
use common::db::{Db, messages};
use common::domain::ids::{MediaId, MessageId};
use common::domain::media::{FileType, MediaStatus};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use testing::Database;

const HANDSET: &str = "+18605550100";

fn with_files(sid: &str, files: usize) -> NewInbound {
    let file = |n| json!({"url": format!("https://api.twilio.com/{n}"), "content_type": "image/png"});
    NewInbound { media: (0..files).map(file).collect(), ..inbound(sid, HANDSET) }
}

async fn stored(db: &Db, message: NewInbound) -> StoredInbound {
    store(db, &[message]).await.unwrap().remove(0)
}

/// Marks a file as stored, with the same data each time.
async fn mark(db: &Db, id: MediaId, delete_at: Option<Timestamp>) -> bool {
    let file_type = FileType::of("image/jpeg").unwrap();
    media::store(db, &StoredFile { id, file_type, size: 12, sha256: "ab", delete_at }, now()).await.unwrap()
}

async fn erase(db: &Db, requested_at: Timestamp) {
    let erasure = NewErasure {
        id: clock::new_id(),
        account_sid: &"AC1".parse().unwrap(),
        variants: &[HANDSET.to_owned()],
        api_key_id: clock::new_id(),
        request_id: "r-2",
        requested_at,
    };
    erasure::begin(db, &erasure).await.unwrap().unwrap();
    erasure::erase(db, erasure.id, None, 100).await.unwrap();
    let (counts, remaining) = erasure::finish(db, erasure.id, 0, true, requested_at).await.unwrap();
    assert_eq!((counts.media, remaining), (counts.messages, 0), "each message of these tests has one file");
}

async fn events(database: &Database) -> String {
    database.number_events().await;
    database.scalar("select count(*) from sms_events where event_type = 'media.stored'").await
}

async fn ids_due(db: &Db, message: MessageId, at: Timestamp) -> Vec<MediaId> {
    let mut ids: Vec<_> =
        media::claim(db, &[message], at).await.unwrap().iter().map(|file| file.id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_message_gets_a_row_for_each_of_its_first_ten_files_once() {
    let database = Database::create().await;
    let db = database.db();
    let message = with_files("MM1", 12);
    store(&db, &[message.clone(), inbound("SM2", HANDSET)]).await.unwrap();
    store(&db, &[message]).await.unwrap();
    let rows = "select count(*) || ' ' || string_agg(position || url || declared_type || status, ' ' \
                order by position) \
                from sms_media where next_attempt_at = created_at and created_at = '2026-11-01T12:00:00Z'";
    let expected: Vec<String> =
        (0..10).map(|n| format!("{}https://api.twilio.com/{n}image/pngpending", n + 1)).collect();
    assert_eq!(database.scalar(rows).await, format!("10 {}", expected.join(" ")));
}

#[tokio::test]
async fn a_message_that_was_received_before_an_erasure_gets_no_files() {
    let database = Database::create().await;
    let db = database.db();
    stored(&db, inbound("SM1", HANDSET)).await;
    let change = "update sms_conversations set erased_at = '2026-11-01T12:00:00Z'";
    database.client.batch_execute(change).await.unwrap();
    stored(&db, with_files("MM2", 1)).await;
    let mut later = with_files("MM3", 1);
    later.received_at = now() + 1.second();
    let later = stored(&db, later).await;
    assert_eq!(
        database.scalar("select string_agg(message_id::text, ' ') from sms_media").await,
        later.message_id.to_string()
    );
}

#[tokio::test]
async fn one_worker_has_a_file_until_its_claim_ends() {
    let database = Database::create().await;
    let db = database.db();
    let message = stored(&db, with_files("MM1", 1)).await;
    let due = media::due(&db, now(), 10).await.unwrap();
    assert_eq!(
        (due.len(), due[0].message_id, due[0].conversation_id),
        (1, message.message_id, message.conversation_id)
    );
    let claimed = media::claim(&db, &[message.message_id], now()).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].attempts, claimed[0].is_erased), (1, 1, false));
    assert_eq!(
        (claimed[0].status, claimed[0].url.as_str()),
        (MediaStatus::Pending, "https://api.twilio.com/0")
    );
    assert!(ids_due(&db, message.message_id, now()).await.is_empty());
    assert!(media::due(&db, now(), 10).await.unwrap().is_empty());
    assert_eq!(ids_due(&db, message.message_id, now() + LEASE).await, [claimed[0].id]);
}

#[tokio::test]
async fn a_file_is_stored_once_with_one_event() {
    let database = Database::create().await;
    let db = database.db();
    let message = stored(&db, with_files("MM1", 1)).await;
    let id = ids_due(&db, message.message_id, now()).await[0];
    assert!(mark(&db, id, None).await && mark(&db, id, None).await);
    assert_eq!(events(&database).await, "1");
    let found = media::find(&db, id).await.unwrap().unwrap();
    assert_eq!((found.status, found.content_type.as_deref()), (MediaStatus::Stored, Some("image/jpeg")));
    assert!(
        ids_due(&db, message.message_id, now() + 720.hours()).await.is_empty(),
        "nothing is due any more"
    );
}

#[tokio::test]
async fn the_api_shows_the_files_of_inbound_messages_and_the_references_of_others() {
    let database = Database::create().await;
    let db = database.db();
    let message = stored(&db, with_files("MM1", 1)).await;
    let id = ids_due(&db, message.message_id, now()).await[0];
    let shown = async |expected: Value| {
        let found = messages::find(&db, message.message_id).await.unwrap().unwrap();
        assert_eq!(found.media, expected);
        let (account, variants) = ("AC1".parse().unwrap(), [HANDSET.to_owned()]);
        let page = conversations::page(&db, &account, &variants, PageStart::Offset(0), 10).await.unwrap();
        assert_eq!(page.unwrap().1[0].media, expected);
    };
    let file = |content_type, size: Value, sha256: Value, status| {
        json!([{"id": id, "url": format!("/media/{id}"), "content_type": content_type, "size": size,
            "sha256": sha256, "status": status}])
    };
    shown(file("image/png", Value::Null, Value::Null, "pending")).await;
    mark(&db, id, None).await;
    shown(file("image/jpeg", json!(12), json!("ab"), "stored")).await;
    // From before files were copied.
    database.client.batch_execute("delete from sms_media").await.unwrap();
    shown(json!([{"url": "https://api.twilio.com/0", "content_type": "image/png"}])).await;
    database.client.batch_execute("update sms_messages set media = '[]'").await.unwrap();
    shown(json!([])).await;
}

#[tokio::test]
async fn an_attempt_without_a_next_one_fails_a_pending_file_and_leaves_a_stored_one() {
    let database = Database::create().await;
    let db = database.db();
    let message = stored(&db, with_files("MM1", 2)).await;
    let ids = ids_due(&db, message.message_id, now()).await;
    let later = now() + 5.minutes();
    media::end_attempt(&db, ids[0], Some("HTTP 503"), Some(later)).await.unwrap();
    assert_eq!(ids_due(&db, message.message_id, later).await, ids, "the claim of the other has ended too");
    media::end_attempt(&db, ids[0], Some("gone: the file was deleted"), None).await.unwrap();
    mark(&db, ids[1], Some(later)).await;
    let claimed = media::claim(&db, &[message.message_id], later).await.unwrap();
    assert_eq!(
        (claimed.len(), claimed[0].id, claimed[0].attempts),
        (1, ids[1], 1),
        "it is deleted at Twilio"
    );
    media::end_attempt(&db, ids[1], None, None).await.unwrap();
    let rows = "select string_agg(concat_ws(' ', status, error, next_attempt_at), ', ' order by status) from sms_media";
    assert_eq!(database.scalar(rows).await, "failed gone: the file was deleted, stored");
    assert!(!mark(&db, ids[0], None).await, "a failed file is not stored by a late worker");
}

#[tokio::test]
async fn an_erased_file_is_not_stored_and_its_object_is_deleted_after_the_claim() {
    let database = Database::create().await;
    let db = database.db();
    let message = stored(&db, with_files("MM1", 1)).await;
    let id = ids_due(&db, message.message_id, now()).await[0];
    erase(&db, now() + 1.second()).await;
    assert!(!mark(&db, id, None).await);
    assert_eq!(events(&database).await, "0");
    assert!(media::find(&db, id).await.unwrap().is_none());
    media::end_attempt(&db, id, Some("an error with content"), None).await.unwrap();
    let content = "select concat_ws(' ', url, declared_type, detected_type, sha256, error) from sms_media";
    assert_eq!(database.scalar(content).await, "");

    assert!(
        ids_due(&db, message.message_id, now() + 2.seconds()).await.is_empty(),
        "the worker may still write it"
    );
    let claimed = media::claim(&db, &[message.message_id], now() + LEASE).await.unwrap();
    assert!(claimed.len() == 1 && claimed[0].is_erased);
    media::remove(&db, id).await.unwrap();
    assert_eq!(database.scalar("select count(*) from sms_media").await, "0");
}

#[tokio::test]
async fn the_object_of_an_erased_file_that_no_worker_has_is_due_at_once() {
    let database = Database::create().await;
    let db = database.db();
    let untouched = stored(&db, with_files("MM1", 1)).await;
    let done = stored(&db, with_files("MM2", 1)).await;
    let waiting = stored(&db, with_files("MM3", 1)).await;
    let id = ids_due(&db, done.message_id, now()).await[0];
    mark(&db, id, None).await;
    let id = ids_due(&db, waiting.message_id, now()).await[0];
    media::end_attempt(&db, id, Some("HTTP 503"), Some(now() + 12.hours())).await.unwrap();
    let at = now() + 1.second();
    erase(&db, at).await;
    // A failed file is not erased twice, and the audit counts each once.
    erase(&db, at).await;
    for message in [&untouched, &done] {
        assert_eq!(ids_due(&db, message.message_id, at).await.len(), 1);
    }
    assert!(ids_due(&db, waiting.message_id, at).await.is_empty());
    assert_eq!(
        ids_due(&db, waiting.message_id, at + 2.minutes()).await.len(),
        1,
        "an earlier worker may have died"
    );
}

#[tokio::test]
async fn retention_erases_the_files_of_old_messages() {
    let database = Database::create().await;
    let db = database.db();
    let message = stored(&db, with_files("MM1", 1)).await;
    let id = ids_due(&db, message.message_id, now()).await[0];
    mark(&db, id, None).await;
    // The ids of messages have the time of the test.
    let after = clock::now() + 1.hour();
    retention::empty_messages(&db, Column::Bodies, after, 10, after).await.unwrap();
    assert!(media::find(&db, id).await.unwrap().is_some());
    let emptied = retention::empty_messages(&db, Column::Media, after, 10, after).await.unwrap();
    assert_eq!((emptied.passed, emptied.rows), (1, 1));
    assert!(media::find(&db, id).await.unwrap().is_none());
    let claimed = media::claim(&db, &[message.message_id], after).await.unwrap();
    assert!(claimed.len() == 1 && claimed[0].is_erased);
    assert_eq!(messages::find(&db, message.message_id).await.unwrap().unwrap().media, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_and_erasures_at_the_same_time_do_not_deadlock() {
    let database = Database::create().await;
    let db = database.db();
    let mut claimed = Vec::new();
    for n in 0..10 {
        let message = stored(&db, with_files(&format!("MM{n}"), 1)).await;
        claimed.extend(ids_due(&db, message.message_id, now()).await);
    }
    let erasing = tokio::spawn({
        let db = database.db();
        async move { erase(&db, now() + 1.second()).await }
    });
    let workers = claimed.into_iter().map(|id| {
        let db = database.db();
        tokio::spawn(async move { mark(&db, id, None).await })
    });
    let mut before = 0;
    for worker in workers.collect::<Vec<_>>() {
        before += usize::from(worker.await.unwrap());
    }
    erasing.await.unwrap();
    assert_eq!(events(&database).await, before.to_string(), "an event for each that was stored before");
    assert_eq!(database.scalar("select count(*) from sms_media where erased_at is null").await, "0");
}
