//! Files that Twilio does not have yet, or not any more, and services that are unavailable for a while.

use crate::twilio::Reply;
use crate::world::{JPEG, World, call, resource};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_twilio_does_not_have_yet_is_copied_later() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::File(JPEG.to_vec())]);
    let redirect = Reply::Redirect(format!("{}/bucket/ME1", world.storage.url));
    world.twilio.reply(&resource("ME1"), &[Reply::Status(404), Reply::Status(404), redirect]);
    let message = world.message(&[url]).await;
    let mut function = world.function(&[]).await;
    for expected in ["pending Twilio has no such file", "pending Twilio has no such file", "stored"] {
        call(&mut function, &[message]).await;
        assert_eq!(world.files().await, expected);
    }
    assert_eq!(world.events().await.len(), 1);
    assert_eq!(function.metric("media_retried").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_fails() {
    let world = World::start().await;
    let gone = world.twilio.reply(&resource("ME1"), &[Reply::Status(410)]);
    let missing = world.twilio.reply(&resource("ME2"), &[Reply::Status(404)]);
    let missing_there = world.file("ME3", &[Reply::Status(404)]);
    let message = world.message(&[gone, missing, missing_there]).await;
    let mut function = world.function(&[("MEDIA_NOT_FOUND_SECONDS", "0")]).await;
    call(&mut function, &[message]).await;
    assert_eq!(world.files().await, "failed gone, failed not_found, failed not_found");
    assert_eq!(function.metric_of("media_failed", "gone").await, 1.0);
    call(&mut function, &[message]).await;
    assert_eq!(world.twilio.received().len(), 3, "a failed file is not attempted again");
    assert!(world.events().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stays_unavailable_ends_the_attempts() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::Status(503)]);
    let message = world.message(&[url]).await;
    let mut function = world.function(&[("MEDIA_RETRY_DELAYS_SECONDS", "0,0")]).await;
    for expected in ["pending HTTP 503", "pending HTTP 503", "failed retries_exhausted"] {
        call(&mut function, &[message]).await;
        assert_eq!(world.files().await, expected);
    }
    assert_eq!(world.database.scalar("select error from sms_media").await, "retries_exhausted: HTTP 503");
    assert_eq!(function.metric_of("media_failed", "retries_exhausted").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_not_repeated_before_its_time() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::Status(503)]);
    let message = world.message(&[url]).await;
    let mut function = world.function(&[("MEDIA_RETRY_DELAYS_SECONDS", "600")]).await;
    call(&mut function, &[message]).await;
    call(&mut function, &[message]).await;
    assert_eq!(world.storage.received().len(), 1);
    let wait = "select round(extract(epoch from next_attempt_at - now()) / 600) from sms_media";
    assert_eq!(world.database.scalar(wait).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_object_storage_the_file_waits() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::File(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    let mut function = world.function(&[("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")]).await;
    call(&mut function, &[message]).await;
    assert_eq!(world.files().await, "pending could not store an object");
    call(&mut world.function(&[]).await, &[message]).await;
    assert_eq!(world.files().await, "stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_auth_token_is_tried_and_kept() {
    let world = World::start().await;
    let urls =
        [world.file("ME1", &[Reply::File(JPEG.to_vec())]), world.file("ME2", &[Reply::File(JPEG.to_vec())])];
    let mut function = world.function(&[("TWILIO_AUTH_TOKEN", "old,token")]).await;
    for url in urls {
        let message = world.message(&[url]).await;
        call(&mut function, &[message]).await;
    }
    assert_eq!(world.files().await, "stored, stored");
    assert_eq!(world.twilio.received().len(), 3, "the refused token is tried once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_file_is_left_after_the_time_limit() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::Held(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    let mut function = world.function(&[("MEDIA_TIMEOUT_MS", "200")]).await;
    call(&mut function, &[message]).await;
    assert_eq!(world.files().await, "pending not complete within 200 ms");
}
