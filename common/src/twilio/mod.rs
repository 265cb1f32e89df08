//! Twilio's protocol: webhook forms, signatures, the REST API and error codes. No other module reads its parameter
//! names.

mod client;
mod connect_limit;
mod error_codes;
mod form;
mod message;
mod renewals;
mod search;
mod send_error;
pub mod signature;
mod signed_url;
pub mod webhook;

pub use client::{
    ClientError, CreateMessage, DeactivationLists, ListError, MAX_CONNECT_TIMEOUT, MediaError, MediaFiles,
    MediaLimits, MediaRetry, MessageFilter, MessagePage, NumberList, NumberPage, TwilioClient, TwilioConfig,
};
pub use error_codes::ErrorClass;
pub use form::{Form, FormError, RawForm};
pub use message::Message;
pub use renewals::{RenewalPolicy, send_max_age, send_retry_delays};
pub use search::{ExpectedMessage, Similarity, similarity};
pub use send_error::{Outcome as SendOutcome, Retry, SendError};
pub use signature::{Payload, SignatureError, SignedRequest, Verifier};
pub use webhook::{
    InboundSms, Media, MessageSidMissing, OptOutType, StatusCallback, WebhookKind, status_callback_url,
};
