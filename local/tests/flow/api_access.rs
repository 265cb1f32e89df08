//! API keys, scopes, unknown routes and public endpoints.

use serde_json::{Value, json};

use crate::client::{HttpResponse, fresh_handset, request, send_request};
use crate::stack::{eventually, shared};

fn assert_gateway_error(response: &HttpResponse, status: u16, message: &str) {
    assert_eq!((response.status, response.json()), (status, json!({ "message": message })), "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_rejects_requests_without_a_valid_key() {
    let stack = shared().await;
    let send = format!("{}/sms/send", stack.info.api_url);
    assert_gateway_error(&send_request(request("POST", &send)).await, 401, "Unauthorized");
    assert_gateway_error(
        &send_request(request("POST", &send).header("authorization", "")).await,
        401,
        "Unauthorized",
    );
    let unknown = format!("smsk_{}", "a".repeat(43));
    for refused in [unknown.as_str(), "smsk_short", "something else"] {
        let send = async || stack.response_to(|| stack.api_request_with(refused, "POST", "/sms/send")).await;
        eventually("the key is known to be invalid", async || (send().await.status == 403).then_some(()))
            .await;
        assert_gateway_error(&send().await, 403, "Forbidden");
    }
    let basic = request("POST", &send).basic_auth("user", Some(stack.info.api_key.as_ref().unwrap()));
    assert_gateway_error(&send_request(basic).await, 403, "Forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_routes_return_404_and_other_methods_405() {
    let stack = shared().await;
    for (method, path, status, message) in [
        ("GET", "/nowhere", 404, "Not Found"),
        ("GET", "/", 404, "Not Found"),
        ("DELETE", "/sms/send", 405, "Method Not Allowed"),
        ("PUT", "/conversations/1", 405, "Method Not Allowed"),
    ] {
        assert_gateway_error(&send_request(stack.api_request(method, path)).await, status, message);
    }
    let webhook = format!("{}/webhook/twilio/sms", stack.info.webhook_base_url);
    assert_eq!(send_request(request("POST", &webhook).body("MessageSid=SM1")).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn public_endpoints_need_no_key() {
    let stack = shared().await;
    for path in ["/health", "/health?deep=true", "/openapi.json", "/docs", "/docs/scalar.js"] {
        // A check that takes longer than a second fails, which can happen on a busy machine.
        let response = stack.response_to(|| request("GET", &format!("{}{path}", stack.info.api_url))).await;
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert!(response.request_id.is_some(), "{path}");
        let head = send_request(request("HEAD", &format!("{}{path}", stack.info.api_url))).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}: {head:?}");
    }
    let health =
        stack.response_to(|| request("GET", &format!("{}/health?deep=true", stack.info.api_url))).await;
    assert_eq!(health.json()["ok"], true, "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_limited_to_its_scopes_and_can_be_revoked() {
    let stack = shared().await;
    let made = stack.command(&["key", "--scopes", "conversations:read"]);
    assert!(made.status.success(), "{made:?}");
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let path = format!("/conversations/{}", fresh_handset());
    let read = stack.response_to(|| stack.api_request_with(&key, "GET", &path)).await;
    assert_eq!((read.status, read.code().as_str()), (404, "sms.not_found"), "{read:?}");
    let body = json!({ "to": fresh_handset(), "body": "Not allowed" });
    let refused = stack.response_to(|| stack.api_request_with(&key, "POST", "/sms/send").json(&body)).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "sms.forbidden"), "{refused:?}");
    assert_eq!(refused.json()["error"]["request_id"].as_str(), refused.request_id.as_deref());

    let sql = stack.sql().await;
    let id =
        "select id::text from api_keys where scopes = 'conversations:read' order by created_at desc limit 1";
    let id: String = sql.row(id, &[]).await.get(0);
    let revoked = stack.invoke("manage-keys", json!({ "action": "revoke", "id": id })).await;
    assert_eq!(revoked.get("errorType"), None::<&Value>, "{revoked}");
    eventually("the revoked key is rejected", async || {
        let response = send_request(stack.api_request_with(&key, "GET", &path)).await;
        (response.status == 403).then(|| assert_gateway_error(&response, 403, "Forbidden"))
    })
    .await;
    let unknown = stack.command(&["key", "--scopes", "everything"]);
    assert!(!unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("everything"));
}
