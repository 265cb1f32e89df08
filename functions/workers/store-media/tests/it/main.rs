//! Runs the binary through the Runtime API with a real Postgres, an S3 server, and two servers that play Twilio and its
//! storage service.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod crashes;
mod refusals;
mod retries;
mod twilio;
mod world;

use axum::http::{Method, header};
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Function, environment, failed};
use twilio::Reply;
use world::{BINARY, JPEG, World, call, hint, resource};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_copied_and_the_storage_service_gets_no_credentials() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::File(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    let mut function = world.function(&[]).await;
    call(&mut function, &[message]).await;

    assert_eq!(std::fs::read(world.s3.file(&world.key().await)).unwrap(), JPEG);
    // What Twilio declared is image/png.
    let hex: String = JPEG.iter().map(|byte| format!("{byte:02x}")).collect();
    let digest = format!("select encode(sha256('\\x{hex}'::bytea), 'hex')");
    let digest = world.database.scalar(&digest).await;
    let row = "select concat_ws('|', status, declared_type, detected_type, size, sha256, error, next_attempt_at) \
               from sms_media";
    let expected = format!("stored|image/png|image/jpeg|{}|{digest}", JPEG.len());
    assert_eq!(world.database.scalar(row).await, expected);

    let id = world.database.scalar("select id from sms_media").await;
    let events = world.events().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        events[0]["data"],
        json!({"media_id": id, "content_type": "image/jpeg", "size": JPEG.len(), "sha256": digest})
    );
    assert_eq!((&events[0]["message_id"], &events[0]["conversation_sequence"]), (&json!(message), &json!(3)));
    assert_eq!(world.sqs.sent().len(), 1, "a hint for deliver-event");

    assert_eq!(world.twilio.received().len(), 1);
    let requests = world.storage.received();
    assert_eq!(requests.len(), 1);
    for name in [header::AUTHORIZATION, header::COOKIE, header::REFERER, header::PROXY_AUTHORIZATION] {
        assert!(!requests[0].headers.contains_key(&name), "{name}");
    }
    assert!(!format!("{requests:?}").contains("token"), "{requests:?}");
    assert_eq!(function.metric("media_stored").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_back_to_twilio_gets_no_credentials_either() {
    let world = World::start().await;
    let other = world.twilio.reply("/other", &[Reply::File(JPEG.to_vec())]);
    let url = world.twilio.reply(&resource("ME1"), &[Reply::Redirect(other)]);
    let message = world.message(&[url]).await;
    call(&mut world.function(&[]).await, &[message]).await;
    let requests = world.twilio.received();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].headers.contains_key(header::AUTHORIZATION));
    assert!(!requests[1].headers.contains_key(header::AUTHORIZATION));
    assert_eq!(world.files().await, "pending HTTP 401");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_files_of_a_message_are_copied_each_with_its_event() {
    let world = World::start().await;
    let file = |n: usize| [JPEG, n.to_string().as_bytes()].concat();
    let urls: Vec<String> = (0..10).map(|n| world.file(&format!("ME{n}"), &[Reply::File(file(n))])).collect();
    let message = world.message(&urls).await;
    let mut function = world.function(&[]).await;
    call(&mut function, &[message]).await;
    assert_eq!(world.files().await, ["stored"; 10].join(", "));
    let rows = world.database.client.query("select id::text from sms_media order by position", &[]);
    for (n, row) in rows.await.unwrap().iter().enumerate() {
        let key = format!("media/{}", row.get::<_, &str>(0));
        assert_eq!(std::fs::read(world.s3.file(&key)).unwrap(), file(n), "{n}");
    }
    let sequences: Vec<Value> =
        world.events().await.iter().map(|event| event["conversation_sequence"].clone()).collect();
    assert_eq!(json!(sequences), json!((3..13).collect::<Vec<_>>()));
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_hints_copy_a_file_once() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::File(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    let mut function = world.function(&[]).await;
    call(&mut function, &[message, message]).await;
    call(&mut function, &[message]).await;
    assert_eq!(world.storage.received().len(), 1);
    assert_eq!(world.events().await.len(), 1);
    assert_eq!(world.files().await, "stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_of_an_erased_file_is_deleted() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::File(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    let mut function = world.function(&[]).await;
    call(&mut function, &[message]).await;
    let object = world.s3.file(&world.key().await);
    assert!(object.exists());
    world.erase().await;
    assert_eq!(world.database.scalar("select count(*) from sms_media where url <> ''").await, "0");
    call(&mut function, &[message]).await;
    assert!(!object.exists());
    assert_eq!(world.database.scalar("select count(*) from sms_media").await, "0");
    assert_eq!(function.metric("media_removed").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_file_is_deleted_at_twilio_if_that_is_configured() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::File(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    let mut function = world.function(&[("MEDIA_DELETE_AT_TWILIO", "true")]).await;
    call(&mut function, &[message]).await;
    assert_eq!((world.files().await.as_str(), world.twilio.received().len()), ("stored", 1));
    // The first attempt fails.
    world.twilio.reply(&resource("ME1"), &[Reply::Status(500), Reply::Status(204)]);
    call(&mut function, &[message]).await;
    assert_eq!(world.files().await, "stored HTTP 500");
    call(&mut function, &[message]).await;
    call(&mut function, &[message]).await;
    let requests = world.twilio.received();
    let methods: Vec<&Method> = requests.iter().map(|request| &request.method).collect();
    assert_eq!(methods, [Method::GET, Method::DELETE, Method::DELETE]);
    assert!(requests.iter().all(|request| request.path == resource("ME1")));
    assert_eq!(world.files().await, "stored");
    assert_eq!(world.events().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_the_records_fail_and_nothing_is_requested() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::File(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    let mut function = world.function(&[]).await;
    world.database.client.batch_execute("alter table sms_media rename to hidden").await.unwrap();
    let event = testing::batch(&[hint(message), json!({"version": "2"}), json!({})]);
    assert_eq!(failed(&function.call(event).await), ["m-0", "m-1", "m-2"]);
    assert!(world.twilio.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_event_names_a_message() {
    let world = World::start().await;
    let mut function = world.function(&[]).await;
    let event = serde_json::from_str(include_str!("../../events/batch.json")).unwrap();
    assert!(failed(&function.call(event).await).is_empty());
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let log = Function::start(BINARY, &[("MEDIA_DELETE_AT_TWILIO", "maybe")]).await.ended().await;
    let error = log.last().unwrap()["error"].as_str().unwrap();
    for name in ["DATABASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "MEDIA_BUCKET"] {
        assert!(error.contains(&format!("{name} is missing")), "{error}");
    }
    assert!(error.contains("MEDIA_DELETE_AT_TWILIO is invalid"), "{error}");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    // The pauses between the attempts at S3, and the hint about events.
    let others = Duration::from_secs(2);
    let waits = [
        environment::CONNECT,
        ("DATABASE_STATEMENT_TIMEOUT_MS", 2),
        ("MEDIA_TIMEOUT_MS", 1),
        ("STORAGE_TIMEOUT_MS", 4),
    ];
    environment::check::<store_media::Config>("store-media", others, &waits);
}

/// Otherwise two workers could have the same file, and an erased file could be written after it was deleted.
#[test]
fn a_worker_has_a_file_for_longer_than_it_can_run() {
    let template = include_str!("../../../../../template.yaml");
    let function = template.split("\n  StoreMediaFunction:\n").nth(1).unwrap();
    let timeout = function.split("\n      Timeout: ").nth(1).unwrap().lines().next().unwrap();
    let timeout = Duration::from_secs(timeout.parse().unwrap());
    assert!(timeout < common::db::media::LEASE && common::db::media::LEASE < Duration::from_secs(120));
}
