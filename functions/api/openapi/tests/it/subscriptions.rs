//! Compares the document with the life of a subscription: responses of the ten endpoints, one after the other.

use super::document;
use super::responses::{Contract, start};
use serde_json::{Value, json};
use testing::{ApiRequest, Database, Receiver, body};

const UNKNOWN: &str = "01900000-0000-7000-8000-000000000001";

/// Calls an operation of one subscription, and checks its status and its body.
struct Caller<'a> {
    contract: &'a Contract,
    environment: &'a [(&'a str, &'a str)],
}

impl Caller<'_> {
    /// Calls the function with each id and payload.
    async fn check(&self, function: &str, route: &str, cases: &[(&str, Option<Value>, u64)]) {
        let (method, path) = route.split_once(' ').unwrap();
        let mut function = start(function, self.environment).await;
        let operation = format!("{}/{}", path.replace('/', "~1"), method.to_lowercase());
        for (id, payload, status) in cases {
            let request = ApiRequest::new(method, path).path_parameter("id", id);
            let request = payload.iter().fold(request, |request, payload| request.json(payload));
            let reply = function.call(request.event()).await;
            assert_eq!(reply["statusCode"], *status, "{route} {id} {payload:?}: {reply}");
            if *status != 204 {
                self.contract.check(&operation, &reply);
            }
        }
    }
}

#[tokio::test]
async fn responses_of_subscriptions_match_the_document() {
    let contract = Contract(document().await);
    let (database, receiver) = (Database::create().await, Receiver::start().await);
    let url = database.url();
    let environment = [("DATABASE_URL", url.as_str()), ("SUBSCRIBERS_ALLOW_LOOPBACK", "true")];

    let mut create = start("create-subscription", &environment).await;
    let whole = json!({
        "url": receiver.url("/"), "event_types": ["message.received"], "workflow_type": "collections",
        "tenant_id": "t-1", "include_unknown": true, "content": true, "max_in_flight": 1, "max_hold_seconds": 0,
        "description": "Collections",
    });
    let mut id = String::new();
    for (payload, status) in [(json!({}), 400), (whole.clone(), 201)] {
        let reply = create.call(ApiRequest::new("POST", "/subscriptions").json(&payload).event()).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        contract.check("~1subscriptions/post", &reply);
        id = body(&reply)["id"].as_str().unwrap_or_default().to_owned();
    }
    let attempt = format!(
        "insert into sms_delivery_attempts (id, subscription_id, event_id, attempt, attempted_at, duration_ms, \
             status_code, error, response_body, next_attempt_at) \
         values (sms_new_id(), '{id}', sms_new_id(), 1, now(), 35, 500, 'status 500', 'x', now())"
    );
    database.client.batch_execute(&attempt).await.unwrap();

    let caller = Caller { contract: &contract, environment: &environment };
    let cases = |payload: Option<Value>, status| {
        vec![(id.as_str(), payload.clone(), status), ("x", payload.clone(), 400), (UNKNOWN, payload, 404)]
    };
    caller.check("list-subscriptions", "GET /subscriptions", &[("", None, 200)]).await;
    caller.check("get-subscription", "GET /subscriptions/{id}", &cases(None, 200)).await;
    caller.check("update-subscription", "PATCH /subscriptions/{id}", &cases(Some(whole), 200)).await;
    caller.check("list-deliveries", "GET /subscriptions/{id}/deliveries", &cases(None, 200)).await;
    caller.check("test-subscription", "POST /subscriptions/{id}/test", &cases(None, 200)).await;
    caller.check("enable-subscription", "POST /subscriptions/{id}/enable", &cases(None, 200)).await;
    receiver.reply(500, &[], "");
    caller.check("enable-subscription", "POST /subscriptions/{id}/enable", &[(&id, None, 409)]).await;
    let (rotation, wrong) = (json!({"grace_seconds": 60}), json!({"grace_seconds": -1}));
    let rotate = [cases(Some(rotation), 200), vec![(&*id, None, 200), (&id, Some(wrong), 400)]].concat();
    caller.check("rotate-secret", "POST /subscriptions/{id}/rotate-secret", &rotate).await;
    database.client.batch_execute("update sms_event_counter set last_position = 1").await.unwrap();
    let since = json!({"since": "2026-11-01T12:00:00Z", "types": ["message.received"]});
    let running = "insert into sms_delivery_streams (subscription_id, kind, position, target) \
        select id, 'replay', 0, 1 from sms_subscriptions";
    caller.check("replay-events", "POST /subscriptions/{id}/replay", &cases(Some(since.clone()), 202)).await;
    database.client.batch_execute(running).await.unwrap();
    caller.check("replay-events", "POST /subscriptions/{id}/replay", &[(&id, Some(since), 409)]).await;
    caller.check("delete-subscription", "DELETE /subscriptions/{id}", &cases(None, 204)).await;
}

#[tokio::test]
async fn the_schema_of_a_new_subscription_accepts_and_refuses_what_the_function_does() {
    let contract = Contract(document().await);
    let schema = contract.schema("/paths/~1subscriptions/post/requestBody/content/application~1json/schema");
    let whole = json!({
        "url": "https://a.example/", "event_types": ["message.received"], "workflow_type": "collections",
        "tenant_id": "t-1", "include_unknown": true, "content": true, "max_in_flight": 100,
        "max_hold_seconds": 3600, "description": "x",
    });
    assert!(schema.is_valid(&whole));
    for (field, wrong) in [
        ("url", json!(1)),
        ("event_types", json!("message.received")),
        ("workflow_type", json!("Collections")),
        ("include_unknown", json!("true")),
        ("max_in_flight", json!(0)),
        ("max_in_flight", json!(101)),
        ("max_hold_seconds", json!(3601)),
        ("description", json!("x".repeat(501))),
        ("secret", json!("x")),
    ] {
        let mut payload = whole.clone();
        payload[field] = wrong;
        assert!(!schema.is_valid(&payload), "{field}");
    }
    assert!(!schema.is_valid(&json!({"url": "https://a.example/"})), "event_types is required");
}
