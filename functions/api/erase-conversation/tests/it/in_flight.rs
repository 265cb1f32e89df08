//! Messages that are queued, being sent, or whose outcome is open when their conversation is erased.

use crate::world::{TENANT, World, callback};
use common::clock;
use common::db::sends::{self, ClaimRequest, Claimed, Decision, SendPace, SendResult};
use common::db::statuses::{self, RecordedStatus};
use common::domain::ids::MessageId;
use common::domain::message::Status;
use common::twilio::RenewalPolicy;
use jiff::ToSpan;
use serde_json::json;
use std::time::Duration;
use testing::body;

const MESSAGE: &str =
    "select concat_ws(' ', delivery_status, coalesce(twilio_sid, '-'), coalesce(error_code, '-'),
    case when message_content = '' and media = '[]' and metadata is null then 'empty' else 'content' end)
    from sms_messages";
const RAW: &str =
    "select coalesce(string_agg(raw_webhook_data::text, ','), 'none') from sms_message_status_events";

impl World {
    async fn pending(&self) -> MessageId {
        let mut send = testing::new_send(TENANT);
        send.metadata = serde_json::from_value(json!({"unit": "4B"})).unwrap();
        sends::create(&self.database.db(), &send, None).await.unwrap();
        send.id
    }

    async fn claim(&self, id: MessageId) -> Claimed {
        let request = ClaimRequest::messages(&[id]);
        let claims =
            sends::claim(&self.database.db(), &request, &SendPace::default(), clock::now()).await.unwrap();
        claims.claimed.into_iter().next().unwrap()
    }

    async fn finish(&self, claim: &Claimed, result: &SendResult) {
        sends::finish(&self.database.db(), &[(claim, result)], clock::now()).await.unwrap();
    }

    async fn record(&self, sid: &str, status: &str, code: Option<&str>) -> Vec<RecordedStatus> {
        let mut callback = callback(sid, status, TENANT);
        callback.error_code = code.map(str::to_owned);
        statuses::record(&self.database.db(), &[callback], &RenewalPolicy::default(), clock::now())
            .await
            .unwrap()
    }

    async fn message(&self) -> String {
        self.database.scalar(MESSAGE).await
    }
}

fn accepted() -> SendResult {
    SendResult::Accepted { twilio_sid: "SM1".parse().unwrap(), status: Status::Queued }
}

