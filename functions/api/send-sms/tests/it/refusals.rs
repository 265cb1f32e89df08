//! Invalid input and its exact error.

use super::{OUR_NUMBER, TENANT, World, sms};
use serde_json::{Value, json};
use testing::{ApiRequest, refusal};

async fn refused(world: &mut World, payload: Value) -> String {
    refusal(&world.send(payload).await)
}

async fn refused_text(world: &mut World, text: &str) -> String {
    let request = ApiRequest::new("POST", "/sms/send").scopes("messages:send").body(text);
    refusal(&world.function.call(request.event()).await)
}

fn one(field: &str, reason: &str) -> String {
    format!("400 sms.validation_error\n  {field}: {reason}")
}

#[tokio::test]
async fn a_body_that_is_not_a_json_object_is_refused_with_its_position() {
    let mut world = World::start().await;
    for (text, reason) in [
        ("", "is missing"),
        ("{", "is not JSON: EOF while parsing an object at line 1 column 1"),
        ("to=1", "is not JSON: expected ident at line 1 column 2"),
        ("{\n  \"to\": \"1\",\n}", "is not JSON: trailing comma at line 3 column 1"),
        ("{} {}", "is not JSON: trailing characters at line 1 column 4"),
        ("\u{feff}{}", "begins with a byte order mark (BOM); send UTF-8 without it"),
        ("[]", "is not a JSON object"),
        ("null", "is not a JSON object"),
        ("\"to\"", "is not a JSON object"),
        ("1", "is not a JSON object"),
    ] {
        assert_eq!(refused_text(&mut world, text).await, one("request body", reason), "{text}");
    }
    let mut no_body = sms(&json!({})).event();
    no_body.as_object_mut().unwrap().remove("body");
    assert_eq!(refusal(&world.function.call(no_body).await), one("request body", "is missing"));
    let mut bytes = sms(&json!({})).event();
    (bytes["body"], bytes["isBase64Encoded"]) = (json!("eyJ0byI6Iv8ifQ=="), json!(true));
    let invalid = "is not JSON: invalid unicode code point at line 1 column 8";
    assert_eq!(refusal(&world.function.call(bytes).await), one("request body", invalid));
}

#[tokio::test]
async fn a_compressed_body_is_refused_with_the_reason() {
    let mut world = World::start().await;
    let mut gzip = sms(&json!({})).event();
    (gzip["body"], gzip["isBase64Encoded"]) = (json!("H4sIAAAAAAAAA6uuBQBDv6ajAgAAAA=="), json!(true));
    let reason = "is compressed with gzip; send it uncompressed";
    assert_eq!(refusal(&world.function.call(gzip.clone()).await), one("request body", reason));
    for coding in ["gzip", "GZIP", "identity, br", "deflate", "zstd"] {
        let mut event = gzip.clone();
        event["headers"]["content-encoding"] = json!(coding);
        let coding = coding.rsplit(' ').next().unwrap().to_lowercase();
        let reason = format!("is compressed ({coding}); send it without a Content-Encoding");
        assert_eq!(refusal(&world.function.call(event).await), one("request body", &reason));
    }
    let plain = sms(&json!({"to": TENANT, "body": "x"})).header("content-encoding", "identity");
    assert_eq!(world.function.call(plain.event()).await["statusCode"], 202);
}

#[tokio::test]
async fn a_value_that_cannot_be_parsed_is_refused_by_its_field() {
    let mut world = World::start().await;
    for (name, value, reason) in [
        ("to", "1e400", "is a number that is out of range"),
        ("to", "\"\\ud800\"", "is not JSON: unexpected end of hex escape"),
        (
            "metadata",
            "{\"n\": 1e400}",
            "holds the number 1e400, which can't be kept exactly; write it without an exponent, or as a string",
        ),
        (
            "metadata",
            "{\"n\": [1e-400]}",
            "holds the number 1e-400, which can't be kept exactly; write it without an exponent, or as a string",
        ),
        ("metadata", "{\"n\": -0}", "holds the number -0, which can't be kept exactly; write 0, or a string"),
        (
            "metadata",
            "{\"n\": {\"a\": 1, \"a\": 2}}",
            "has an object in which a field is given more than once",
        ),
    ] {
        let mut fields = vec![("to", json!(TENANT).to_string()), ("body", json!("x").to_string())];
        fields.retain(|(field, _)| *field != name);
        fields.push((name, value.to_owned()));
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        let text = format!("{{{}}}", fields.join(", "));
        assert_eq!(refused_text(&mut world, &text).await, one(name, reason), "{text}");
    }
    assert_eq!(world.rows("sms_messages").await, "0");
}

