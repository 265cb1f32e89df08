//! Messages, opt-outs and received texts, with their journal.

pub(crate) mod change;
pub(crate) mod file;
pub(crate) mod journal;
pub(crate) mod message;
pub(crate) mod plan;
pub(crate) mod segments;
pub(crate) mod sender_queues;
pub(crate) mod status;
pub(crate) mod store;
