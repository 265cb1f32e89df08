//! Errors of requests to Twilio, and how a caller should handle them.

use super::error_codes::ErrorClass;
use std::error::Error;
use std::time::Duration;

/// An error of a request to Twilio.
///
/// `Display` contains codes and statuses but not Twilio's error text, which can contain phone numbers.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Connecting failed (DNS, TCP or TLS), so the request was not written.
    #[error("connecting to Twilio")]
    Connect(#[source] reqwest::Error),
    /// HTTP 401 for the Auth Token that was used, while Twilio accepts another configured one: Twilio did not process
    /// the request, and the next one uses the other token.
    #[error("Twilio refused one of the configured Auth Tokens")]
    TokenRefused,
    /// HTTP 429: Twilio did not process the request.
    #[error("Twilio's rate limit is exceeded")]
    Limited {
        /// Twilio's error code, if the body was readable.
        code: Option<u32>,
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// A 4xx status with Twilio's error JSON.
    #[error("Twilio refused the request with HTTP {status} and code {code}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Twilio's error code.
        code: u32,
        /// The value of `Retry-After`; rare with these statuses.
        retry_after: Option<Duration>,
    },
    /// A 5xx status: Twilio failed before or after it accepted the message.
    #[error("Twilio failed with HTTP {status}")]
    Failed {
        /// The HTTP status.
        status: u16,
        /// Twilio's error code, if the body was readable.
        code: Option<u32>,
    },
    /// A timeout or a reset after the connection was opened.
    #[error("waiting for Twilio's response")]
    NoResponse(#[source] reqwest::Error),
    /// An unusable response: truncated, not JSON, without a SID, or not from Twilio's API.
    #[error("reading Twilio's response with HTTP {status}")]
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// The reason.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What a failed create request proves about the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Twilio did not process the request. It is safe to send it again.
    NotProcessed {
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Twilio rejected the message with an error code.
    Rejected {
        /// Twilio's error code.
        code: u32,
    },
    /// Twilio may have accepted the message. Do not send it again before that is resolved.
    Ambiguous,
}

/// How to continue with a message whose create request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Retry with backoff, and not before `retry_after`.
    Backoff {
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Pause all messages of this sender, then retry: its queue at Twilio is full.
    HoldSender,
    /// Create a new message hours later, a limited number of times ([`RenewalPolicy`](super::RenewalPolicy)).
    CreateAgain,
    /// Retry when an hourly or daily limit ends.
    WaitForWindow,
    /// Hold the message until our configuration is fixed, then retry.
    AfterConfigurationFix,
    /// Look the message up at Twilio first.
    Resolve,
    /// Do not retry: the same request would fail in the same way.
    Never,
}

impl SendError {
    /// Returns the HTTP status, if there was a response.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Connect(_) | Self::NoResponse(_) => None,
            Self::TokenRefused => Some(401),
            Self::Limited { .. } => Some(429),
            Self::Refused { status, .. } | Self::Failed { status, .. } | Self::Unreadable { status, .. } => {
                Some(*status)
            }
        }
    }

    /// Returns what the error proves about the message.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(_) | Self::TokenRefused => Outcome::NotProcessed { retry_after: None },
            Self::Limited { retry_after, .. } => Outcome::NotProcessed { retry_after: *retry_after },
            Self::Refused { code, retry_after, .. } => match ErrorClass::of(*code) {
                ErrorClass::NotProcessed | ErrorClass::SenderQueueFull => {
                    Outcome::NotProcessed { retry_after: *retry_after }
                }
                ErrorClass::Ambiguous => Outcome::Ambiguous,
                ErrorClass::Transient
                | ErrorClass::WaitForWindow
                | ErrorClass::Recipient
                | ErrorClass::CarrierBlocked
                | ErrorClass::OptedOut
                | ErrorClass::Content
                | ErrorClass::Configuration
                | ErrorClass::Unlisted => Outcome::Rejected { code: *code },
            },
            Self::Failed { .. } | Self::NoResponse(_) | Self::Unreadable { .. } => Outcome::Ambiguous,
        }
    }

    /// Returns the kind of error in the metric `errors`.
    #[must_use]
    pub fn outcome_name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "twilio_unreachable",
            Self::TokenRefused => "twilio_unauthorized",
            Self::Limited { .. } => "twilio_limited",
            Self::Refused { status: 401, .. } => "twilio_unauthorized",
            Self::Refused { .. } => "twilio_refused",
            Self::Failed { .. } => "twilio_failed",
            Self::NoResponse(_) | Self::Unreadable { .. } => "twilio_no_response",
        }
    }

    /// Returns how to continue with the message.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.outcome() {
            Outcome::Ambiguous => Retry::Resolve,
            Outcome::NotProcessed { .. } if self.class() == Some(ErrorClass::SenderQueueFull) => {
                Retry::HoldSender
            }
            Outcome::NotProcessed { retry_after } => Retry::Backoff { retry_after },
            Outcome::Rejected { code } => match ErrorClass::of(code) {
                ErrorClass::NotProcessed => Retry::Backoff { retry_after: None },
                ErrorClass::Transient => Retry::CreateAgain,
                ErrorClass::SenderQueueFull => Retry::HoldSender,
                ErrorClass::Ambiguous => Retry::Resolve,
                ErrorClass::WaitForWindow => Retry::WaitForWindow,
                ErrorClass::Configuration => Retry::AfterConfigurationFix,
                ErrorClass::Recipient
                | ErrorClass::CarrierBlocked
                | ErrorClass::OptedOut
                | ErrorClass::Content
                | ErrorClass::Unlisted => Retry::Never,
            },
        }
    }

    /// Returns Twilio's error code, if the response had one.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Limited { code, .. } | Self::Failed { code, .. } => *code,
            Self::Connect(_) | Self::TokenRefused | Self::NoResponse(_) | Self::Unreadable { .. } => None,
        }
    }

    /// Returns the class of Twilio's error code, if the response had one.
    #[must_use]
    pub fn class(&self) -> Option<ErrorClass> {
        self.code().map(ErrorClass::of)
    }

    /// Returns whether our account, number or credentials caused the error. If so, alert an operator.
    #[must_use]
    pub fn is_our_fault(&self) -> bool {
        match self {
            Self::Refused { code, .. } => ErrorClass::of(*code) == ErrorClass::Configuration,
            Self::Connect(_)
            | Self::TokenRefused
            | Self::Limited { .. }
            | Self::Failed { .. }
            | Self::NoResponse(_)
            | Self::Unreadable { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u32) -> SendError {
        SendError::Refused { status: 400, code, retry_after: None }
    }

    #[test]
    fn the_error_code_of_a_refusal_decides_outcome_and_retry() {
        let not_processed = Outcome::NotProcessed { retry_after: None };
        let cases = [
            (21211, Outcome::Rejected { code: 21211 }, Retry::Never, false),
            (21610, Outcome::Rejected { code: 21610 }, Retry::Never, false),
            (21617, Outcome::Rejected { code: 21617 }, Retry::Never, false),
            (12345, Outcome::Rejected { code: 12345 }, Retry::Never, false),
            (20003, Outcome::Rejected { code: 20003 }, Retry::AfterConfigurationFix, true),
            (21606, Outcome::Rejected { code: 21606 }, Retry::AfterConfigurationFix, true),
            (14107, Outcome::Rejected { code: 14107 }, Retry::WaitForWindow, false),
            (30001, Outcome::Rejected { code: 30001 }, Retry::CreateAgain, false),
            (21611, not_processed, Retry::HoldSender, false),
            (20429, not_processed, Retry::Backoff { retry_after: None }, false),
            (20500, Outcome::Ambiguous, Retry::Resolve, false),
            (20503, Outcome::Ambiguous, Retry::Resolve, false),
        ];
        for (code, outcome, retry, our_fault) in cases {
            let error = refused(code);
            assert_eq!((error.outcome(), error.retry()), (outcome, retry), "{code}");
            assert_eq!((error.code(), error.is_our_fault()), (Some(code), our_fault), "{code}");
            assert_eq!(error.outcome_name(), "twilio_refused");
        }
    }

    #[test]
    fn a_server_error_is_ambiguous_with_any_error_code() {
        for code in [None, Some(20500), Some(21211), Some(20429)] {
            let error = SendError::Failed { status: 500, code };
            assert_eq!((error.outcome(), error.retry()), (Outcome::Ambiguous, Retry::Resolve));
        }
    }

    #[test]
    fn a_rate_limit_is_retried_after_twilios_retry_after() {
        let retry_after = Some(Duration::from_secs(7));
        let error = SendError::Limited { code: Some(20429), retry_after };
        assert_eq!(error.outcome(), Outcome::NotProcessed { retry_after });
        assert_eq!(error.retry(), Retry::Backoff { retry_after });
    }
}
