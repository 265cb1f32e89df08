//! HTTP requests to both services.

use super::error::{RequestError, SetupError};
use crate::telemetry::traces::{Kind, Span};
use crate::tls;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, RequestBuilder, StatusCode};
use std::time::Duration;
use url::Url;

/// The maximum size of a response body. Valid responses are much smaller.
const MAX_BODY: usize = 64 * 1024;
/// The maximum idle time of a pooled connection, which the server or a freeze of the function may have closed. All
/// requests are idempotent, so using a dead connection only costs a retry.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// Creates a client without redirects, because the number and credentials in the URL must not reach another host, and
/// without automatic retries.
pub(super) fn client(base: &Url, timeout: Duration) -> Result<Client, SetupError> {
    Client::builder()
        .tls_backend_preconfigured(tls::client_config(base)?)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .pool_idle_timeout(MAX_IDLE)
        .timeout(timeout)
        .user_agent(concat!("sms-foundation/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(SetupError::Http)
}

/// Appends percent-encoded path segments to a base URL, with or without a trailing slash.
pub(super) fn resource<'a>(base: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = base.clone();
    // Only fails for URLs without a host, which the configuration rejects.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// Appends a query parameter to a URL, which may already have a query. Encodes all characters except letters and
/// digits, because servers decode `+` in different ways.
pub(super) fn with_parameter(mut url: Url, name: &str, value: &str) -> Url {
    let parameter = format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    let query = match url.query() {
        Some(query) if !query.is_empty() => format!("{query}&{parameter}"),
        _ => parameter,
    };
    url.set_query(Some(&query));
    url
}

/// Sends a request and returns the status and the body of the response. `method` and `template`, the path without its
/// values, describe it in traces.
pub(super) async fn send(
    (method, template): (&'static str, &'static str),
    request: RequestBuilder,
    timeout: Duration,
) -> Result<(StatusCode, Vec<u8>), RequestError> {
    let span = Span::child(Kind::Client, || format!("{method} {template}").into());
    span.set("http.request.method", method);
    span.set("url.template", template);
    let outcome = span.wrap(exchange(request, timeout)).await;
    match &outcome {
        Ok((status, _)) => {
            span.set_number("http.response.status_code", status.as_u16().into());
            if status.is_client_error() || status.is_server_error() {
                span.fail(status.as_str());
            }
        }
        Err(_) => span.fail("no_response"),
    }
    outcome
}

async fn exchange(request: RequestBuilder, timeout: Duration) -> Result<(StatusCode, Vec<u8>), RequestError> {
    let failed = |error: reqwest::Error| {
        if error.is_timeout() {
            RequestError::TimedOut(timeout)
        } else {
            RequestError::Http(error.without_url())
        }
    };
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(RequestError::TooLong(MAX_BODY));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_built_from_any_form_of_base_url() {
        for (base, expected) in [
            ("http://m.example", "http://m.example/tenants/a%2Fb%3F/language?phone=%2B1%20%28203%29"),
            ("http://m.example/", "http://m.example/tenants/a%2Fb%3F/language?phone=%2B1%20%28203%29"),
            (
                "http://m.example/api/v1/",
                "http://m.example/api/v1/tenants/a%2Fb%3F/language?phone=%2B1%20%28203%29",
            ),
            (
                "http://m.example/api?key=k",
                "http://m.example/api/tenants/a%2Fb%3F/language?key=k&phone=%2B1%20%28203%29",
            ),
        ] {
            let url = resource(&base.parse().unwrap(), ["tenants", "a/b?", "language"]);
            assert_eq!(with_parameter(url, "phone", "+1 (203)").as_str(), expected);
        }
    }
}
