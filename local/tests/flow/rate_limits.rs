//! Responses that prove that Twilio did not process a message, and responses after the timeout.

use serde_json::json;

use crate::client::fresh_handset;
use crate::oracle::{self, DEADLINE, IDLE};
use crate::stack::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn a_429_is_retried_and_a_timed_out_create_is_not() {
    let stack =
        Setup::fast().with("TWILIO_TIMEOUT_MS", "3000").with("SEND_RETRY_DELAYS_SECONDS", "1").start().await;
    let (limited, full, slow) = (fresh_handset(), fresh_handset(), fresh_handset());
    for (handset, count, fault) in [
        (&limited, 4, json!({ "kind": "rate_limited" })),
        (&full, 4, json!({ "kind": "error", "code": 21611 })),
        (&slow, 1, json!({ "kind": "slow", "ms": 6_000 })),
    ] {
        stack.set_fault(json!({ "match": { "to": handset }, "count": count, "fault": fault })).await;
    }
    let mut sends = Vec::new();
    for handset in [&limited, &full, &slow] {
        sends.push(stack.send_unique(handset, "Delivered once").await);
    }
    for send in &sends {
        stack.wait_for_status(&send.id, "delivered").await;
    }
    oracle::wait_until_idle(&stack, DEADLINE).await;
    assert_eq!(stack.count_creates(&slow).await, 1);
    let figures = oracle::check(&stack, &sends, IDLE).await;
    assert_eq!((figures.receipts, figures.delivered), (3, 3), "{figures}");
}
