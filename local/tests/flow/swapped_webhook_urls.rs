//! Twilio is configured with the wrong one of the two webhook URLs.

use crate::client::{SMS_PATH, STATUS_PATH, fresh_handset, fresh_sid};
use crate::stack::{eventually, shared};

#[tokio::test(flavor = "multi_thread")]
async fn each_webhook_url_handles_requests_meant_for_the_other() {
    let stack = shared().await;
    let (handset, recipient) = (fresh_handset(), fresh_handset());
    stack.deliver_webhook(&stack.inbound_webhook_at(STATUS_PATH, &handset, &fresh_sid(), "STOP")).await;
    let page = stack.wait_for_conversation(&handset, |page| page["opted_out"] == true).await;
    assert_eq!((&page["total"], &page["messages"][0]["direction"]), (&1.into(), &"inbound".into()));
    assert_eq!(stack.try_send(&handset, "After the STOP").await.status, 409);

    let id = stack.send(&recipient, "To be read").await;
    let message = stack.wait_for_status(&id, "delivered").await;
    let sid = message["twilio_sid"].as_str().unwrap();
    stack.deliver_webhook(&stack.status_callback_at(SMS_PATH, sid, "read", None)).await;
    stack.wait_for_status(&id, "read").await;
    stack.wait_for_empty_queues().await;
    let incoming = "select count(*) from sms_messages where direction = 'inbound' and twilio_sid = $1";
    assert_eq!(stack.sql().await.count(incoming, &[&sid]).await, 0);
    for function in ["delivery-status", "inbound-sms"] {
        eventually("the misrouted webhook is counted", async || {
            stack.log(function).iter().any(|line| line["webhooks_misrouted"] == 1.0).then_some(())
        })
        .await;
    }
}
