//! Business rules as pure functions and types: no I/O, HTTP or SQL. This layer imports no other layer.

pub mod auto_reply;
pub mod batch;
pub mod delivery;
pub mod delivery_failure;
pub mod event;
pub mod ids;
pub mod instant;
pub mod keywords;
pub mod language;
pub mod message;
pub mod metadata;
pub mod month;
pub mod named;
pub mod opt_out;
pub mod pace;
pub mod phone;
pub mod quiet_hours;
pub mod rate_limit;
pub mod registration;
pub mod segments;
pub mod send_plan;
pub mod sender;
pub mod sids;
pub mod smart_encoding;
pub mod subscription;
pub mod template;
