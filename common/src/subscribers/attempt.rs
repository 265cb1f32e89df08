//! One attempt to deliver an event, and its result.

use super::forbidden::Forbidden;
use super::webhook::Response;
use crate::config::Secret;
use standardwebhooks::WebhookError;
use std::time::Duration;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The id of the event, the same in every attempt.
    pub id: &'a str,
    /// The body of the event.
    pub body: &'a str,
    /// The secrets to sign with: the current one, and during a rotation the previous one.
    pub secrets: &'a [Secret],
    /// The conversation, which becomes the message group of a FIFO queue.
    pub group: Option<&'a str>,
}

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What follows from it.
    pub outcome: Outcome,
    /// The HTTP status; for a queue, that of an error.
    pub status_code: Option<u16>,
    /// Why it failed, for the owner of the subscription. Contains neither the URL nor a secret.
    pub error: Option<String>,
    /// The start of the response, up to 4 KiB, without NUL characters.
    pub response_body: Option<String>,
    /// The value of `Retry-After`, at most one day.
    pub retry_after: Option<Duration>,
    /// How long it took.
    pub duration: Duration,
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx, or the queue accepted the message.
    Delivered,
    /// The receiver rejected this event: any other status. Redirects are not followed.
    Failed,
    /// The receiver accepts nothing at present: no connection, a forbidden address, 429, 502, 503, 504, or a failure
    /// with `Retry-After`.
    Unavailable,
    /// 410: the receiver wants no more events.
    Gone,
    /// No response before the deadline.
    TimedOut,
}

impl Outcome {
    /// Returns the outcome of an HTTP status.
    pub(super) fn of_status(status: u16, has_retry_after: bool) -> Self {
        match status {
            200..=299 => Self::Delivered,
            410 => Self::Gone,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ if has_retry_after => Self::Unavailable,
            _ => Self::Failed,
        }
    }
}

/// An attempt without a response.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) error: String,
    pub(super) status_code: Option<u16>,
}

impl Failure {
    pub(super) fn new(outcome: Outcome, error: String) -> Self {
        Self { outcome, error, status_code: None }
    }

    pub(super) fn timed_out(timeout: Duration) -> Self {
        Self::new(Outcome::TimedOut, format!("no response within {} ms", timeout.as_millis()))
    }
}

impl From<Forbidden> for Failure {
    fn from(forbidden: Forbidden) -> Self {
        Self::new(Outcome::Unavailable, format!("the destination {forbidden}"))
    }
}

impl Attempt {
    /// An attempt without anything to report; the caller sets its duration.
    const fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            status_code: None,
            error: None,
            response_body: None,
            retry_after: None,
            duration: Duration::ZERO,
        }
    }

    /// Returns the attempt that a queue accepted.
    pub(super) const fn accepted() -> Self {
        Self::of(Outcome::Delivered)
    }
}

impl From<Failure> for Attempt {
    fn from(Failure { outcome, error, status_code }: Failure) -> Self {
        Self { status_code, error: Some(error), ..Self::of(outcome) }
    }
}

impl From<Response> for Attempt {
    fn from(response: Response) -> Self {
        let outcome = Outcome::of_status(response.status, response.retry_after.is_some());
        let error = match response.status {
            200..=299 => None,
            300..=399 => Some(format!("status {}: redirects are not followed", response.status)),
            status => Some(format!("status {status}")),
        };
        Self {
            status_code: Some(response.status),
            error,
            response_body: Some(response.text()).filter(|text| !text.is_empty()),
            retry_after: response.retry_after,
            ..Self::of(outcome)
        }
    }
}

impl From<WebhookError> for Failure {
    fn from(error: WebhookError) -> Self {
        Self::new(Outcome::Failed, format!("signing: {error}"))
    }
}
