//! Delivery of messages: status callbacks, inbound webhooks, signatures, opt-out keywords and TwiML replies.

pub(crate) mod engine;
pub(crate) mod inbound;
mod opt_out;
pub(crate) mod outbound;
mod signature;
mod twiml;
mod webhook;
