//! What is refused, in which order, and with which answer.

use super::{GATEWAY_REQUEST_ID, PATH, World, hello};
use serde_json::Value;
use testing::{AUTH_TOKEN, BASE_URL, Webhook, eventually};

/// Posts and returns the status, the error's code and its details in one line, having checked the envelope.
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
async fn what_is_not_signed_by_twilio_is_forbidden() {
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
    // Only what was signed may be added to by a host header: it is the sender's word.
    let forwarded = hello().signed_with(AUTH_TOKEN, "https://evil.example", &[("MessageSid", "SM1")]);
    let forwarded = forwarded.header("host", "evil.example").header("x-forwarded-host", "evil.example");
    assert_eq!(refused(&mut world, &forwarded).await, "403 sms.forbidden");
    assert_eq!(world.sqs.sent(), []);
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large_whoever_sends_it() {
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
async fn a_genuine_request_that_is_no_form_is_refused_with_the_reason() {
    let mut world = World::start().await;
    let percent = "400 sms.validation_error body: cannot be read: parameter 2 has a % that two hexadecimal digits do not follow";
    let utf8 = "400 sms.validation_error body: cannot be read: parameter 2 is not valid UTF-8";
    let sid = "400 sms.validation_error MessageSid: is missing";
    let other = "400 sms.validation_error content-type: is neither a form nor JSON";
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
    for (webhook, answer) in cases {
        assert_eq!(refused(&mut world, &webhook).await, answer, "{webhook:?}");
    }
    assert_eq!(world.sqs.sent(), []);
}

#[tokio::test]
async fn a_sid_that_no_message_has_is_refused_and_a_long_one_is_not() {
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
async fn a_genuine_json_body_that_holds_no_form_is_refused() {
    let mut world = World::start().await;
    // The hashes are sha256sum's.
    let cases = [
        (
            "[]",
            "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
            "400 sms.validation_error body: cannot be read: the body is not a JSON object (line 1, column 0)",
        ),
        (
            "{}",
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "400 sms.validation_error MessageSid: is missing",
        ),
    ];
    for (body, hash, answer) in cases {
        let json = |hash: &str| {
            let query = format!("bodySHA256={hash}");
            Webhook::form(PATH, body).header("content-type", "application/json").query(&query).signed_url()
        };
        assert_eq!(refused(&mut world, &json(hash)).await, answer);
        assert_eq!(refused(&mut world, &json(&hash.to_uppercase())).await, "403 sms.forbidden");
    }
}

#[tokio::test]
async fn a_genuine_request_at_another_path_is_not_found() {
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
async fn an_unsigned_request_costs_one_line_of_the_log_which_does_not_show_its_path() {
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
    let log = serde_json::to_string(&world.function.log().await).unwrap();
    assert!(log.contains("the request has no signature"), "{log}");
    assert!(!log.contains("12035550100") && !log.contains("rent"), "{log}");
    assert!(world.postgres.accept().is_err(), "nobody has connected");
}

#[tokio::test]
async fn a_genuine_request_with_another_method_is_not_taken() {
    let mut world = World::start().await;
    let put = Webhook::form(PATH, "MessageSid=SM1").signed(&[("MessageSid", "SM1")]).method("PUT");
    assert_eq!(refused(&mut world, &put).await, "405 sms.method_not_allowed");
}
