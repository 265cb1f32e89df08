//! The front door, against the events and answers that AWS documents.

use http::Method;
use serde_json::{Value, json};

use super::support::{Lambda, get, request};

#[tokio::test]
async fn a_request_becomes_an_event_of_payload_format_2() {
    let lambda = Lambda::start();
    let door = lambda.front_door().await;
    let headers = [
        ("Authorization", "Bearer right"),
        ("X-Multi", "1"),
        ("X-Multi", "2"),
        ("Cookie", "c1=a; c2=b"),
        ("User-Agent", "test"),
    ];
    let answer = get(&format!("{door}/things/%2B1%20%2F2?x=1&y=%20a&x=2"), &headers).await;
    assert_eq!(answer.status, 200);
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    let mut event = answer.json();
    let context = event["requestContext"].take();
    let request_id = context["requestId"].as_str().unwrap();
    assert_eq!(answer.headers["apigw-requestid"], request_id);
    assert_eq!(context["http"]["method"], "GET");
    assert_eq!(context["http"]["path"], "/things/+1 /2");
    assert_eq!(context["http"]["protocol"], "HTTP/1.1");
    assert_eq!(context["http"]["sourceIp"], "127.0.0.1");
    assert_eq!(context["http"]["userAgent"], "test");
    assert_eq!(context["stage"], "$default");
    assert_eq!(context["authorizer"]["lambda"]["key_id"], "7");
    let host = door.strip_prefix("http://").unwrap();
    for volatile in ["x-amzn-trace-id", "x-forwarded-port"] {
        assert!(event["headers"].as_object_mut().unwrap().remove(volatile).is_some());
    }
    let expected = json!({
        "version": "2.0",
        "routeKey": "GET /things/{id}",
        "rawPath": "/things/+1 /2",
        "rawQueryString": "x=1&y=%20a&x=2",
        "cookies": ["c1=a", "c2=b"],
        "headers": {
            "authorization": "Bearer right", "host": host, "user-agent": "test", "x-multi": "1,2",
            "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http",
        },
        "queryStringParameters": { "x": "1,2", "y": " a" },
        "requestContext": null,
        "pathParameters": { "id": "+1 /2" },
        "isBase64Encoded": false,
    });
    assert_eq!(event, expected);
}

#[tokio::test]
async fn bodies_are_text_or_base64_as_aws_has_them() {
    let lambda = Lambda::start();
    let door = lambda.front_door().await;
    let cases: [(&str, &[u8], Value, bool); 5] = [
        ("application/json", b"{}", json!("{}"), false),
        ("text/plain; charset=utf-8", "señal".as_bytes(), json!("señal"), false),
        ("application/x-www-form-urlencoded", b"a=b", json!("YT1i"), true),
        ("application/octet-stream", b"a=b", json!("YT1i"), true),
        ("text/plain", b"\xff\xfe", json!("//4="), true),
    ];
    for path in ["/order", "/hook"] {
        for (kind, body, expected, is_base64) in &cases {
            let answer =
                request(Method::POST, &format!("{door}{path}"), &[("content-type", kind)], *body).await;
            let event = answer.json();
            assert_eq!(event["body"], *expected, "{path} {kind}");
            assert_eq!(event["isBase64Encoded"], *is_base64, "{path} {kind}");
        }
    }
}

#[tokio::test]
async fn a_function_url_keeps_the_path_and_has_the_default_route() {
    let lambda = Lambda::start();
    let door = lambda.front_door().await;
    let event = get(&format!("{door}/hook?a=%26&a=2"), &[]).await.json();
    assert_eq!(event["routeKey"], "$default");
    assert_eq!(event["rawPath"], "/hook");
    assert_eq!(event["rawQueryString"], "a=%26&a=2");
    assert_eq!(event["requestContext"]["http"]["path"], "/hook");
    assert_eq!(event["requestContext"]["authorizer"], Value::Null);
}

