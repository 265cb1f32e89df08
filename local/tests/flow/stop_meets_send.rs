//! A STOP in words that Twilio does not know, so that nothing but this service keeps to it.

use futures::future::join_all;
use serde_json::json;

use crate::client::fresh_handset;
use crate::oracle::{self, Intent, PATIENCE, QUIET};
use crate::stack::{Setup, Stack};

/// Has so many handsets sent to and stopped at once, each a little later than the one before, and returns what was accepted.
pub async fn race(stack: &Stack, handsets: usize) -> Vec<Intent> {
    let races = (0..handsets).map(async |turn: usize| {
        let handset = fresh_handset();
        let mut intents = Vec::new();
        let sends = async {
            for part in 0..4 {
                let answer = stack.try_intend(&handset, &format!("Part {part}")).await;
                intents.extend(answer);
            }
        };
        let stop = async {
            for _ in 0..turn {
                stack.conversation(&handset).await;
            }
            let words = if turn.is_multiple_of(2) { "PARAR" } else { "no quiero recibir más mensajes" };
            stack.text(&handset, words).await;
        };
        tokio::join!(sends, stop);
        intents
    });
    join_all(races).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_made_after_a_stop_was_committed_however_close_they_come() {
    let stack = Setup::impatient().with("SEND_RETRY_DELAYS_SECONDS", "30").start().await;
    // Put off at Twilio, then stopped.
    let waiting = fresh_handset();
    let limited = json!({ "kind": "rate_limited" });
    stack.arm(json!({ "match": { "to": waiting }, "count": 3, "fault": limited })).await;
    let put_off = stack.intend(&waiting, "Put off").await;
    let tried = |message: &serde_json::Value| message["attempts"][0]["outcome"] == "not_processed";
    stack.becomes(&put_off.id, "put off", tried).await;
    stack.text(&waiting, "BAJA").await;
    stack.conversation_where(&waiting, |page| page["opted_out"] == true).await;
    stack.comes_due(&put_off.id).await;
    let message = stack.reaches(&put_off.id, "failed").await;
    assert_eq!(message["error_code"], "opted_out", "{message:#}");

    let mut intents = race(&stack, 12).await;
    intents.push(put_off);
    oracle::quiet(&stack, PATIENCE).await;
    let figures = oracle::judge(&stack, &intents, QUIET).await;
    assert_eq!((figures.stops, figures.unknown), (13, 0), "{figures}");
}
