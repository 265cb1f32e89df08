mod connections;

use super::*;
use crate::config::Env;
use crate::twilio::send_error::{Outcome, Retry};
use serde_json::json;
use wiremock::matchers::{any, basic_auth, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const ACCOUNT: &str = "AC00000000000000000000000000000001";

/// Returns a client with a timeout that is long enough for a busy machine.
fn client(base_url: &str) -> TwilioClient {
    client_with(base_url, Duration::from_secs(60))
}

fn client_with(base_url: &str, timeout: Duration) -> TwilioClient {
    let tokens = vec![Secret::new("token-1")];
    TwilioClient::new(TwilioConfig::new(ACCOUNT.parse().unwrap(), tokens, base_url.parse().unwrap(), timeout))
        .unwrap()
}

fn hello() -> CreateMessage {
    CreateMessage {
        to: "+12035550100".parse().unwrap(),
        sender: Sender::Number("+18605550100".into()),
        body: "Olá + ¿sí? 🏠 100% a=b&c".into(),
        media_urls: Vec::new(),
        status_callback: Some("https://sms.example.com/webhook/twilio/status?message_id=1".into()),
        validity_period: None,
    }
}

fn created() -> Value {
    json!({
        "account_sid": ACCOUNT, "api_version": "2010-04-01", "body": "hi",
        "date_created": "Thu, 24 Aug 2023 05:01:45 +0000",
        "date_sent": null, "date_updated": "Thu, 24 Aug 2023 05:01:45 +0000", "direction": "outbound-api",
        "error_code": null, "error_message": null, "from": "+18605550100", "messaging_service_sid": null,
        "num_media": "0", "num_segments": "1", "price": null, "price_unit": null,
        "sid": "SM00000000000000000000000000000001", "status": "queued", "subresource_uris": {}, "to": "+12035550100",
        "uri": "/2010-04-01/Accounts/AC/Messages/SM.json",
    })
}

async fn server(responses: impl IntoIterator<Item = ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    for response in responses {
        Mock::given(any()).respond_with(response).up_to_n_times(1).mount(&server).await;
    }
    server
}

async fn create_with_response(response: ResponseTemplate) -> Result<Message, SendError> {
    let server = server([response]).await;
    let outcome = client(&server.uri()).create_message(&hello()).await;
    assert_eq!(server.received_requests().await.unwrap().len(), 1, "exactly one request for any response");
    outcome
}

fn twilio_error(status: u16, code: u32) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(
        json!({"code": code, "message": "about +12035550100", "more_info": "…", "status": status}),
    )
}

#[tokio::test]
async fn a_create_is_a_form_with_basic_authentication() {
    let server = server([ResponseTemplate::new(201).set_body_json(created())]).await;
    let message = client(&server.uri()).create_message(&hello()).await.unwrap();
    assert_eq!(
        (message.sid.as_str(), message.status.as_str()),
        ("SM00000000000000000000000000000001", "queued")
    );
    assert_eq!((message.num_segments, message.num_media, message.error_code), (Some(1), 0, None));
    assert_eq!(message.created_at.unwrap().to_string(), "2023-08-24T05:01:45Z");
    assert_eq!(message.sent_at, None);
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.method.as_str(), "POST");
    assert_eq!(request.url.path(), format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json"));
    insta::assert_snapshot!(
        String::from_utf8(request.body.clone()).unwrap(),
        @"To=%2B12035550100&From=%2B18605550100&Body=Ol%C3%A1+%2B+%C2%BFs%C3%AD%3F+%F0%9F%8F%A0+100%25+a%3Db%26c&StatusCallback=https%3A%2F%2Fsms.example.com%2Fwebhook%2Ftwilio%2Fstatus%3Fmessage_id%3D1"
    );
    let headers = &request.headers;
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(headers["authorization"], "Basic QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTp0b2tlbi0x");
}

#[tokio::test]
async fn messaging_service_media_and_validity_period_have_twilios_parameter_names() {
    let server = server([ResponseTemplate::new(201).set_body_json(created())]).await;
    let message = CreateMessage {
        sender: Sender::MessagingService("MG1".into()),
        body: String::new(),
        media_urls: vec!["https://a/1.png".into(), "https://a/2.png".into()],
        status_callback: None,
        validity_period: Some(Duration::from_secs(100_000)),
        ..hello()
    };
    client(&format!("{}/proxy/", server.uri())).create_message(&message).await.unwrap();
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.url.path(), format!("/proxy/2010-04-01/Accounts/{ACCOUNT}/Messages.json"));
    insta::assert_snapshot!(
        String::from_utf8(request.body.clone()).unwrap(),
        @"To=%2B12035550100&MessagingServiceSid=MG1&MediaUrl=https%3A%2F%2Fa%2F1.png&MediaUrl=https%3A%2F%2Fa%2F2.png&ValidityPeriod=36000"
    );
}

