//! Who gets in, and what is answered to everybody else.

use serde_json::{Value, json};

use crate::client::{Answer, exchange, fresh_handset, request};
use crate::stack::{eventually, shared};

fn is_gateways(answer: &Answer, status: u16, message: &str) {
    assert_eq!((answer.status, answer.json()), (status, json!({ "message": message })), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_key_the_gateway_answers_by_itself() {
    let stack = shared().await;
    let send = format!("{}/sms/send", stack.info.api_url);
    is_gateways(&exchange(request("POST", &send)).await, 401, "Unauthorized");
    is_gateways(&exchange(request("POST", &send).header("authorization", "")).await, 401, "Unauthorized");
    let unknown = format!("smsk_{}", "a".repeat(43));
    for refused in [unknown.as_str(), "smsk_short", "something else"] {
        let send = async || stack.answer_to(|| stack.call_with(refused, "POST", "/sms/send")).await;
        eventually("Postgres says that there is no such key", async || {
            (send().await.status == 403).then_some(())
        })
        .await;
        is_gateways(&send().await, 403, "Forbidden");
    }
    let basic = request("POST", &send).basic_auth("user", Some(stack.info.api_key.as_ref().unwrap()));
    is_gateways(&exchange(basic).await, 403, "Forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_routes_and_wrong_methods_are_not_found() {
    let stack = shared().await;
    for (method, path) in
        [("GET", "/nowhere"), ("GET", "/"), ("DELETE", "/sms/send"), ("PUT", "/conversations/1")]
    {
        is_gateways(&exchange(stack.call(method, path)).await, 404, "Not Found");
    }
    let webhook = format!("{}/webhook/twilio/sms", stack.info.webhook_base_url);
    assert_eq!(exchange(request("POST", &webhook).body("MessageSid=SM1")).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_needs_no_key() {
    let stack = shared().await;
    for path in ["/health", "/health?deep=true", "/openapi.json", "/docs"] {
        // A check that takes a second has failed, which a busy machine may bring about.
        let answer = stack.answer_to(|| request("GET", &format!("{}{path}", stack.info.api_url))).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.request_id.is_some(), "{path}");
        let head = exchange(request("HEAD", &format!("{}{path}", stack.info.api_url))).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}: {head:?}");
    }
    let health =
        stack.answer_to(|| request("GET", &format!("{}/health?deep=true", stack.info.api_url))).await;
    assert_eq!(health.json()["ok"], true, "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say_until_it_is_revoked() {
    let stack = shared().await;
    let made = stack.command(&["key", "--scopes", "conversations:read"]);
    assert!(made.status.success(), "{made:?}");
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let path = format!("/conversations/{}", fresh_handset());
    let read = stack.answer_to(|| stack.call_with(&key, "GET", &path)).await;
    assert_eq!((read.status, read.code().as_str()), (404, "sms.not_found"), "{read:?}");
    let body = json!({ "to": fresh_handset(), "body": "Not allowed" });
    let refused = stack.answer_to(|| stack.call_with(&key, "POST", "/sms/send").json(&body)).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "sms.forbidden"), "{refused:?}");
    assert_eq!(refused.json()["error"]["request_id"].as_str(), refused.request_id.as_deref());

    let sql = stack.sql().await;
    let id =
        "select id::text from api_keys where scopes = 'conversations:read' order by created_at desc limit 1";
    let id: String = sql.row(id, &[]).await.get(0);
    let revoked = stack.invoke("manage-keys", json!({ "action": "revoke", "id": id })).await;
    assert_eq!(revoked.get("errorType"), None::<&Value>, "{revoked}");
    eventually("the revoked key is refused", async || {
        let answer = exchange(stack.call_with(&key, "GET", &path)).await;
        (answer.status == 403).then(|| is_gateways(&answer, 403, "Forbidden"))
    })
    .await;
    let unknown = stack.command(&["key", "--scopes", "everything"]);
    assert!(!unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("everything"));
}
