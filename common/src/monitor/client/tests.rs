//! Tests of the requests and of all kinds of responses, with a mock server.

use super::*;
use serde_json::json;
use wiremock::matchers::{any, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// A time limit in milliseconds that is long enough for a busy machine.
const LONG: u64 = 60_000;
/// The delay of a response that exceeds each time limit.
const TOO_LATE: Duration = Duration::from_secs(600);

const FORMATS: [&str; 4] = ["(202) 555-0123", "+12025550123", "2025550123", "12025550123"];

fn formats() -> Vec<String> {
    FORMATS.map(str::to_owned).to_vec()
}

fn client(server: &MockServer, timeout: u64, budget: u64) -> MonitorClient {
    let config = MonitorConfig {
        base_url: server.uri().parse().unwrap(),
        timeout: Duration::from_millis(timeout),
        budget: Duration::from_millis(budget),
        breaker_open: Duration::from_secs(60),
    };
    MonitorClient::new(config).unwrap()
}

async fn mock_lookup(server: &MockServer, format: &str, response: ResponseTemplate) {
    let mock = Mock::given(method("GET")).and(path("/tenants/lookup")).and(query_param("phone", format));
    mock.respond_with(response).mount(server).await;
}

async fn requested(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.unwrap();
    requests.iter().map(|request: &Request| request.url.query().unwrap_or_default().to_owned()).collect()
}

fn tenant(id: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({ "tenant_id": id }))
}

fn is_tenant(lookup: &TenantLookup, id: &str) -> bool {
    matches!(lookup, TenantLookup::Tenant(found) if found.tenant_id == id)
}

#[tokio::test]
async fn formats_are_requested_in_order_and_percent_encoded_until_one_matches() {
    let server = MockServer::start().await;
    mock_lookup(&server, FORMATS[0], ResponseTemplate::new(404)).await;
    mock_lookup(&server, FORMATS[1], ResponseTemplate::new(204)).await;
    mock_lookup(&server, FORMATS[2], tenant("T-1")).await;
    mock_lookup(&server, FORMATS[3], tenant("T-2")).await;
    let lookup = client(&server, LONG, LONG).lookup(&formats(), LookupMode::FirstMatch).await.unwrap();
    assert!(is_tenant(&lookup.tenant, "T-1") && lookup.requested == 3, "{lookup:?}");
    assert_eq!(
        requested(&server).await,
        ["phone=%28202%29%20555%2D0123", "phone=%2B12025550123", "phone=2025550123"]
    );
}

#[tokio::test]
async fn a_lookup_of_all_formats_with_different_tenants_is_ambiguous() {
    let server = MockServer::start().await;
    mock_lookup(&server, FORMATS[2], tenant("T-1")).await;
    mock_lookup(&server, FORMATS[3], tenant("T-2")).await;
    let client = client(&server, LONG, LONG);
    let lookup = client.lookup(&formats(), LookupMode::AllFormats).await.unwrap();
    assert_eq!(lookup.tenant, TenantLookup::Ambiguous(vec!["T-1".to_owned(), "T-2".to_owned()]));
    assert_eq!(requested(&server).await.len(), 4);
}

#[tokio::test]
async fn confirm_requests_the_remaining_formats_and_all_formats_after_a_contradiction() {
    let confirm = async |known: &[(usize, &str)], expected: &[&str]| {
        let server = MockServer::start().await;
        for (format, id) in known {
            mock_lookup(&server, FORMATS[*format], tenant(id)).await;
        }
        let confirmed = client(&server, LONG, LONG).confirm(&formats(), 2, "T-1").await.unwrap();
        let requests = server.received_requests().await.unwrap();
        let of = |request: &Request| request.url.query_pairs().next().unwrap().1.into_owned();
        assert_eq!(requests.iter().map(of).collect::<Vec<_>>(), expected);
        confirmed
    };
    let (rest, all) = (&FORMATS[2..], [2, 3, 1, 0].map(|at| FORMATS[at]));
    assert!(is_tenant(&confirm(&[], rest).await, "T-1"));
    assert!(is_tenant(&confirm(&[(3, "T-1")], rest).await, "T-1"));
    let both = TenantLookup::Ambiguous(vec!["T-1".to_owned(), "T-2".to_owned()]);
    assert_eq!(confirm(&[(1, "T-1"), (3, "T-2")], &all).await, both);
    let reassigned = confirm(&[(1, "T-2"), (2, "T-2")], &all).await;
    assert!(is_tenant(&reassigned, "T-2"), "{reassigned:?}");
}

#[tokio::test]
async fn a_number_is_not_found_if_no_format_matches() {
    let server = MockServer::start().await;
    let lookup = client(&server, LONG, LONG).lookup(&formats(), LookupMode::FirstMatch).await.unwrap();
    assert_eq!((lookup.tenant, lookup.requested), (TenantLookup::NotFound, 4));
    assert_eq!(requested(&server).await.len(), 4);
}

