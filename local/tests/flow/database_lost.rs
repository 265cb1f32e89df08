//! Postgres killed while Twilio has the requests, and back only after the sender has given up recording the answers.

use serde_json::json;

use crate::client::fresh_handset;
use crate::door::Database;
use crate::oracle::{self, PATIENCE, QUIET};
use crate::stack::{Setup, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_postgres_was_not_there_to_take_are_known_by_callbacks_or_found_in_twilios_list() {
    let mut database = Database::start().await;
    let stack = Setup::impatient()
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
    let mut intents = Vec::new();
    for mut plan in plans {
        let handset = fresh_handset();
        plan["match"] = json!({ "to": handset });
        stack.arm(plan).await;
        intents.push(stack.intend(&handset, "Between claim and answer").await);
    }
    for intent in &intents {
        eventually("Twilio has it", async || (stack.creates(&intent.to).await == 1).then_some(())).await;
    }
    database.crash().await;
    for intent in &intents {
        eventually("the sender gives up", async || {
            let log = stack.log("send-outbound");
            let gave_up = |line: &serde_json::Value| {
                let text = line.to_string();
                text.contains(&intent.id) && text.contains("not recorded") && line["attempt"] == 5
            };
            log.iter().any(gave_up).then_some(())
        })
        .await;
    }
    database.come_back().await;
    stack.reaches(&intents[0].id, "delivered").await;
    stack.becomes(&intents[1].id, "found", |message| message["twilio_sid"].is_string()).await;
    // What Twilio does not have is proven absent only after a quarter of an hour.
    stack.reaches(&intents[2].id, "unknown").await;
    oracle::quiet(&stack, PATIENCE).await;
    let figures = oracle::judge(&stack, &intents, QUIET).await;
    assert_eq!((figures.creates, figures.receipts), (3, 2), "{figures}");
}
