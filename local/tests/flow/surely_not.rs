//! What Twilio says it did not process, and what it says too late.

use serde_json::json;

use crate::client::fresh_handset;
use crate::oracle::{self, PATIENCE, QUIET};
use crate::stack::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn a_429_is_tried_again_and_an_answer_after_the_timeout_is_not() {
    let stack = Setup::impatient()
        .with("TWILIO_TIMEOUT_MS", "3000")
        .with("SEND_RETRY_DELAYS_SECONDS", "1")
        .start()
        .await;
    let (limited, full, slow) = (fresh_handset(), fresh_handset(), fresh_handset());
    for (handset, count, fault) in [
        (&limited, 4, json!({ "kind": "rate_limited" })),
        (&full, 4, json!({ "kind": "error", "code": 21611 })),
        (&slow, 1, json!({ "kind": "slow", "ms": 6_000 })),
    ] {
        stack.arm(json!({ "match": { "to": handset }, "count": count, "fault": fault })).await;
    }
    let mut intents = Vec::new();
    for handset in [&limited, &full, &slow] {
        intents.push(stack.intend(handset, "However often it takes").await);
    }
    for intent in &intents {
        stack.reaches(&intent.id, "delivered").await;
    }
    oracle::quiet(&stack, PATIENCE).await;
    assert_eq!(stack.creates(&slow).await, 1);
    let figures = oracle::judge(&stack, &intents, QUIET).await;
    assert_eq!((figures.receipts, figures.delivered), (3, 3), "{figures}");
}