#[tokio::test]
async fn a_failed_format_fails_the_lookup() {
    let server = MockServer::start().await;
    mock_lookup(&server, FORMATS[1], ResponseTemplate::new(500)).await;
    mock_lookup(&server, FORMATS[2], tenant("T-1")).await;
    let error = client(&server, LONG, LONG).lookup(&formats(), LookupMode::FirstMatch).await.unwrap_err();
    assert!(matches!(error, RequestError::Failed(_)), "{error:?}");
    assert_eq!(
        requested(&server).await.len(),
        4,
        "one request for the first format and three for the second"
    );
}

#[tokio::test]
async fn errors_contain_neither_phone_number_nor_url() {
    let server = MockServer::start().await;
    let long = ResponseTemplate::new(200).set_body_string(" ".repeat(64 * 1024 + 1));
    let slow = tenant("T-1").set_delay(TOO_LATE);
    server.reset().await;
    Mock::given(any()).respond_with(slow).mount(&server).await;
    let late = client(&server, 100, LONG).lookup(&formats(), LookupMode::FirstMatch).await.unwrap_err();
    assert_eq!(crate::error::chain(&late), "no response within 100 ms");
    for (response, expected) in [
        (ResponseTemplate::new(500), "the service failed with 500 Internal Server Error"),
        (ResponseTemplate::new(429), "the service failed with 429 Too Many Requests"),
        (ResponseTemplate::new(401), "the service rejected the request with 401 Unauthorized"),
        (
            ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:9/"),
            "the service rejected the request with 302 Found",
        ),
        (ResponseTemplate::new(200).set_body_string("<html>"), "the response is not JSON"),
        (long, "the response is longer than 65536 bytes"),
    ] {
        server.reset().await;
        Mock::given(any()).respond_with(response).mount(&server).await;
        let error = client(&server, LONG, LONG).lookup(&formats(), LookupMode::FirstMatch).await.unwrap_err();
        assert_eq!(crate::error::chain(&error), expected);
    }
    let uri = server.uri();
    drop(server);
    let config = MonitorConfig {
        base_url: uri.replace("http://", "http://user:hunter2@").parse().unwrap(),
        timeout: Duration::from_millis(100),
        budget: Duration::from_millis(110),
        breaker_open: Duration::ZERO,
    };
    let gone = MonitorClient::new(config)
        .unwrap()
        .lookup(&["+12025550123".to_owned()], LookupMode::FirstMatch)
        .await;
    let text = format!(
        "{} {gone:?}",
        gone.as_ref().map_or_else(|error| crate::error::chain(error), |_| String::new())
    );
    for secret in ["hunter2", "5550123"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_lookup_ends_with_its_budget() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(tenant("T-1").set_delay(TOO_LATE)).mount(&server).await;
    let started = Instant::now();
    let error = client(&server, LONG, 300).lookup(&formats(), LookupMode::FirstMatch).await.unwrap_err();
    assert!(matches!(error, RequestError::TimedOut(_)), "{error:?}");
    assert!(started.elapsed() < Duration::from_millis(LONG), "{:?}", started.elapsed());
}

#[tokio::test]
async fn five_failures_open_the_circuit_breaker() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(500)).mount(&server).await;
    let client = client(&server, LONG, LONG);
    let number = ["+12025550123".to_owned()];
    assert!(matches!(client.lookup(&number, LookupMode::FirstMatch).await, Err(RequestError::Failed(_))));
    assert!(client.is_available(), "the failures of one number do not open the breaker");
    for _ in 0..5 {
        assert!(client.lookup(&number, LookupMode::FirstMatch).await.is_err());
    }
    assert!(!client.is_available());
    assert!(matches!(client.lookup(&number, LookupMode::FirstMatch).await, Err(RequestError::BreakerOpen)));
    assert_eq!(requested(&server).await.len(), 5);
}

#[tokio::test]
async fn a_language_is_stored_and_a_missing_profile_is_not_an_error() {
    use crate::monitor::{LanguageUpdate, ProfileClient, ProfileConfig};
    let server = MockServer::start().await;
    let base = format!("{}/v1/", server.uri());
    let lookup = |name: &str| (name == "TENANT_PROFILE_API_URL").then(|| base.clone());
    let config = ProfileConfig::from_env(&mut Env::new(&lookup)).unwrap().unwrap();
    let client = ProfileClient::new(config).unwrap();
    for (id, status) in [("T-1", 200), ("T-2", 204), ("a/b c", 404), ("T-4", 500), ("T-5", 403)] {
        server.reset().await;
        Mock::given(method("PUT")).respond_with(ResponseTemplate::new(status)).mount(&server).await;
        let update = client.set_language(id, "es").await;
        match status {
            200 | 204 => assert_eq!(update.unwrap(), LanguageUpdate::Stored),
            404 => assert_eq!(update.unwrap(), LanguageUpdate::NoProfile),
            _ => assert!(update.is_err()),
        }
        let request = &server.received_requests().await.unwrap()[0];
        assert_eq!(request.body, br#"{"language":"es"}"#);
        assert_eq!(request.headers["content-type"], "application/json");
        let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string();
        let id = id.replace("%2D", "-");
        assert_eq!(request.url.path(), format!("/v1/tenants/{id}/language"));
    }
}