#[tokio::test]
async fn the_gateway_answers_by_itself_in_its_own_shape() {
    let lambda = Lambda::start();
    let door = lambda.front_door().await;
    let orders = format!("{door}/order");
    let order =
        |order: &'static str| request(Method::POST, &orders, &[("content-type", "text/plain")], order);
    let wrong = [("authorization", "Bearer wrong")];
    let right = [("authorization", "Bearer right")];
    get(&format!("{door}/throttled"), &[]).await;
    let large = vec![b'x'; 10 * 1024 * 1024 + 1];
    let cases = [
        (get(&format!("{door}/things/1"), &[]).await, 401, "Unauthorized"),
        (get(&format!("{door}/things/1"), &wrong).await, 403, "Forbidden"),
        (get(&format!("{door}/nowhere"), &right).await, 404, "Not Found"),
        (get(&format!("{door}/things/"), &right).await, 404, "Not Found"),
        (request(Method::DELETE, &format!("{door}/open"), &[], "").await, 404, "Not Found"),
        (get(&format!("{door}/throttled"), &[]).await, 429, "Too Many Requests"),
        (request(Method::POST, &orders, &[], large).await, 413, "Request Entity Too Large"),
        (order("error").await, 500, "Internal Server Error"),
        (order("crash").await, 500, "Internal Server Error"),
        (order("garbage").await, 500, "Internal Server Error"),
    ];
    for (index, (answer, status, message)) in cases.iter().enumerate() {
        assert_eq!(answer.status.as_u16(), *status, "case {index}: {message}");
        assert_eq!(answer.json(), json!({ "message": message }), "case {index}");
    }
}

#[tokio::test]
async fn the_gateway_waits_for_no_longer_than_its_route_says() {
    let lambda = Lambda::behind_a_hasty_gateway();
    let order = format!("{}/order", lambda.front_door().await);
    let answer = request(Method::POST, &order, &[("content-type", "text/plain")], "hang").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (503, json!({ "message": "Service Unavailable" })));
}

#[tokio::test]
async fn a_function_url_answers_502_when_its_function_fails() {
    let (lambda, hasty) = (Lambda::start(), Lambda::hasty());
    let (door, hasty) = (lambda.front_door().await, hasty.front_door().await);
    for (door, order) in [(&door, "error"), (&door, "crash"), (&hasty, "hang"), (&door, "garbage")] {
        let url = format!("{door}/hook");
        let answer = request(Method::POST, &url, &[("content-type", "text/plain")], order).await;
        assert_eq!(answer.status, 502, "{order}");
        assert_eq!(answer.body, "Internal Server Error", "{order}");
    }
}

#[tokio::test]
async fn an_authorizers_answer_is_kept_by_its_identity() {
    let lambda = Lambda::start();
    let door = lambda.front_door().await;
    let mut asked = Vec::new();
    for path in ["things/1", "things/2", "rest/a/b"] {
        let event = get(&format!("{door}/{path}"), &[("authorization", "Bearer right")]).await.json();
        asked.push(event["requestContext"]["authorizer"]["lambda"]["asked"].clone());
    }
    assert!(asked[0].is_string());
    assert!(
        asked.iter().all(|request_id| *request_id == asked[0]),
        "the authorizer was asked once: {asked:?}"
    );
    assert_eq!(get(&format!("{door}/things/1"), &[("authorization", "Bearer other")]).await.status, 403);
}

#[tokio::test]
async fn a_literal_path_comes_before_a_parameter_and_a_greedy_one_takes_the_rest() {
    let lambda = Lambda::start();
    let door = lambda.front_door().await;
    let right = [("authorization", "Bearer right")];
    let event = request(Method::PUT, &format!("{door}/rest/a/b%20c"), &right, "").await.json();
    assert_eq!(event["routeKey"], "ANY /rest/{path+}");
    assert_eq!(event["pathParameters"], json!({ "path": "a/b c" }));
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_text() {
    let lambda = Lambda::start();
    let door = lambda.front_door().await;
    get(&format!("{door}/open"), &[]).await;
    let answer = get(&format!("{door}/metrics"), &[]).await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains("lambda_cold_starts_total{function=\"echo\"} 1"), "{text}");
}
