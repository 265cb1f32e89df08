//! Faults: armed through the control API, or tied to reserved recipients.

pub(crate) mod armed;
pub(crate) mod fault;
mod reserved;
