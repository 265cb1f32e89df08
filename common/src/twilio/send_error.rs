//! Why a call to Twilio did not do what it should, and what may be done about it.

use super::error_codes::ErrorClass;
use std::error::Error;
use std::time::Duration;

/// Why a call to Twilio failed.
///
/// Displays name codes and statuses, never Twilio's own sentence: it quotes phone numbers.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection was made (DNS, TCP or TLS), so no byte of the request was written.
    #[error("connecting to Twilio")]
    Connect(#[source] reqwest::Error),
    /// HTTP 401 for the token that was used, while another configured token is accepted: Twilio did not process the request, and
    /// the next one uses the other token.
    #[error("Twilio refused the token that it had accepted before")]
    TokenRefused,
    /// HTTP 429: Twilio did not process the request.
    #[error("Twilio limits how often we call")]
    Limited {
        /// Twilio's error code, when its body could be read.
        code: Option<u32>,
        /// How long Twilio asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Twilio says what is wrong with the request: a 4xx with its error JSON.
    #[error("Twilio refused the request with HTTP {status} and code {code}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Twilio's error code.
        code: u32,
        /// How long Twilio asks us to wait, which it seldom says.
        retry_after: Option<Duration>,
    },
    /// A 5xx: Twilio failed, before or after it took the message.
    #[error("Twilio failed with HTTP {status}")]
    Failed {
        /// The HTTP status.
        status: u16,
        /// Twilio's error code, when its body could be read.
        code: Option<u32>,
    },
    /// The connection was made, and the answer did not come: a timeout, or a reset.
    #[error("waiting for Twilio's answer")]
    NoAnswer(#[source] reqwest::Error),
    /// An answer that can't be read: cut off, not JSON, without a SID, or not from Twilio's API at all.
    #[error("reading Twilio's answer with HTTP {status}")]
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// What was wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What is known of a message whose create call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Twilio surely did not process the request: it may be sent again.
    NotProcessed {
        /// How long Twilio asks us to wait, if it does.
        retry_after: Option<Duration>,
    },
    /// Twilio surely did not take the message, and says why.
    Rejected {
        /// Twilio's error code.
        code: u32,
    },
    /// The handset may get the message or not: not to be sent again before that is resolved.
    Ambiguous,
}

/// What may be done with a message whose create call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Try again with backoff, and not before what Twilio asks for.
    Backoff {
        /// How long Twilio asks us to wait, if it does.
        retry_after: Option<Duration>,
    },
    /// Hold everything of this sender, then try again: its queue at Twilio is full.
    HoldSender,
    /// Create it anew, hours later and a few times at most ([`RenewalPolicy`](super::RenewalPolicy)).
    CreateAnew,
    /// Try again when the window opens: a limit of the hour or the day.
    WaitForWindow,
    /// Hold until somebody has put our configuration right, then try again.
    AfterRepair,
    /// Find out first whether Twilio took it.
    Resolve,
    /// Never: the same request would fail the same way.
    Never,
}

impl SendError {
    /// Returns what is known of the message.
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
                | ErrorClass::OptedOut
                | ErrorClass::Content
                | ErrorClass::Configuration
                | ErrorClass::Unlisted => Outcome::Rejected { code: *code },
            },
            Self::Failed { .. } | Self::NoAnswer(_) | Self::Unreadable { .. } => Outcome::Ambiguous,
        }
    }

    /// Returns what may be done with the message.
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
                ErrorClass::Transient => Retry::CreateAnew,
                ErrorClass::SenderQueueFull => Retry::HoldSender,
                ErrorClass::Ambiguous => Retry::Resolve,
                ErrorClass::WaitForWindow => Retry::WaitForWindow,
                ErrorClass::Configuration => Retry::AfterRepair,
                ErrorClass::Recipient | ErrorClass::OptedOut | ErrorClass::Content | ErrorClass::Unlisted => {
                    Retry::Never
                }
            },
        }
    }

    /// Returns Twilio's error code, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Limited { code, .. } | Self::Failed { code, .. } => *code,
            Self::Connect(_) | Self::TokenRefused | Self::NoAnswer(_) | Self::Unreadable { .. } => None,
        }
    }

    /// Returns the class of Twilio's error code, if it gave one.
    #[must_use]
    pub fn class(&self) -> Option<ErrorClass> {
        self.code().map(ErrorClass::of)
    }

    /// Returns whether our account, number or credentials are at fault, so that somebody must be told.
    #[must_use]
    pub fn is_our_fault(&self) -> bool {
        match self {
            Self::Refused { code, .. } => ErrorClass::of(*code) == ErrorClass::Configuration,
            Self::Connect(_)
            | Self::TokenRefused
            | Self::Limited { .. }
            | Self::Failed { .. }
            | Self::NoAnswer(_)
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
    fn a_refusal_says_by_its_code_what_may_be_done() {
        let not_processed = Outcome::NotProcessed { retry_after: None };
        let cases = [
            (21211, Outcome::Rejected { code: 21211 }, Retry::Never, false),
            (21610, Outcome::Rejected { code: 21610 }, Retry::Never, false),
            (21617, Outcome::Rejected { code: 21617 }, Retry::Never, false),
            (12345, Outcome::Rejected { code: 12345 }, Retry::Never, false),
            (20003, Outcome::Rejected { code: 20003 }, Retry::AfterRepair, true),
            (21606, Outcome::Rejected { code: 21606 }, Retry::AfterRepair, true),
            (14107, Outcome::Rejected { code: 14107 }, Retry::WaitForWindow, false),
            (30001, Outcome::Rejected { code: 30001 }, Retry::CreateAnew, false),
            (21611, not_processed, Retry::HoldSender, false),
            (20429, not_processed, Retry::Backoff { retry_after: None }, false),
            (20500, Outcome::Ambiguous, Retry::Resolve, false),
            (20503, Outcome::Ambiguous, Retry::Resolve, false),
        ];
        for (code, outcome, retry, our_fault) in cases {
            let error = refused(code);
            assert_eq!((error.outcome(), error.retry()), (outcome, retry), "{code}");
            assert_eq!((error.code(), error.is_our_fault()), (Some(code), our_fault), "{code}");
        }
    }

    #[test]
    fn a_server_error_is_ambiguous_whatever_its_code() {
        for code in [None, Some(20500), Some(21211), Some(20429)] {
            let error = SendError::Failed { status: 500, code };
            assert_eq!((error.outcome(), error.retry()), (Outcome::Ambiguous, Retry::Resolve));
        }
    }

    #[test]
    fn a_limit_is_waited_out_for_as_long_as_twilio_asks() {
        let retry_after = Some(Duration::from_secs(7));
        let error = SendError::Limited { code: Some(20429), retry_after };
        assert_eq!(error.outcome(), Outcome::NotProcessed { retry_after });
        assert_eq!(error.retry(), Retry::Backoff { retry_after });
    }
}
