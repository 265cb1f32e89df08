//! Queue messages that can never be processed.

use std::time::Duration;

use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use serde_json::json;

use crate::client::{INBOUND_OF, fresh_handset, fresh_sid};
use crate::stack::Setup;

/// Returns a queue message in the format of the webhook function.
fn message(stack: &crate::stack::Stack, handset: &str, sid: &str) -> String {
    let to = stack.info.phone_number.as_str();
    let account = stack.info.account_sid.as_str();
    let form = [("MessageSid", sid), ("AccountSid", account), ("From", handset), ("To", to), ("Body", "Hi")];
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    json!({ "version": "1", "received_at": "2026-11-23T10:00:00Z", "form": form }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_messages_go_to_the_dead_letter_queue_unchanged() {
    // The worker itself must make poison messages visible again: the visibility timeout is an hour.
    let stack = Setup::fast().edited("VisibilityTimeout: 5", "VisibilityTimeout: 3600").start().await;
    let handset = fresh_handset();
    // Too long for a Postgres index, which takes about 2700 bytes after compression. Random digits do not compress.
    let digits: String = (0..300).map(|_| fresh_sid()).collect();
    let poison = [
        "not JSON".to_owned(),
        r#"{"version":"1","something":"else"}"#.to_owned(),
        json!({ "version": "1", "received_at": "2026-11-23T10:00:00Z", "form": "Body=no+sid" }).to_string(),
        message(&stack, &handset, &digits),
    ];
    let good: Vec<String> = (0..6).map(|_| message(&stack, &handset, &fresh_sid())).collect();
    let mixed = poison.iter().zip(&good).flat_map(|(poison, good)| [good, poison]).chain(&good[4..]);
    let entry = |(position, body): (usize, &String)| {
        let request_id = MessageAttributeValue::builder().data_type("String").string_value("flow-poison");
        SendMessageBatchRequestEntry::builder()
            .id(position.to_string())
            .message_body(body)
            .message_attributes("request_id", request_id.build().unwrap())
            .build()
            .unwrap()
    };
    let entries: Vec<_> = mixed.enumerate().map(entry).collect();
    assert_eq!(entries.len(), 10, "all messages must fit into one batch");
    let client = stack.sqs(&stack.sqs_endpoint());
    let sent = client.send_message_batch().queue_url(&stack.info.queues["InboundQueue"]);
    assert!(sent.set_entries(Some(entries)).send().await.unwrap().failed().is_empty());

    stack.wait_for_conversation(&handset, |page| page["total"] == 6).await;
    stack.wait_for_queues(&[("InboundDeadLetterQueue", 4)]).await;
    let mut dead = Vec::new();
    while dead.len() < poison.len() {
        let receive = client.receive_message().queue_url(&stack.info.queues["InboundDeadLetterQueue"]);
        let receive = receive.message_attribute_names("All").max_number_of_messages(10);
        let received = receive.wait_time_seconds(5).send();
        let received = tokio::time::timeout(Duration::from_secs(30), received).await.unwrap().unwrap();
        dead.extend(received.messages.unwrap_or_default());
    }
    let mut bodies: Vec<&str> = dead.iter().map(|dead| dead.body().unwrap()).collect();
    let mut expected: Vec<&str> = poison.iter().map(String::as_str).collect();
    bodies.sort_unstable();
    expected.sort_unstable();
    assert_eq!(bodies, expected);
    for message in &dead {
        let attributes = message.message_attributes().unwrap();
        assert_eq!(attributes["request_id"].string_value(), Some("flow-poison"));
    }
    let sql = stack.sql().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 6);
}
