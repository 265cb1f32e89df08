//! What a request would do, without storing anything.

use super::{TENANT, World};
use serde_json::json;

#[tokio::test]
async fn a_dry_run_counts_and_stores_nothing() {
    // Quiet at every hour.
    let mut world = World::with(&[("QUIET_HOURS", "service * * 12:00-12:01".to_owned())]).await;
    world.conversation("+12035550129", ", opted_out_at", ", now()").await;
    world.conversation("+12035550122", ", language_detected", ", 'es'").await;
    world.conversation("+12035550128", ", deactivated_at", ", now()").await;
    let run = world
        .dry_run(json!({
            "texts": {
                "en": "Hi {{name}}, the water is off on May 3.",
                "es": "Hola {{name}}, mañana no hay agua. Perdón 🙏",
            },
            "recipients": [
                {"to": TENANT, "variables": {"name": "Tom"}},
                {"to": "+12035550122", "variables": {"name": "Ana"}},
                {"to": "+12035550125", "variables": {"name": "x".repeat(200)}},
                {"to": "+12035550129", "variables": {"name": "Eve"}},
                {"to": "+12035550128", "variables": {"name": "Kim"}},
                {"to": "12", "variables": {"name": "x"}},
                {"to": TENANT, "variables": {"name": "Tom"}},
            ],
        }))
        .await;
    assert_eq!(run["accepted"], 3, "{run}");
    assert_eq!(run["opted_out"], 1);
    assert_eq!(run["segments"], 4);
    let longest = json!({
        "to": "+12035550125", "segments": 2,
        "body": format!("Hi {}, the water is off on May 3.", "x".repeat(200)),
    });
    assert_eq!(run["longest"], longest);
    assert_eq!(
        run["by_language"],
        json!({
            "en": {"messages": 2, "segments": 3, "encodings": {"GSM-7": 2}, "longest": longest},
            "es": {
                "messages": 1, "segments": 1, "encodings": {"UCS-2": 1},
                "longest": {
                    "to": "+12035550122", "segments": 1,
                    "body": "Hola Ana, mañana no hay agua. Perdón 🙏",
                },
            },
        })
    );
    let reasons: Vec<_> = run["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["reason"].clone(), r["count"].clone()))
        .collect();
    for reason in ["opted_out", "number_deactivated", "duplicate"] {
        assert!(reasons.contains(&(json!(reason), json!(1))), "{reasons:?}");
    }
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    assert!(run["in_quiet_hours"].as_u64().unwrap() >= 2, "{run}");
}

#[tokio::test]
async fn the_language_of_messages_is_detected() {
    let mut world = World::start().await;
    let run = world
        .dry_run(json!({"messages": [
            {"to": TENANT, "body": "Your rent is due on the first of the month."},
            {"to": "+12035550124", "body": "Su alquiler vence el primero del mes, gracias por su pago."},
        ]}))
        .await;
    assert_eq!(run["by_language"]["en"]["messages"], 1, "{run}");
    assert_eq!(run["by_language"]["es"]["messages"], 1, "{run}");
    assert_eq!((&run["in_quiet_hours"], &run["rejected"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn opt_outs_of_a_workflow_or_purpose_stop_only_its_messages() {
    let mut world = World::start().await;
    let scopes = ", '{workflow:collections,purpose:marketing}'";
    world.conversation(TENANT, ", opted_out_scopes", scopes).await;
    let messages = json!([
        {"to": TENANT, "body": "a"},
        {"to": TENANT, "body": "b", "workflow_type": "collections"},
        {"to": TENANT, "body": "c", "purpose": "marketing"},
        {"to": TENANT, "body": "d", "workflow_type": "leasing"},
    ]);
    let run = world.dry_run(json!({"messages": messages})).await;
    assert_eq!((&run["accepted"], &run["opted_out"]), (&json!(2), &json!(2)), "{run}");
    let sent = world.accepted(&json!({"messages": messages})).await;
    assert_eq!((&sent["accepted"], &sent["rejected"]), (&json!(2), &json!(2)), "{sent}");
    let stored = "select string_agg(message_content, ' ' order by message_content) from sms_messages";
    assert_eq!(world.database.scalar(stored).await, "a d");
}

#[tokio::test]
async fn fields_that_are_null_count_as_absent() {
    let mut world = World::start().await;
    let messages = json!({
        "messages": [{"to": TENANT, "body": "x"}], "recipients": null, "texts": null, "template_id": null,
        "template_version": null, "fallback": null, "batch_id": null, "send_at": null, "from": null,
    });
    let texts = json!({
        "recipients": [{"to": TENANT, "variables": null, "language": null}], "texts": {"en": "x", "es": null},
        "messages": null, "template_id": null, "fallback": null, "priority": null, "purpose": null,
    });
    for payload in [messages, texts] {
        let run = world.dry_run(payload).await;
        assert_eq!(run["accepted"], 1, "{run}");
    }
}
