//! Canceling messages before, during and after the send.

use futures::future::join_all;

use crate::client::{fresh_handset, send_request};
use crate::stack::{Stack, shared};

async fn cancel(stack: &Stack, id: &str) -> (u16, String) {
    let response = send_request(stack.api_request("POST", &format!("/messages/{id}/cancel"))).await;
    let code = if response.status == 200 { String::new() } else { response.code() };
    (response.status, code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_scheduled_message_is_never_sent() {
    let stack = shared().await;
    let handset = fresh_handset();
    let id = stack.send_in_an_hour(&handset, "Later").await;
    assert_eq!(cancel(&stack, &id).await, (200, String::new()));
    assert_eq!(cancel(&stack, &id).await, (409, "sms.conflict".to_owned()));
    stack.make_due(&id).await;
    stack.wait_for_sweeps(2).await;
    assert_eq!(stack.message(&id).await["delivery_status"], "canceled");
    assert_eq!(stack.received_by(&handset).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_canceled_during_the_send_is_either_canceled_or_sent() {
    let stack = shared().await;
    let races = (0..20).map(async |number: u64| {
        let handset = fresh_handset();
        let id = stack.send(&handset, "Now or never").await;
        // Each cancel reaches the send at a different stage.
        tokio::time::sleep(std::time::Duration::from_millis(number * 5)).await;
        let (status, _) = cancel(&stack, &id).await;
        (handset, id, status)
    });
    let mut canceled = 0;
    for (handset, id, status) in join_all(races).await {
        if status == 200 {
            canceled += 1;
            assert_eq!(stack.message(&id).await["delivery_status"], "canceled");
            assert_eq!(stack.received_by(&handset).await.len(), 0);
        } else {
            assert_eq!(status, 409);
            stack.wait_for_status(&id, "delivered").await;
            assert_eq!(stack.received_by(&handset).await.len(), 1);
        }
    }
    println!("{canceled} of 20 messages were canceled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_message_cannot_be_canceled() {
    let stack = shared().await;
    let id = stack.send(&fresh_handset(), "Delivered already").await;
    stack.wait_for_status(&id, "delivered").await;
    assert_eq!(cancel(&stack, &id).await, (409, "sms.conflict".to_owned()));
}
