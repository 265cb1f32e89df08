//! Sends: a row, then a claim before each call to Twilio, then its outcome. One statement per state change.

mod cancel;
mod claim;
mod clarify;
mod create;
mod expire;
mod finish;
mod gate;
mod operator;
mod quiet;
mod reply;
mod sweep;
mod unknown;

use super::Described;
pub use cancel::{Canceled, cancel};
pub(in crate::db) use claim::HORIZON;
pub use claim::{ClaimRequest, Claimed, Claims, SendPace, claim};
pub use clarify::create_clarifications;
pub use create::{Created, IDEMPOTENCY_TTL, Idempotency, NewSend, Repeated, create, repeated};
pub use expire::expire;
pub use finish::{Finished, SendResult, finish};
pub use gate::{Passage, pass_gate};
pub use operator::{Decided, Decision, MessageFilter, Retried, Unsettled, decide, retry, unsettled};
pub use quiet::{Candidate, candidates, postpone};
pub use reply::{NewReply, StoredReply, create_replies};
pub use sweep::{Abandoned, abandon_claims};
pub use unknown::{Absence, Rival, Search, Unresolved, absent, claimed_sids, park, rivals, take_unresolved};

/// The error code of a message whose recipient opted out before it was sent.
pub const OPTED_OUT: &str = "opted_out";
/// The error code of a message whose number was deactivated before it was sent.
pub const NUMBER_DEACTIVATED: &str = "number_deactivated";
/// The error code of a message that expired.
pub const RETRIES_EXHAUSTED: &str = "retries_exhausted";

/// The statements of all modules.
pub(super) const STATEMENTS: &[&[Described]] = &[
    cancel::STATEMENTS,
    claim::STATEMENTS,
    clarify::STATEMENTS,
    create::STATEMENTS,
    expire::STATEMENTS,
    finish::STATEMENTS,
    gate::STATEMENTS,
    operator::STATEMENTS,
    quiet::STATEMENTS,
    reply::STATEMENTS,
    sweep::STATEMENTS,
    unknown::STATEMENTS,
];
