//! HTTP requests and responses, on `lambda_http`, and the one shape of all errors.

mod auth;
mod error;
mod event;
mod payload;
mod query;
mod response;
pub mod responses;
mod streamed;

pub use auth::{Caller, Principal, Scope};
pub use error::{ApiError, ErrorBody, ErrorEnvelope, FieldError, ValidationError};
pub use event::HttpRequestExt;
pub use http::{HeaderValue, Method, StatusCode};
pub use lambda_http::{Request, RequestExt};
pub use payload::{Fields, MAX_BODY_BYTES, MAX_LIST_BYTES};
pub use query::Parameters;
pub use response::{add_quota, binary, empty, json, redirect, text};
pub use streamed::Streamed;

use crate::runtime;
use crate::telemetry::traces::ServerSpan;
use crate::telemetry::{self, Metric};
use lambda_http::{Body, LambdaEvent};
use serde_json::value::RawValue;
use std::convert::Infallible;
use tracing::Instrument;

/// A response with a text as its body.
pub type Response = lambda_http::Response<Body>;

/// Serves HTTP events until the process ends. Every event gets a response, never a function error.
///
/// Not `lambda_http::run`: it requires futures that are `Send`, and some requests make its conversion panic.
///
/// # Errors
///
/// When the runtime itself fails, such as when the Runtime API is unavailable.
pub async fn run(
    handler: impl AsyncFn(&Request) -> Result<Response, ApiError> + 'static,
) -> Result<(), lambda_runtime::Error> {
    runtime::run(async move |event: LambdaEvent<Box<RawValue>>| {
        let response = serve(event.payload.get(), &handler).await;
        Ok::<_, Infallible>(response::encode(response))
    })
    .await
}

/// Serves HTTP events like [`run`], at a function URL with the invoke mode `RESPONSE_STREAM`. All responses are
/// streamed, also errors.
///
/// # Errors
///
/// As [`run`].
pub async fn run_streaming(
    handler: impl AsyncFn(&Request) -> Result<Streamed, ApiError> + 'static,
) -> Result<(), lambda_runtime::Error> {
    runtime::run(async move |event: LambdaEvent<Box<RawValue>>| {
        Ok::<_, Infallible>(answer(event.payload.get(), &handler).await.start())
    })
    .await
}

/// Returns the response to one event, given as JSON. An error becomes its response, also that the event is malformed.
///
/// The handler runs in the span of its request, so that each of its log lines has the request's id.
pub async fn serve(event: &str, handler: impl AsyncFn(&Request) -> Result<Response, ApiError>) -> Response {
    answer(event, async |request: &Request| handler(request).await.map(Streamed::from)).await.response
}

