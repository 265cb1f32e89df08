//! One create for one message, whatever comes twice and whatever becomes of the answer.

use crate::twilio::Reply::{Hang, Hold, Refuse, Reset, Truncate};
use crate::{World, batch, failed, metric, send, sid};
use common::clock;
use common::db::statuses::{self, NewStatus};
use common::domain::message::Status;
use common::twilio::RenewalPolicy;
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_twice_in_a_batch_and_again_later_is_called_for_once() {
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
async fn two_functions_that_get_the_same_messages_at_once_call_once_for_each() {
    let world = World::start().await;
    let (mut one, mut other) = (world.function().await, world.function().await);
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(world.message().await);
    }
    let backwards: Vec<Uuid> = ids.iter().rev().copied().collect();
    tokio::join!(send(&mut one, &ids), send(&mut other, &backwards));
    let mut callbacks: Vec<_> =
        world.twilio.requests().iter().map(|r| r.value("StatusCallback").unwrap().to_owned()).collect();
    callbacks.sort();
    callbacks.dedup();
    assert_eq!((callbacks.len(), world.twilio.requests().len()), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_record_while_twilio_holds_the_first_is_let_go() {
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
async fn what_may_have_reached_twilio_is_unknown_and_never_called_for_again() {
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

/// A callback that carries our id.
fn callback(sid: &str, word: &str, id: Option<Uuid>) -> NewStatus {
    NewStatus {
        id: clock::new_id(),
        twilio_sid: sid.to_owned(),
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
async fn a_callback_before_the_answer_stands_and_the_answer_ends_the_claim() {
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
async fn a_callback_settles_a_send_whose_answer_never_comes() {
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
async fn a_callback_without_our_id_that_came_first_is_joined_when_the_answer_tells_the_sid() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    let early = [callback(&sid(1), "sent", None), callback(&sid(1), "delivered", None)];
    statuses::record(&world.database.db(), &early, &RenewalPolicy::default(), clock::now()).await.unwrap();
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, format!("delivered - {} free", sid(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_whose_status_nobody_knows_keeps_its_message_from_being_sent_again() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    let odd = callback("SM77", "teleported", Some(id));
    statuses::record(&world.database.db(), &[odd], &RenewalPolicy::default(), clock::now()).await.unwrap();
    assert!(failed(&function.call(batch(&[id])).await).is_empty());
    assert!(world.twilio.requests().is_empty());
    assert_eq!(world.state(id).await, "queued - SM77 free");
}
