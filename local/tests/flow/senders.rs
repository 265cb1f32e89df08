//! The sender of a message whose request names none.

use serde_json::json;

use crate::client::{fresh_handset, request, send_request};
use crate::stack::Setup;

const FIRST: &str = "+18605550100";
const SECOND: &str = "+18605550177";

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_comes_from_the_number_that_the_tenant_has_texted() {
    let stack = Setup::fast().with("TWILIO_PHONE_NUMBER", &format!("{FIRST},{SECOND}")).start().await;
    let (known, new) = (fresh_handset(), fresh_handset());
    let url = format!("{}/simulator/handsets/{known}/messages", stack.info.twilio_api_url);
    let text = json!({ "body": "The sink leaks", "to": SECOND });
    assert_eq!(send_request(request("POST", &url).json(&text)).await.json()["delivered"], 1);
    stack.wait_for_conversation(&known, |page| page["total"] == 1).await;

    for (handset, sender) in [(&known, SECOND), (&new, FIRST)] {
        let id = stack.send(handset, "A plumber is on the way").await;
        stack.wait_for_status(&id, "delivered").await;
        let received = stack.received_by(handset).await;
        assert_eq!((received.len(), &received[0]["from"]), (1, &json!(sender)), "{received:?}");
        let message = stack.message(&id).await;
        assert_eq!((&message["from_number"], &message["replaced_from"]), (&json!(sender), &json!(null)));
    }
    stack.wait_for_empty_queues().await;
}
