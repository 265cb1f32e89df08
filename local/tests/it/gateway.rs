//! Tests of the HTTP gateway against the events and responses that AWS documents.

use http::Method;
use serde_json::{Value, json};

use super::support::{Lambda, get, request};

#[tokio::test]
async fn an_http_request_becomes_an_event_of_payload_format_2() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let headers = [
        ("Authorization", "Bearer right"),
        ("X-Multi", "1"),
        ("X-Multi", "2"),
        ("Cookie", "c1=a; c2=b"),
        ("User-Agent", "test"),
    ];
    let response = get(&format!("{gateway}/things/%2B1%20%2F2?x=1&y=%20a&x=2"), &headers).await;
    assert_eq!(response.status, 200);
    let cookies: Vec<_> = response.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    let mut event = response.json();
    let context = event["requestContext"].take();
    let request_id = context["requestId"].as_str().unwrap();
    assert_eq!(response.headers["apigw-requestid"], request_id);
    assert_eq!(context["http"]["method"], "GET");
    assert_eq!(context["http"]["path"], "/things/+1 /2");
    assert_eq!(context["http"]["protocol"], "HTTP/1.1");
    assert_eq!(context["http"]["sourceIp"], "127.0.0.1");
    assert_eq!(context["http"]["userAgent"], "test");
    assert_eq!(context["stage"], "$default");
    assert_eq!(context["authorizer"]["lambda"]["key_id"], "7");
    let host = gateway.strip_prefix("http://").unwrap();
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
async fn bodies_are_passed_as_text_or_base64_depending_on_the_content_type() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let cases: [(&str, &[u8], Value, bool); 5] = [
        ("application/json", b"{}", json!("{}"), false),
        ("text/plain; charset=utf-8", "señal".as_bytes(), json!("señal"), false),
        ("application/x-www-form-urlencoded", b"a=b", json!("YT1i"), true),
        ("application/octet-stream", b"a=b", json!("YT1i"), true),
        ("text/plain", b"\xff\xfe", json!("//4="), true),
    ];
    for path in ["/action", "/hook"] {
        for (kind, body, expected, is_base64) in &cases {
            let response =
                request(Method::POST, &format!("{gateway}{path}"), &[("content-type", kind)], *body).await;
            let event = response.json();
            assert_eq!(event["body"], *expected, "{path} {kind}");
            assert_eq!(event["isBase64Encoded"], *is_base64, "{path} {kind}");
        }
    }
}

#[tokio::test]
async fn a_function_url_event_has_the_raw_path_and_the_default_route() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let event = get(&format!("{gateway}/hook?a=%26&a=2"), &[]).await.json();
    assert_eq!(event["routeKey"], "$default");
    assert_eq!(event["rawPath"], "/hook");
    assert_eq!(event["rawQueryString"], "a=%26&a=2");
    assert_eq!(event["requestContext"]["http"]["path"], "/hook");
    assert_eq!(event["requestContext"]["authorizer"], Value::Null);
}

#[tokio::test]
async fn the_gateway_returns_its_own_error_responses() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let url = format!("{gateway}/action");
    let action =
        |action: &'static str| request(Method::POST, &url, &[("content-type", "text/plain")], action);
    let wrong = [("authorization", "Bearer wrong")];
    let right = [("authorization", "Bearer right")];
    get(&format!("{gateway}/throttled"), &[]).await;
    let large = vec![b'x'; 10 * 1024 * 1024 + 1];
    let cases = [
        (get(&format!("{gateway}/things/1"), &[]).await, 401, "Unauthorized"),
        (get(&format!("{gateway}/things/1"), &wrong).await, 403, "Forbidden"),
        (get(&format!("{gateway}/nowhere"), &right).await, 404, "Not Found"),
        (get(&format!("{gateway}/things/"), &right).await, 404, "Not Found"),
        (request(Method::DELETE, &format!("{gateway}/open"), &[], "").await, 404, "Not Found"),
        (get(&format!("{gateway}/throttled"), &[]).await, 429, "Too Many Requests"),
        (request(Method::POST, &url, &[], large).await, 413, "Request Entity Too Large"),
        (action("error").await, 500, "Internal Server Error"),
        (action("crash").await, 500, "Internal Server Error"),
        (action("garbage").await, 500, "Internal Server Error"),
    ];
    for (index, (response, status, message)) in cases.iter().enumerate() {
        assert_eq!(response.status.as_u16(), *status, "case {index}: {message}");
        assert_eq!(response.json(), json!({ "message": message }), "case {index}");
    }
}

#[tokio::test]
async fn the_gateway_returns_503_after_the_integration_timeout() {
    let lambda = Lambda::with_short_integration_timeout();
    let action = format!("{}/action", lambda.gateway().await);
    let response = request(Method::POST, &action, &[("content-type", "text/plain")], "hang").await;
    assert_eq!(
        (response.status.as_u16(), response.json()),
        (503, json!({ "message": "Service Unavailable" }))
    );
}

#[tokio::test]
async fn a_function_url_returns_502_when_its_function_fails() {
    let (lambda, short) = (Lambda::start(), Lambda::with_short_timeout());
    let (gateway, short) = (lambda.gateway().await, short.gateway().await);
    for (gateway, action) in
        [(&gateway, "error"), (&gateway, "crash"), (&short, "hang"), (&gateway, "garbage")]
    {
        let url = format!("{gateway}/hook");
        let response = request(Method::POST, &url, &[("content-type", "text/plain")], action).await;
        assert_eq!(response.status, 502, "{action}");
        assert_eq!(response.body, "Internal Server Error", "{action}");
    }
}

#[tokio::test]
async fn authorizer_responses_are_cached_by_identity() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let mut request_ids = Vec::new();
    for path in ["things/1", "things/2", "rest/a/b"] {
        let event = get(&format!("{gateway}/{path}"), &[("authorization", "Bearer right")]).await.json();
        request_ids.push(event["requestContext"]["authorizer"]["lambda"]["authorizer_request_id"].clone());
    }
    assert!(request_ids[0].is_string());
    assert!(
        request_ids.iter().all(|request_id| *request_id == request_ids[0]),
        "the authorizer was invoked more than once: {request_ids:?}"
    );
    assert_eq!(get(&format!("{gateway}/things/1"), &[("authorization", "Bearer other")]).await.status, 403);
}

#[tokio::test]
async fn a_greedy_path_parameter_matches_the_rest_of_the_path() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let right = [("authorization", "Bearer right")];
    let event = request(Method::PUT, &format!("{gateway}/rest/a/b%20c"), &right, "").await.json();
    assert_eq!(event["routeKey"], "ANY /rest/{path+}");
    assert_eq!(event["pathParameters"], json!({ "path": "a/b c" }));
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_text() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    get(&format!("{gateway}/open"), &[]).await;
    let accept =
        [("accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3")];
    let response = get(&format!("{gateway}/metrics"), &accept).await;
    assert!(response.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(response.body.ends_with(b"\n# EOF\n"));
    let response = get(&format!("{gateway}/metrics"), &[]).await;
    assert!(response.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    assert!(text.contains("lambda_cold_starts_total{function=\"echo\"} 1"), "{text}");
}