#[tokio::test]
async fn an_invalid_rfc_3339_time_is_refused_with_the_reason() {
    let mut world = World::start().await;
    let form = "is not an instant with its offset, such as 2026-11-23T10:00:00Z";
    for field in ["send_at", "send_before"] {
        for (value, reason) in [
            (
                "2127-06-01T12:00:00-09:00[America/New_York]",
                "has an offset that its time zone does not have at that time",
            ),
            ("2127-06-01T12:00:00+25:00", "has an offset that is not between -23:59 and +23:59"),
            ("2127-06-01T14:53:60Z", "has the second 60, and leap seconds are not supported"),
            ("2127-06-01T12:00:00+05:30:15", form),
            (
                "9999-12-31T23:59:59Z",
                "is not between the years 0000 and 9999; the latest supported instant is 9999-12-30T22:00:00Z",
            ),
        ] {
            let payload = json!({"to": TENANT, "body": "x", field: value});
            assert_eq!(refused(&mut world, payload).await, one(field, reason), "{value}");
        }
        let zoned = json!({"to": TENANT, "body": "x", field: "2127-06-01T12:00:00-04:00[America/New_York]"});
        world.accepted(zoned).await;
    }
    let far = json!({"to": TENANT, "body": "x", "send_before": "9999-12-30T22:00:00Z"});
    world.accepted(far).await;
}

#[tokio::test]
async fn a_recipient_that_cannot_be_sent_to_is_refused_with_the_reason() {
    let mut world = World::start().await;
    for (to, reason) in [
        (json!(""), "can't be sent to: the phone number is empty"),
        (json!(" "), "can't be sent to: the phone number is empty"),
        (json!("hello"), "can't be sent to: not a phone number"),
        (json!("40404"), "can't be sent to: a short code can't receive messages"),
        (json!("5550123"), "can't be sent to: the area code is missing"),
        (json!("+1203555012"), "can't be sent to: too few digits for a number of its country"),
        (json!("+120355501234"), "can't be sent to: too many digits for a number of its country"),
        (json!("+10005550123"), "can't be sent to: its country's numbering plan has no such number"),
        (json!("+999123456789"), "can't be sent to: no country has this country code"),
        (json!("+12035550123 ext. 7"), "can't be sent to: a number with an extension can't receive messages"),
        (json!("1".repeat(251)), "can't be sent to: the phone number is longer than 250 characters"),
        (json!("+1203555\u{0}0123"), "contains a NUL character"),
        (json!(12_035_550_123_u64), "must be a string, not a number"),
        (json!(["+12035550123"]), "must be a string, not a list"),
    ] {
        let response = refused(&mut world, json!({"to": to, "body": "x"})).await;
        assert_eq!(response, one("to", reason), "{to}");
    }
    assert_eq!(refused(&mut world, json!({"body": "x"})).await, one("to", "is missing"));
    assert_eq!(refused(&mut world, json!({"to": null, "body": "x"})).await, one("to", "is missing"));
}

#[tokio::test]
async fn each_field_is_refused_with_its_reason() {
    let mut world = World::start().await;
    let media = |urls: &[&str]| json!(urls);
    let eleven = vec!["https://example.com/a"; 11];
    let no_body = "is missing, and there are no media_urls";
    for (field, value, named, reason) in [
        ("body", json!(null), "body", no_body),
        ("body", json!(""), "body", "is blank, and there are no media_urls"),
        ("body", json!(" \n\t\u{a0}\u{2003}"), "body", "is blank, and there are no media_urls"),
        ("body", json!("x".repeat(1601)), "body", "has 1601 characters; 1600 are allowed"),
        ("body", json!("🏠".repeat(1601)), "body", "has 1601 characters; 1600 are allowed"),
        ("body", json!("a\u{0}b"), "body", "contains a NUL character"),
        ("body", json!(7), "body", "must be a string, not a number"),
        ("body", json!({}), "body", "must be a string, not an object"),
        ("from", json!("+12035550199"), "from", "is not a configured number or messaging service"),
        ("from", json!(""), "from", "is not a configured number or messaging service"),
        ("from", json!("MG1"), "from", "is not a configured number or messaging service"),
        ("from", json!(true), "from", "must be a string, not a boolean"),
        ("send_at", json!("2020-01-01T00:00:00Z"), "send_at", "has passed"),
        (
            "send_at",
            json!("tomorrow"),
            "send_at",
            "is not an instant with its offset, such as 2026-11-23T10:00:00Z",
        ),
        (
            "send_at",
            json!("2126-01-01T00:00:00"),
            "send_at",
            "is not an instant with its offset, such as 2026-11-23T10:00:00Z",
        ),
        (
            "send_at",
            json!("2126-02-30T00:00:00Z"),
            "send_at",
            "is not an instant with its offset, such as 2026-11-23T10:00:00Z",
        ),
        ("send_at", json!(4_923_072_000_u64), "send_at", "must be a string, not a number"),
        ("send_before", json!("2020-01-01T00:00:00Z"), "send_before", "has passed"),
        ("conversation_id", json!("7"), "conversation_id", "is not a UUID"),
        (
            "conversation_id",
            json!("01900000-0000-7000-8000-000000000009"),
            "conversation_id",
            "is not a conversation",
        ),
        (
            "media_urls",
            json!("https://example.com/a"),
            "media_urls",
            "must be a list of strings, not a string",
        ),
        (
            "media_urls",
            json!(["https://example.com/a", 1]),
            "media_urls[1]",
            "must be a string, not a number",
        ),
        ("media_urls", media(&["ftp://example.com/a"]), "media_urls[0]", "is not an http or https URL"),
        (
            "media_urls",
            media(&["https://example.com/a", "example.com"]),
            "media_urls[1]",
            "is not an http or https URL",
        ),
        ("media_urls", json!(eleven), "media_urls", "has 11 entries; 10 are allowed"),
        ("priority", json!("high"), "priority", "must be urgent, normal or bulk"),
        ("priority", json!("URGENT"), "priority", "must be urgent, normal or bulk"),
        ("priority", json!(1), "priority", "must be a string, not a number"),
        ("metadata", json!("x"), "metadata", "must be an object, not a string"),
        ("metadata", json!([]), "metadata", "must be an object, not a list"),
        ("metadata", json!({"a": {"b": ["\u{0}"]}}), "metadata", "contains a NUL character"),
        ("workflow_type", json!("x".repeat(256)), "workflow_type", "has more than 255 characters"),
        ("workflow_id", json!(17), "workflow_id", "must be a string, not a number"),
        ("text", json!("x"), "text", "is not a field of this request"),
        ("To", json!(TENANT), "To", "is not a field of this request"),
    ] {
        let mut payload = json!({"to": TENANT, "body": "x"});
        payload[field] = value;
        assert_eq!(refused(&mut world, payload.clone()).await, one(named, reason), "{payload}");
    }
    assert_eq!(world.rows("sms_messages").await, "0");
    assert_eq!(world.sqs.sent(), []);
}

