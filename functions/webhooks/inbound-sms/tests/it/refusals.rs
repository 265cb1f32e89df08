//! Refused requests: the order of the checks, and the exact errors.

use super::{GATEWAY_REQUEST_ID, PATH, World, hello};
use serde_json::{Value, json};
use testing::{AUTH_TOKEN, BASE_URL, Webhook, eventually};

/// Posts a webhook, checks the error envelope, and returns status, code and details in one line.
async fn refused(world: &mut World, webhook: &Webhook) -> String {
    let reply = world.post(webhook).await;
    assert_eq!(reply["headers"]["x-request-id"], GATEWAY_REQUEST_ID, "{reply}");
    assert_eq!(reply["headers"]["content-type"], "application/json");
    let body: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
    let error = &body["error"];
    assert_eq!(error["request_id"], GATEWAY_REQUEST_ID);
    assert!(error["timestamp"].is_string() && error["message"].is_string(), "{body}");
    let details = error["details"].as_array().unwrap().iter();
    let details: String = details
        .map(|one| format!(" {}: {}", one["field"].as_str().unwrap(), one["reason"].as_str().unwrap()))
        .collect();
    format!("{} {}{details}", reply["statusCode"], error["code"].as_str().unwrap())
}

#[tokio::test]
async fn a_request_without_a_valid_signature_is_forbidden() {
    let mut world = World::start().await;
    let parameters = [("MessageSid", "SM1")];
    let form = || Webhook::form(PATH, "MessageSid=SM1");
    let wrong = [
        form(),
        form().header("x-twilio-signature", ""),
        form().header("x-twilio-signature", "bm90IGEgc2lnbmF0dXJl"),
        form().header("x-twilio-signature", "ÿé"),
        form().signed_with("another-token", BASE_URL, &parameters),
        form().signed_with(AUTH_TOKEN, "https://r3pmxmplak.lambda-url.us-east-1.on.aws", &parameters),
        form().signed_with(AUTH_TOKEN, "http://sms.example.com", &parameters),
        form().signed_with(AUTH_TOKEN, &format!("{BASE_URL}/other"), &parameters),
        form().signed(&[("MessageSid", "SM2")]),
        form().signed(&[]),
        form().signed(&parameters).query("x=1"),
        form().query("x=1").signed(&parameters).query("x=2"),
        form().signed(&parameters).header("x-twilio-webhooks-signature-settings", "algorithm=HMAC_MD5"),
        form().signed(&parameters).header("x-twilio-webhooks-signature-settings", "algorithm=HMAC_SHA256"),
        Webhook::get(PATH, "MessageSid=SM1"),
        Webhook::form(PATH, r#"{"MessageSid":"SM1"}"#)
            .header("content-type", "application/json")
            .signed_url(),
        form().method("PUT"),
        Webhook::form(PATH, "Body=%zz"),
        Webhook::form(PATH, "MessageSid=SM1").header("content-type", "text/plain"),
    ];
    for webhook in wrong {
        assert_eq!(refused(&mut world, &webhook).await, "403 sms.forbidden", "{webhook:?}");
    }
    // The `Host` header is not trusted.
    let forwarded = hello().signed_with(AUTH_TOKEN, "https://evil.example", &[("MessageSid", "SM1")]);
    let forwarded = forwarded.header("host", "evil.example").header("x-forwarded-host", "evil.example");
    assert_eq!(refused(&mut world, &forwarded).await, "403 sms.forbidden");
    assert_eq!(world.sqs.sent(), []);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_with_any_signature() {
    let mut world = World::start().await;
    let sized = |bytes: usize| {
        let body = format!("MessageSid=SM1&Body={}", "x".repeat(bytes - 20));
        assert_eq!(body.len(), bytes);
        body
    };
    let body = sized(64 * 1024);
    let just_right =
        Webhook::form(PATH, body.clone()).signed(&[("MessageSid", "SM1"), ("Body", &body[20..])]);
    assert_eq!(world.post(&just_right).await["statusCode"], 200);
    let body = sized(64 * 1024 + 1);
    let signed = Webhook::form(PATH, body.clone()).signed(&[("MessageSid", "SM1"), ("Body", &body[20..])]);
    for webhook in [signed, Webhook::form(PATH, body)] {
        assert_eq!(refused(&mut world, &webhook).await, "413 sms.payload_too_large");
    }
    assert_eq!(world.sqs.sent().len(), 1);
}

#[tokio::test]
async fn a_signed_request_without_a_valid_form_is_refused_with_the_reason() {
    let mut world = World::start().await;
    let percent = "400 sms.validation_error body: is not valid: parameter 2 contains a % without two hexadecimal \
        digits after it";
    let utf8 = "400 sms.validation_error body: is not valid: parameter 2 is not valid UTF-8";
    let sid = "400 sms.validation_error MessageSid: is missing";
    let other = "400 sms.validation_error content-type: must be application/x-www-form-urlencoded or application/json";
    let form = |body: &[u8]| Webhook::form(PATH, body);
    let typed = |content_type, body: &str| Webhook::form(PATH, body).header("content-type", content_type);
    let cases = [
        (form(b"MessageSid=SM1&Body=%zz").signed(&[("MessageSid", "SM1"), ("Body", "%zz")]), percent),
        (form(b"MessageSid=SM1&Body=%").signed_url(), percent),
        (form(b"MessageSid=SM1&Body=%ff").signed(&[("MessageSid", "SM1"), ("Body", "\u{fffd}")]), utf8),
        (form(b"MessageSid=SM1&Body=\xc3").signed_url(), utf8),
        (form(b"Body=hi").signed(&[("Body", "hi")]), sid),
        (form(b"MessageSid=&Body=hi").signed(&[("MessageSid", ""), ("Body", "hi")]), sid),
        (form(b"").signed_url(), sid),
        (form(b"").query("MessageSid=SM1").signed_url(), sid),
        (form(b"hello").signed(&[("hello", "")]), sid),
        (Webhook::get(PATH, "").signed_url(), sid),
        (Webhook::get(PATH, "a=1&MessageSid=%F").signed_url(), percent),
        (typed("text/plain", "MessageSid=SM1").signed(&[("MessageSid", "SM1")]), other),
        (typed("multipart/form-data; boundary=x", "--x--").signed_url(), other),
    ];
    for (webhook, response) in cases {
        assert_eq!(refused(&mut world, &webhook).await, response, "{webhook:?}");
    }
    assert_eq!(world.sqs.sent(), []);
}

#[tokio::test]
async fn a_message_sid_that_is_too_long_is_refused() {
    let mut world = World::start().await;
    let with_sid = |length: usize| {
        let sid = format!("SM{}", "a".repeat(length - 2));
        Webhook::form(PATH, format!("MessageSid={sid}")).signed(&[("MessageSid", &sid)])
    };
    let too_long = "400 sms.validation_error MessageSid: is longer than 255 bytes";
    for length in [256, 5_000] {
        assert_eq!(refused(&mut world, &with_sid(length)).await, too_long);
    }
    assert_eq!(world.post(&with_sid(255)).await["statusCode"], 200);
    assert_eq!(world.sqs.sent().len(), 1);
}

#[tokio::test]
async fn a_signed_json_body_without_a_form_is_refused() {
    let mut world = World::start().await;
    // The hashes were computed with sha256sum.
    let cases = [
        (
            "[]",
            "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
            "400 sms.validation_error body: is not valid: the body is not a JSON object (line 1, column 0)",
        ),
        (
            "{}",
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "400 sms.validation_error MessageSid: is missing",
        ),
    ];
    for (body, hash, response) in cases {
        let json = |hash: &str| {
            let query = format!("bodySHA256={hash}");
            Webhook::form(PATH, body).header("content-type", "application/json").query(&query).signed_url()
        };
        assert_eq!(refused(&mut world, &json(hash)).await, response);
        assert_eq!(refused(&mut world, &json(&hash.to_uppercase())).await, "403 sms.forbidden");
    }
}

#[tokio::test]
async fn a_signed_request_at_an_unknown_path_is_not_found() {
    let mut world = World::start().await;
    for path in ["/", "/webhook/twilio", "/webhook/twilio/voice", "/webhook/twilio/sms/other"] {
        let form = || Webhook::form(path, "MessageSid=SM1&Body=STOP");
        let signed = form().signed(&[("MessageSid", "SM1"), ("Body", "STOP")]);
        assert_eq!(refused(&mut world, &signed).await, "404 sms.not_found", "{path}");
        assert_eq!(refused(&mut world, &form()).await, "403 sms.forbidden", "{path}");
    }
    assert_eq!(world.sqs.sent(), []);
}

#[tokio::test]
async fn an_unsigned_request_is_one_log_line_without_its_path() {
    let mut world = World::start().await;
    let path = "/webhook/twilio/sms/+12035550100/rent";
    let strangers = [
        Webhook::form(path, "MessageSid=SM1"),
        Webhook::form(path, "x".repeat(70_000)),
        Webhook::get(path, "a=1"),
    ];
    for (place, stranger) in strangers.iter().enumerate() {
        world.post(stranger).await;
        let lines = eventually("a line", async || {
            Some(world.function.log().await).filter(|lines| lines.len() > place)
        })
        .await;
        assert_eq!(lines.len(), place + 1, "{lines:#?}");
        let line = &lines[place];
        assert_eq!(
            (&line["webhooks_refused"], &line["request_id"]),
            (&1.0.into(), &GATEWAY_REQUEST_ID.into())
        );
    }
    assert_eq!(world.function.metric_of("errors", "invalid_signature").await, 1.0);
    let log = serde_json::to_string(&world.function.log().await).unwrap();
    assert!(log.contains("the request has no signature"), "{log}");
    assert!(!log.contains("12035550100") && !log.contains("rent"), "{log}");
    assert!(world.postgres.accept().is_err(), "a connection was opened");
}

#[tokio::test]
async fn a_signed_request_with_another_method_is_refused() {
    let mut world = World::start().await;
    let put = Webhook::form(PATH, "MessageSid=SM1").signed(&[("MessageSid", "SM1")]).method("PUT");
    assert_eq!(refused(&mut world, &put).await, "405 sms.method_not_allowed");
}

#[tokio::test]
async fn a_malformed_event_gets_a_response_and_the_next_one_is_accepted() {
    let mut world = World::start().await;
    for malformed in
        [json!({}), json!([]), json!(null), json!({"Records": []}), json!({"requestContext": {"http": {}}})]
    {
        let reply = world.function.call(malformed.clone()).await;
        assert_eq!(reply["statusCode"], 400, "{malformed}: {reply}");
    }
    let mut event = hello().header("host", "not a host").event();
    for null in ["pathParameters", "queryStringParameters", "cookies", "stageVariables"] {
        event[null] = json!(null);
    }
    event["requestContext"]["authorizer"] = json!(null);
    assert_eq!(world.function.call(event).await["statusCode"], 200);
}
