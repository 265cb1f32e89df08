//! A cancel against the dispatch of the same message: one of the two, never both.

use futures::future::join_all;

use crate::client::{exchange, fresh_handset};
use crate::stack::{Stack, shared};

async fn cancel(stack: &Stack, id: &str) -> (u16, String) {
    let answer = exchange(stack.call("POST", &format!("/messages/{id}/cancel"))).await;
    let code = if answer.status == 200 { String::new() } else { answer.code() };
    (answer.status, code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_message_is_canceled_once_and_never_sent() {
    let stack = shared().await;
    let handset = fresh_handset();
    let id = stack.send_in_an_hour(&handset, "Later").await;
    assert_eq!(cancel(&stack, &id).await, (200, String::new()));
    assert_eq!(cancel(&stack, &id).await, (409, "sms.conflict".to_owned()));
    stack.comes_due(&id).await;
    stack.sweeps(2).await;
    assert_eq!(stack.message(&id).await["delivery_status"], "canceled");
    assert_eq!(stack.ledger(&handset).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cancels_while_it_is_sent_learns_which_of_the_two_it_became() {
    let stack = shared().await;
    let races = (0..20).map(async |number: u64| {
        let handset = fresh_handset();
        let id = stack.send(&handset, "Now or never").await;
        tokio::time::sleep(std::time::Duration::from_millis(number * 5)).await;
        let (status, _) = cancel(&stack, &id).await;
        (handset, id, status)
    });
    let mut canceled = 0;
    for (handset, id, status) in join_all(races).await {
        if status == 200 {
            canceled += 1;
            assert_eq!(stack.message(&id).await["delivery_status"], "canceled");
            assert_eq!(stack.ledger(&handset).await.len(), 0);
        } else {
            assert_eq!(status, 409);
            stack.reaches(&id, "delivered").await;
            assert_eq!(stack.ledger(&handset).await.len(), 1);
        }
    }
    println!("{canceled} of 20 were canceled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_cannot_be_canceled() {
    let stack = shared().await;
    let id = stack.send(&fresh_handset(), "There already").await;
    stack.reaches(&id, "delivered").await;
    assert_eq!(cancel(&stack, &id).await, (409, "sms.conflict".to_owned()));
}
