//! Numbers that Twilio lists as deactivated.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::client::{fresh_handset, request, send_request};
use crate::stack::{Stack, shared};

/// A day whose list the schedule reads. Not yesterday, which may become another day during the test.
pub fn two_days_ago() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests do not use the service's clock")]
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    today.saturating_sub(2.days()).to_string()
}

impl Stack {
    /// Makes Twilio list these numbers as deactivated on a day.
    pub async fn set_deactivations(&self, date: &str, numbers: &[&str]) {
        let url = format!("{}/simulator/deactivations", self.info.twilio_api_url);
        let list = json!({ "date": date, "numbers": numbers });
        let response = send_request(request("POST", &url).json(&list)).await;
        assert_eq!(response.status, 204, "{response:?}");
    }
}

// The only test of the shared stack with a list of this day, which the schedule reads once.
#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_sent_to_a_deactivated_number_until_it_writes() {
    let stack = shared().await;
    let (handset, stranger) = (fresh_handset(), fresh_handset());
    let id = stack.send(&handset, "Your rent is due").await;
    stack.wait_for_status(&id, "delivered").await;
    let day = two_days_ago();
    stack.set_deactivations(&day, &[&stranger, &handset]).await;
    let page = stack.wait_for_conversation(&handset, |page| !page["number_deactivated_at"].is_null()).await;
    assert_eq!(page["number_deactivated_at"], format!("{day}T00:00:00Z"));
    assert_eq!(stack.conversation(&stranger).await, None);

    let refused = stack.try_send(&handset, "Are you still there?").await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "sms.conflict"), "{refused:?}");
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("number_deactivated: "), "{message}");
    let bulk = [&handset, &stranger].map(|to| json!({ "to": to, "body": "Are you still there?" }));
    let bulk = stack.send_bulk(&json!({ "messages": bulk })).await;
    assert_eq!((&bulk["accepted"], &bulk["items"][0]["error"]["code"]), (&json!(1), &json!("sms.conflict")));

    let conversation = page["conversation_id"].as_str().unwrap();
    let events = format!("/events?types=contact.number_deactivated&conversation={conversation}");
    let events = stack.response("GET", &events, None).await.json();
    let data: Vec<&Value> = events["events"].as_array().unwrap().iter().map(|event| &event["data"]).collect();
    assert_eq!(data, [&json!({ "source": "twilio" })]);

    stack.send_from_handset(&handset, "Hello, I have this number now").await;
    stack.wait_for_conversation(&handset, |page| page["number_deactivated_at"].is_null()).await;
    let id = stack.send(&handset, "Welcome").await;
    stack.wait_for_status(&id, "delivered").await;
    assert_eq!(stack.received_by(&handset).await.len(), 2);
    stack.wait_for_empty_queues().await;
}
