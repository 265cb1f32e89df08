//! The worker dies, or the content is erased, while a file is on its way.

use crate::twilio::Reply;
use crate::world::{JPEG, World, call, hint};
use common::domain::ids::MessageId;
use std::path::PathBuf;
use testing::{connect, eventually, failed};

/// The sessions that wait for a lock.
const WAITING: &str = "pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";

impl World {
    async fn waiting(&self) -> String {
        self.database.scalar(&format!("select count(*) from {WAITING}")).await
    }

    /// Ends the session of a killed worker. Postgres does not notice its death while it waits for a lock.
    async fn end_waiting(&self) {
        self.database.scalar(&format!("select count(pg_terminate_backend(pid)) from {WAITING}")).await;
        eventually("the session has ended", async || (self.waiting().await == "0").then_some(())).await;
    }

    /// Lets a worker process a message whose file is held, and kills it after it has written the object and before it
    /// has marked the file as stored. Returns the path of the object.
    async fn die_after_writing(&self, message: MessageId) -> PathBuf {
        let object = self.s3.file(&self.key().await);
        let mut function = self.function(&[]).await;
        let blocker = connect(&self.database.url()).await;
        let until_written = async {
            let requested = async || (!self.storage.received().is_empty()).then_some(());
            eventually("the file is requested", requested).await;
            // The claim is committed. Now the worker cannot mark the file as stored.
            blocker.batch_execute("begin; select from sms_media for update").await.unwrap();
            self.storage.release();
            eventually("the object is written", async || object.exists().then_some(())).await;
            eventually("the worker waits for the row", async || (self.waiting().await == "1").then_some(()))
                .await;
        };
        tokio::select! {
            outcome = function.invoke(testing::batch(&[hint(message)])) => panic!("{outcome:?}"),
            () = until_written => {}
        }
        function.kill().await;
        self.end_waiting().await;
        blocker.batch_execute("rollback").await.unwrap();
        object
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_after_it_wrote_the_object_leaves_one_file_and_one_event() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::Held(JPEG.to_vec()), Reply::File(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    let object = world.die_after_writing(message).await;
    assert_eq!(world.files().await, "pending");

    let mut second = world.function(&[]).await;
    call(&mut second, &[message]).await;
    assert_eq!(world.storage.received().len(), 1, "the first worker still has the file");
    // What was written is replaced, whatever it is.
    std::fs::write(&object, "broken").unwrap();
    world.pass_the_time().await;
    call(&mut second, &[message]).await;
    assert_eq!(world.files().await, "stored");
    assert_eq!(std::fs::read(&object).unwrap(), JPEG);
    assert_eq!(world.events().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_workers_die_is_given_up_after_the_last_attempt() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::Held(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    // One attempt, and two more.
    for requests in 1..=3 {
        let mut function = world.function(&[("MEDIA_RETRY_DELAYS_SECONDS", "0,0")]).await;
        tokio::select! {
            outcome = function.invoke(testing::batch(&[hint(message)])) => panic!("{outcome:?}"),
            () = eventually("a request", async || {
                (world.storage.received().len() == requests).then_some(())
            }) => {}
        }
        function.kill().await;
        world.pass_the_time().await;
    }
    let mut function = world.function(&[("MEDIA_RETRY_DELAYS_SECONDS", "0,0")]).await;
    call(&mut function, &[message]).await;
    assert_eq!(world.files().await, "failed retries_exhausted");
    assert_eq!(world.storage.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_erased_on_its_way_is_not_stored() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::Held(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    let object = world.s3.file(&world.key().await);
    let mut function = world.function(&[]).await;
    let erase = async {
        eventually("the file is requested", async || (!world.storage.received().is_empty()).then_some(()))
            .await;
        world.erase().await;
        world.storage.release();
    };
    let (response, ()) = tokio::join!(function.call(testing::batch(&[hint(message)])), erase);
    assert!(failed(&response).is_empty());
    assert!(!object.exists());
    assert_eq!(world.database.scalar("select count(*) from sms_media").await, "0");
    assert!(world.events().await.is_empty());
    assert_eq!(function.metric("media_removed").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_object_of_a_worker_that_dies_is_deleted_if_the_content_is_erased_then() {
    let world = World::start().await;
    let url = world.file("ME1", &[Reply::Held(JPEG.to_vec())]);
    let message = world.message(&[url]).await;
    let object = world.die_after_writing(message).await;
    world.erase().await;

    let mut second = world.function(&[]).await;
    call(&mut second, &[message]).await;
    assert!(object.exists(), "until the first worker cannot write it any more");
    world.pass_the_time().await;
    call(&mut second, &[message]).await;
    assert!(!object.exists());
    assert_eq!(world.database.scalar("select count(*) from sms_media").await, "0");
}
