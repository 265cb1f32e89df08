//! One signed HTTP request, and its response.

use super::attempt::{Failure, Outcome, Outgoing};
use super::forbidden::Forbidden;
use super::signature;
use crate::addresses::NotPublic;
use crate::clock;
use crate::error::chain;
use crate::retry_after::retry_after;
use crate::telemetry::traces::{Kind, Span};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use std::time::{Duration, Instant};
use url::Url;

/// How much of a response is read.
const MAX_BODY: usize = 4_096;
/// The maximum length of an error.
const MAX_ERROR: usize = 500;

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Response {
    /// Returns the start of the body as text that Postgres can store.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).replace('\0', "")
    }
}

/// Sends a message and returns the response. Everything ends after `timeout`; the body is read for at most `body_wait`
/// after the headers.
pub(super) async fn exchange(
    http: &Client,
    url: &Url,
    outgoing: &Outgoing<'_>,
    timeout: Duration,
    body_wait: Duration,
) -> Result<Response, Failure> {
    let span = Span::child(Kind::Client, || "POST".into());
    span.set("http.request.method", "POST");
    span.set("server.address", url.host_str().unwrap_or_default());
    let result = span.wrap(send(http, url, outgoing, timeout, body_wait)).await;
    match &result {
        Ok(response) => {
            span.set_number("http.response.status_code", response.status.into());
            if response.status >= 400 {
                span.fail(&response.status.to_string());
            }
        }
        Err(failure) if failure.outcome == Outcome::TimedOut => span.fail("timeout"),
        Err(_) => span.fail("no_response"),
    }
    result
}

async fn send(
    http: &Client,
    url: &Url,
    outgoing: &Outgoing<'_>,
    timeout: Duration,
    body_wait: Duration,
) -> Result<Response, Failure> {
    let deadline = Instant::now() + timeout;
    let headers = signature::headers(outgoing, clock::now())?;
    let mut request = http.post(url.clone()).header(CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let sending = request.body(outgoing.body.to_owned()).send();
    let mut response = match tokio::time::timeout(timeout, sending).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(failure(error, timeout)),
        Err(_) => return Err(Failure::timed_out(timeout)),
    };
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), clock::now());
    let mut body = Vec::new();
    let wait = deadline.saturating_duration_since(Instant::now()).min(body_wait);
    // What was read until then is enough: the status decides.
    let _ = tokio::time::timeout(wait, read(&mut response, &mut body)).await;
    Ok(Response { status, retry_after, body })
}

async fn read(response: &mut reqwest::Response, body: &mut Vec<u8>) {
    while let Ok(Some(chunk)) = response.chunk().await {
        let free = MAX_BODY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(free)]);
        if chunk.len() >= free {
            return;
        }
    }
}

/// Describes an error for the owner of the subscription, without the URL.
fn failure(error: reqwest::Error, timeout: Duration) -> Failure {
    if let Some(not_public) = NotPublic::cause_of(&error) {
        return Forbidden::from(not_public.clone()).into();
    }
    if error.is_timeout() {
        let text = if error.is_connect() { "no connection" } else { "no response" };
        return Failure::new(Outcome::TimedOut, format!("{text} within {} ms", timeout.as_millis()));
    }
    let text: String = chain(&error.without_url()).chars().take(MAX_ERROR).collect();
    Failure::new(Outcome::Unavailable, text)
}