/// As [`serve`], with a response whose body may be written later.
async fn answer(event: &str, handler: impl AsyncFn(&Request) -> Result<Streamed, ApiError>) -> Streamed {
    let event = event::read(event);
    let request_id = event.as_ref().map_or_else(|_| crate::clock::new_id().to_string(), event::request_id);
    let is_head = event.as_ref().is_ok_and(event::is_head);
    let span = telemetry::request(&request_id);
    let trace = event.as_ref().map_or_else(|_| ServerSpan::new("", None), event::server_span);
    async {
        let request = event.and_then(|event| event::into_request(event, request_id.clone(), trace.clone()));
        let outcome = match request {
            // Boxed: the state of a whole handler by value is too deeply nested for a release build.
            Ok(request) => Box::pin(trace.wrap(handler(&request))).await,
            Err(error) => Err(error),
        };
        let mut streamed = match outcome {
            // The last line follows at the end of the body.
            Ok(streamed) if streamed.is_open() => streamed,
            Ok(streamed) => {
                let status = streamed.response.status().as_u16();
                tracing::info!(name: telemetry::LAST_LINE, status, "request completed");
                streamed
            }
            Err(error) => {
                telemetry::count_error(error.outcome());
                if error.status().is_server_error() {
                    telemetry::count(Metric::ApiFailures, 1);
                }
                error.log();
                error.response(&request_id, crate::clock::now()).into()
            }
        };
        if let Ok(request_id) = HeaderValue::try_from(&request_id) {
            streamed.response.headers_mut().insert("x-request-id", request_id);
        }
        trace.end(streamed.response.status().as_u16());
        // A response to HEAD has no body (RFC 9110 §9.3.2), and the gateway does not remove it.
        if is_head { streamed.without_body() } else { streamed }
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(extra: Value) -> String {
        let mut event = json!({
            "version": "2.0", "routeKey": "GET /messages/{id}", "rawPath": "/messages/1", "rawQueryString": "",
            "headers": {}, "isBase64Encoded": false,
            "requestContext": {"requestId": "gw-1", "http": {"method": "GET", "path": "/messages/1"}},
        });
        event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        event.to_string()
    }

    async fn ok(_: &Request) -> Result<Response, ApiError> {
        Ok(empty(StatusCode::OK))
    }

    fn body(response: &Response) -> &str {
        std::str::from_utf8(response.body()).unwrap()
    }

    #[tokio::test]
    async fn every_response_has_the_gateways_request_id() {
        let response = serve(&event(json!({})), async |_: &Request| Ok(empty(StatusCode::NO_CONTENT))).await;
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers()["x-request-id"], "gw-1");
    }

    #[tokio::test]
    async fn only_a_well_formed_request_id_of_the_caller_is_used() {
        for (given, used) in [
            ("job-7.retry_1", "job-7.retry_1"),
            ("", "gw-1"),
            ("has space", "gw-1"),
            ("line\nbreak", "gw-1"),
            (&"x".repeat(129), "gw-1"),
        ] {
            let event = event(json!({"headers": {"x-request-id": given}}));
            let response = serve(&event, ok).await;
            assert_eq!(response.status(), 200, "{given:?}");
            assert_eq!(response.headers()["x-request-id"], used, "{given:?}");
        }
    }

    #[tokio::test]
    async fn null_is_read_like_an_absent_value() {
        let nulls = json!({
            "rawPath": null, "rawQueryString": null, "headers": null, "body": null, "isBase64Encoded": null,
            "cookies": null, "pathParameters": null, "queryStringParameters": null, "stageVariables": null,
            "requestContext": {"requestId": null, "authorizer": null, "timeEpoch": null,
                "http": {"method": "GET", "path": null}},
        });
        let event_of_nulls = event(nulls);
        let response = serve(&event_of_nulls, async |request: &Request| {
            assert_eq!(
                (request.method(), request.raw_http_path(), request.raw_query()),
                (&Method::GET, "", "")
            );
            assert!(request.body().is_empty() && request.header("host").is_none());
            assert!(!request.request_id().is_empty());
            Ok(empty(StatusCode::OK))
        });
        assert_eq!(response.await.status(), 200);
        let authorizer = json!({"requestContext": {
            "requestId": "gw-1", "authorizer": {"lambda": null}, "http": {"method": "GET"}}});
        assert_eq!(serve(&event(authorizer), ok).await.status(), 200);
        // The parts that `lambda_http` accepts need no second attempt.
        assert_eq!(serve(&event(json!({"pathParameters": null, "headers": null})), ok).await.status(), 200);
    }

    #[tokio::test]
    async fn a_malformed_event_is_a_validation_error() {
        let wrong_context = event(json!({"requestContext": null}));
        for malformed in ["null", "{}", "[]", "1", r#"{"Records": []}"#, "not JSON", &wrong_context] {
            let response = serve(malformed, ok).await;
            assert_eq!(response.status(), 400, "{malformed}");
            let id = response.headers()["x-request-id"].to_str().unwrap();
            let body: Value = serde_json::from_str(body(&response)).unwrap();
            assert_eq!(
                (&body["error"]["code"], &body["error"]["request_id"]),
                (&json!("sms.validation_error"), &json!(id))
            );
        }
    }

    #[tokio::test]
    async fn hosts_and_stages_that_make_no_url_are_accepted() {
        for host in ["", " ", "a b", "[", "é", "host:99999", "@"] {
            let event = event(json!({
                "headers": {"host": host, "x-forwarded-proto": "no scheme"},
                "requestContext": {"stage": host, "domainName": host, "http": {"method": "GET"}},
            }));
            assert_eq!(serve(&event, ok).await.status(), 200, "{host:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_base64_as_announced_is_a_validation_error() {
        let event = event(json!({"body": "%%%", "isBase64Encoded": true}));
        assert_eq!(serve(&event, ok).await.status(), 400);
    }

    #[tokio::test]
    async fn a_response_to_head_has_the_status_and_headers_of_get_and_no_body() {
        let http = json!({"requestContext": {"requestId": "gw-1", "http": {"method": "HEAD"}}});
        let page = async |_: &Request| Ok(text(StatusCode::OK, "text/html", "<p>"));
        let response = serve(&event(http), page).await;
        assert_eq!((response.status(), body(&response)), (StatusCode::OK, ""));
        assert_eq!(response.headers()["content-type"], "text/html");
    }

    #[tokio::test]
    async fn an_internal_error_does_not_show_its_cause() {
        let response = serve(&event(json!({})), async |_: &Request| {
            Err(ApiError::internal(std::io::Error::other("password=hunter2")))
        })
        .await;
        assert_eq!(response.status(), 500);
        assert!(!body(&response).contains("hunter2"));
        let body: Value = serde_json::from_str(body(&response)).unwrap();
        assert_eq!(body["error"]["code"], "sms.internal");
        assert_eq!(body["error"]["request_id"], "gw-1");
    }

    #[test]
    fn a_response_is_encoded_in_payload_format_2() {
        let response = text(StatusCode::ACCEPTED, "text/plain", "hello");
        let encoded = serde_json::to_value(response::encode(response)).unwrap();
        assert_eq!(encoded["statusCode"], 202);
        assert_eq!((&encoded["body"], &encoded["isBase64Encoded"]), (&json!("hello"), &json!(false)));
        assert_eq!(encoded["headers"], json!({"content-type": "text/plain"}));
        let response = binary(StatusCode::OK, "image/png", b"hello");
        let encoded = serde_json::to_value(response::encode(response)).unwrap();
        assert_eq!((&encoded["body"], &encoded["isBase64Encoded"]), (&json!("aGVsbG8="), &json!(true)));
    }
}
