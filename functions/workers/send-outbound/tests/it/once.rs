//! Each message is created once, also with duplicate records and lost responses.

use crate::twilio::Reply::{Hang, Hold, List, Refuse, Reset, Truncate};
use crate::{FROM, TO, World, batch, failed, metric, new_send, send, sid};
use common::clock;
use common::config::Configuration;
use common::db::sends::NewSend;
use common::db::statuses::{self, NewStatus};
use common::domain::ids::MessageId;
use common::domain::message::Status;
use common::twilio::RenewalPolicy;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_record_in_a_batch_or_later_creates_the_message_once() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    send(&mut function, [id, id]).await;
    send(&mut function, [id]).await;
    assert_eq!(world.twilio.requests().len(), 1);
    assert_eq!(world.attempts(id).await, "accepted");
    assert_eq!(metric(&function, "duplicates", 2).await, [json!(1.0), json!(1.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_functions_create_each_message_once() {
    let world = World::start().await;
    let (mut one, mut other) = (world.function().await, world.function().await);
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(world.message().await);
    }
    let backwards: Vec<MessageId> = ids.iter().rev().copied().collect();
    tokio::join!(send(&mut one, &ids), send(&mut other, &backwards));
    let mut callbacks: Vec<_> =
        world.twilio.requests().iter().map(|r| r.value("StatusCallback").unwrap().to_owned()).collect();
    callbacks.sort();
    callbacks.dedup();
    assert_eq!((callbacks.len(), world.twilio.requests().len()), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_record_during_a_request_succeeds_without_a_request() {
    let world = World::start().await;
    let (mut one, mut other) = (world.function().await, world.function().await);
    let id = world.message().await;
    world.twilio.replies([Hold]);
    tokio::join!(send(&mut one, [id]), async {
        world.twilio.asked(1).await;
        assert!(world.state(id).await.starts_with("pending - - held"));
        send(&mut other, [id]).await;
        world.twilio.release();
    });
    assert_eq!(world.twilio.requests().len(), 1);
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_have_reached_twilio_is_unknown_and_not_retried() {
    let replies = [Refuse(500, 20500, None), Refuse(503, 20503, None), Reset, Truncate, Hang];
    for reply in replies {
        let world = World::start().await;
        let hasty = [("TWILIO_TIMEOUT_MS", "2000")];
        let changes = if matches!(reply, Hang) { &hasty[..] } else { &[] };
        let mut function = world.function_with(changes).await;
        let id = world.message().await;
        world.twilio.replies([reply]);
        send(&mut function, [id]).await;
        assert_eq!(world.state(id).await, "unknown - - free");
        assert_eq!(world.attempts(id).await, "unknown");
        send(&mut function, [id]).await;
        assert_eq!(world.twilio.requests().len(), 1);
        assert_eq!(metric(&function, "sends_unknown", 1).await, [json!(1.0)]);
    }
}

/// A status callback with our id.
fn callback(sid: &str, word: &str, id: Option<MessageId>) -> NewStatus {
    NewStatus {
        id: clock::new_id(),
        twilio_sid: sid.parse().unwrap(),
        message_id: id,
        event_status: word.to_owned(),
        status: Status::from_twilio(word),
        error_code: None,
        raw_webhook_data: Value::Null,
        nul_removed: false,
        received_at: clock::now(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_before_the_response_is_kept_and_the_response_ends_the_claim() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    world.twilio.replies([Hold]);
    tokio::join!(send(&mut function, [id]), async {
        world.twilio.asked(1).await;
        let sent = callback(&sid(1), "sent", Some(id));
        statuses::record(&world.database.db(), &[sent], &RenewalPolicy::default(), clock::now())
            .await
            .unwrap();
        assert_eq!(world.state(id).await, format!("sent - {} held", sid(1)));
        world.twilio.release();
    });
    assert_eq!(world.state(id).await, format!("sent - {} free", sid(1)));
    assert_eq!(world.attempts(id).await, "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_completes_a_send_without_a_response() {
    let world = World::start().await;
    let mut function = world.function_with(&[("TWILIO_TIMEOUT_MS", "2000")]).await;
    let id = world.message().await;
    world.twilio.replies([Hang]);
    tokio::join!(send(&mut function, [id]), async {
        world.twilio.asked(1).await;
        let delivered = callback(&sid(1), "delivered", Some(id));
        statuses::record(&world.database.db(), &[delivered], &RenewalPolicy::default(), clock::now())
            .await
            .unwrap();
    });
    assert_eq!(world.state(id).await, format!("delivered - {} free", sid(1)));
    assert_eq!(world.attempts(id).await, "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_callback_without_our_id_is_joined_when_the_response_has_its_sid() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    let early = [callback(&sid(1), "sent", None), callback(&sid(1), "delivered", None)];
    statuses::record(&world.database.db(), &early, &RenewalPolicy::default(), clock::now()).await.unwrap();
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, format!("delivered - {} free", sid(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_with_an_unknown_status_prevents_a_second_create() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    let odd = callback("SM77", "teleported", Some(id));
    statuses::record(&world.database.db(), &[odd], &RenewalPolicy::default(), clock::now()).await.unwrap();
    assert!(failed(&function.call(batch(&[id])).await).is_empty());
    assert!(world.twilio.requests().is_empty());
    assert_eq!(world.state(id).await, "queued - SM77 free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timed_out_create_whose_text_twilio_changed_is_not_sent_again() {
    let world = World::start().await;
    let mut function = world.function_with(&[("TWILIO_TIMEOUT_MS", "2000")]).await;
    let id = world.stored(NewSend { message_content: "Rent ⅓ is due".to_owned(), ..new_send() }).await;
    world.twilio.replies([Hang]);
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, "unknown - - free");
    let an_hour_ago = "update sms_send_attempts set started_at = started_at - interval '1 hour',
                           finished_at = finished_at - interval '1 hour'";
    world.database.client.batch_execute(an_hour_ago).await.unwrap();
    // The callback is lost, and Twilio lists a different text.
    let created = (clock::now() - jiff::SignedDuration::from_hours(1)).to_zoned(jiff::tz::TimeZone::UTC);
    let list = json!({"next_page_uri": null, "messages": [{
        "sid": "SM77", "direction": "outbound-api", "to": TO, "from": FROM, "body": "Rent ? is due", "num_media": "0",
        "status": "delivered", "date_created": jiff::fmt::rfc2822::to_string(&created).unwrap(), "error_code": null,
    }]});
    let url = world.database.url();
    let lookup = |name: &str| match name {
        "DATABASE_URL" => Some(url.clone()),
        "TWILIO_ACCOUNT_SID" => Some("AC1".to_owned()),
        "TWILIO_AUTH_TOKEN" => Some("token".to_owned()),
        "TWILIO_API_BASE_URL" => Some(world.twilio.url.clone()),
        _ => None,
    };
    let config = resolve_unknown::Config::from_lookup(&lookup).unwrap();
    let resolver = resolve_unknown::App::init(config).await.unwrap();
    for _ in 0..3 {
        world.twilio.replies([List(list.clone())]);
        resolve_unknown::handle(&resolver).await.unwrap();
        let due = "update sms_messages set resolve_at = null";
        world.database.client.batch_execute(due).await.unwrap();
        send(&mut function, [id]).await;
    }
    assert_eq!(world.state(id).await, "unknown - - free");
    let creates = world.twilio.requests().into_iter().filter(|request| request.line.starts_with("POST"));
    assert_eq!(creates.count(), 1);
}
