//! HTTP in and out of a function: requests as API Gateway and function URLs hand them over, answers in one shape.

mod auth;
mod error;
mod event;
mod payload;

pub use auth::{Caller, Principal, Scope};
pub use error::{ApiError, ErrorBody, ErrorEnvelope, FieldError, ValidationError};
pub use event::{HttpEvent, Request, null_as_default};
pub use payload::{Fields, MAX_BODY_BYTES};

use crate::runtime;
use crate::telemetry::{self, Metric};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use tracing::Instrument;

/// An answer, in API Gateway's payload format 2.0 (function URLs take the same).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    #[serde(rename = "statusCode")]
    status: u16,
    headers: BTreeMap<&'static str, Cow<'static, str>>,
    body: Cow<'static, str>,
    is_base64_encoded: bool,
}

impl Reply {
    /// Answers with text of a given media type.
    #[must_use]
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        let headers = BTreeMap::from([("content-type", Cow::Borrowed(content_type))]);
        Self { status, headers, body: body.into(), is_base64_encoded: false }
    }

    /// Answers with a value as JSON.
    ///
    /// # Errors
    ///
    /// [`ApiError::Internal`] when the value has no JSON form, such as a map with keys that aren't strings.
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self, ApiError> {
        let body = serde_json::to_string(value).map_err(ApiError::internal)?;
        Ok(Self::new(status, "application/json", body))
    }

    /// Answers with nothing but a status.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, headers: BTreeMap::new(), body: Cow::Borrowed(""), is_base64_encoded: false }
    }

    /// Adds a header; its name must be in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.insert(name, value.into());
        self
    }

    /// Returns the status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }
}

/// Serves HTTP events until the process is ended: each gets an answer that we chose, never a function error.
///
/// The handler runs within the invocation's and the request's span, so that every line it logs carries both ids.
///
/// # Errors
///
/// Only what ends the runtime itself, such as a Runtime API that went away.
pub async fn run(
    handler: impl AsyncFn(&Request) -> Result<Reply, ApiError> + 'static,
) -> Result<(), lambda_runtime::Error> {
    runtime::run(async move |event| Ok::<_, Infallible>(serve(event.payload, &handler).await)).await
}

/// Returns the response to one event; an error becomes its response.
pub async fn serve(event: HttpEvent, handler: impl AsyncFn(&Request) -> Result<Reply, ApiError>) -> Reply {
    let request_id = event.request_id();
    let is_head = event.is_head();
    let span = telemetry::request(&request_id);
    async {
        let outcome = match Request::from_event(event, request_id.clone()) {
            // Boxed: a whole handler's state by value is more nesting than a release build can lay out.
            Ok(request) => Box::pin(handler(&request)).await,
            Err(error) => Err(error),
        };
        let reply = match outcome {
            Ok(reply) => {
                // The line by which a request is found in the log of every function that it came through.
                tracing::info!(name: telemetry::LAST_LINE, status = reply.status(), "answered");
                reply
            }
            Err(error) => {
                if error.status() >= 500 {
                    telemetry::count(Metric::ApiFailures, 1);
                }
                error.log();
                error.reply(&request_id, crate::clock::now())
            }
        };
        let reply = reply.with_header("x-request-id", request_id.clone());
        // An answer to HEAD has no body (RFC 9110 §9.3.2), and the gateway does not remove it.
        if is_head { Reply { body: Cow::Borrowed(""), ..reply } } else { reply }
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(extra: Value) -> HttpEvent {
        let mut event = json!({
            "version": "2.0", "routeKey": "GET /messages/{id}", "rawPath": "/messages/1", "rawQueryString": "",
            "headers": {}, "isBase64Encoded": false,
            "requestContext": {"requestId": "gw-1", "http": {"method": "GET", "path": "/messages/1"}},
        });
        event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(event).unwrap()
    }

    #[tokio::test]
    async fn every_answer_carries_the_gateways_request_id() {
        let reply = serve(event(json!({})), async |_: &Request| Ok(Reply::empty(204))).await;
        assert_eq!(reply.status(), 204);
        assert_eq!(reply.headers["x-request-id"], "gw-1");
    }

    #[tokio::test]
    async fn a_well_formed_request_id_of_the_caller_is_kept_and_another_is_not() {
        for (given, kept) in [
            ("job-7.retry_1", "job-7.retry_1"),
            ("", "gw-1"),
            ("has space", "gw-1"),
            ("line\nbreak", "gw-1"),
            (&"x".repeat(129), "gw-1"),
        ] {
            let event = event(json!({"headers": {"x-request-id": given}}));
            let reply = serve(event, async |_: &Request| Ok(Reply::empty(200))).await;
            assert_eq!(reply.headers["x-request-id"], kept, "{given:?}");
        }
    }

    #[tokio::test]
    async fn null_is_read_like_an_absent_value() {
        let nulls = json!({
            "rawPath": null, "rawQueryString": null, "headers": null, "body": null, "isBase64Encoded": null,
            "cookies": null, "pathParameters": null, "queryStringParameters": null, "stageVariables": null,
            "requestContext": {"requestId": null, "authorizer": null, "http": {"method": "GET", "path": null}},
        });
        let reply = serve(event(nulls), async |request: &Request| {
            assert_eq!((request.method(), request.raw_path(), request.raw_query()), ("GET", "", ""));
            assert!(request.body().is_empty() && request.header("host").is_none());
            assert!(!request.request_id().is_empty());
            Ok(Reply::empty(200))
        });
        assert_eq!(reply.await.status(), 200);
        let authorizer = json!({"requestContext": {
            "requestId": "gw-1", "authorizer": {"lambda": null}, "http": {"method": "GET"}}});
        let reply = serve(event(authorizer), async |_: &Request| Ok(Reply::empty(200))).await;
        assert_eq!(reply.status(), 200);
    }

    #[tokio::test]
    async fn a_body_that_is_not_base64_as_announced_is_a_validation_error() {
        let event = event(json!({"body": "%%%", "isBase64Encoded": true}));
        let reply = serve(event, async |_: &Request| Ok(Reply::empty(200))).await;
        assert_eq!(reply.status(), 400);
    }

    #[tokio::test]
    async fn an_answer_to_head_has_the_status_and_headers_of_get_and_no_body() {
        let http = json!({"requestContext": {"requestId": "gw-1", "http": {"method": "HEAD"}}});
        let reply = serve(event(http), async |_: &Request| Ok(Reply::new(200, "text/html", "<p>"))).await;
        assert_eq!((reply.status(), reply.body(), &*reply.headers["content-type"]), (200, "", "text/html"));
    }

    #[tokio::test]
    async fn an_internal_error_shows_nothing_of_its_cause() {
        let reply = serve(event(json!({})), async |_: &Request| {
            Err(ApiError::internal(std::io::Error::other("password=hunter2")))
        })
        .await;
        assert_eq!(reply.status(), 500);
        assert!(!reply.body().contains("hunter2"));
        let body: Value = serde_json::from_str(reply.body()).unwrap();
        assert_eq!(body["error"]["code"], "sms.internal");
        assert_eq!(body["error"]["request_id"], "gw-1");
    }
}
