//! Why a peer gave no answer, and what to do about it.

use crate::tls::TlsError;
use reqwest::StatusCode;
use std::time::Duration;

/// Why a client can't be made: the function can't start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// reqwest can't be set up.
    #[error("setting up the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// A call without a usable answer. None of these shows the address, which holds the number and may hold credentials.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It was not called: it failed too often a moment ago.
    #[error("it failed too often to be asked again so soon")]
    BreakerOpen,
    /// It could not be reached, or broke off.
    #[error("calling it")]
    Http(#[source] reqwest::Error),
    /// It did not answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// It says that it is broken or overloaded.
    #[error("it answered {0}")]
    Failed(StatusCode),
    /// It refuses us: credentials, address or version are wrong, and somebody must act.
    #[error("it refused with {0}")]
    Refused(StatusCode),
    /// It answered more than anything that could be meant for us.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// Its answer makes no sense.
    #[error("its answer {0}")]
    Unreadable(&'static str),
}

impl PeerError {
    /// Sorts a status that is no answer.
    pub(super) fn of(status: StatusCode) -> Self {
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            Self::Failed(status)
        } else {
            Self::Refused(status)
        }
    }

    /// Tells whether the next moment may bring another answer.
    pub(super) fn may_pass_soon(&self) -> bool {
        match self {
            Self::Http(_) | Self::TimedOut(_) | Self::Failed(_) | Self::TooLong(_) | Self::Unreadable(_) => {
                true
            }
            Self::BreakerOpen | Self::Refused(_) => false,
        }
    }
}
