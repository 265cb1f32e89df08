//! Events reach their subscribers at least once, signed, unchanged and in order, whatever fails.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{fresh_handset, fresh_sid, send_request};
use crate::services::{Database, Queues};
use crate::stack::{Setup, Stack, eventually, send_signal};
use crate::subscriber::{Answer, LoggedEvent, Receiver};

/// Uses retries after seconds and short timeouts.
fn fast() -> Setup {
    Setup::fast()
        .with("EVENTS_RETRY_DELAYS_SECONDS", "1,2,3,4,5,5,5,5,5,5")
        .with("EVENTS_ATTEMPT_TIMEOUT_MS", "3000")
        .with("EVENTS_PAUSE_SECONDS", "1")
        .with("EVENTS_MAX_PAUSE_SECONDS", "2")
        .with("EVENTS_HINT_SECONDS", "5")
}

/// Sends texts from a handset, one after the other.
async fn texts(stack: &Stack, handset: &str, count: usize) {
    for n in 0..count {
        stack.send_from_handset(handset, &format!("The sink in unit {n} is leaking again")).await;
    }
}

/// Returns the events of a conversation. Waits until there is one `message.received` per text.
async fn events_of(stack: &Stack, handset: &str, received: usize) -> Vec<LoggedEvent> {
    let conversation = stack.wait_for_conversation(handset, |page| page["total"] == received).await;
    let id = conversation["conversation_id"].as_str().unwrap();
    eventually("the log has the events", async || {
        let events: Vec<_> =
            stack.events().await.into_iter().filter(|event| event.json()["conversation_id"] == id).collect();
        let count = events.iter().filter(|event| event.json()["type"] == "message.received").count();
        (count == received).then_some(events)
    })
    .await
}

