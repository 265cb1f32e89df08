//! Exact requests, and every answer as what it is.

use super::*;
use serde_json::json;
use wiremock::matchers::{any, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// Milliseconds in which the busiest machine answers, and less than any answer here that is to come too late.
const PATIENT: u64 = 60_000;
/// An answer that comes too late for everybody.
const NEVER: Duration = Duration::from_secs(600);

const SPELLINGS: [&str; 4] = ["(202) 555-0123", "+12025550123", "2025550123", "12025550123"];

fn spellings() -> Vec<String> {
    SPELLINGS.map(str::to_owned).to_vec()
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

async fn answers(server: &MockServer, spelling: &str, answer: ResponseTemplate) {
    let mock = Mock::given(method("GET")).and(path("/tenants/lookup")).and(query_param("phone", spelling));
    mock.respond_with(answer).mount(server).await;
}

async fn asked(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.unwrap();
    requests.iter().map(|request: &Request| request.url.query().unwrap_or_default().to_owned()).collect()
}

fn tenant(id: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({ "tenant_id": id }))
}

fn is_tenant(answer: &Answer, id: &str) -> bool {
    matches!(answer, Answer::Tenant(found) if found.tenant_id == id)
}

#[tokio::test]
async fn spellings_are_asked_for_in_order_percent_encoded_until_one_matches() {
    let server = MockServer::start().await;
    answers(&server, SPELLINGS[0], ResponseTemplate::new(404)).await;
    answers(&server, SPELLINGS[1], ResponseTemplate::new(204)).await;
    answers(&server, SPELLINGS[2], tenant("T-1")).await;
    answers(&server, SPELLINGS[3], tenant("T-2")).await;
    let said = client(&server, PATIENT, PATIENT).lookup(&spellings(), Ask::UntilMatch).await.unwrap();
    assert!(is_tenant(&said.answer, "T-1") && said.asked == 3, "{said:?}");
    assert_eq!(
        asked(&server).await,
        ["phone=%28202%29%20555%2D0123", "phone=%2B12025550123", "phone=2025550123"]
    );
}

#[tokio::test]
async fn asked_for_every_spelling_different_tenants_are_ambiguous() {
    let server = MockServer::start().await;
    answers(&server, SPELLINGS[2], tenant("T-1")).await;
    answers(&server, SPELLINGS[3], tenant("T-2")).await;
    let client = client(&server, PATIENT, PATIENT);
    let said = client.lookup(&spellings(), Ask::EverySpelling).await.unwrap();
    assert_eq!(said.answer, Answer::Ambiguous(vec!["T-1".to_owned(), "T-2".to_owned()]));
    assert_eq!(asked(&server).await.len(), 4);
}

#[tokio::test]
async fn the_spellings_after_the_one_that_was_found_confirm_it_or_have_all_asked_for() {
    let asked_for = async |known: &[(usize, &str)], expected: &[&str]| {
        let server = MockServer::start().await;
        for (spelling, id) in known {
            answers(&server, SPELLINGS[*spelling], tenant(id)).await;
        }
        let answer = client(&server, PATIENT, PATIENT).confirm(&spellings(), 2, "T-1").await.unwrap();
        let requests = server.received_requests().await.unwrap();
        let of = |request: &Request| request.url.query_pairs().next().unwrap().1.into_owned();
        assert_eq!(requests.iter().map(of).collect::<Vec<_>>(), expected);
        answer
    };
    let (rest, all) = (&SPELLINGS[2..], [2, 3, 1, 0].map(|at| SPELLINGS[at]));
    assert!(is_tenant(&asked_for(&[], rest).await, "T-1"));
    assert!(is_tenant(&asked_for(&[(3, "T-1")], rest).await, "T-1"));
    let both = Answer::Ambiguous(vec!["T-1".to_owned(), "T-2".to_owned()]);
    assert_eq!(asked_for(&[(1, "T-1"), (3, "T-2")], &all).await, both);
    let passed_on = asked_for(&[(1, "T-2"), (2, "T-2")], &all).await;
    assert!(is_tenant(&passed_on, "T-2"), "{passed_on:?}");
}

#[tokio::test]
async fn nobody_is_known_when_no_spelling_is() {
    let server = MockServer::start().await;
    let said = client(&server, PATIENT, PATIENT).lookup(&spellings(), Ask::UntilMatch).await.unwrap();
    assert_eq!((said.answer, said.asked), (Answer::Nobody, 4));
    assert_eq!(asked(&server).await.len(), 4);
}

#[tokio::test]
async fn a_spelling_without_an_answer_is_not_passed_over() {
    let server = MockServer::start().await;
    answers(&server, SPELLINGS[1], ResponseTemplate::new(500)).await;
    answers(&server, SPELLINGS[2], tenant("T-1")).await;
    let error = client(&server, PATIENT, PATIENT).lookup(&spellings(), Ask::UntilMatch).await.unwrap_err();
    assert!(matches!(error, PeerError::Failed(_)), "{error:?}");
    assert_eq!(asked(&server).await.len(), 4, "one for the first spelling and three tries for the second");
}

#[tokio::test]
async fn failures_show_neither_number_nor_address() {
    let server = MockServer::start().await;
    let long = ResponseTemplate::new(200).set_body_string(" ".repeat(64 * 1024 + 1));
    let slow = tenant("T-1").set_delay(NEVER);
    server.reset().await;
    Mock::given(any()).respond_with(slow).mount(&server).await;
    let late = client(&server, 100, PATIENT).lookup(&spellings(), Ask::UntilMatch).await.unwrap_err();
    assert_eq!(crate::error::chain(&late), "no answer within 100 ms");
    for (answer, expected) in [
        (ResponseTemplate::new(500), "it answered 500 Internal Server Error"),
        (ResponseTemplate::new(429), "it answered 429 Too Many Requests"),
        (ResponseTemplate::new(401), "it refused with 401 Unauthorized"),
        (
            ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:9/"),
            "it refused with 302 Found",
        ),
        (ResponseTemplate::new(200).set_body_string("<html>"), "its answer is not JSON"),
        (long, "its answer is longer than 65536 bytes"),
    ] {
        server.reset().await;
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let error =
            client(&server, PATIENT, PATIENT).lookup(&spellings(), Ask::UntilMatch).await.unwrap_err();
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
    let gone =
        MonitorClient::new(config).unwrap().lookup(&["+12025550123".to_owned()], Ask::UntilMatch).await;
    let text = format!(
        "{} {gone:?}",
        gone.as_ref().map_or_else(|error| crate::error::chain(error), |_| String::new())
    );
    for secret in ["hunter2", "5550123"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn the_budget_ends_a_lookup_whatever_is_left_to_ask() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(tenant("T-1").set_delay(NEVER)).mount(&server).await;
    let begun = Instant::now();
    let error = client(&server, PATIENT, 300).lookup(&spellings(), Ask::UntilMatch).await.unwrap_err();
    assert!(matches!(error, PeerError::TimedOut(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_millis(PATIENT), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_dead_monitor_is_left_alone_after_five_failures() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(500)).mount(&server).await;
    let client = client(&server, PATIENT, PATIENT);
    let number = ["+12025550123".to_owned()];
    assert!(matches!(client.lookup(&number, Ask::UntilMatch).await, Err(PeerError::Failed(_))));
    assert!(client.is_alive(), "one number's failures don't condemn it");
    for _ in 0..5 {
        assert!(client.lookup(&number, Ask::UntilMatch).await.is_err());
    }
    assert!(!client.is_alive());
    assert!(matches!(client.lookup(&number, Ask::UntilMatch).await, Err(PeerError::BreakerOpen)));
    assert_eq!(asked(&server).await.len(), 5);
}

#[tokio::test]
async fn a_profile_is_put_its_language_and_one_that_is_missing_is_no_failure() {
    use crate::monitor::{ProfileClient, ProfileConfig, Told};
    let server = MockServer::start().await;
    let base = format!("{}/v1/", server.uri());
    let lookup = |name: &str| (name == "TENANT_PROFILE_API_URL").then(|| base.clone());
    let config = ProfileConfig::from_env(&mut Env::new(&lookup)).unwrap().unwrap();
    let client = ProfileClient::new(config).unwrap();
    for (id, status) in [("T-1", 200), ("T-2", 204), ("a/b c", 404), ("T-4", 500), ("T-5", 403)] {
        server.reset().await;
        Mock::given(method("PUT")).respond_with(ResponseTemplate::new(status)).mount(&server).await;
        let told = client.set_language(id, "es").await;
        match status {
            200 | 204 => assert_eq!(told.unwrap(), Told::Stored),
            404 => assert_eq!(told.unwrap(), Told::NoProfile),
            _ => assert!(told.is_err()),
        }
        let request = &server.received_requests().await.unwrap()[0];
        assert_eq!(request.body, br#"{"language":"es"}"#);
        assert_eq!(request.headers["content-type"], "application/json");
        let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string();
        let id = id.replace("%2D", "-");
        assert_eq!(request.url.path(), format!("/v1/tenants/{id}/language"));
    }
}
