//! A number or a messaging service whose URL at Twilio is the wrong one of the two.

use crate::client::{SMS_PATH, STATUS_PATH, fresh_handset, fresh_sid};
use crate::stack::{eventually, shared};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_the_status_url_opts_out_and_a_callback_at_the_message_url_is_no_message() {
    let stack = shared().await;
    let (handset, recipient) = (fresh_handset(), fresh_handset());
    stack.accepts(&stack.incoming_at(STATUS_PATH, &handset, &fresh_sid(), "STOP")).await;
    let page = stack.conversation_where(&handset, |page| page["opted_out"] == true).await;
    assert_eq!((&page["total"], &page["messages"][0]["direction"]), (&1.into(), &"inbound".into()));
    assert_eq!(stack.try_send(&handset, "After the STOP").await.status, 409);

    let id = stack.send(&recipient, "To be read").await;
    let message = stack.reaches(&id, "delivered").await;
    let sid = message["twilio_sid"].as_str().unwrap();
    stack.accepts(&stack.callback_at(SMS_PATH, sid, "read", None)).await;
    stack.reaches(&id, "read").await;
    stack.queues_are_empty().await;
    let incoming = "select count(*) from sms_messages where direction = 'inbound' and twilio_sid = $1";
    assert_eq!(stack.sql().await.count(incoming, &[&sid]).await, 0);
    for function in ["delivery-status", "inbound-sms"] {
        eventually("it is counted", async || {
            stack.log(function).iter().any(|line| line["webhooks_misrouted"] == 1.0).then_some(())
        })
        .await;
    }
}