/// Checks that a receiver accepted the events of each conversation in order.
fn assert_in_order(receiver: &Receiver) {
    for (conversation, sequences) in receiver.accepted() {
        assert!(sequences.is_sorted(), "{conversation}: {sequences:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_fail_in_any_way_get_every_event_signed_and_in_order() {
    let stack = fast().start().await;
    let failures = [
        Answer::Accept,
        Answer::Status(500),
        Answer::Status(302),
        Answer::Status(503),
        Answer::RetryAfter(2),
        Answer::Hang,
        Answer::Drip,
        Answer::Endless,
    ];
    let mut receivers = Vec::new();
    for failure in failures {
        // Every event gets it the first time.
        let receiver =
            Receiver::with(move |_, attempt| if attempt == 1 { failure } else { Answer::Accept }).await;
        stack.subscribe(&receiver, &json!({ "max_hold_seconds": 120 })).await;
        receivers.push(receiver);
    }
    let (a, b) = (fresh_handset(), fresh_handset());
    tokio::join!(texts(&stack, &a, 3), texts(&stack, &b, 3));
    let sent = stack.send(&a, "A plumber comes on Monday").await;
    stack.wait_for_status(&sent, "delivered").await;
    stack.wait_for_conversation(&b, |page| page["total"] == 3).await;
    let events = stack.events().await;
    for receiver in &receivers {
        receiver.wait_for(&events).await;
        assert_in_order(receiver);
    }
    assert_eq!(receivers[0].received().len(), events.len(), "a healthy receiver gets each event once");
    stack.wait_for_empty_queues().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_always_rejected_delays_only_its_conversation_and_only_for_the_hold() {
    let stack = fast().start().await;
    let (poisoned, other) = (fresh_handset(), fresh_handset());
    let receiver = Receiver::start().await;
    let fields = json!({ "max_hold_seconds": 4, "event_types": ["message.received"] });
    stack.subscribe(&receiver, &fields).await;
    texts(&stack, &poisoned, 1).await;
    events_of(&stack, &poisoned, 1).await;
    let first = received_events(&stack).await;
    receiver.wait_for(&first).await;
    let conversation = first[0].json()["conversation_id"].clone();

    // The next event of the conversation is rejected forever.
    let poison = std::sync::OnceLock::new();
    let of = conversation.clone();
    receiver.behave(move |event, _| {
        let is_poison =
            event["conversation_id"] == of && poison.get_or_init(|| event["id"].clone()) == &event["id"];
        if is_poison { Answer::Status(400) } else { Answer::Accept }
    });
    texts(&stack, &poisoned, 3).await;
    texts(&stack, &other, 1).await;
    events_of(&stack, &other, 1).await;
    eventually("the other conversation is delivered", async || {
        (receiver.accepted().len() == 2).then_some(())
    })
    .await;
    events_of(&stack, &poisoned, 4).await;
    let sequences: Vec<i64> = received_events(&stack)
        .await
        .iter()
        .map(LoggedEvent::json)
        .filter(|event| event["conversation_id"] == conversation)
        .map(|event| event["conversation_sequence"].as_i64().unwrap())
        .collect();
    let without_poison = vec![sequences[0], sequences[2], sequences[3]];
    eventually("the later events are delivered after the hold", async || {
        (receiver.accepted()[conversation.as_str().unwrap()] == without_poison).then_some(())
    })
    .await;
    let order: Vec<Value> = receiver.received().iter().map(crate::subscriber::Received::json).collect();
    let position = |test: &dyn Fn(&Value) -> bool| order.iter().position(test).unwrap();
    let of_other = position(&|event| event["conversation_id"] != conversation);
    let held = position(&|event| {
        event["conversation_id"] == conversation && event["conversation_sequence"] == sequences[2]
    });
    assert!(of_other < held, "another conversation must not wait: {order:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_disabled_at_once_and_gets_everything_after_it_was_enabled() {
    let stack = fast().start().await;
    let (gone, observer) = (Receiver::start().await, Receiver::start().await);
    let subscription = stack.subscribe(&gone, &json!({ "event_types": ["message.received"] })).await;
    let id = subscription["id"].as_str().unwrap();
    stack.subscribe(&observer, &json!({ "event_types": ["subscription.disabled"] })).await;
    gone.behave(|_, _| Answer::Status(410));
    let handset = fresh_handset();
    texts(&stack, &handset, 1).await;
    eventually("the subscription is disabled", async || {
        (stack.subscription(id).await["status"] == "disabled").then_some(())
    })
    .await;
    eventually("the other subscription is informed", async || {
        observer.received().iter().any(|got| got.json()["data"]["subscription_id"] == id).then_some(())
    })
    .await;
    texts(&stack, &handset, 2).await;
    events_of(&stack, &handset, 3).await;
    assert_eq!(gone.received().len(), 1, "nothing is sent to a disabled subscription");
    let deliveries = stack.response("GET", &format!("/subscriptions/{id}/deliveries"), None).await.json();
    assert_eq!(deliveries["deliveries"][0]["status_code"], 410, "{deliveries:#}");

    gone.behave(|_, _| Answer::Accept);
    stack.post_to_subscription(id, "enable", &json!({}), 200).await;
    let events = received_events(&stack).await;
    assert_eq!(events.len(), 3);
    gone.wait_for(&events).await;
    assert_in_order(&gone);
}

async fn received_events(stack: &Stack) -> Vec<LoggedEvent> {
    let events = stack.events().await;
    events.into_iter().filter(|event| event.json()["type"] == "message.received").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_whose_worker_is_killed_before_it_is_recorded_is_repeated_unchanged() {
    let stack = fast().with("EVENTS_FAST_TIMEOUT_MS", "3000").start().await;
    let receiver = Receiver::with(|_, attempt| match attempt {
        1 => Answer::AcceptAfter(Duration::from_secs(2)),
        _ => Answer::Accept,
    })
    .await;
    stack.subscribe(&receiver, &json!({ "event_types": ["message.received"] })).await;
    let handset = fresh_handset();
    texts(&stack, &handset, 2).await;
    eventually("a delivery is in progress", async || (!receiver.received().is_empty()).then_some(())).await;
    for pid in stack.pids("deliver-event") {
        send_signal(pid, Signal::KILL);
    }
    events_of(&stack, &handset, 2).await;
    let events = received_events(&stack).await;
    receiver.wait_for(&events).await;
    let first = &events[0].id;
    eventually("the first event is repeated", async || (receiver.attempts()[first] > 1).then_some(())).await;
    assert_in_order(&receiver);
}

/// Starts a stack whose Postgres and SQS can fail, with a subscriber.
async fn with_outages() -> (Stack, Database, Queues, Receiver) {
    let (database, queues) = (Database::start().await, Queues::start().await);
    let stack = fast()
        .with("DATABASE_URL", &database.url())
        .with("AWS_ENDPOINT_URL_SQS", &queues.url())
        .with("DATABASE_CONNECT_TIMEOUT_MS", "5000")
        .start()
        .await;
    let receiver = Receiver::start().await;
    stack.subscribe(&receiver, &json!({})).await;
    (stack, database, queues, receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_an_outage_of_sqs_or_postgres_are_delivered_afterwards() {
    let (stack, mut database, mut queues, receiver) = with_outages().await;
    let handset = fresh_handset();
    texts(&stack, &handset, 1).await;
    eventually("the first event is delivered", async || (!receiver.received().is_empty()).then_some(()))
        .await;

    // The change and its event are committed without SQS: its hint is lost.
    queues.disconnect().await;
    let webhooks: Vec<_> =
        (0..5).map(|n| stack.inbound_webhook(&handset, &fresh_sid(), &format!("text {n}"))).collect();
    join_all(webhooks.iter().map(|webhook| stack.deliver_webhook(webhook))).await;
    queues.reconnect().await;
    events_of(&stack, &handset, 6).await;
    receiver.wait_for(&stack.events().await).await;

    // Postgres fails while a receiver answers.
    receiver.behave(|_, attempt| match attempt {
        1 => Answer::AcceptAfter(Duration::from_millis(800)),
        _ => Answer::Accept,
    });
    let before = receiver.received().len();
    texts(&stack, &handset, 2).await;
    eventually("a delivery is in progress", async || (receiver.received().len() > before).then_some(()))
        .await;
    database.crash().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    database.restart().await;
    events_of(&stack, &handset, 8).await;
    receiver.wait_for(&stack.events().await).await;
    assert_in_order(&receiver);
}

/// A part that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Postgres,
    Sqs,
    Receiver,
}

/// Postgres, SQS and the receiver fail one after the other and return in the same order, in each of the six orders.
#[tokio::test(flavor = "multi_thread")]
async fn events_survive_outages_of_postgres_sqs_and_the_receiver_in_every_order() {
    use Part::{Postgres, Receiver as Subscriber, Sqs};
    let (stack, mut database, mut queues, receiver) = with_outages().await;
    let handset = fresh_handset();
    let mut texts = 0;
    for order in [
        [Postgres, Sqs, Subscriber],
        [Postgres, Subscriber, Sqs],
        [Sqs, Postgres, Subscriber],
        [Sqs, Subscriber, Postgres],
        [Subscriber, Postgres, Sqs],
        [Subscriber, Sqs, Postgres],
    ] {
        let mut failed = Vec::new();
        for (part, fails) in order.map(|part| (part, true)).into_iter().chain(order.map(|part| (part, false)))
        {
            match (part, fails) {
                (Postgres, true) => database.crash().await,
                (Postgres, false) => database.restart().await,
                (Sqs, true) => queues.disconnect().await,
                (Sqs, false) => queues.reconnect().await,
                (Subscriber, true) => receiver.behave(|_, _| Answer::Status(503)),
                (Subscriber, false) => receiver.behave(|_, _| Answer::Accept),
            }
            if fails {
                failed.push(part)
            } else {
                failed.retain(|other| *other != part)
            }
            // Without Postgres and SQS, webhooks are refused.
            if !(failed.contains(&Postgres) && failed.contains(&Sqs)) {
                let webhook = stack.inbound_webhook(&handset, &fresh_sid(), &format!("text {texts}"));
                stack.deliver_webhook(&webhook).await;
                texts += 1;
            }
        }
        events_of(&stack, &handset, texts).await;
        receiver.wait_for(&stack.events().await).await;
        assert_in_order(&receiver);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_has_its_own_place_and_does_not_delay_live_events() {
    let stack = fast().with("EVENTS_REPLAY_PER_SECOND", "2").start().await;
    let old = fresh_handset();
    texts(&stack, &old, 6).await;
    events_of(&stack, &old, 6).await;
    let past = received_events(&stack).await;
    let receiver = Receiver::start().await;
    let subscription = stack.subscribe(&receiver, &json!({ "event_types": ["message.received"] })).await;
    let id = subscription["id"].as_str().unwrap();
    let since = past[0].json()["timestamp"].clone();
    stack.post_to_subscription(id, "replay", &json!({ "since": since }), 202).await;
    let fresh = fresh_handset();
    texts(&stack, &fresh, 1).await;
    events_of(&stack, &fresh, 1).await;
    let all = received_events(&stack).await;
    receiver.wait_for(&all).await;
    let order: Vec<String> = receiver.received().into_iter().map(|got| got.id).collect();
    let live = order.iter().position(|id| *id == all[6].id).unwrap();
    assert!(live < 6, "the live event waited for the replay: {order:?}");
    assert_eq!(order.len(), 7, "each event is delivered once");
    assert_in_order(&receiver);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_secrets_sign_during_a_rotation_and_only_the_new_one_afterwards() {
    let stack = fast().start().await;
    let receiver = Receiver::start().await;
    let subscription = stack.subscribe(&receiver, &json!({ "event_types": ["message.received"] })).await;
    let id = subscription["id"].as_str().unwrap();
    let old = subscription["secret"].as_str().unwrap().to_owned();
    let rotated =
        stack.post_to_subscription(id, "rotate-secret", &json!({ "grace_seconds": 600 }), 200).await;
    let new = rotated["secret"].as_str().unwrap().to_owned();
    receiver.expect_secrets(&[&old, &new]);
    let handset = fresh_handset();
    texts(&stack, &handset, 1).await;
    events_of(&stack, &handset, 1).await;
    receiver.wait_for(&received_events(&stack).await).await;

    let last = stack.post_to_subscription(id, "rotate-secret", &json!({ "grace_seconds": 0 }), 200).await;
    receiver.expect_secrets(&[last["secret"].as_str().unwrap()]);
    texts(&stack, &handset, 1).await;
    events_of(&stack, &handset, 2).await;
    receiver.wait_for(&received_events(&stack).await).await;
    receiver.expect_secrets(&[&new]);
    texts(&stack, &handset, 1).await;
    eventually("the third event is received", async || (receiver.received().len() == 3).then_some(())).await;
    assert!(!receiver.received()[2].is_signed, "a secret without grace must not sign any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscribers_own_queue_gets_the_same_body_with_the_headers_as_attributes() {
    let stack = fast().with("SUBSCRIBER_QUEUE_ARNS", "arn:aws:sqs:*:*:subscriber-*").start().await;
    let sqs = stack.sqs(&stack.sqs_endpoint());
    let name = format!("subscriber-{}", &fresh_sid()[24..]);
    let url = sqs.create_queue().queue_name(&name).send().await.unwrap().queue_url.unwrap();
    let arn = format!("arn:aws:sqs:us-east-1:000000000000:{name}");
    let request = json!({ "queue_arn": arn, "event_types": ["message.received"], "include_unknown": true });
    let response = stack.response("POST", "/subscriptions", Some(&request)).await;
    assert_eq!(response.status, 201, "{response:?}");
    let secret = response.json()["secret"].as_str().unwrap().to_owned();
    let handset = fresh_handset();
    texts(&stack, &handset, 1).await;
    events_of(&stack, &handset, 1).await;
    let event = &received_events(&stack).await[0];
    let message = eventually("the queue has the event", async || {
        let received =
            sqs.receive_message().queue_url(&url).message_attribute_names("All").send().await.unwrap();
        let mut messages = received.messages.unwrap_or_default().into_iter();
        messages.find(|message| message.body() == Some(event.body.as_str()))
    })
    .await;
    let attributes: HashMap<String, String> = message
        .message_attributes()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.string_value().unwrap().to_owned()))
        .collect();
    assert_eq!(attributes["webhook-id"], event.id);
    let headers = attributes.iter().map(|(name, value)| {
        (name.parse::<http::HeaderName>().unwrap(), http::HeaderValue::from_str(value).unwrap())
    });
    let verifier = standardwebhooks::Webhook::new(&secret).unwrap();
    verifier.verify(event.body.as_bytes(), &headers.collect::<http::HeaderMap>()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_does_not_answer_the_challenge_or_is_private_is_refused_with_its_reason() {
    let stack = fast().start().await;
    let mute = Receiver::start().await;
    mute.refuse_challenges();
    for (url, reason) in [
        ("http://127.0.0.1:9/", "did not accept the verification request"),
        (mute.url.as_str(), "must respond to the verification request"),
        ("http://example.com/", "must be an https URL"),
        ("http://192.168.0.1/", "must have public addresses only"),
        ("https://192.168.0.1/", "must have public addresses only"),
        ("https://[fd00::1]/", "must have public addresses only"),
        ("https://0xc0.168.1/", "must have public addresses only"),
    ] {
        let request =
            stack.api_request("POST", "/subscriptions").json(&json!({ "url": url, "event_types": [] }));
        let response = send_request(request).await;
        assert_eq!(response.status, 400, "{url}: {response:?}");
        let detail = response.json()["error"]["details"][0].clone();
        assert_eq!(detail["field"], "url", "{url}: {detail}");
        assert!(detail["reason"].as_str().unwrap().contains(reason), "{url}: {detail}");
    }
    let list = stack.response("GET", "/subscriptions", None).await.json();
    assert_eq!(list["subscriptions"], Value::Array(Vec::new()), "{list}");
}
