//! Concurrent STOPs and sends. Twilio does not recognize these STOP keywords, so only the service can honor them.

use futures::future::join_all;
use serde_json::json;

use crate::client::fresh_handset;
use crate::oracle::{self, AcceptedSend, DEADLINE, IDLE};
use crate::stack::{Setup, Stack};

/// Sends to each handset while it opts out, each time a little later. Returns the accepted sends.
pub async fn race(stack: &Stack, handsets: usize) -> Vec<AcceptedSend> {
    let races = (0..handsets).map(async |turn: usize| {
        let handset = fresh_handset();
        let mut sends = Vec::new();
        let send_parts = async {
            for part in 0..4 {
                let send = stack.try_send_unique(&handset, &format!("Part {part}")).await;
                sends.extend(send);
            }
        };
        let stop = async {
            for _ in 0..turn {
                stack.conversation(&handset).await;
            }
            let words = if turn.is_multiple_of(2) { "PARAR" } else { "no quiero recibir más mensajes" };
            stack.send_from_handset(&handset, words).await;
        };
        tokio::join!(send_parts, stop);
        sends
    });
    join_all(races).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_create_call_is_made_after_a_committed_stop() {
    let stack = Setup::fast().with("SEND_RETRY_DELAYS_SECONDS", "30").start().await;
    // Rate limited by Twilio, then opted out.
    let waiting = fresh_handset();
    let limited = json!({ "kind": "rate_limited" });
    stack.set_fault(json!({ "match": { "to": waiting }, "count": 3, "fault": limited })).await;
    let delayed = stack.send_unique(&waiting, "Rate limited").await;
    let is_attempted = |message: &serde_json::Value| message["attempts"][0]["outcome"] == "not_processed";
    stack.wait_for_message(&delayed.id, "is rate limited", is_attempted).await;
    stack.send_from_handset(&waiting, "BAJA").await;
    stack.wait_for_conversation(&waiting, |page| page["opted_out"] == true).await;
    stack.make_due(&delayed.id).await;
    let message = stack.wait_for_status(&delayed.id, "failed").await;
    assert_eq!(message["error_code"], "opted_out", "{message:#}");

    let mut sends = race(&stack, 12).await;
    sends.push(delayed);
    oracle::wait_until_idle(&stack, DEADLINE).await;
    let figures = oracle::check(&stack, &sends, IDLE).await;
    assert_eq!((figures.stops, figures.unknown), (13, 0), "{figures}");
}
