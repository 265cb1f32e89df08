//! STOP, START and automatic replies.

use common::domain::clarification::{question_text, refusal_text};
use common::domain::language::Language;
use serde_json::{Value, json};

use crate::client::fresh_handset;
use crate::stack::{Setup, eventually, shared};

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_sent_between_stop_and_start() {
    let stack = shared().await;
    let handset = fresh_handset();
    // Accepted before the STOP and due after it.
    let later = stack.send_in_an_hour(&handset, "Due after the STOP").await;
    stack.send_from_handset(&handset, "STOP").await;
    stack.wait_for_conversation(&handset, |page| page["opted_out"] == true).await;
    stack.make_due(&later).await;
    let refused = stack.try_send(&handset, "Are you still there?").await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "sms.recipient_opted_out"), "{refused:?}");
    let message = stack.wait_for_status(&later, "failed").await;
    assert_eq!((&message["error_code"], &message["attempts"]), (&"opted_out".into(), &json!([])));
    assert_eq!(stack.received_by(&handset).await, Vec::<Value>::new());

    stack.send_from_handset(&handset, "START").await;
    stack.wait_for_conversation(&handset, |page| page["opted_out"] == false).await;
    let id = stack.send(&handset, "Welcome back").await;
    stack.wait_for_status(&id, "delivered").await;
    assert_eq!(stack.received_by(&handset).await.len(), 1);
    stack.wait_for_empty_queues().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_sent_between_an_opt_out_on_paper_and_an_opt_in() {
    let stack = shared().await;
    let handset = fresh_handset();
    let later = stack.send_in_an_hour(&handset, "Due after the letter").await;
    let path = format!("/conversations/{handset}/consent");
    let record = async |action: &str| {
        let consent = json!({"action": action, "source": "paper", "evidence": "scan 4711"});
        let response = stack.response("POST", &path, Some(&consent)).await;
        assert_eq!(response.status, 201, "{response:?}");
    };
    record("opt_out").await;
    stack.make_due(&later).await;
    let refused = stack.try_send(&handset, "Are you still there?").await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "sms.recipient_opted_out"), "{refused:?}");
    let message = stack.wait_for_status(&later, "failed").await;
    assert_eq!((&message["error_code"], &message["attempts"]), (&"opted_out".into(), &json!([])));

    record("opt_in").await;
    let id = stack.send(&handset, "Welcome back").await;
    stack.wait_for_status(&id, "delivered").await;
    // A text is newer than both.
    stack.send_from_handset(&handset, "STOP").await;
    stack.wait_for_conversation(&handset, |page| page["opted_out"] == true).await;
    let ledger = stack.response("GET", &path, None).await.json();
    let actions: Vec<_> =
        ledger["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(
        (&ledger["opted_out"], json!(actions)),
        (&json!(true), json!(["opt_out", "opt_in", "opt_out"]))
    );
    assert_eq!(stack.received_by(&handset).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_of_a_workflow_stops_only_its_messages_until_a_text_stops_all() {
    let stack = Setup::fast().with("CONSENT_SCOPES", "workflow,purpose").start().await;
    let handset = fresh_handset();
    let message =
        |workflow: &str, body: &str| json!({"to": handset, "body": body, "workflow_type": workflow});
    let later = stack.send_in_an_hour(&handset, "Due after the letter").await;
    let path = format!("/conversations/{handset}/consent");
    let scope = "workflow:collections";
    let consent = json!({"action": "opt_out", "scope": scope, "source": "paper", "evidence": "scan 1"});
    let recorded = stack.response("POST", &path, Some(&consent)).await;
    assert_eq!((recorded.status, recorded.json()["scope"].clone()), (201, json!("workflow:collections")));

    let refused = stack.post_send(&message("collections", "Your rent is due")).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "sms.recipient_opted_out"), "{refused:?}");
    let accepted = stack.post_send(&message("maintenance", "The plumber comes at noon")).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    stack.wait_for_status(accepted.json()["id"].as_str().unwrap(), "delivered").await;
    // A waiting message is stopped when a router gives its conversation to that workflow.
    let route = json!({"workflow_type": "collections"});
    let routed = stack.response("PATCH", &format!("/conversations/{handset}"), Some(&route)).await;
    assert_eq!(routed.status, 200, "{routed:?}");
    stack.make_due(&later).await;
    let stopped = stack.wait_for_status(&later, "failed").await;
    assert_eq!((&stopped["error_code"], &stopped["attempts"]), (&"opted_out".into(), &json!([])));

    stack.send_from_handset(&handset, "STOP").await;
    stack.wait_for_conversation(&handset, |page| page["opted_out"] == true).await;
    let refused = stack.post_send(&message("maintenance", "Are you at home?")).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "sms.recipient_opted_out"), "{refused:?}");
    let ledger = stack.response("GET", &path, None).await.json();
    let scopes: Vec<_> = ledger["entries"].as_array().unwrap().iter().map(|entry| &entry["scope"]).collect();
    assert_eq!(json!(scopes), json!(["all", "workflow:collections"]));
    assert_eq!(ledger["opted_out_scopes"], json!(["workflow:collections"]));
    assert_eq!(stack.received_by(&handset).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn automatic_replies_are_sent_once_in_the_language_of_the_message() {
    let (english, spanish) =
        ("Our office is closed until Monday.", "Nuestra oficina está cerrada hasta el lunes.");
    let stack = Setup::fast().with("AUTO_REPLY_EN", english).with("AUTO_REPLY_ES", spanish).start().await;
    let (writer, escritor, stopper, machine) =
        (fresh_handset(), fresh_handset(), fresh_handset(), fresh_handset());
    stack.send_from_handset(&stopper, "STOP").await;
    stack.send_from_handset(&machine, english).await;
    stack.send_from_handset(&writer, "Good morning, the heating in our apartment is not working").await;
    stack
        .send_from_handset(&escritor, "Buenos días, la calefacción de nuestro apartamento no funciona")
        .await;
    let receives = async |handset: &str, text: &str| {
        eventually(&format!("{handset} has received its reply"), async || {
            stack.received_by(handset).await.iter().any(|received| received["body"] == text).then_some(())
        })
        .await;
    };
    receives(&writer, english).await;
    receives(&escritor, spanish).await;
    stack.send_from_handset(&writer, "Is anybody there? The heating is still not working").await;
    stack.wait_for_conversation(&writer, |page| page["total"] == 3).await;
    stack.wait_for_conversation(&stopper, |page| page["opted_out"] == true).await;
    stack.wait_for_conversation(&machine, |page| page["total"] != 0).await;
    stack.wait_for_sweeps(2).await;
    stack.wait_for_empty_queues().await;
    for (handset, replies) in [(&writer, 1), (&escritor, 1), (&stopper, 0)] {
        assert_eq!(stack.received_by(handset).await.len(), replies, "{handset}");
    }
    let response = stack.conversation(&writer).await.unwrap();
    let replies: Vec<_> =
        response["messages"].as_array().unwrap().iter().filter(|m| m["direction"] == "outbound").collect();
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0]["message_content"], english);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_clarification_follows_a_refusal_and_nothing_else_is_sent_until_start() {
    let stack = Setup::fast().with("OPT_OUT_CLARIFICATION", "on").start().await;
    let (refuser, unsure, stopper) = (fresh_handset(), fresh_handset(), fresh_handset());
    let later = stack.send_in_an_hour(&refuser, "Due after the refusal").await;
    let urgent = json!({"to": refuser, "body": "Water leak", "priority": "urgent", "purpose": "emergency"});
    stack.send_from_handset(&refuser, "no quiero recibir más mensajes").await;
    stack.send_from_handset(&unsure, "wrong number").await;
    stack.send_from_handset(&stopper, "STOP").await;
    let receives = async |handset: &str, text: &str| {
        eventually(&format!("{handset} has received {text:?}"), async || {
            stack.received_by(handset).await.iter().any(|received| received["body"] == text).then_some(())
        })
        .await;
    };
    receives(&refuser, refusal_text(Language::Es)).await;
    receives(&unsure, question_text(Language::En)).await;
    stack.wait_for_conversation(&stopper, |page| page["opted_out"] == true).await;

    // Silence: everything stays stopped, whatever its priority, and a second refusal gets no answer.
    assert_eq!(stack.conversation(&refuser).await.unwrap()["opted_out"], true);
    for refused in [stack.post_send(&urgent).await, stack.try_send(&refuser, "Hello?").await] {
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (409, "sms.recipient_opted_out"),
            "{refused:?}"
        );
    }
    stack.make_due(&later).await;
    stack.wait_for_status(&later, "failed").await;
    stack.send_from_handset(&refuser, "no me escriban más").await;
    stack.send_from_handset(&stopper, "no quiero recibir más mensajes").await;
    stack.wait_for_conversation(&refuser, |page| page["total"] == 4).await;
    stack.wait_for_conversation(&stopper, |page| page["total"] == 2).await;
    // A text that may be a refusal stops nothing.
    let id = stack.send(&unsure, "Sorry, is this Ana?").await;
    stack.wait_for_status(&id, "delivered").await;
    stack.wait_for_sweeps(2).await;
    stack.wait_for_empty_queues().await;
    for (handset, received) in [(&refuser, 1), (&unsure, 2), (&stopper, 0)] {
        assert_eq!(stack.received_by(handset).await.len(), received, "{handset}");
    }

    stack.send_from_handset(&refuser, "START").await;
    stack.wait_for_conversation(&refuser, |page| page["opted_out"] == false).await;
    let id = stack.send(&refuser, "Bienvenido de nuevo").await;
    stack.wait_for_status(&id, "delivered").await;
}
