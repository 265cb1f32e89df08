//! STOP, START, and what the service answers by itself.

use serde_json::{Value, json};

use crate::client::fresh_handset;
use crate::stack::{Setup, eventually, shared};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_after_a_stop_until_a_start() {
    let stack = shared().await;
    let handset = fresh_handset();
    // Accepted before the STOP, due after it.
    let later = stack.send_in_an_hour(&handset, "Due after the STOP").await;
    stack.text(&handset, "STOP").await;
    stack.conversation_where(&handset, |page| page["opted_out"] == true).await;
    stack.comes_due(&later).await;
    let refused = stack.try_send(&handset, "Are you still there?").await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "sms.recipient_opted_out"), "{refused:?}");
    let message = stack.reaches(&later, "failed").await;
    assert_eq!((&message["error_code"], &message["attempts"]), (&"opted_out".into(), &json!([])));
    assert_eq!(stack.ledger(&handset).await, Vec::<Value>::new());

    stack.text(&handset, "START").await;
    stack.conversation_where(&handset, |page| page["opted_out"] == false).await;
    let id = stack.send(&handset, "Welcome back").await;
    stack.reaches(&id, "delivered").await;
    assert_eq!(stack.ledger(&handset).await.len(), 1);
    stack.queues_are_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_replies_are_sent_once_in_the_writers_language_and_never_to_a_stop() {
    let (english, spanish) =
        ("Our office is closed until Monday.", "Nuestra oficina está cerrada hasta el lunes.");
    let stack =
        Setup::impatient().with("AUTO_REPLY_EN", english).with("AUTO_REPLY_ES", spanish).start().await;
    let (writer, escritor, stopper, machine) =
        (fresh_handset(), fresh_handset(), fresh_handset(), fresh_handset());
    stack.text(&stopper, "STOP").await;
    stack.text(&machine, english).await;
    stack.text(&writer, "Good morning, the heating in our apartment is not working").await;
    stack.text(&escritor, "Buenos días, la calefacción de nuestro apartamento no funciona").await;
    let got = async |handset: &str, text: &str| {
        eventually(&format!("{handset} gets its reply"), async || {
            stack.ledger(handset).await.iter().any(|received| received["body"] == text).then_some(())
        })
        .await;
    };
    got(&writer, english).await;
    got(&escritor, spanish).await;
    stack.text(&writer, "Is anybody there? The heating is still not working").await;
    stack.conversation_where(&writer, |page| page["total"] == 3).await;
    stack.conversation_where(&stopper, |page| page["opted_out"] == true).await;
    stack.conversation_where(&machine, |page| page["total"] != 0).await;
    stack.sweeps(2).await;
    stack.queues_are_empty().await;
    for (handset, replies) in [(&writer, 1), (&escritor, 1), (&stopper, 0)] {
        assert_eq!(stack.ledger(handset).await.len(), replies, "{handset}");
    }
    let answer = stack.conversation(&writer).await.unwrap();
    let replies: Vec<_> =
        answer["messages"].as_array().unwrap().iter().filter(|m| m["direction"] == "outbound").collect();
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0]["message_content"], english);
}
