//! The one room that speaks Twilio: its forms, its signatures, its REST API and its error codes.

mod form;
pub mod signature;
mod signed_url;
pub mod webhook;

pub use form::{Form, FormError, RawForm};
pub use signature::{Payload, SignatureError, SignedRequest, Verifier};
pub use webhook::{InboundSms, StatusCallback};
