//! What the calls to both services have in common.

use super::error::{PeerError, SetupError};
use crate::tls;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, RequestBuilder, StatusCode};
use std::time::Duration;
use url::Url;

/// More than any answer that makes sense, and little to read.
const MAX_BODY: usize = 64 * 1024;
/// A pooled connection is not used after lying idle for longer: the other side, or a freeze of the function, may have
/// ended it. Calls may be repeated, so one that was is only a lost moment.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// Makes a client that follows no redirect (the number, and credentials in the address, are for this peer only) and
/// repeats nothing by itself.
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

/// Appends segments to a base address, each percent-encoded, whether or not that ends in a slash.
pub(super) fn resource<'a>(base: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = base.clone();
    // Only an address without a host has no path to append to, and the configuration refuses those.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// Appends a parameter to the query, which the base address may have begun. Everything but letters and digits is
/// percent-encoded: `+` must not arrive as a space, nor a space as `+`.
pub(super) fn with_parameter(mut url: Url, name: &str, value: &str) -> Url {
    let parameter = format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    let query = match url.query() {
        Some(begun) if !begun.is_empty() => format!("{begun}&{parameter}"),
        _ => parameter,
    };
    url.set_query(Some(&query));
    url
}

/// Sends a request and reads its answer, the body up to the limit.
pub(super) async fn exchange(
    request: RequestBuilder,
    timeout: Duration,
) -> Result<(StatusCode, Vec<u8>), PeerError> {
    let failed = |error: reqwest::Error| {
        if error.is_timeout() { PeerError::TimedOut(timeout) } else { PeerError::Http(error.without_url()) }
    };
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(PeerError::TooLong(MAX_BODY));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_put_together_whatever_the_base_ends_with() {
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
