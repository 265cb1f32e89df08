//! HTTP: Twilio's REST API, the control API under `/simulator`, and the listener.

mod auth;
pub(crate) mod control;
mod create;
pub(crate) mod deactivations;
mod error;
mod faulty;
mod form;
mod list;
pub(crate) mod media;
pub(crate) mod messages;
pub(crate) mod server;
mod smart_encoding;