#[tokio::test]
async fn all_problems_are_reported_at_once() {
    let mut world = World::start().await;
    let payload = json!({
        "to": "40404", "body": "x".repeat(1601), "from": "+12035550199", "send_at": "2020-01-01T00:00:00Z",
        "send_before": "2019-01-01T00:00:00Z", "conversation_id": "x", "media_urls": ["x"], "priority": 1,
        "metadata": 1, "sendAt": "x", "workflow_type": "x".repeat(256),
    });
    let request = sms(&payload).header("idempotency-key", "ç");
    let response = refusal(&world.function.call(request.event()).await);
    assert_eq!(
        response,
        "400 sms.validation_error
  conversation_id: is not a UUID
  priority: must be a string, not a number
  metadata: must be an object, not a number
  sendAt: is not a field of this request
  Idempotency-Key: must be 1 to 255 printable ASCII characters
  to: can't be sent to: a short code can't receive messages
  body: has 1601 characters; 1600 are allowed
  media_urls[0]: is not an http or https URL
  send_at: has passed
  send_before: has passed
  workflow_type: has more than 255 characters
  from: is not a configured number or messaging service"
    );
}

#[tokio::test]
async fn fields_that_contradict_each_other_are_refused() {
    let mut world = World::start().await;
    let other = world.accepted(json!({"to": "+12035550124", "body": "x"})).await;
    let payload = json!({"to": TENANT, "body": "x", "conversation_id": other["conversation_id"]});
    assert_eq!(
        refused(&mut world, payload).await,
        one("conversation_id", "is the conversation with another number")
    );
    for before in ["2126-01-01T00:00:00Z", "2125-01-01T00:00:00Z"] {
        let payload =
            json!({"to": TENANT, "body": "x", "send_at": "2126-01-01T00:00:00Z", "send_before": before});
        assert_eq!(refused(&mut world, payload).await, one("send_before", "must be later than send_at"));
    }
    let twice = format!("{{\"to\": \"{TENANT}\", \"body\": \"x\", \"to\": \"{OUR_NUMBER}\"}}");
    assert_eq!(refused_text(&mut world, &twice).await, one("to", "is given more than once"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let mut world = World::start().await;
    let of_size = |size: usize| {
        let text = json!({"to": TENANT, "body": "x", "metadata": {"pad": ""}}).to_string();
        text.replace("\"pad\":\"\"", &format!("\"pad\":\"{}\"", "x".repeat(size - text.len())))
    };
    let limit = 256 * 1024;
    assert_eq!(refused_text(&mut world, &of_size(limit + 1)).await, "413 sms.payload_too_large");
    let request = ApiRequest::new("POST", "/sms/send").body(&of_size(limit));
    assert_eq!(world.function.call(request.event()).await["statusCode"], 202);
}

#[tokio::test]
async fn an_idempotency_key_is_1_to_255_printable_ascii_characters() {
    let mut world = World::start().await;
    let payload = json!({"to": TENANT, "body": "x"});
    for bad in ["", "ç", "a\tb", "a\u{7f}", &"x".repeat(256)] {
        let response = world.function.call(sms(&payload).header("idempotency-key", bad).event()).await;
        let reason = "must be 1 to 255 printable ASCII characters";
        assert_eq!(refusal(&response), one("Idempotency-Key", reason), "{bad:?}");
    }
    for good in ["x", "a b", "~!\"{}", &"x".repeat(255)] {
        let response = world.function.call(sms(&payload).header("idempotency-key", good).event()).await;
        assert_eq!(response["statusCode"], 202, "{good:?}");
    }
}
