//! Twilio's REST API.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use twilio_simulator::{ApiKey, SenderQueue};

use crate::support::{ABSENT, ACCOUNT, HANDSET, NUMBER, SERVICE, TOKEN, World, config};

const CLOSED_PORT: &str = "http://127.0.0.1:1/";

#[tokio::test]
async fn a_create_response_has_twilios_fields() {
    let world = World::start(config(CLOSED_PORT)).await;
    let response = world.create(&[("Body", "año + 50 %")]).await.unwrap();
    assert_eq!(response.status(), 201);
    let headers: HeaderMap = response.headers().clone();
    assert!(headers["twilio-request-id"].to_str().unwrap().starts_with("RQ"));
    let mut message: Value = response.json().await.unwrap();
    let sid = message["sid"].as_str().unwrap().to_owned();
    assert_eq!((sid.len(), &sid[..2]), (34, "SM"));
    for date in ["date_created", "date_updated"] {
        let text = message[date].take();
        assert!(jiff::fmt::rfc2822::parse(text.as_str().unwrap()).is_ok(), "{text}");
        assert!(text.as_str().unwrap().ends_with(" +0000"));
    }
    assert_eq!(
        message,
        json!({
            "account_sid": ACCOUNT, "api_version": "2010-04-01", "body": "año + 50 %", "date_created": null,
            "date_sent": null, "date_updated": null, "direction": "outbound-api", "error_code": null,
            "error_message": null, "from": NUMBER, "messaging_service_sid": null, "num_media": "0",
            "num_segments": "1", "price": null, "price_unit": "USD", "sid": sid, "status": "queued",
            "subresource_uris": { "media": format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media.json") },
            "to": HANDSET, "uri": format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json"),
        })
    );
    world.reaches(&sid, "delivered").await;
    assert_eq!(world.received(HANDSET).await, ["año + 50 %"]);
}

#[tokio::test]
async fn a_messaging_service_selects_the_sender_after_accepting() {
    let world = World::start(config(CLOSED_PORT).with_messaging_service(SERVICE, vec![])).await;
    let (status, message) = world.created(&[("MessagingServiceSid", SERVICE)]).await;
    assert_eq!((status, &message["status"], &message["from"]), (201, &json!("accepted"), &Value::Null));
    assert_eq!((&message["num_segments"], &message["messaging_service_sid"]), (&json!("0"), &json!(SERVICE)));
    let sid = message["sid"].as_str().unwrap();
    world.reaches(sid, "delivered").await;
    let message = world.get(message["uri"].as_str().unwrap()).await;
    assert_eq!((&message["from"], &message["num_segments"]), (&json!(NUMBER), &json!("1")));
}

#[tokio::test]
async fn each_error_has_twilios_code_and_status() {
    let world = World::start(config(CLOSED_PORT)).await;
    let (long, longest) = ("é".repeat(1601), "é".repeat(1600));
    type Case<'a> = (&'a [(&'a str, &'a str)], u16, u64);
    let table: &[Case<'_>] = &[
        (&[("To", ABSENT)], 400, 21604),
        (&[("To", "")], 400, 21604),
        (&[("To", "12345")], 400, 21211),
        (&[("To", "+1555")], 400, 21211),
        (&[("From", ABSENT)], 400, 21603),
        (&[("From", "nobody")], 400, 21212),
        (&[("From", "+12035550199")], 400, 21606),
        (&[("Body", ABSENT)], 400, 21602),
        (&[("Body", "  ")], 400, 21602),
        (&[("Body", &long)], 400, 21617),
        (&[("MediaUrl", "not a url")], 400, 21620),
        (&[("MessagingServiceSid", SERVICE)], 400, 21701),
        (&[("StatusCallback", "http://my_host.example.com/")], 400, 21609),
        (&[("StatusCallback", "nonsense")], 400, 21609),
        (&[("ValidityPeriod", "0")], 400, 20001),
        (&[("ScheduleType", "fixed")], 400, 35111),
        (&[("ScheduleType", "fixed"), ("SendAt", "2099-01-01T00:00:00Z")], 400, 35118),
        (&[("To", "+15005550001")], 400, 21211),
        (&[("To", "+15005550002")], 400, 21612),
        (&[("To", "+15005550003")], 400, 21408),
        (&[("To", "+15005550004")], 400, 21610),
        (&[("To", "+15005550009")], 400, 21614),
        (&[("To", "+15005721611")], 429, 21611),
        (&[("To", "+15005720503")], 503, 20503),
    ];
    for (form, status, code) in table {
        let (got, error) = world.created(form).await;
        assert_eq!((got, error["code"].as_u64()), (*status, Some(*code)), "{form:?}: {error}");
        assert_eq!(error["status"], *status);
        assert_eq!(error["more_info"], format!("https://www.twilio.com/docs/errors/{code}"));
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    assert_eq!(world.created(&[("Body", &longest)]).await.0, 201);
    assert_eq!(world.created(&[("Body", ABSENT), ("MediaUrl", "https://example.com/a.png")]).await.0, 201);
}

#[tokio::test]
async fn other_credentials_are_rejected() {
    let mut settings = config(CLOSED_PORT);
    settings.auth_tokens.push("the next token".to_owned());
    settings.api_keys.push(ApiKey { sid: "SK1".to_owned(), secret: "s:cret".to_owned() });
    let world = World::start(settings).await;
    let list = async |user: &str, password: &str| {
        let request = world.client.get(world.messages()).basic_auth(user, Some(password));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap()["code"].as_u64())
    };
    assert_eq!(list(ACCOUNT, TOKEN).await, (200, None));
    assert_eq!(list(ACCOUNT, "the next token").await, (200, None));
    assert_eq!(list("SK1", "s:cret").await, (200, None));
    assert_eq!(list(ACCOUNT, "wrong").await, (401, Some(20003)));
    assert_eq!(list("SK1", TOKEN).await, (401, Some(20003)));
    assert_eq!(world.client.get(world.messages()).send().await.unwrap().status(), 401);
    let elsewhere = world.messages().replace(ACCOUNT, "AC00");
    let response = world.client.get(elsewhere).basic_auth(ACCOUNT, Some(TOKEN)).send().await.unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn replaced_credentials_are_accepted_and_the_former_ones_refused_and_logged() {
    let world = World::start(config(CLOSED_PORT)).await;
    let status = async |user: &str, password: &str| {
        let request = world.client.get(world.messages()).basic_auth(user, Some(password));
        request.send().await.unwrap().status().as_u16()
    };
    let replace = async |credentials: Value| {
        let url = format!("{}/simulator/credentials", world.simulator.url());
        world.client.put(url).json(&credentials).send().await.unwrap().status().as_u16()
    };
    let key = json!({ "sid": "SK1", "secret": "s:cret" });
    assert_eq!(replace(json!({ "auth_tokens": [TOKEN, "the next token"], "api_keys": [key] })).await, 204);
    assert_eq!((status(ACCOUNT, TOKEN).await, status(ACCOUNT, "the next token").await), (200, 200));
    assert_eq!(status("SK1", "s:cret").await, 200);
    assert_eq!(world.get("/simulator/refusals").await, json!([]));

    assert_eq!(replace(json!({ "auth_tokens": ["the next token"] })).await, 204);
    assert_eq!((status(ACCOUNT, TOKEN).await, status("SK1", "s:cret").await), (401, 401));
    assert_eq!(status(ACCOUNT, "the next token").await, 200);
    let refusals = world.get("/simulator/refusals").await;
    let users: Vec<_> = refusals.as_array().unwrap().iter().map(|refusal| &refusal["user"]).collect();
    assert_eq!(users, [ACCOUNT, "SK1"]);

    for invalid in [json!({ "auth_tokens": [] }), json!({ "auth_tokens": [""] })] {
        assert_eq!(replace(invalid).await, 400);
    }
    assert_eq!(replace(json!({ "auth_token": "a" })).await, 422);
    assert_eq!(status(ACCOUNT, "the next token").await, 200);
}

#[tokio::test]
async fn test_credentials_know_the_magic_senders_and_store_nothing() {
    let mut settings = config(CLOSED_PORT);
    settings.test_credentials = Some(ApiKey { sid: "ACtest".to_owned(), secret: "t".to_owned() });
    let world = World::start(settings).await;
    let url = world.messages().replace(ACCOUNT, "ACtest");
    let table = [
        ("+15005550006", 201, None),
        ("+15005550001", 400, Some(21212)),
        ("+15005550007", 400, Some(21606)),
        ("+15005550008", 429, Some(21611)),
        (NUMBER, 400, Some(21606)),
    ];
    for (from, status, code) in table {
        let form = [("From", from), ("To", HANDSET), ("Body", "hello")];
        let request = world.client.post(&url).basic_auth("ACtest", Some("t")).form(&form);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{from}");
        assert_eq!(response.json::<Value>().await.unwrap()["code"].as_u64(), code, "{from}");
    }
    assert_eq!(world.get("/simulator/handsets").await, json!([]));
}

#[tokio::test]
async fn a_list_is_filtered_paginated_and_newest_first() {
    let world = World::start(config(CLOSED_PORT)).await;
    for number in 0..7 {
        let body = number.to_string();
        world
            .created(&[("Body", &body), ("To", if number % 2 == 0 { HANDSET } else { "+12035559999" })])
            .await;
    }
    let base = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json");
    let bodies = |page: &Value| -> String {
        page["messages"].as_array().unwrap().iter().map(|message| message["body"].as_str().unwrap()).collect()
    };
    let first = world.get(&format!("{base}?PageSize=3")).await;
    assert_eq!((bodies(&first).as_str(), &first["previous_page_uri"]), ("654", &Value::Null));
    // A new message does not shift the pages.
    world.created(&[("Body", "7")]).await;
    let second = world.get(first["next_page_uri"].as_str().unwrap()).await;
    assert_eq!((bodies(&second).as_str(), &second["page"], &second["start"]), ("321", &json!(1), &json!(3)));
    let third = world.get(second["next_page_uri"].as_str().unwrap()).await;
    assert_eq!((bodies(&third).as_str(), &third["next_page_uri"]), ("0", &Value::Null));
    let back = world.get(third["previous_page_uri"].as_str().unwrap()).await;
    assert_eq!(bodies(&back), "321");

    let filtered = async |query: &str| bodies(&world.get(&format!("{base}?{query}")).await);
    assert_eq!(filtered("To=%2B12035551234").await, "76420");
    assert_eq!(filtered("To=%2B12035551234&From=%2B12035550100&PageSize=2").await, "76");
    assert_eq!(filtered("From=%2B12035551234").await, "");
    let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
    // Two days, so that the test can run across midnight.
    let two = jiff::Span::new().days(2);
    let (past, next) = (today.checked_sub(two).unwrap(), today.checked_add(two).unwrap());
    for message in world.get(&base).await["messages"].as_array().unwrap() {
        world.reaches(message["sid"].as_str().unwrap(), "delivered").await;
    }
    assert_eq!(filtered(&format!("To=%2B12035559999&DateSent>={past}")).await, "531");
    assert_eq!(filtered(&format!("To=%2B12035559999&DateSent%3E={past}T00:00:00Z")).await, "531");
    assert_eq!(filtered(&format!("To=%2B12035559999&DateSent%3E%3D={next}")).await, "");
    assert_eq!(filtered(&format!("To=%2B12035559999&DateSent<={past}")).await, "");
    assert_eq!(filtered(&format!("To=%2B12035559999&DateSent%3C={next}T00:00:00Z")).await, "531");
    let error = world.get(&format!("{base}?DateSent=yesterday")).await;
    assert_eq!(error["code"], 20001);
}

#[tokio::test]
async fn a_list_by_date_sent_omits_unsent_messages() {
    let mut settings = config(CLOSED_PORT);
    settings.delays.sent = std::time::Duration::from_secs(3_600);
    let world = World::start(settings).await;
    world.created(&[]).await;
    let base = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json");
    let count =
        async |query: &str| world.get(&format!("{base}?{query}")).await["messages"].as_array().unwrap().len();
    assert_eq!(count("").await, 1);
    assert_eq!(count("DateSent%3E=2020-01-01").await, 0);
    assert_eq!(count("DateSent%3C=2099-01-01").await, 0);
}

#[tokio::test]
async fn a_sender_queue_sends_at_its_rate_and_rejects_messages_when_full() {
    let of_rate = async |segments_per_second: f64| {
        let mut settings = config(CLOSED_PORT);
        settings.sender_queue = Some(SenderQueue { segments_per_second, segments: 4.0 });
        World::start(settings).await
    };
    let two_segments = "x".repeat(200);
    let bodies = ["first", &two_segments, "last"];
    let create = async |world: &World| {
        let mut last = String::new();
        for body in bodies {
            let (status, message) = world.created(&[("Body", body)]).await;
            assert_eq!((status, &message["status"]), (201, &json!("queued")));
            message["sid"].as_str().unwrap().clone_into(&mut last);
        }
        last
    };
    let (world, begun) = (of_rate(10.0).await, std::time::Instant::now());
    world.reaches(&create(&world).await, "delivered").await;
    let took = begun.elapsed();
    assert!(took >= std::time::Duration::from_millis(300), "three segments before the last one: {took:?}");
    assert_eq!(world.received(HANDSET).await, bodies);

    // At this rate no message is sent during the test.
    let world = of_rate(0.001).await;
    create(&world).await;
    let (status, refused) = world.created(&[("Body", &two_segments)]).await;
    assert_eq!((status, &refused["code"]), (429, &json!(21611)));
    let creates = world.get("/simulator/creates").await;
    let logged: Vec<_> = creates.as_array().unwrap().iter().map(|create| &create["body"]).collect();
    assert_eq!(logged, ["first", &two_segments, "last", &two_segments]);
}

#[tokio::test]
async fn a_messaging_service_message_fails_when_the_sender_queue_is_full() {
    let mut settings = config(CLOSED_PORT).with_messaging_service(SERVICE, vec![NUMBER.to_owned()]);
    settings.sender_queue = Some(SenderQueue { segments_per_second: 0.001, segments: 1.0 });
    let world = World::start(settings).await;
    let mut sids = Vec::new();
    for _ in 0..2 {
        let (status, message) = world.created(&[("MessagingServiceSid", SERVICE)]).await;
        assert_eq!((status, &message["status"]), (201, &json!("accepted")));
        sids.push(message["sid"].as_str().unwrap().to_owned());
        world.reaches(&sids[0], "delivered").await;
    }
    world.reaches(&sids[1], "failed").await;
    let uri = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{}.json", sids[1]);
    assert_eq!(world.get(&uri).await["error_code"], 30001);
}

#[tokio::test]
async fn a_message_can_be_redacted_and_deleted() {
    let world = World::start(config(CLOSED_PORT)).await;
    let (_, message) = world.created(&[("MediaUrl", "https://example.com/a.png")]).await;
    let (sid, uri) = (message["sid"].as_str().unwrap(), message["uri"].as_str().unwrap());
    assert_eq!((&sid[..2], &message["num_media"]), ("MM", &json!("1")));
    let media = world.get(message["subresource_uris"]["media"].as_str().unwrap()).await;
    assert_eq!(media["media_list"][0]["content_type"], "image/png");
    world.reaches(sid, "delivered").await;
    let url = format!("{}{uri}", world.simulator.url());
    let auth = |request: reqwest::RequestBuilder| request.basic_auth(ACCOUNT, Some(TOKEN));
    let canceled = auth(world.client.post(&url)).form(&[("Status", "canceled")]).send().await.unwrap();
    assert_eq!(canceled.status(), 409);
    let redacted = auth(world.client.post(&url)).form(&[("Body", "")]).send().await.unwrap();
    assert_eq!(redacted.json::<Value>().await.unwrap()["body"], "");
    assert_eq!(world.received(HANDSET).await, ["hello"], "redaction does not change the handset");
    assert_eq!(auth(world.client.delete(&url)).send().await.unwrap().status(), 204);
    let gone = world.get(uri).await;
    assert_eq!((&gone["code"], &gone["status"]), (&json!(20404), &json!(404)));
    let missing = world.get("/2010-04-01/Nothing.json").await;
    assert_eq!(missing["message"], "The requested resource /2010-04-01/Nothing.json was not found");
    let wrong = auth(world.client.put(world.messages())).send().await.unwrap();
    assert_eq!(
        (wrong.status().as_u16(), wrong.json::<Value>().await.unwrap()["code"].as_u64()),
        (405, Some(20004))
    );
}

#[tokio::test]
async fn a_scheduled_message_can_be_canceled() {
    let world =
        World::start(config(CLOSED_PORT).with_messaging_service(SERVICE, vec![NUMBER.to_owned()])).await;
    let at = |minutes: i64| {
        let at = jiff::Zoned::now().timestamp() + jiff::SignedDuration::from_mins(minutes);
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let (soon, later) = (at(4), at(10));
    let form = |at| [("MessagingServiceSid", SERVICE), ("ScheduleType", "fixed"), ("SendAt", at)];
    assert_eq!(world.created(&form(&soon)).await.1["code"], 35114);
    let (status, message) = world.created(&form(&later)).await;
    assert_eq!((status, &message["status"]), (201, &json!("scheduled")));
    let url = format!("{}{}", world.simulator.url(), message["uri"].as_str().unwrap());
    let request = world.client.post(&url).basic_auth(ACCOUNT, Some(TOKEN)).form(&[("Status", "canceled")]);
    assert_eq!(request.send().await.unwrap().json::<Value>().await.unwrap()["status"], "canceled");
    assert!(world.received(HANDSET).await.is_empty());
}

#[tokio::test]
async fn smart_encoding_replaces_characters_when_enabled() {
    let world = World::start(config(CLOSED_PORT)).await;
    let body = "“Rent”\u{a0}is\tdue… ‹now›";
    let (_, plain) = world.created(&[("Body", body)]).await;
    assert_eq!(plain["body"], body, "disabled by default");
    let switch = format!("{}/simulator/smart-encoding", world.simulator.url());
    let switched = world.client.put(switch).json(&true).send().await.unwrap();
    assert_eq!(switched.status(), 204);
    assert_eq!(world.get("/simulator").await["smart_encoding"], true);
    let expected = "\"Rent\"  is       due... <now>";
    let (_, message) = world.created(&[("Body", body)]).await;
    assert_eq!((&message["body"], &message["num_segments"]), (&json!(expected), &json!("1")));
    let listed = world.get(&format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json")).await;
    assert_eq!(listed["messages"][0]["body"], expected);
    world.reaches(message["sid"].as_str().unwrap(), "delivered").await;
    assert!(world.received(HANDSET).await.contains(&expected.to_owned()));
}