#[tokio::test]
async fn each_response_has_the_outcome_that_it_proves() {
    let rejected = |code| Outcome::Rejected { code };
    let limited = |seconds| Outcome::NotProcessed { retry_after: Some(Duration::from_secs(seconds)) };
    let cases = [
        (twilio_error(400, 21211), rejected(21211)),
        (twilio_error(401, 20003), rejected(20003)),
        (twilio_error(400, 21611), Outcome::NotProcessed { retry_after: None }),
        (twilio_error(429, 20429).insert_header("Retry-After", "7"), limited(7)),
        (
            ResponseTemplate::new(429).insert_header("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"),
            limited(0),
        ),
        (
            ResponseTemplate::new(429).insert_header("Retry-After", "Tue, 31 Dec 2999 23:59:59 GMT"),
            limited(86_400),
        ),
        (ResponseTemplate::new(429).insert_header("Retry-After", "18446744073709551615"), limited(86_400)),
        (
            ResponseTemplate::new(429).insert_header("Retry-After", "soon"),
            Outcome::NotProcessed { retry_after: None },
        ),
        (ResponseTemplate::new(429), Outcome::NotProcessed { retry_after: None }),
        (twilio_error(500, 20500), Outcome::Ambiguous),
        (twilio_error(503, 20503).insert_header("Retry-After", "1"), Outcome::Ambiguous),
        (ResponseTemplate::new(502).set_body_string("<html>"), Outcome::Ambiguous),
        (ResponseTemplate::new(201), Outcome::Ambiguous),
        (ResponseTemplate::new(201).set_body_string("{\"sid\":"), Outcome::Ambiguous),
        (ResponseTemplate::new(201).set_body_string("{\"status\":\"queued\"}"), Outcome::Ambiguous),
        (ResponseTemplate::new(201).set_body_string("{\"sid\":\"CA1\"}"), Outcome::Ambiguous),
        (ResponseTemplate::new(200).set_body_string("<html>"), Outcome::Ambiguous),
        (ResponseTemplate::new(307).insert_header("Location", "/elsewhere"), Outcome::Ambiguous),
        (ResponseTemplate::new(400).set_body_string("<html>"), Outcome::Ambiguous),
        (ResponseTemplate::new(400).set_body_string("{\"code\":null}"), Outcome::Ambiguous),
        (ResponseTemplate::new(408), Outcome::Ambiguous),
    ];
    for (response, outcome) in cases {
        let error = create_with_response(response).await.unwrap_err();
        assert_eq!(error.outcome(), outcome, "{error:?}");
        assert!(!crate::error::chain(&error).contains("2035550100"), "{error:?}");
    }
}

#[tokio::test]
async fn a_response_with_a_sid_is_a_message_even_if_other_properties_are_malformed() {
    let body =
        json!({"sid": "SM1", "status": 7, "num_segments": "x", "date_created": "yesterday", "to": null});
    let message = create_with_response(ResponseTemplate::new(200).set_body_json(body)).await.unwrap();
    assert_eq!((message.sid.as_str(), message.status.as_str(), message.num_segments), ("SM1", "", None));
}

fn client_with_two_tokens(server: &MockServer) -> TwilioClient {
    let tokens = vec![Secret::new("revoked"), Secret::new("token-1")];
    let base_url = server.uri().parse().unwrap();
    TwilioClient::new(TwilioConfig::new(ACCOUNT.parse().unwrap(), tokens, base_url, Duration::from_secs(5)))
        .unwrap()
}

#[tokio::test]
async fn a_create_with_a_refused_token_fails_and_the_next_one_uses_the_accepted_token() {
    let list = json!({"messages": [], "next_page_uri": null});
    let server = server([
        twilio_error(401, 20003),
        twilio_error(401, 20003),
        ResponseTemplate::new(200).set_body_json(list),
        ResponseTemplate::new(201).set_body_json(created()),
    ])
    .await;
    let client = client_with_two_tokens(&server);
    let refused = client.create_message(&hello()).await.unwrap_err();
    assert!(matches!(refused, SendError::TokenRefused));
    assert_eq!(refused.retry(), Retry::Backoff { retry_after: None });
    client.create_message(&hello()).await.unwrap();
    let methods: Vec<_> =
        server.received_requests().await.unwrap().iter().map(|request| request.method.to_string()).collect();
    assert_eq!(methods, ["POST", "GET", "GET", "POST"]);
}

#[tokio::test]
async fn a_read_tries_each_token_and_returns_twilios_error_if_all_are_refused() {
    let page = ResponseTemplate::new(200).set_body_json(json!({"messages": [], "next_page_uri": null}));
    let server = server([twilio_error(401, 20003), page]).await;
    client_with_two_tokens(&server).check().await.unwrap();
    let server = self::server([twilio_error(401, 20003), twilio_error(401, 20003)]).await;
    let error = client_with_two_tokens(&server).check().await.unwrap_err();
    assert!(matches!(error, SendError::Refused { status: 401, code: 20003, .. }), "{error:?}");
}

