//! Clarifications of refusals.

use crate::start;
use common::clock;
use common::domain::clarification::{question_text, refusal_text};
use common::domain::language::Language;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Database, Function, Sqs, failed};

const ON: &[(&str, &str)] = &[("OPT_OUT_CLARIFICATION", "on")];
/// Recipient and text of each outbound message.
const REPLIES: &str = "select coalesce(string_agg(concat_ws(' ', right(to_number, 1), message_content), '|'
        order by to_number), '')
    from sms_messages where direction = 'outbound'";

/// Returns an SQS event with forms that were received so long ago, each from the handset with the number of its place.
fn batch(bodies: &[&str], age: Duration) -> Value {
    let received_at = (clock::now() - age).to_string();
    let form = |(place, body): (usize, &&str)| {
        format!("MessageSid=SM{place}&From=%2B1860555010{place}&To=%2B15005550006&Body={body}")
    };
    let body = |form: String| json!({"version": "1", "received_at": received_at, "form": form});
    testing::batch(&(1..).zip(bodies).map(form).map(body).collect::<Vec<_>>())
}

async fn receive(function: &mut Function, bodies: &[&str]) {
    assert!(failed(&function.call(batch(bodies, Duration::ZERO)).await).is_empty());
}

const REFUSALS: &[&str] = &[
    "please+stop+texting+me",
    "no+quiero+recibir+m%C3%A1s+mensajes",
    "wrong+number",
    "STOP",
    "BAJA",
    "the+sink+leaks",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_without_a_keyword_and_a_text_that_may_be_one_are_answered_once() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, ON).await;
    let expected = format!(
        "1 {}|2 {}|3 {}",
        refusal_text(Language::En),
        refusal_text(Language::Es),
        question_text(Language::En)
    );
    let event = batch(REFUSALS, Duration::ZERO);
    for _ in 0..2 {
        assert!(failed(&function.call(event.clone()).await).is_empty());
        assert_eq!(database.scalar(REPLIES).await, expected);
    }
    let state = "select string_agg(distinct concat_ws(' ', r.is_clarification, r.priority, r.delivery_status,
            r.send_before - m.created_at), ', ')
        from sms_messages r join sms_messages m on m.id = r.in_reply_to";
    assert_eq!(database.scalar(state).await, "t urgent pending 00:05:00");
    assert_eq!(sqs.sent().len(), 3);
    let stopped = "select string_agg(right(phone_number_canonical, 1), '' order by phone_number_canonical)
        from sms_conversations where opted_out_at is not null";
    assert_eq!(database.scalar(stopped).await, "1245");
}

#[tokio::test(flavor = "multi_thread")]
async fn clarifications_are_off_by_default() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, &[]).await;
    receive(&mut function, REFUSALS).await;
    assert_eq!(database.scalar(REPLIES).await, "");
    assert_eq!(sqs.sent(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_waited_for_five_minutes_is_not_answered() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, ON).await;
    let event = batch(REFUSALS, Duration::from_secs(300));
    assert!(failed(&function.call(event).await).is_empty());
    assert_eq!(database.scalar(REPLIES).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clarification_replaces_the_automatic_reply() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let variables = [("OPT_OUT_CLARIFICATION", "on"), ("AUTO_REPLY_EN", "We are closed.")];
    let mut function = start(&database, &sqs, &variables).await;
    receive(&mut function, &["wrong+number", "the+sink+leaks", "please+stop+texting+me"]).await;
    let expected =
        format!("1 {}|2 We are closed.|3 {}", question_text(Language::En), refusal_text(Language::En));
    assert_eq!(database.scalar(REPLIES).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_short_codes_and_twilios_own_opt_outs_are_not_answered() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let mut function = start(&database, &sqs, ON).await;
    let forms = [
        "MessageSid=SM1&From=24273&To=%2B15005550006&Body=please+stop+texting+me",
        "MessageSid=SM2&From=%2B18605550102&To=%2B15005550006&Body=please+stop+texting+me&OptOutType=STOP",
        "MessageSid=SM3&From=%2B18605550103&To=%2B15005550006&Body=Auto-reply:+please+stop+texting+me",
        "MessageSid=SM4&From=%2B15005550006&To=%2B15005550006&Body=please+stop+texting+me",
    ];
    let body = |form: &&str| json!({"version": "1", "received_at": clock::now().to_string(), "form": form});
    let event = testing::batch(&forms.iter().map(body).collect::<Vec<_>>());
    assert!(failed(&function.call(event).await).is_empty());
    assert_eq!(database.scalar(REPLIES).await, "");
}

#[tokio::test]
async fn an_invalid_switch_and_a_longer_time_are_reported() {
    let (database, sqs) = (Database::create().await, Sqs::start().await);
    let variables = [("OPT_OUT_CLARIFICATION", "yes"), ("OPT_OUT_CLARIFICATION_SECONDS", "301")];
    let log = start(&database, &sqs, &variables).await.ended().await;
    let error = log.last().unwrap()["error"].as_str().unwrap().to_owned();
    assert_eq!(
        error,
        "invalid configuration: OPT_OUT_CLARIFICATION_SECONDS must be between 1 and 300; \
         OPT_OUT_CLARIFICATION must be on or off"
    );
}
