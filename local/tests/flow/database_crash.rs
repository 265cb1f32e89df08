//! Postgres crashes during create calls and recovers after the sender has stopped trying to record the outcomes.

use serde_json::json;

use crate::client::fresh_handset;
use crate::oracle::{self, DEADLINE, IDLE};
use crate::services::Database;
use crate::stack::{Setup, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_could_not_be_recorded_are_found_by_callbacks_or_in_twilios_list() {
    let mut database = Database::start().await;
    let stack = Setup::fast()
        .edited("ReauthorizeEvery: 2", "ReauthorizeEvery: 3600")
        .edited("maxReceiveCount: 10", "maxReceiveCount: 1000")
        .with("DATABASE_URL", &database.url())
        .with("SEND_CLAIM_TIMEOUT_SECONDS", "2")
        .start()
        .await;
    let slow = json!({ "kind": "slow", "ms": 2_000 });
    let plans = [
        json!({ "fault": slow }),
        json!({ "fault": slow, "callbacks": { "mode": "lost" } }),
        json!({ "fault": { "kind": "hang", "accept": false, "seconds": 2 } }),
    ];
    let mut sends = Vec::new();
    for mut plan in plans {
        let handset = fresh_handset();
        plan["match"] = json!({ "to": handset });
        stack.set_fault(plan).await;
        sends.push(stack.send_unique(&handset, "Between claim and response").await);
    }
    for send in &sends {
        eventually("Twilio has the request", async || {
            (stack.count_creates(&send.to).await == 1).then_some(())
        })
        .await;
    }
    database.crash().await;
    for send in &sends {
        eventually("the sender stops retrying", async || {
            let log = stack.log("send-outbound");
            let gave_up = |line: &serde_json::Value| {
                let text = line.to_string();
                text.contains(&send.id)
                    && text.contains("could not record an outcome")
                    && line["attempt"] == 5
            };
            log.iter().any(gave_up).then_some(())
        })
        .await;
    }
    database.restart().await;
    stack.wait_for_status(&sends[0].id, "delivered").await;
    stack
        .wait_for_message(&sends[1].id, "is found at Twilio", |message| message["twilio_sid"].is_string())
        .await;
    // A missing message counts as not sent only after 15 minutes.
    stack.wait_for_status(&sends[2].id, "unknown").await;
    oracle::wait_until_idle(&stack, DEADLINE).await;
    let figures = oracle::check(&stack, &sends, IDLE).await;
    assert_eq!((figures.creates, figures.receipts), (3, 2), "{figures}");
}