#[tokio::test]
async fn messages_are_listed_page_by_page() {
    let first = json!({"messages": [created()],
        "next_page_uri": "/2010-04-01/Accounts/A/Messages.json?Page=1&PageToken=x"});
    let last = json!({"messages": [], "next_page_uri": null});
    let server = server([first, last].map(|page| ResponseTemplate::new(200).set_body_json(page))).await;
    let client = client(&server.uri());
    let filter = MessageFilter {
        to: Some("+12035550100".parse().unwrap()),
        from: Some("+18605550100".into()),
        sent_since: Some("2026-11-23T10:00:00.5Z".parse().unwrap()),
        sent_until: None,
    };
    let page = client.list_messages(&filter).await.unwrap();
    assert_eq!(page.messages.len(), 1);
    let last = client.list_next(&page.next.unwrap()).await.unwrap();
    assert_eq!(last, MessagePage { messages: vec![], next: None });
    let queries: Vec<String> = server
        .received_requests()
        .await
        .unwrap()
        .iter()
        .map(|request| request.url.query().unwrap().to_owned())
        .collect();
    let first = "To=%2B12035550100&From=%2B18605550100&DateSent%3E=2026-11-23T10%3A00%3A00Z&PageSize=1000";
    assert_eq!(queries, [first, "Page=1&PageToken=x"]);
}

#[tokio::test]
async fn credentials_are_not_sent_to_a_next_page_on_another_host() {
    for next in ["https://evil.example/x", "//evil.example/x", "http://127.0.0.1:1/x"] {
        let error = client("http://127.0.0.1:9").list_next(next).await.unwrap_err();
        assert!(matches!(error, SendError::Unreadable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_message_is_fetched_by_its_encoded_sid() {
    let responses = [ResponseTemplate::new(200).set_body_json(created()), twilio_error(404, 20404)];
    let server = server(responses).await;
    let client = client(&server.uri());
    client.fetch_message(&"SM1".parse().unwrap()).await.unwrap();
    let error = client.fetch_message(&"../../../Calls".parse().unwrap()).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (Some(20404), Retry::Never));
    let requests = server.received_requests().await.unwrap();
    let lines: Vec<String> = requests
        .iter()
        .map(|request| {
            let path =
                request.url.path().trim_start_matches("/2010-04-01/Accounts/").trim_start_matches(ACCOUNT);
            format!("{} {path}", request.method)
        })
        .collect();
    let encoded = "GET /Messages/%2E%2E%2F%2E%2E%2F%2E%2E%2FCalls.json";
    assert_eq!(lines, ["GET /Messages/SM1.json", encoded]);
}

#[test]
fn the_configuration_has_defaults_and_reports_missing_variables() {
    let set =
        |name: &str| ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"].contains(&name).then(|| "AC1".to_owned());
    let mut env = Env::new(&set);
    let config = TwilioConfig::from_env(&mut env).unwrap();
    assert_eq!(
        (config.base_url.as_str(), config.timeout),
        ("https://api.twilio.com/", Duration::from_secs(10))
    );
    let messaging = TwilioConfig::for_messaging(&mut Env::new(&set)).unwrap();
    assert_eq!(messaging.base_url.as_str(), "https://messaging.twilio.com/");
    let mut env = Env::new(&|_| None);
    assert!(TwilioConfig::from_env(&mut env).is_none());
    let error = env.finish(|| None::<()>).unwrap_err();
    assert_eq!(error.problems(), ["TWILIO_ACCOUNT_SID is missing", "TWILIO_AUTH_TOKEN is missing"]);
}

#[tokio::test]
async fn an_api_key_replaces_the_auth_token_but_not_the_account_in_the_path() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path(format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json")))
        .and(basic_auth("SK1", "secret"))
        .respond_with(ResponseTemplate::new(201).set_body_json(json!({"sid": "SM1", "status": "queued"})))
        .expect(1)
        .mount(&server)
        .await;
    let set = |name: &str| match name {
        "TWILIO_ACCOUNT_SID" => Some(ACCOUNT.to_owned()),
        "TWILIO_API_KEY_SID" => Some("SK1".to_owned()),
        "TWILIO_API_KEY_SECRET" => Some("secret".to_owned()),
        "TWILIO_API_BASE_URL" => Some(server.uri()),
        _ => None,
    };
    let mut env = Env::new(&set);
    let config = TwilioConfig::from_env(&mut env).unwrap();
    assert!(!env.names().contains(&"TWILIO_AUTH_TOKEN"), "an API key needs no auth token");
    TwilioClient::new(config).unwrap().create_message(&hello()).await.unwrap();
}

#[test]
fn an_incomplete_api_key_is_rejected() {
    for given in ["TWILIO_API_KEY_SID", "TWILIO_API_KEY_SECRET"] {
        let set = |name: &str| {
            ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", given].contains(&name).then(|| "x".to_owned())
        };
        let mut env = Env::new(&set);
        assert!(TwilioConfig::from_env(&mut env).is_none());
        let error = env.finish(|| None::<()>).unwrap_err();
        assert_eq!(error.problems(), ["TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET must be set together"]);
    }
}