#[tokio::test]
async fn a_queued_message_is_canceled_and_never_claimed() {
    let mut world = World::start().await;
    let id = world.pending().await;
    let erased = body(&world.erase(TENANT).await)["erased"].clone();
    assert_eq!(
        (&erased["messages"], &erased["canceled"], &erased["in_flight"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(world.message().await, "canceled - content_erased empty");
    let request = ClaimRequest::messages(&[id]);
    let claims =
        sends::claim(&world.database.db(), &request, &SendPace::default(), clock::now()).await.unwrap();
    assert!(claims.claimed.is_empty());
}

#[tokio::test]
async fn a_claimed_message_is_sent_and_emptied_when_it_is_finished() {
    for (result, end) in [
        (accepted(), "queued SM1 - empty"),
        (
            SendResult::Deferred {
                next_attempt_at: clock::now(),
                error_code: None,
                detail: "later".to_owned(),
            },
            "canceled - content_erased empty",
        ),
        (
            SendResult::Failed {
                by_twilio: true,
                error_code: "21211".to_owned(),
                recipient: None,
                detail: "refused".to_owned(),
            },
            "failed - 21211 empty",
        ),
        (SendResult::Parked { detail: "?".to_owned() }, "unknown - - empty"),
    ] {
        let mut world = World::start().await;
        let id = world.pending().await;
        let claim = world.claim(id).await;
        let erased = body(&world.erase(TENANT).await)["erased"].clone();
        assert_eq!((&erased["canceled"], &erased["in_flight"]), (&json!(0), &json!(1)));
        assert_eq!(world.message().await, "pending - - content");
        // The gate right before the call lets it pass.
        let (verdicts, held) = sends::pass_gate(&world.database.db(), &[&claim], clock::now()).await.unwrap();
        held.release().await;
        assert_eq!(verdicts[&id], sends::Passage::Go);
        world.finish(&claim, &result).await;
        assert_eq!(world.message().await, end);
        let again = body(&world.erase(TENANT).await);
        assert_eq!(again["erased"]["messages"], 0);
    }
}

#[tokio::test]
async fn a_message_with_an_unknown_outcome_keeps_its_text_until_the_search_ends() {
    for found in [true, false] {
        let mut world = World::start().await;
        let id = world.pending().await;
        let claim = world.claim(id).await;
        world.erase(TENANT).await;
        world.finish(&claim, &SendResult::Unknown { detail: "timeout".to_owned() }).await;
        assert_eq!(world.message().await, "unknown - - content");
        if found {
            world.finish(&claim, &accepted()).await;
            assert_eq!(world.message().await, "queued SM1 - empty");
        } else {
            let (db, max_age) = (world.database.db(), Duration::from_secs(86_400));
            let decided = sends::decide(&db, id, &Decision::NotSent, max_age, clock::now());
            assert_eq!(decided.await.unwrap(), sends::Decided::Done(Status::Canceled));
            assert_eq!(world.message().await, "canceled - content_erased empty");
        }
    }
}

#[tokio::test]
async fn a_claim_that_was_abandoned_is_emptied_when_it_is_resolved() {
    let mut world = World::start().await;
    let id = world.pending().await;
    world.claim(id).await;
    world.erase(TENANT).await;
    let later = clock::now() + 1.hour();
    sends::abandon_claims(&world.database.db(), later, later, 10).await.unwrap();
    assert_eq!(world.message().await, "unknown - - content");
    sends::park(&world.database.db(), &[id], later).await.unwrap();
    assert_eq!(world.message().await, "unknown - - empty");
}

#[tokio::test]
async fn late_callbacks_move_the_status_and_store_no_content() {
    let mut world = World::start().await;
    let id = world.pending().await;
    let claim = world.claim(id).await;
    world.finish(&claim, &accepted()).await;
    world.record("SM1", "sent", None).await;
    world.erase(TENANT).await;
    assert_eq!(world.database.scalar(RAW).await, "{}");
    world.record("SM1", "delivered", None).await;
    assert_eq!(world.message().await, "delivered SM1 - empty");
    assert_eq!(world.database.scalar(RAW).await, "{},{}");
    assert_eq!(world.database.scalar("select count(*) from sms_callbacks").await, "2");
}

#[tokio::test]
async fn a_callback_before_the_sid_is_known_is_emptied_when_it_finds_its_erased_message() {
    let mut world = World::start().await;
    let id = world.pending().await;
    let claim = world.claim(id).await;
    world.erase(TENANT).await;
    world.record("SM1", "sent", None).await;
    assert_ne!(world.database.scalar(RAW).await, "{}");
    world.finish(&claim, &accepted()).await;
    let db = world.database.db();
    statuses::join_orphans(&db, None, &RenewalPolicy::default(), clock::now()).await.unwrap();
    assert_eq!(world.message().await, "sent SM1 - empty");
    assert_eq!(world.database.scalar(RAW).await, "{}");
}

#[tokio::test]
async fn an_erased_message_is_not_created_again_after_a_transient_failure() {
    let mut world = World::start().await;
    let id = world.pending().await;
    let claim = world.claim(id).await;
    world.finish(&claim, &accepted()).await;
    world.erase(TENANT).await;
    let recorded = world.record("SM1", "undelivered", Some("30003")).await;
    assert_eq!(recorded[0].renewed_at, None);
    assert_eq!(world.message().await, "undelivered SM1 30003 empty");
    let retried = sends::retry(&world.database.db(), &[id], clock::now()).await.unwrap();
    assert_eq!(retried[0].refused, Some("its content was erased"));
    assert_eq!(world.message().await, "undelivered SM1 30003 empty");
}
